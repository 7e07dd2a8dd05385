"""What is compared with what, and the bars."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from tests.bench import contenders, ours
from tests.bench.idle import idle as idle_figures
from tests.bench.measure import Rounds, Row, compared, compared_pairs, interleaved
from tests.bench.stage import Stage
from tests.support.fake_sentry import Ingest
from tests.support.receiver import Behaviour
from unoapi.devenv.ports import free_port

OUTAGES = {
    "503": Behaviour(status=503),
    "broken connections": Behaviour(status=0),
    "hanging": Behaviour(delay_ms=60_000),
}
RECOVERY_S = 5
HANGING_S = 3 + 60
"""The longest pause between two probes is 60 s: what it costs to find out is 20 times that."""


def deliveries(stage: Stage) -> list[Row]:
    """Deliveries to a fast receiver."""
    rounds = interleaved(
        {
            "plain Celery": partial(contenders.plain, stage),
            "no-op": partial(contenders.noop, stage),
            "one process": partial(ours.deliveries, stage),
            "two processes": partial(ours.deliveries, stage, processes=2),
        },
        stage.sizes.rounds,
    )
    return [
        compared(
            "deliveries/s, one process : plain Celery", rounds, "one process", "plain Celery", "per_s", at_least=2
        ),
        compared(
            "deliveries/s, two processes : plain Celery", rounds, "two processes", "plain Celery", "per_s", at_least=3.5
        ),
        compared("deliveries/s, one process : no-op", rounds, "one process", "no-op", "per_s"),
    ]


def before(stage: Stage) -> list[Row]:
    """Deliveries, events, accepted requests and sends of this commit and of an older one (`--before`), in turn."""
    if stage.before is None:
        return []
    deliveries = interleaved(
        {
            "before": partial(ours.deliveries, stage, checkout=stage.before),
            "now": partial(ours.deliveries, stage),
        },
        stage.sizes.rounds,
    )
    events = interleaved(
        {
            "before": partial(ours.events_to_the_end, stage, checkout=stage.before),
            "now": partial(ours.events_to_the_end, stage),
        },
        stage.sizes.rounds,
    )
    requests = interleaved(
        {
            "before": partial(ours.requests, stage, checkout=stage.before),
            "now": partial(ours.requests, stage),
        },
        stage.sizes.rounds,
    )
    sends = interleaved(
        {
            "before": partial(ours.sends, stage, checkout=stage.before),
            "now": partial(ours.sends, stage),
        },
        stage.sizes.rounds,
    )
    return [
        compared("deliveries/s, now : before", deliveries, "now", "before", "per_s", at_least=0.9),
        compared("processor time of a delivery in us, now : before", deliveries, "now", "before", "cpu_us"),
        compared("events/s, now : before", events, "now", "before", "per_s", at_least=0.9),
        compared("processor time of an event in us, now : before", events, "now", "before", "cpu_us"),
        compared("accepted requests/s, now : before", requests, "now", "before", "per_s", at_least=0.9),
        compared("processor time of an accepted request in us, now : before", requests, "now", "before", "cpu_us"),
        compared("messages sent/s, now : before", sends, "now", "before", "per_s", at_least=0.9),
        compared("processor time of a send in us, now : before", sends, "now", "before", "cpu_us"),
    ]


def events(stage: Stage) -> list[Row]:
    """Events through fan-out and delivery."""
    rounds = interleaved(
        {"deliveries": partial(ours.deliveries, steady(stage)), "events": partial(ours.events, steady(stage))},
        stage.sizes.close_rounds,
    )
    return [
        compared("events/s end to end : deliveries/s", rounds, "events", "deliveries", "per_s", at_least=0.9),
        compared("processor time of an event : of a delivery, in us", rounds, "events", "deliveries", "cpu_us"),
    ]


def sentry(stage: Stage) -> list[Row]:
    """Deliveries with Sentry switched on, while nothing fails."""
    with Ingest() as ingest:
        rounds = interleaved(
            {
                "without Sentry": partial(ours.deliveries, stage),
                "with Sentry": partial(ours.deliveries, stage, SENTRY_DSN=ingest.dsn),
            },
            stage.sizes.rounds,
        )
    return [
        compared("deliveries/s with Sentry : without", rounds, "with Sentry", "without Sentry", "per_s", at_least=0.9)
    ]


def slow(stage: Stage) -> list[Row]:
    """Deliveries to a receiver that takes its time."""
    rounds = interleaved({"slow receiver": partial(ours.slow, stage)}, stage.sizes.rounds)
    most = ours.SLOW_THREADS / (ours.SLOW_MS / 1000)
    return [
        against("deliveries/s, 200 ms receiver : 1000", rounds, "slow receiver", "per_s", most, at_least=0.9),
        against("memory of it in MB : 200", rounds, "slow receiver", "mb", 200, at_most=1),
    ]


def tenants(stage: Stage) -> list[Row]:
    """Deliveries to the webhooks of many numbers, and of many over TLS."""
    sizes = stage.sizes
    one, many, one_tls, many_tls = "one", f"{sizes.endpoints} endpoints", "one over TLS", f"{sizes.tenants} over TLS"
    known_one, known_many = "one, known", f"{sizes.endpoints} known endpoints"
    posts_one, posts_many = "posts alone to one", f"posts alone to {sizes.endpoints}"
    known = interleaved(
        {
            known_one: partial(ours.shared, steady(stage), 1, before=sizes.messages),
            known_many: partial(ours.shared, steady(stage), sizes.endpoints, before=sizes.messages),
        },
        sizes.close_rounds,
    )
    rounds = interleaved(
        {
            one: partial(ours.shared, stage, 1),
            many: partial(ours.shared, stage, sizes.endpoints),
            one_tls: partial(ours.shared, stage, 1, tls=True),
            many_tls: partial(ours.shared, stage, sizes.tenants, tls=True),
            posts_one: partial(contenders.posts, stage, 1),
            posts_many: partial(contenders.posts, stage, sizes.endpoints),
        },
        sizes.steady_rounds,
    )
    deliveries_pair, posts_pair = (many, one), (posts_many, posts_one)
    return [
        compared(f"deliveries/s, {known_many} : {known_one}", known, known_many, known_one, "per_s", at_least=0.9),
        compared(f"deliveries/s, {many}, first ones, too : {one}", rounds, *deliveries_pair, "per_s"),
        compared(f"posts alone/s, {sizes.endpoints} endpoints : one", rounds, *posts_pair, "per_s"),
        # Three to each, of which the first opens a connection: that costs whoever posts.
        compared_pairs(
            "ratio of these deliveries : of posts alone", rounds, deliveries_pair, posts_pair, "per_s", at_least=0.9
        ),
        compared(f"processor time of a delivery in us, {many} : {one}", rounds, many, one, "cpu_us"),
        compared(f"deliveries/s, {many_tls} : {one_tls}", rounds, many_tls, one_tls, "per_s", at_least=0.8),
        against("handshakes a delivery, of 0.05", rounds, many_tls, "handshakes", 0.05, at_most=1),
    ]


def api(stage: Stage) -> list[Row]:
    """Messages that the API accepts."""
    rounds = interleaved(
        {"constant route": partial(contenders.constant, stage), "API": partial(ours.requests, stage)},
        stage.sizes.rounds,
    )
    return [
        compared("accepted requests/s : constant route", rounds, "API", "constant route", "per_s", at_least=0.6),
        compared("processor time of a request in us, API : constant route", rounds, "API", "constant route", "cpu_us"),
    ]


def validation(stage: Stage) -> list[Row]:
    """What validation, the token, idempotency and the trace cost the API."""
    rounds = interleaved(
        {"bare path": partial(ours.bare_requests, stage), "API": partial(ours.requests, stage)}, stage.sizes.rounds
    )
    return [compared("accepted texts : bare accept path", rounds, "API", "bare path", "per_s", at_least=0.8)]


def latency(stage: Stage) -> list[Row]:
    """From the API's answer to the webhook."""
    rounds = interleaved(
        {"no-op": partial(contenders.noop_latency, stage), "ours": partial(ours.latency, stage)}, stage.sizes.rounds
    )
    return [
        compared("latency in ms, 95th percentile : no-op", rounds, "ours", "no-op", "p95_ms", at_most=6),
        compared("latency in ms, median : no-op", rounds, "ours", "no-op", "p50_ms"),
    ]


def recovery(stage: Stage) -> list[Row]:
    """What the first seconds after an outage are like; after a hanging one, the first minutes."""
    after_s = dict.fromkeys(OUTAGES, ours.AFTER_S) | {"hanging": stage.sizes.after_hanging_s}
    outages = {
        f"{seconds:.0f} s of {name}": partial(ours.recovery, stage, outage, seconds, after_s=after_s[name])
        for name, outage in OUTAGES.items()
        for seconds in stage.sizes.outages_s
    }
    rounds = interleaved(outages, 1)
    rows = []
    for name in outages:
        longest_s = HANGING_S if name.endswith("hanging") else RECOVERY_S
        rows += [
            against(f"{name}: last arrival in s : {longest_s}", rounds, name, "last_s", longest_s, at_most=1),
            against(f"{name}: new ones, median in ms : 100", rounds, name, "new_p50_ms", 100, at_most=1),
            against(f"{name}: dead letters", rounds, name, "dead", 1, at_most=0),
        ]
    name = "a fifth fails twice"
    partly = interleaved({name: partial(ours.partly_failing, stage)}, 1)
    return [
        *rows,
        against(f"{name}: the others, p95 in ms : 100", partly, name, "others_p95_ms", 100, at_most=1),
        against(f"{name}: requests for each event", partly, name, "requests", 1, at_most=1.45),
        against(f"{name}: seen down", partly, name, "down", 1, at_most=0),
    ]


def waiting(stage: Stage) -> list[Row]:
    """Many deliveries wait for an endpoint that is down, and are released."""
    contenders = {"ordinary": partial(ours.deliveries, stage), "waiting": partial(ours.waiting, stage)}
    rounds = interleaved(contenders, 1)

    def median(figure: str) -> float:
        return rounds.median("waiting", figure)

    ordinary = rounds.median("ordinary", "per_s")
    return [
        against("the worker's CPU while they wait, of 2 % of a core", rounds, "waiting", "cpu", 0.02, at_most=1),
        against("p95 of a healthy endpoint : empty", rounds, "waiting", "p95_ms", median("empty_p95_ms"), at_most=1.2),
        against("released/s : deliveries/s", rounds, "waiting", "per_s", ordinary, at_least=0.9),
        against("memory in MB, last tenth : second", rounds, "waiting", "late_mb", median("early_mb"), at_most=1.1),
        against("overtaken, of 1 %", rounds, "waiting", "overtaken", 0.01, at_most=1),
        against("lost", rounds, "waiting", "lost", 1, at_most=0),
    ]


def watching(stage: Stage) -> list[Row]:
    """What being watched costs: Celery's task events, which Flower shows, and counting for Prometheus."""
    rounds = interleaved(
        {
            "as it is": partial(ours.deliveries, stage),
            "no events": partial(ours.deliveries, stage, task_events=False),
            "metrics": partial(ours.deliveries, stage, UNOAPI_METRICS_PORT=str(free_port()), TMPDIR=str(stage.folder)),
        },
        stage.sizes.rounds,
    )
    return [
        compared("deliveries/s, with task events : without", rounds, "as it is", "no events", "per_s"),
        compared("deliveries/s, with metrics : without", rounds, "metrics", "as it is", "per_s", at_least=0.85),
    ]


def keeping(stage: Stage) -> list[Row]:
    """What it costs to keep all events in a stream."""
    rounds = interleaved(
        {
            "kept": partial(ours.through, stage),
            "not kept": partial(ours.through, stage, UNOAPI_EVENTS_MAX_AGE="0"),
        },
        stage.sizes.rounds,
    )
    return [
        compared("events/s through all, kept : not kept", rounds, "kept", "not kept", "per_s", at_least=0.9),
        compared("processor time of an event in us, kept : not kept", rounds, "kept", "not kept", "cpu_us"),
        compared("RabbitMQ's part of it, kept : not kept", rounds, "kept", "not kept", "broker_us"),
    ]


def growing(stage: Stage) -> list[Row]:
    """Events through fan-out and delivery with one, two and four worker processes."""
    one, two, four = "one worker", "two workers", "four workers"
    processes = {one: 1, two: 2, four: 4}
    rounds = interleaved(
        {name: partial(ours.events, stage, processes=number) for name, number in processes.items()}, stage.sizes.rounds
    )
    return [compared(f"events/s, {several} : one", rounds, several, one, "per_s") for several in (two, four)]


def endurance(stage: Stage) -> list[Row]:
    """The end of a long run against its beginning; once, for it is long."""
    rounds = interleaved({"long run": partial(ours.endurance, stage)}, 1)
    early_per_s, early_mb = rounds.median("long run", "early_per_s"), rounds.median("long run", "early_mb")
    return [
        against(
            "deliveries/s, last tenth : second tenth",
            rounds,
            "long run",
            "late_per_s",
            early_per_s,
            at_least=0.85,
            at_most=1.15,
        ),
        against("memory in MB, last tenth : second tenth", rounds, "long run", "late_mb", early_mb, at_most=1.1),
    ]


def idle(stage: Stage) -> list[Row]:
    """The memory of everything on one host while nothing happens."""
    rounds = interleaved({"make run": partial(idle_figures, stage)}, 1)
    return [
        against("memory of make run in MB, idle, of 450", rounds, "make run", "mb", 450, at_most=1),
        against("RabbitMQ's part of it", rounds, "make run", "rabbitmq_mb", 450),
        against("our part of it", rounds, "make run", "ours_mb", 450),
    ]


def steady(stage: Stage) -> Stage:
    """The same stage for more messages."""
    return replace(stage, sizes=replace(stage.sizes, messages=stage.sizes.steady))


def against(name: str, rounds: Rounds, contender: str, figure: str, baseline: float, **bars: float) -> Row:
    """A row against a fixed number."""
    value = rounds.median(contender, figure)
    return Row(name=name, ours=value, baseline=baseline, ratio=value / baseline, **bars)


SCENARIOS: dict[str, Callable[[Stage], list[Row]]] = {
    scenario.__name__: scenario
    for scenario in (
        before,
        deliveries,
        events,
        sentry,
        slow,
        tenants,
        api,
        validation,
        latency,
        recovery,
        waiting,
        watching,
        keeping,
        growing,
        idle,
        endurance,
    )
}
