"""The operator is told of failures together, seldom, with what to do, and no alert causes another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import Retry
from click.testing import CliRunner
from pydantic import ValidationError

from tests.support.api import make_settings
from tests.support.fakes import (
    PHONE,
    SECRET,
    ChannelRecorder,
    MemoryAlerts,
    WebhookRecorder,
    make_delivery,
    make_event,
    make_fan_out,
    make_session,
    make_status,
    make_webhook,
)
from tests.support.worker import make_uno, run
from unoapi.cli.main import cli
from unoapi.models.alerts import MAX_ALERT_CHARS, Alert, AlertGroup
from unoapi.models.attempts import Answer, Attempt, History
from unoapi.models.endpoints import EndpointChange
from unoapi.models.jobs import (
    CollectAlert,
    HeldDelivery,
    Job,
    PostAlert,
    ReleaseEndpoint,
    ReportFailure,
    SendDigest,
)
from unoapi.services.alerts import collected, written
from unoapi.services.failure_callbacks import addressed, endpoint_report, follow_up_jobs, status_reports
from unoapi.stores.alerts import GATHER_MS
from unoapi.telemetry.metrics import reasons

if TYPE_CHECKING:
    from unoapi.bootstrap import Uno

QUEUE = "unoapi.webhook.status.failed"
AT_MS = 1_767_225_600_000
CALLBACKS = {"STATUS_FAILED_WEBHOOK_URL": "http://operator.test/failed"}


def make_alert(**fields: Any) -> Alert:
    made = {"kind": "webhook.failed", "phone": PHONE, "webhook_id": "crm", "reason": "refused", "at_ms": AT_MS}
    return Alert.model_validate(made | fields)


def group(count: int = 1, **fields: Any) -> AlertGroup:
    first = make_alert(**fields)
    return AlertGroup(count, first, first)


def telling(*answers: Answer, names: tuple[str, ...] = ("1-slack",), **more: Any) -> Uno:
    channels = ChannelRecorder(*names, answers=answers)
    webhook = WebhookRecorder(*[Answer(status=410)] * 9)
    return make_uno(make_session(), **{"webhook_client": webhook, "alert_channels": channels, **more})


def jobs(uno: Uno, kind: type[Any] = Job) -> list[Any]:
    """The jobs of that kind that were published since, at once or for later."""
    buckets = [queue.name for queue in uno.topology.queues if "delayed" in queue.name]
    return [job for job in uno.publisher.jobs(QUEUE, *buckets) if isinstance(job, kind)]  # type: ignore[attr-defined]


def posted(uno: Uno) -> list[tuple[str, Any]]:
    return uno.alert_channels.posts  # type: ignore[attr-defined,no-any-return]


def advance(uno: Uno, by_ms: int) -> None:
    uno.alerts.now_ms += by_ms  # type: ignore[attr-defined]


def fail(uno: Uno, *message_ids: str) -> list[CollectAlert]:
    """These events are given up: the failures that alerts are made of."""
    for message_id in message_ids:
        run(uno, make_fan_out(make_event(id=message_id)))
    return jobs(uno, CollectAlert)


def tell(uno: Uno, failures: list[CollectAlert]) -> None:
    """Run everything that follows from failures."""
    for failure in failures:
        run(uno, failure)
    digests = jobs(uno, SendDigest)
    advance(uno, GATHER_MS)
    for digest in digests:
        run(uno, digest)
    for alert in jobs(uno, PostAlert):
        run(uno, alert)


# --- the whole way, over the tasks ---


def test_failures_are_gathered_and_told_together_once() -> None:
    uno = telling()
    failures = fail(uno, "wamid.0", "wamid.1", "wamid.2")

    tell(uno, failures)

    ((channel, told),) = posted(uno)
    assert len(failures) == 3
    assert channel == "1-slack"
    assert told.title == "Uno API localhost: 3 deliveries were given up"
    assert "wamid.0, wamid.2" in told.body
    assert "HTTP 410" in told.body
    assert f"unoapi dead replay --phone {PHONE} --webhook default --reason gone" in told.body
    assert told.level == "failure"
    assert jobs(uno) == []


def test_each_channel_gets_each_alert() -> None:
    uno = telling(names=("1-slack", "2-mailto"))

    tell(uno, fail(uno, "wamid.0"))

    assert [name for name, _ in posted(uno)] == ["1-slack", "2-mailto"]


def test_a_second_alert_waits_until_its_time() -> None:
    uno = telling()
    tell(uno, fail(uno, "wamid.0"))
    advance(uno, 1000)
    (failure,) = fail(uno, "wamid.1")
    run(uno, failure)
    (early,) = jobs(uno, SendDigest)

    with pytest.raises(Retry):
        run(uno, early)
    (later,) = jobs(uno, SendDigest)
    advance(uno, 300_000)
    run(uno, later)

    assert len(posted(uno)) == 1
    assert [type(job) for job in jobs(uno)] == [PostAlert]


def test_a_digest_that_is_run_again_after_a_crash_tells_the_same_under_the_same_ids() -> None:
    uno = telling()
    (failure,) = fail(uno, "wamid.0")
    run(uno, failure)
    (digest,) = jobs(uno, SendDigest)
    advance(uno, GATHER_MS)
    uno.publisher.away = True  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.base.PUBLISH_DEADLINE_S", 0.0)
        with pytest.raises(Exception, match="RabbitMQ"):
            run(uno, digest)
    uno.publisher.away = False  # type: ignore[attr-defined]

    run(uno, digest, redelivered=True)

    assert [job.title for job in jobs(uno, PostAlert)] == ["Uno API localhost: 1 delivery was given up"]


def test_while_redis_is_away_failures_wait_and_use_up_no_attempt() -> None:
    store = MemoryAlerts()
    uno = telling(alerts=store)
    (failure,) = fail(uno, "wamid.0")
    store.away = True

    with pytest.raises(Retry):
        run(uno, failure, retries=3)
    (again,) = jobs(uno, CollectAlert)
    store.away = False
    tell(uno, [again])

    assert len(posted(uno)) == 1


def test_an_alert_that_no_service_takes_is_tried_again_then_dead_and_causes_nothing() -> None:
    uno = telling(*[Answer(error="the service did not take it")] * 2)
    alert = PostAlert(
        id="a", phone=PHONE, channel="1-slack", title="t", body="b", level="failure", notify_on_failure=False
    )

    with pytest.raises(Retry):
        run(uno, alert)
    again = jobs(uno)
    with pytest.raises(Exception, match="callback_failed"):
        run(uno, alert, retries=5)

    assert [type(job) for job in again] == [PostAlert]
    assert jobs(uno) == []
    assert uno.publisher.depth("unoapi.dead") == 1  # type: ignore[attr-defined]


def test_an_alert_for_a_channel_that_was_removed_is_left_out() -> None:
    uno = telling(names=())

    run(uno, PostAlert(id="a", phone=PHONE, channel="1-slack", title="t", body="b", level="info"))
    run(uno, CollectAlert(id="c", phone=PHONE, alert=make_alert()))

    assert posted(uno) == []
    assert jobs(uno) == []


def test_without_a_channel_nothing_is_queued() -> None:
    uno = make_uno(make_session(), webhook_client=WebhookRecorder(Answer(status=410)))

    run(uno, make_fan_out())

    assert uno.alert_channels.names == ()
    assert jobs(uno) == []


def test_callbacks_and_alerts_stand_beside_each_other() -> None:
    uno = telling(settings=CALLBACKS)

    run(uno, make_fan_out())

    assert [job.task for job in jobs(uno)] == [ReportFailure.task, CollectAlert.task]


@pytest.mark.parametrize("job", [make_delivery(notify_on_failure=False), make_fan_out(notify_on_failure=False)])
def test_what_a_report_caused_is_not_told(job: Any) -> None:
    followed = follow_up_jobs(
        job, reason="refused", error="HTTP 500", history=History(), sessions=make_uno(make_session()).sessions,
        callbacks=True, notices=True, alerts=True,
    )  # fmt: skip

    assert followed == []


def test_no_failure_of_an_alert_is_reported() -> None:
    made = [CollectAlert(id="c", phone=PHONE, alert=make_alert()), SendDigest(id="d", phone=PHONE)]

    for job in made:
        assert follow_up_jobs(
            job, reason="x", error="x", history=History(), sessions=make_uno().sessions,
            callbacks=True, notices=True, alerts=True,
        ) == []  # fmt: skip


# --- what each report becomes ---


def test_the_recovery_of_an_endpoint_is_told_too() -> None:
    down, up = (
        collected(endpoint_report(make_delivery(), EndpointChange(down=is_down, since_ms=1))).alert
        for is_down in (True, False)
    )

    digest = written([AlertGroup(1, down, down), AlertGroup(1, up, up)], place="uno.example")
    recovered = written([AlertGroup(1, up, up)], place="uno.example")

    assert digest.title == "Uno API uno.example: 1 webhook is down, 1 webhook is up again"
    assert digest.level == "failure"
    assert f"unoapi endpoint test {PHONE} default" in digest.body
    assert recovered.level == "success"
    assert f"{PHONE}, webhook default is up again" in recovered.body


def test_a_message_that_failed_is_told_with_its_error_and_its_trace() -> None:
    event = make_fan_out(make_status("failed", error={"code": 131026, "title": "Undeliverable"}))
    (told,) = status_reports(event, superseded=False, callbacks=False, alerts=True)
    assert isinstance(told, CollectAlert)

    digest = written([AlertGroup(1, told.alert, told.alert)], place="x")

    assert "131026 Undeliverable" in digest.body
    assert "unoapi trace wamid.1" in digest.body


def test_the_first_and_the_last_error_are_told_and_no_body() -> None:
    history = History().with_attempt(Attempt(status=500)).with_attempt(Attempt(error="connection refused"))
    (followed,) = follow_up_jobs(
        make_delivery(), reason="unreachable", error="connection refused", history=history,
        sessions=make_uno(make_session()).sessions, callbacks=False, notices=False, alerts=True,
    )  # fmt: skip
    assert isinstance(followed.job, CollectAlert)

    alert = followed.job.alert

    assert (alert.first_error, alert.last_error) == ("HTTP 500", "connection refused")
    assert "hello" not in followed.job.model_dump_json()
    assert "see that the receiver runs" in written([AlertGroup(1, alert, alert)], place="x").body


def test_who_wants_neither_gets_nothing() -> None:
    report = endpoint_report(make_delivery(), EndpointChange(down=True, since_ms=1))

    assert addressed(report, callbacks=False, alerts=False) == []


@pytest.mark.parametrize("reason", sorted(reasons()))
def test_every_reason_has_something_to_do(reason: str) -> None:
    body = written([group(reason=reason)], place="x").body

    assert "Do: " in body
    assert f"unoapi dead list --phone {PHONE} --webhook crm" in body


HOSTILE = [
    "<!channel>", "@everyone", "*bold* `rm -rf /`", "line\nbreak\x1b[31m", "crm; rm -rf /", "x" * 5000, "😀" * 300,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_tenant_or_a_receiver_wrote_commands_no_chat_and_no_shell(text: str) -> None:
    alert = make_alert(webhook_id=text[:512], message_id=text[:512], first_error=text[:300], last_error=text[:300])

    digest = written([AlertGroup(1, alert, alert)], place=text)

    assert not {"<", ">", "\x1b"} & set(digest.title + digest.body)
    assert "@everyone" not in digest.body
    assert "\n" not in digest.title
    assert "`" not in digest.title + digest.body
    assert "--webhook crm; rm" not in digest.body
    assert len(digest.title) <= 250
    assert len(digest.body) <= MAX_ALERT_CHARS
    PostAlert(id="a", phone=PHONE, channel="1", title=digest.title, body=digest.body, level=digest.level)


def test_many_failures_fit_into_one_alert_which_counts_the_rest() -> None:
    groups = [group(3, webhook_id=f"{number}-{'w' * 200}", last_error="e" * 300) for number in range(200)]

    digest = written([*groups, AlertGroup(1000, groups[0].first, groups[0].last, overflow=True)], place="x")

    assert len(digest.body) <= MAX_ALERT_CHARS
    assert "And " in digest.body.splitlines()[-2]
    assert "600 deliveries were given up, 1000 more failures" in digest.title


# --- a callback for each attempt ---


@pytest.mark.parametrize(("switch", "types"), [("true", ["webhook.attempt"]), ("false", [])])
def test_each_failed_attempt_is_reported_behind_a_switch(switch: str, types: list[str]) -> None:
    settings = {**CALLBACKS, "UNOAPI_REPORT_ATTEMPTS": switch}
    session, failing = make_session(make_webhook(token=SECRET)), WebhookRecorder(Answer(status=500))
    uno = make_uno(session, webhook_client=failing, settings=settings)

    with pytest.raises(Retry):
        run(uno, make_delivery())
    reports = [json.loads(job.body) for job in jobs(uno, ReportFailure)]

    assert [report["type"] for report in reports] == types
    for report in reports:
        assert report["text"].startswith(f"Session {PHONE}, webhook default: attempt 1 failed (HTTP 500), again in 1")
        assert [attempt["status"] for attempt in report["attempts"]] == [500]
        assert SECRET not in json.dumps(report)


def test_an_attempt_out_of_an_endpoints_queue_is_reported_too() -> None:
    delivery, token = make_delivery(), "0123456789ab"
    settings, failing = {**CALLBACKS, "UNOAPI_REPORT_ATTEMPTS": "true"}, WebhookRecorder(Answer(status=500))
    uno = make_uno(make_session(make_webhook()), webhook_client=failing, settings=settings)
    uno.holding_queues.make(delivery.endpoint, token)
    uno.holding_queues.put(HeldDelivery(delivery, 0, History()), token)  # type: ignore[attr-defined]

    run(uno, ReleaseEndpoint(id="r", phone=PHONE, webhook_id=delivery.webhook_id, token=token, made=True))

    [report] = [json.loads(job.body) for job in jobs(uno, ReportFailure)]
    assert (report["type"], report["error"]) == ("webhook.attempt", "HTTP 500")


def test_a_wait_that_is_no_attempt_is_not_reported() -> None:
    settings = {**CALLBACKS, "UNOAPI_REPORT_ATTEMPTS": "true"}
    throttled = WebhookRecorder(Answer(status=429, retry_after_s=60))
    uno = make_uno(make_session(), webhook_client=throttled, settings=settings)

    with pytest.raises(Retry):
        run(uno, make_delivery())

    assert jobs(uno, ReportFailure) == []


# --- settings and the command ---


@pytest.mark.parametrize(
    "value", ["chat.example", "no scheme://x", "slack://\u00e4", " ".join(["json://x"] * 11), f"json://{'x' * 3000}"]
)
def test_addresses_that_cannot_be_ones_are_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ValidationError) as refused:
        make_settings(UNOAPI_ALERT_URLS=value)

    assert "unoapi_alert_urls" in str(refused.value)
    assert value not in str(refused.value)


def test_the_addresses_are_secrets_and_their_names_are_none() -> None:
    settings = make_settings(UNOAPI_ALERT_URLS="slack://s3cret/a/b\n mailto://u:s3cret@x.example")
    uno = make_uno(settings={"UNOAPI_ALERT_URLS": settings.unoapi_alert_urls.get_secret_value()})

    assert uno.alert_channels.names == ("1-slack", "2-mailto")
    assert "s3cret" not in repr(settings)


def test_the_operator_tries_the_channels_out() -> None:
    uno = telling(Answer(status=200), Answer(status=403), names=("1-slack", "2-tgram"))

    done = CliRunner().invoke(cli, ["alert"], obj=uno)
    none = CliRunner().invoke(cli, ["alert"], obj=telling(names=()))

    assert (done.exit_code, none.exit_code) == (1, 1)
    assert "1-slack: delivered" in done.output
    assert "2-tgram: HTTP 403" in done.output
    assert "UNOAPI_ALERT_URLS is empty" in none.output
    assert [digest.title for _, digest in posted(uno)] == ["Uno API: a test alert"] * 2
