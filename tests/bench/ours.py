"""How our side is set up, filled and run. The only module of the benchmarks that knows our code."""

import contextlib
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, count, cycle, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import redis
from kombu import Connection

from tests.bench import queues
from tests.bench.contenders import PATIENCE_S, accepted, arrivals, load, requests_per_second
from tests.bench.measure import Figures, percentiles, rate
from tests.bench.processes import accepts, cpu_s, megabytes, procfile, running
from tests.bench.stage import Stage, event, message
from tests.support.constants import CONTACT, PHONE, ROOT
from tests.support.fakes import MemorySessions, make_session
from tests.support.receiver import Behaviour
from tests.support.stack import TOPOLOGY, eventually
from unoapi.broker.holding_queues import BrokerHoldingQueues
from unoapi.broker.publisher import ConfirmingPublisher
from unoapi.devenv.ports import free_port
from unoapi.models.cloud_api.callbacks import EventPayload
from unoapi.models.cloud_api.events import Event, split
from unoapi.models.endpoints import Endpoint
from unoapi.models.jobs import DeliverWebhook, Envelope, FanOut, Job, ReleaseEndpoint, delivery_id, now_ms
from unoapi.models.session import Session
from unoapi.providers.sandbox import DELIVERED_AFTER_MS, READ_AFTER_MS
from unoapi.services.webhooks import to_fan_out
from unoapi.stores.circuit_breakers import breaker_key
from unoapi.stores.session_index import index_commands

TOKEN = "token-of-the-benchmarks"
HEADERS = {"Authorization": TOKEN}
PATH, HEALTHY_PATH = "/ours", "/healthy"
WEBHOOK, HEALTHY = "default", "healthy"
SESSIONS = MemorySessions(make_session())
HOLDING = "0123456789ab"
DAY_MS = 86_400_000
SLOW_MS = 200
SLOW_THREADS = 200
THREADS = 50
BATCH = 1000
PACE_PER_S = 100
BEFORE_S, AFTER_S = 2.0, 8.0
"""So long events come before an outage, and after it."""
numbers = count()  # of all events of all runs: what was delivered once is not delivered again


def deliveries(
    stage: Stage, processes: int = 1, *, task_events: bool = True, checkout: Path = ROOT, **settings: str
) -> Figures:
    """Deliveries per second to a receiver that answers at once, by the workers of this checkout or of another one.

    And the processor time of one in microseconds, which busy neighbours change less than the rate.
    """
    amount = stage.sizes.messages * processes
    prepare(stage)
    fill(stage, amount, delivery)
    with workers(stage, processes=processes, task_events=task_events, checkout=checkout, more=settings) as started:
        figures = arrivals(stage.receiver, amount, PATH)
        return {**figures, "cpu_us": cpu_s(started) / amount * 1e6}


def events(stage: Stage, processes: int = 1, *, checkout: Path = ROOT) -> Figures:
    """Events per second from the queue to the webhook, fan-out included, and the processor time of one in microseconds.

    Each is delivered where it is fanned out, so that its arrival counts as that of a delivery does.
    """
    amount = stage.sizes.messages * processes
    prepare(stage)
    fill(stage, amount, fan_out)
    with workers(stage, processes=processes, checkout=checkout) as started:
        figures = arrivals(stage.receiver, amount, PATH)
        return {**figures, "cpu_us": cpu_s(started) / amount * 1e6}


def events_to_the_end(stage: Stage, *, checkout: Path = ROOT) -> Figures:
    """The same of a commit that delivers after its fan-outs: nothing arrives before all events are fanned out.

    So the whole time counts. One delivery at the head of the queue shows when the work begins.
    """
    amount = stage.sizes.messages
    prepare(stage)
    fill(stage, 1, delivery)
    fill(stage, amount, fan_out)
    with workers(stage, checkout=checkout) as started:
        arrivals(stage.receiver, amount + 1, PATH)
        cpu_us = cpu_s(started) / amount * 1e6
    times = stage.receiver.times(PATH)
    return {"per_s": amount / (times[-1] - times[0]), "cpu_us": cpu_us}


def shared(stage: Stage, tenants: int, *, tls: bool = False, before: int = 0) -> Figures:
    """Deliveries per second to the webhooks of so many numbers in turn, all at one host, and handshakes for each.

    And the processor time of one in microseconds, the start of the worker included. The first `before` deliveries are
    no part of the rate: after them the worker knows the numbers, and has a connection to each webhook.
    """
    amount = stage.sizes.messages
    phones = [f"55119{70_000_000 + number}" for number in range(tenants)]
    prepare(stage)
    for phone in phones:
        store_session(stage, phone, {WEBHOOK: stage.receiver.url(f"{PATH}/{phone}", tls=tls)})
    takers = cycle(phones)
    fill(stage, before + amount, lambda one: delivery(one).model_copy(update={"phone": next(takers)}))
    with workers(stage, more={"SSL_CERT_FILE": f"{stage.authority}"}) as started:
        arrivals(stage.receiver, before + amount, PATH)
        cpu_us = cpu_s(started) / (before + amount) * 1e6
        per_s = rate(stage.receiver.times(PATH)[before:])
        return {"per_s": per_s, "cpu_us": cpu_us, "handshakes": stage.receiver.handshakes() / amount}


def slow(stage: Stage) -> Figures:
    """Deliveries per second of 200 threads to a receiver that takes 200 ms, and the most memory they took."""
    amount = stage.sizes.slow_messages
    prepare(stage, Behaviour(delay_ms=SLOW_MS))
    fill(stage, amount, delivery)
    most = 0.0
    with workers(stage, threads=SLOW_THREADS) as processes:

        def done() -> bool:
            nonlocal most
            most = max(most, megabytes(processes))
            return stage.receiver.count(PATH) >= amount

        eventually(done, what=f"{amount} slow deliveries", within_s=PATIENCE_S, every_s=0.5)
        return {**arrivals(stage.receiver, amount, PATH), "mb": most}


def endurance(stage: Stage) -> Figures:
    """Rate and memory in the second and in the last tenth of a long run."""
    amount = stage.sizes.endurance
    tenth = amount // 10
    prepare(stage)
    fill(stage, amount, delivery)
    memory: list[tuple[int, float]] = []
    with workers(stage) as processes:

        def done() -> bool:
            memory.append((stage.receiver.count(PATH), megabytes(processes)))
            return memory[-1][0] >= amount

        eventually(done, what=f"{amount} deliveries", within_s=PATIENCE_S + amount / 200, every_s=0.5)
    times = stage.receiver.times(PATH)

    def part(name: str, first: int) -> Figures:
        last = first + tenth
        return {
            f"{name}_per_s": (tenth - 1) / (times[last - 1] - times[first]),
            f"{name}_mb": statistics.median(mb for came, mb in memory if first <= came <= last),
        }

    return {**part("early", tenth), **part("late", amount - tenth)}


def requests(stage: Stage, *, checkout: Path = ROOT) -> Figures:
    """Messages per second that the API of this checkout or of another one accepts, each with a confirmed publish."""
    prepare(stage)
    with web(stage, checkout=checkout) as port:
        figures = requests_per_second(port, f"/v15.0/{PHONE}/messages", message("{n}"), stage, HEADERS)
    if (queued := queues.depth(stage.amqp_url, TOPOLOGY.queue("incoming"))) != stage.sizes.requests:
        raise RuntimeError(f"{stage.sizes.requests} messages were accepted and {queued} queued")
    return figures


def sends(stage: Stage, *, checkout: Path = ROOT) -> Figures:
    """Messages per second that leave to 40 contacts, by the worker of this checkout or of another one.

    They stand in the queue before it starts: the second to the ninth tenth counts. The sandbox takes them at once, and
    their events, one at once and two after a second or two, wait in the next queue: a message that is put back until
    the one before it has left is none that is sent.
    """
    amount, incoming, outgoing = stage.sizes.requests, TOPOLOGY.queue("incoming"), TOPOLOGY.queue("outgoing")
    tenth = amount // 10
    prepare(stage)
    with web(stage, checkout=checkout) as port:
        load(port, f"/v15.0/{PHONE}/messages", message("{n}").replace(CONTACT, CONTACT[:-2] + "{c}"), amount, HEADERS)
    waiting = [TOPOLOGY.bucket_queue(TOPOLOGY.bucket(after_ms)) for after_ms in (DELIVERED_AFTER_MS, READ_AFTER_MS)]
    with queues.counted(stage.amqp_url) as depth, workers(stage, checkout=checkout, queue=incoming) as started:

        def sent(least: int, *more: str) -> float:
            eventually(
                lambda: sum(depth(name) for name in (outgoing, *more)) >= 3 * least,
                what="sends", within_s=PATIENCE_S, every_s=0.05,
            )  # fmt: skip
            return time.monotonic()

        began = sent(tenth, *waiting)
        took_s = sent(9 * tenth, *waiting) - began
        sent(amount)
        return {"per_s": 8 * tenth / took_s, "cpu_us": cpu_s(started) / amount * 1e6}


def bare_requests(stage: Stage) -> Figures:
    """Messages per second through the bare accept path, in the same gunicorn set-up as ours."""
    prepare(stage)
    port = free_port()
    settings = {**environment(stage), "UNOAPI_HOST": "127.0.0.1", "PORT": str(port)}
    command = ["gunicorn", "-c", "python:unoapi.web.gunicorn", "tests.bench.baselines.accept:app"]
    with running(command, environment=settings, folder=stage.folder):
        eventually(lambda: accepts(port), what="the bare accept path", within_s=30)
        return requests_per_second(port, "/accept", message("{n}"), stage, HEADERS)


def latency(stage: Stage) -> Figures:
    """Time from the API's answer to the webhook's arrival of the same event, at 100 a second."""
    amount = stage.sizes.paced
    prepare(stage)
    stage.receiver.record("full")
    first = next(numbers)
    for _ in range(amount):
        next(numbers)
    with web(stage) as port, workers(stage):
        eventually(lambda: consumers(stage) > 0, what="our worker", within_s=30)
        answered = load(port, f"/webhooks/whatsapp/{PHONE}", event(f"{first}-{{n}}"), amount, HEADERS, per_s=100)
        arrivals(stage.receiver, amount, PATH)
    came = {message_number(request.body): request.received_at for request in stage.receiver.requests(PATH)}
    return percentiles(came[number] - answered[number] for number in sorted(answered))


def through(stage: Stage, **settings: str) -> Figures:
    """Events per second from the API to the webhook, as fast as they are taken, with one process of each kind.

    And the processor time of one in microseconds, that of RabbitMQ, Redis and the receiver included, and RabbitMQ's.
    """
    amount = stage.sizes.requests
    prepare(stage)
    first = next(numbers)
    for _ in range(amount):
        next(numbers)
    everything = [psutil.Process()]
    broker = [child for child in everything[0].children(recursive=True) if child.name().startswith("beam")]
    with web(stage, more=settings) as port, workers(stage, more=settings):
        eventually(lambda: consumers(stage) > 0, what="our worker", within_s=30)
        before_s, broker_s = cpu_s(everything), cpu_s(broker)
        answered = load(port, f"/webhooks/whatsapp/{PHONE}", event(f"{first}-{{n}}"), amount, HEADERS)
        arrivals(stage.receiver, amount, PATH)
        took_s, broker_took_s = cpu_s(everything) - before_s, cpu_s(broker) - broker_s
    per_s = amount / (stage.receiver.times(PATH)[-1] - min(answered.values()))
    return {"per_s": per_s, "cpu_us": took_s / amount * 1e6, "broker_us": broker_took_s / amount * 1e6}


def recovery(stage: Stage, outage: Behaviour, outage_s: float, *, after_s: float = AFTER_S) -> Figures:
    """After an outage at 100 events a second, with the default settings: how long what waited and what is new take.

    `last_s`: from the healing to the arrival of the last event that was accepted before it.
    `new_p50_ms`: from the API's answer to the arrival of events that were accepted after the healing. `requests`:
    requests for each event. `dead`: dead letters.
    """
    amount = int(PACE_PER_S * (BEFORE_S + outage_s + after_s))
    prepare(stage)
    stage.receiver.record("full")
    first = next(numbers)
    for _ in range(amount):
        next(numbers)
    with web(stage) as port, workers(stage), ThreadPoolExecutor(1) as pool:
        eventually(lambda: consumers(stage) > 0, what="our worker", within_s=30)
        path = f"/webhooks/whatsapp/{PHONE}"
        loading = pool.submit(load, port, path, event(f"{first}-{{n}}"), amount, HEADERS, per_s=PACE_PER_S)
        eventually(lambda: stage.receiver.count(PATH) >= BEFORE_S * PACE_PER_S, what="some events", within_s=30)
        stage.receiver.script(PATH, outage)
        time.sleep(outage_s)
        stage.receiver.script(PATH, Behaviour())
        healed = time.time()
        answered = loading.result(PATIENCE_S + after_s)
        eventually(
            lambda: accepted(stage.receiver, PATH) >= amount, what=f"{amount} events", within_s=PATIENCE_S, every_s=1
        )
        dead = queues.depth(stage.amqp_url, TOPOLOGY.dead)
    requests = stage.receiver.requests(PATH)
    came = {message_number(request.body): request.received_at for request in requests}  # the last one was the taken one
    new = [came[number] - at for number, at in answered.items() if at > healed]
    return {
        "last_s": max(came[number] - healed for number, at in answered.items() if at <= healed),
        "new_p50_ms": statistics.median(new) * 1000,
        "requests": len(requests) / amount,
        "dead": dead,
    }


def partly_failing(stage: Stage) -> Figures:
    """A receiver that fails twice for a fifth of the events, at 100 a second: what that costs the others.

    `others_p95_ms`: from the API's answer to the arrival of events that it takes at once. `requests`: for each event.
    `down`: whether it ever counted as down.
    """
    amount = stage.sizes.paced
    prepare(stage, Behaviour(failures=2, share=0.2))
    stage.receiver.record("full")
    first = next(numbers)
    for _ in range(amount):
        next(numbers)
    path, down = f"/webhooks/whatsapp/{PHONE}", 0
    with web(stage) as port, workers(stage), ThreadPoolExecutor(1) as pool:
        eventually(lambda: consumers(stage) > 0, what="our worker", within_s=30)
        loading = pool.submit(load, port, path, event(f"{first}-{{n}}"), amount, HEADERS, per_s=PACE_PER_S)
        with redis.Redis.from_url(stage.redis_url) as client:
            while not loading.done():
                down += bool(client.exists(breaker_key(Endpoint(PHONE, WEBHOOK))))
                time.sleep(0.2)
        answered = loading.result(PATIENCE_S)
        eventually(
            lambda: accepted(stage.receiver, PATH) >= amount, what=f"{amount} events", within_s=PATIENCE_S, every_s=1
        )
    requests = stage.receiver.requests(PATH)
    came, times = {}, Counter[int]()
    for request in requests:
        number = message_number(request.body)
        came[number] = request.received_at
        times[number] += 1
    return {
        "others_p95_ms": percentiles(came[n] - at for n, at in answered.items() if times[n] == 1)["p95_ms"],
        "requests": len(requests) / amount,
        "down": down,
    }


def waiting(stage: Stage) -> Figures:
    """Many deliveries wait for an endpoint that is down: what that costs while it lasts, and how they are released.

    `cpu`: the worker's processor time a second. `empty_p95_ms`, `p95_ms`: from the publishing of a delivery to its
    arrival at a healthy endpoint, without and beside them. `per_s`: of the release. `early_mb`, `late_mb`: memory in
    its second and last tenth. `overtaken`: the share of deliveries before which one came that stood behind them by
    more than two windows: their own attempt took so much longer.
    """
    amount = stage.sizes.waiting
    tenth = amount // 10
    prepare(stage, paths={WEBHOOK: PATH, HEALTHY: HEALTHY_PATH})
    with workers(stage):
        eventually(lambda: consumers(stage) > 0, what="our worker", within_s=30)
        empty = healthy(stage)
    stage.receiver.clear()
    stage.receiver.script(PATH, Behaviour(status=503))
    ids = hold(stage, amount)
    with workers(stage) as processes:
        eventually(lambda: stage.receiver.count(PATH) > 0, what="a probe", within_s=60)
        before, since = cpu_s(processes), time.monotonic()
        time.sleep(stage.sizes.watch_s)
        cpu = (cpu_s(processes) - before) / (time.monotonic() - since)
        beside = healthy(stage)
        stage.receiver.clear()
        stage.receiver.script(PATH, Behaviour())
        memory: list[tuple[int, float]] = []

        def done() -> bool:
            memory.append((stage.receiver.count(PATH), megabytes(processes)))
            return memory[-1][0] >= amount

        eventually(done, what=f"{amount} deliveries", within_s=PATIENCE_S + amount / 100, every_s=0.5)
    times = stage.receiver.times(PATH)
    positions = {delivery_id: position for position, delivery_id in enumerate(ids)}
    came = [positions[delivery_id] for delivery_id in stage.receiver.ids(PATH)]
    farthest = list(accumulate(came, max))
    return {
        "cpu": cpu,
        "empty_p95_ms": empty["p95_ms"],
        "p95_ms": beside["p95_ms"],
        "per_s": (len(times) * 0.8) / (times[int(len(times) * 0.9)] - times[int(len(times) * 0.1)]),
        "early_mb": statistics.median([mb for done, mb in memory if done <= 2 * tenth]),
        "late_mb": statistics.median([mb for done, mb in memory if done >= amount - tenth]),
        "overtaken": sum(most - position > 2 * THREADS for most, position in zip(farthest, came, strict=True)) / amount,
        "lost": amount - len(came),
    }


def hold(stage: Stage, amount: int) -> list[str]:
    """An endpoint that is down and has so many deliveries in its holding queue; their ids, the oldest first."""
    endpoint, ids = Endpoint(PHONE, WEBHOOK), list[str]()
    publisher = ConfirmingPublisher(stage.amqp_url, TOPOLOGY)
    queues = BrokerHoldingQueues(stage.amqp_url, TOPOLOGY, publisher)
    queues.make(endpoint, HOLDING)
    for start in range(0, amount, BATCH):
        jobs = [delivery(new_event()) for _ in range(min(BATCH, amount - start))]
        ids += [job.id for job in jobs]
        publisher.publish([Envelope(job, DAY_MS, holding=HOLDING) for job in jobs], timeout_s=PATIENCE_S)
    release = ReleaseEndpoint(id="release", phone=PHONE, webhook_id=WEBHOOK, token=HOLDING, made=True)
    with redis.Redis.from_url(stage.redis_url) as client:
        now = now_ms()
        client.set(breaker_key(endpoint), f"open {now} {now} 1000 nobody")
    publisher.publish([Envelope(release)])
    publisher.close()
    return ids


def healthy(stage: Stage) -> Figures:
    """From the publishing of a delivery to its arrival at an endpoint that is healthy, at 100 a second."""
    publisher = ConfirmingPublisher(stage.amqp_url, TOPOLOGY)
    published = []
    before = len(stage.receiver.times(HEALTHY_PATH))
    start = time.time()
    for number in range(stage.sizes.paced // 2):
        time.sleep(max(0.0, start + number / PACE_PER_S - time.time()))
        published.append(time.time())
        publisher.publish([Envelope(delivery(new_event(), webhook_id=HEALTHY))])
    publisher.close()
    stage.receiver.wait(before + len(published), HEALTHY_PATH)
    came = stage.receiver.times(HEALTHY_PATH)[before:]
    return percentiles(arrived - at for arrived, at in zip(came, published, strict=True))


def message_number(body: str) -> int:
    """The number that the load generator gave an event."""
    message_id: str = json.loads(body)["entry"][0]["changes"][0]["value"]["messages"][0]["id"]
    return int(message_id.rpartition("-")[2])


def prepare(
    stage: Stage, behaviour: Behaviour | None = None, *, paths: Mapping[str, str] = MappingProxyType({WEBHOOK: PATH})
) -> None:
    """Empty queues, an empty Redis with one session, and a receiver that remembers nothing. `paths` are by webhook."""
    with Connection(stage.amqp_url) as connection:
        channel: Any = connection.default_channel
        TOPOLOGY.declare(channel, vhost="ours")
        for queue in TOPOLOGY.queues:
            channel.queue_purge(queue.name)
    with redis.Redis.from_url(stage.redis_url) as client:
        client.flushall()
    store_session(stage, PHONE, {name: stage.receiver.url(path) for name, path in paths.items()})
    stage.receiver.record("count")
    stage.receiver.clear()
    stage.receiver.script(PATH, behaviour or Behaviour())


def store_session(stage: Stage, phone: str, urls: Mapping[str, str]) -> None:
    """Store a number of the sandbox with the addresses of its webhooks, in the index too, as the API does."""
    common = {"header": "Authorization", "token": "bench", "secret": "bench"}
    webhooks = [{"id": name, "urlAbsolute": url, **common} for name, url in urls.items()]
    with redis.Redis.from_url(stage.redis_url) as client:
        client.set(f"unoapi-config:{phone}", json.dumps({"provider": "sandbox", "webhooks": webhooks}))
        for command in index_commands(Session(phone=phone)):
            client.execute_command(*command)


def fill(stage: Stage, amount: int, make: Callable[[Event], Job]) -> None:
    """Publish jobs for new events; no worker runs."""
    publisher = ConfirmingPublisher(stage.amqp_url, TOPOLOGY)
    envelopes = (Envelope(make(new_event())) for _ in range(amount))
    while batch := list(islice(envelopes, BATCH)):
        publisher.publish(batch, timeout_s=PATIENCE_S)
    publisher.close()


def new_event() -> Event:
    """An event that no run has had before."""
    [one] = split(PHONE, EventPayload.model_validate(json.loads(event(next(numbers)))).changes)
    return one


def fan_out(one: Event) -> FanOut:
    """The job that the API makes of an event."""
    return to_fan_out(one, phone=PHONE, sessions=SESSIONS)


def delivery(one: Event, webhook_id: str = WEBHOOK) -> DeliverWebhook:
    """The job that the fan-out makes of an event."""
    return DeliverWebhook(
        id=delivery_id(one.event_id, webhook_id),
        phone=PHONE,
        message_id=one.message_id,
        event_id=one.event_id,
        webhook_id=webhook_id,
        kind=one.kind,
        stored=True,
        body=one.body,
    )


def consumers(stage: Stage) -> int:
    """Workers that consume the outgoing queue."""
    return queues.consumers(stage.amqp_url, TOPOLOGY.queue("outgoing"))


def environment(stage: Stage) -> dict[str, str]:
    """The servers, the token and the receiver; everything else as users get it."""
    return {
        "AMQP_URL": stage.amqp_url,
        "REDIS_URL": stage.redis_url,
        "UNOAPI_AUTH_TOKEN": TOKEN,
        "UNOAPI_ALLOWED_HOSTS": "127.0.0.1",  # where the receiver is
        "UNOAPI_SESSION_BACKLOG_MAX": "10000000",  # counted, and never reached: one session has them all
    }


@contextlib.contextmanager
def workers(
    stage: Stage,
    *,
    processes: int = 1,
    threads: int = THREADS,
    task_events: bool = True,
    checkout: Path = ROOT,
    queue: str = "",
    more: Mapping[str, str] | None = None,
) -> Iterator[list[psutil.Process]]:
    """Worker processes as the Procfile starts them, or for one queue alone, each with a name of its own."""
    line = procfile("worker", checkout)
    line = re.sub(r"--queues \S+", f"--queues {queue}", line) if queue else line
    line = line if task_events else line.replace(" --task-events ", " ")
    commands = [["sh", "-c", "exec " + line.replace("worker@", f"worker{number}@")] for number in range(processes)]
    settings = {**environment(stage), "UNOAPI_WORKER_THREADS": str(threads), **(more or {})}
    with running(*commands, environment=settings, folder=stage.folder, checkout=checkout) as started:
        yield started


@contextlib.contextmanager
def web(stage: Stage, *, checkout: Path = ROOT, more: Mapping[str, str] | None = None) -> Iterator[int]:
    """One web process as the Procfile starts it; gives its port."""
    port = free_port()
    settings = {**environment(stage), "UNOAPI_HOST": "127.0.0.1", "PORT": str(port), **(more or {})}
    command = ["sh", "-c", "exec " + procfile("web", checkout)]
    with running(command, environment=settings, folder=stage.folder, checkout=checkout):
        eventually(lambda: accepts(port), what="our web process", within_s=30)
        yield port
