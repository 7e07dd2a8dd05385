"""The pages of messages, dead letters and webhooks: what they show, and what they do."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from html import unescape
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import pytest
from markupsafe import escape

from tests.console.conftest import OURS, THEIRS, token_of
from tests.support.api import MemoryApi, memory_api
from tests.support.console import Browser
from tests.support.fakes import CONTACT, make_send
from tests.support.stack import OPERATOR
from unoapi.broker.dead_letters import to_dead_letter
from unoapi.broker.topology import Topology
from unoapi.models.dead_letters import explained_reason
from unoapi.models.endpoints import Endpoint
from unoapi.models.jobs import DeliverWebhook, Envelope, FanOut, ReplayEvents, now_ms
from unoapi.models.message_log import LoggedMessage
from unoapi.models.trace import TraceEntry
from unoapi.services.dead_letters import BROKER_REASONS
from unoapi.telemetry.metrics import reasons
from unoapi.web.console.words import LANGUAGES, catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fakes import MemoryBreakers, MemoryEventStream
    from unoapi.broker.messages import Message

HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"
CRM = {"id": "crm", "urlAbsolute": "http://receiver.test/hook", "token": "t0p-s3cret", "secret": "s1gn-s3cret"}
LETTERS = "/console/dead-letters"


@pytest.fixture
def api() -> Iterator[MemoryApi]:
    """A number whose webhook has the queues done by `work`."""
    with memory_api(UNOAPI_CONSOLE_BODIES="true", UNOAPI_MESSAGE_RETRY_LIMIT="0") as running:
        cast("MemoryBreakers", running.uno.breakers).failures = 100
        for phone in (OURS, THEIRS):
            running.register([CRM], phone=phone)
        yield running


@pytest.fixture
def operator(api: MemoryApi) -> Browser:
    return Browser(api, OPERATOR)


@pytest.fixture
def tenant(api: MemoryApi) -> Browser:
    return Browser(api, token_of(OURS))


def dead(api: MemoryApi, count: int = 1, *, phone: str = OURS) -> list[str]:
    """So many messages that were given up; returns their ids."""
    ids = [api.contact_writes(f"message {number}", phone=phone) for number in range(count)]
    api.work(*[500] * count, error=HOSTILE)
    return ids


def path(base: str, **query: Any) -> str:
    return f"{base}?{urlencode(query)}"


# --- messages ---


def test_messages_are_listed_and_found_by_the_last_digits_of_the_contact(api: MemoryApi, operator: Browser) -> None:
    received, sent = api.contact_writes("hello"), api.send("hi").json()["messages"][0]["id"]
    api.work(200, 200)

    found = operator.page(path("/console/messages", phone=OURS, contact="8888-7777", since="1h"))
    none = operator.page(path("/console/messages", contact="00001111"))

    assert all(f"/console/messages/{OURS}/{message_id}" in found for message_id in (received, sent))
    assert CONTACT in found
    assert received not in none
    assert "No message matches" in none


def test_a_numbers_owner_sees_its_messages_alone(api: MemoryApi, tenant: Browser) -> None:
    theirs, ours = api.contact_writes("theirs", phone=THEIRS), api.contact_writes("ours")
    api.work(200, 200)

    listed = tenant.page("/console/messages")

    assert ours in listed
    assert theirs not in listed
    assert tenant.get(path("/console/messages", phone=THEIRS)).status_code == 404
    assert tenant.get(f"/console/messages/{OURS}/{theirs}").status_code == 404
    assert tenant.get(f"/console/messages/{THEIRS}/{theirs}").status_code == 404


def test_a_message_shows_its_steps_and_why_it_was_given_up(api: MemoryApi, operator: Browser) -> None:
    (message_id,) = dead(api)

    page = operator.page(f"/console/messages/{OURS}/{message_id}")

    assert "given up at the webhook crm" in page
    assert catalogue("en")["reason.refused"] in unescape(page)
    assert "message 0" in page  # what it says: the switch is on
    assert f'action="{LETTERS}/replay"' in page


def test_an_owner_is_sent_to_the_operator_to_put_a_message_back(api: MemoryApi, tenant: Browser) -> None:
    (message_id,) = dead(api)

    page = tenant.page(f"/console/messages/{OURS}/{message_id}")

    assert "The operator can put it back." in page
    assert f'action="{LETTERS}/replay"' not in page


def test_what_others_wrote_is_text(api: MemoryApi, operator: Browser) -> None:
    (message_id,) = dead(api)
    entry = TraceEntry(step="attempt", phone=OURS, message_id=message_id, kind=HOSTILE, webhook="crm", detail=HOSTILE)
    api.uno.traces.add(entry, replace(entry, step="dead", detail=f"{HOSTILE}: {HOSTILE}"))
    api.uno.message_log.add(LoggedMessage(now_ms(), OURS, "received", HOSTILE, HOSTILE, message_id), body=HOSTILE)
    api.uno.publisher.publish([], messages=[hostile_letter()])
    (*_, letter_id) = ids_on(operator.page(LETTERS))

    pages = [
        operator.page("/console/messages"),
        operator.page(f"/console/messages/{OURS}/{message_id}"),
        operator.page(LETTERS),
        operator.page(path(LETTERS, reason=HOSTILE, webhook=HOSTILE)),
        operator.page(path(f"{LETTERS}/purge", reason=HOSTILE)),
        operator.page(f"{LETTERS}/{letter_id}"),
        operator.page(path("/console/webhooks", phone="<b>")),
        operator.page(f"/console/webhooks/{OURS}/crm"),
    ]

    assert sum(escape(HOSTILE) in page for page in pages) >= 5
    assert [page for page in pages if HOSTILE in page or "<b>" in page] == []


def hostile_letter() -> Message:
    job = DeliverWebhook(
        id="d-1", phone=OURS, event_id="e", webhook_id=HOSTILE, kind="message", stored=True, body=HOSTILE
    )
    return to_dead_letter(Envelope(job), Topology("unoapi"), reason="refused", error=HOSTILE)


def test_pages_follow_each_other(api: MemoryApi, operator: Browser) -> None:
    ids = [api.contact_writes(f"{number}") for number in range(5)]
    api.work(*[200] * 5)
    seen: list[str] = []
    page = operator.page(path("/console/messages", limit=2))

    while True:
        seen += re.findall(rf"/console/messages/{OURS}/(wamid\.[A-F0-9]+)", page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        if not following:
            break
        page = operator.page(unescape(following[1]))

    assert sorted(seen) == sorted(ids)


# --- dead letters ---


def ids_on(page: str) -> list[str]:
    return re.findall(r'name="ids" value="([^"]+)"', page)


def test_dead_letters_are_listed_with_their_reason_and_filtered(api: MemoryApi, operator: Browser) -> None:
    dead(api, 2)
    dead(api, 1, phone=THEIRS)

    assert len(ids_on(operator.page(LETTERS))) == 3
    assert len(ids_on(operator.page(path(LETTERS, phone=OURS)))) == 2
    assert len(ids_on(operator.page(path(LETTERS, reason="refused", webhook="crm")))) == 3
    assert "No dead letter matches" in operator.page(path(LETTERS, reason="gone"))
    assert "No dead letter matches" in operator.page(path(LETTERS, age="1h"))


def test_pages_behind_the_first_one_are_read_once_and_anew_when_some_were_put_back(
    api: MemoryApi, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.web.console.dead_letters.ON_A_PAGE", 2)
    dead(api, 7)
    walks = list[int | None]()
    queue = api.uno.dead_letters._queue
    walk = queue.walk

    def counted(*args: Any, **options: Any) -> Any:
        walks.append(options["bounds"].dead_letters)
        return walk(*args, **options)

    monkeypatch.setattr(queue, "walk", counted)
    seen, page = list[str](), operator.page(LETTERS)
    while True:
        seen += ids_on(page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        if not following:
            break
        page = operator.page(unescape(following[1]))

    assert len(set(seen)) == 7
    assert walks == [2, 200]
    assert "7 in all" in page
    operator.post(f"{LETTERS}/replay", {"id": seen[2]})
    assert seen[2] not in ids_on(operator.page(path(LETTERS, offset=2)))


def test_what_is_not_found_at_once_is_looked_for_further_by_the_page_itself(
    api: MemoryApi, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(api, 1)
    asked = list[float | None]()
    list_ = api.uno.dead_letters.list

    def cut(query: Any, *, by: str, bounds: Any) -> Any:
        asked.append(bounds.seconds)
        walk = list_(query, by=by, bounds=bounds)
        if bounds.seconds < 1:
            walk.results = iter(())
        return walk

    monkeypatch.setattr(api.uno.dead_letters, "list", cut)
    pages = [operator.page(path(where, phone=OURS)) for where in (LETTERS, f"{LETTERS}/purge")]
    further = [unescape(url) for page in pages for url in re.findall(r'hx-get="([^"]+)"', page)]
    found = [operator.page(url) for url in further]

    assert len(further) == 2
    assert "None was found at once" in pages[0]
    assert "Throw away 1" not in pages[1]
    assert len(ids_on(found[0])) == 1
    assert "hx-trigger" not in found[0].partition('id="letters"')[2]
    assert 'name="most" value="1"' in found[1]


def test_one_dead_letter_shows_its_attempts_and_what_to_do(api: MemoryApi, operator: Browser) -> None:
    (message_id,) = dead(api)
    (letter_id,) = ids_on(operator.page(LETTERS))

    page = unescape(operator.page(f"{LETTERS}/{letter_id}"))

    assert catalogue("en")["reason.refused"] in page
    assert f"/console/messages/{OURS}/{message_id}" in page
    assert "500" in page
    assert "t0p-s3cret" not in page
    assert operator.get(f"{LETTERS}/none").status_code == 404


class Deep:
    """Dead letters of which each walk sees a part: one that is looked for is met at the third look."""

    def __init__(self, api: MemoryApi, monkeypatch: pytest.MonkeyPatch, *, total: int = 30_000) -> None:
        self.looks, self.total, self._letters = 0, total, api.uno.dead_letters
        for verb in ("list", "replay", "purge"):
            monkeypatch.setattr(self._letters, verb, partial(self._walk, getattr(self._letters, verb)))

    def _walk(self, walked: Any, query: Any, **options: Any) -> Any:
        walk = walked(query, **options)
        self.looks += 1
        if self.looks < 3:
            walk.results = iter(())
            walk.seen, walk.total = 10_000, self.total
        return walk


def test_a_dead_letter_that_stands_deep_is_looked_for_until_it_is_found(
    api: MemoryApi, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    (message_id,) = dead(api)
    (letter_id,) = ids_on(operator.page(LETTERS))
    deep, page, looked = Deep(api, monkeypatch), operator.page(f"{LETTERS}/{letter_id}"), list[str]()

    while following := re.search(r'hx-get="([^"]+)"', page):
        looked += re.findall(r"the first ([0-9,]+) of", page)
        page = operator.page(unescape(following[1]))

    assert (deep.looks, looked) == (3, ["10,000", "20,000"])
    assert message_id in page


@pytest.mark.parametrize("verb", ["replay", "purge"])
def test_one_that_stands_deep_is_mended_by_its_id(
    api: MemoryApi, operator: Browser, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    dead(api, 2)
    letter_id, other = ids_on(operator.page(LETTERS))
    deep, fields = Deep(api, monkeypatch), {"id": letter_id, "most": "1"}

    while (answer := operator.post(f"{LETTERS}/{verb}", fields)).status_code == 200:
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', answer.text))
        assert fields.pop("csrf_token")
        assert "Going on" in answer.text

    assert (deep.looks, answer.status_code) == (3, 303)
    assert ids_on(operator.page(LETTERS)) == [other]


def test_one_that_is_gone_is_not_looked_for_for_ever(
    api: MemoryApi, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(api)
    Deep(api, monkeypatch, total=5_000)

    shown = operator.get(f"{LETTERS}/none")
    replayed = operator.post(f"{LETTERS}/replay", {"id": "none"})

    assert shown.status_code == 404
    assert all("not there any more" in answer.text for answer in (shown, replayed))
    assert "hx-trigger" not in replayed.text


def test_one_is_put_back_and_delivered(api: MemoryApi, operator: Browser) -> None:
    (message_id,) = dead(api)
    (letter_id,) = ids_on(operator.page(LETTERS))

    answer = operator.post(f"{LETTERS}/replay", {"id": letter_id})
    api.work(200)

    assert answer.status_code == 303
    assert "1 put back." in operator.page(answer.headers["Location"])
    assert "It was given up" not in operator.page(f"/console/messages/{OURS}/{message_id}")
    assert ids_on(operator.page(LETTERS)) == []
    assert api.uno.audit.latest(1)[0].what == "console.dead_letters.replay"


def test_chosen_ones_are_put_back_and_the_others_stay(api: MemoryApi, operator: Browser) -> None:
    dead(api, 3)
    first, _, last = ids_on(operator.page(LETTERS))

    operator.client.post(
        f"{LETTERS}/replay-chosen",
        base_url="http://api.test",
        data={"csrf_token": operator.csrf_token("/console/login"), "ids": [first, last]},
    )

    assert len(ids_on(operator.page(LETTERS))) == 1
    assert len(api.queues.jobs("unoapi.outgoing")) == 2


def test_a_chosen_one_that_stays_says_why(api: MemoryApi, operator: Browser) -> None:
    letter = to_dead_letter(Envelope(make_send()), Topology("unoapi"), reason="outcome_unknown", error="it broke")
    api.uno.publisher.publish([], messages=[letter])
    chosen = ids_on(operator.page(LETTERS))

    none, stays = (operator.post(f"{LETTERS}/replay-chosen", fields) for fields in ({}, {"ids": chosen}))

    assert "None was chosen." in operator.page(none.headers["Location"])
    assert "0 put back. The others may have been sent" in operator.page(stays.headers["Location"])


def test_all_that_match_are_put_back_and_what_dies_again_meanwhile_is_left(
    api: MemoryApi, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unoapi.web.console.dead_letters.AT_ONCE", 2)
    dead(api, 3)
    dead(api, 1, phone=THEIRS)
    fields: dict[str, Any] = {"phone": OURS, "all": "true"}
    rounds = 0

    while True:
        answer = operator.post(f"{LETTERS}/replay", fields)
        api.work(*[500] * 4)
        rounds += 1
        if answer.status_code == 303 or "hx-trigger" not in answer.text:
            break
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', answer.text))
        fields.pop("csrf_token")
        assert rounds < 5

    assert "n=3" in answer.headers.get("Location", "") or "3 put back" in answer.text
    assert len(ids_on(operator.page(path(LETTERS, phone=OURS)))) == 3
    assert len(ids_on(operator.page(path(LETTERS, phone=THEIRS)))) == 1


def test_lost_causes_stay_and_the_page_says_so(api: MemoryApi, operator: Browser) -> None:
    api.contact_writes("hello")
    api.work(410)

    answer = operator.post(f"{LETTERS}/replay", {"all": "true"})

    assert "1 lost cause stays" in answer.text
    assert len(ids_on(operator.page(LETTERS))) == 1


def test_a_purge_names_the_count_and_throws_away_no_more(api: MemoryApi, operator: Browser) -> None:
    dead(api, 3)
    dead(api, 1, phone=THEIRS)

    question = operator.page(path(f"{LETTERS}/purge", phone=OURS))
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', question))
    dead(api, 1)
    answer = operator.post(f"{LETTERS}/purge", {name: value for name, value in fields.items() if name != "csrf_token"})

    assert "3 dead letters will be thrown away" in question
    assert fields["most"] == "3"
    assert "3 thrown away." in operator.page(answer.headers["Location"])
    assert len(ids_on(operator.page(path(LETTERS, phone=OURS)))) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reason_is_explained(language: str) -> None:
    for reason in {*reasons(), *BROKER_REASONS}:
        assert f"reason.{explained_reason(reason)}" in catalogue(language), reason


# --- webhooks ---


def test_webhooks_are_listed_with_how_they_are(api: MemoryApi, operator: Browser, tenant: Browser) -> None:
    dead(api)
    api.uno.deliveries.suspend(Endpoint(THEIRS, "crm"), pause_ms=60_000)

    everything, own = operator.page("/console/webhooks"), tenant.page("/console/webhooks")
    paused = operator.page(path("/console/webhooks", state="paused"))

    assert OURS in everything
    assert THEIRS in everything
    assert THEIRS not in own
    assert f"/console/webhooks/{THEIRS}/crm" in paused
    assert f"/console/webhooks/{OURS}/crm" not in paused
    assert "t0p-s3cret" not in everything
    assert "s1gn-s3cret" not in everything


def test_a_webhook_shows_its_health_and_no_secret(api: MemoryApi, operator: Browser) -> None:
    dead(api)
    api.contact_writes("hello")
    api.work(200)

    page = operator.page(f"/console/webhooks/{OURS}/crm")

    assert "50.0 %" in page
    assert "is set" in page
    assert "t0p-s3cret" not in page
    assert "s1gn-s3cret" not in page


def test_a_test_event_is_diagnosed_on_the_page(tenant: Browser) -> None:
    answer = tenant.post(f"/console/webhooks/{OURS}/crm/test")

    assert answer.status_code == 200
    assert any(
        catalogue("en")[f"diagnosis.{step}"] in unescape(answer.text) for step in ("name", "guard", "connection")
    )


def test_a_webhook_is_paused_and_resumed_by_its_owner_too_and_emptied_by_the_operator_alone(
    api: MemoryApi, operator: Browser, tenant: Browser
) -> None:
    base = f"/console/webhooks/{OURS}/crm"

    assert tenant.post(f"{base}/pause", {"span": "1h"}).status_code == 303
    assert "paused" in operator.page(base)
    assert tenant.post(f"{base}/resume").status_code == 303
    assert tenant.post(f"{base}/drop").status_code == 403
    assert operator.post(f"{base}/drop").status_code == 303
    assert operator.post(f"{base}/pause", {"span": "9h"}).status_code == 400
    assert [(entry.what, entry.who, entry.phone) for entry in api.uno.audit.latest(3)] == [
        ("console.webhooks.drop", "operator", OURS),
        ("console.webhooks.resume", OURS, OURS),
        ("console.webhooks.pause", OURS, OURS),
    ]


def test_the_owner_has_events_delivered_again_and_sees_how_far_it_is(api: MemoryApi, tenant: Browser) -> None:
    base = f"/console/webhooks/{OURS}/crm"
    events = cast("MemoryEventStream", api.uno.events)
    job = FanOut(id="e", phone=OURS, message_id="wamid.E", kind="message", body="{}")
    events.put(job, published_ms=now_ms() - 60_000)

    began = tenant.post(f"{base}/replay", {"since": "1d", "only_missing": "true", "rate": "20"})
    again = tenant.post(f"{base}/replay", {"since": "1h"})
    page, part = tenant.page(base), tenant.page(f"{base}/replay")

    (queued,) = [job for job in api.queues.jobs("unoapi.outgoing") if isinstance(job, ReplayEvents)]
    assert (began.status_code, queued.only_missing, queued.rate, queued.webhook_id) == (303, True, 20, "crm")
    assert (again.status_code, "A replay to this webhook goes on" in again.text) == (409, True)
    assert "End it" in part
    assert f'hx-get="{base}/replay?seen=' in page
    assert tenant.post(f"{base}/replay/cancel").status_code == 303
    assert "ended by hand" in tenant.page(base)
    assert "hx-get" not in tenant.page(f"{base}/replay")  # nothing changes any more: nobody asks again
    assert [entry.what for entry in api.uno.audit.latest(2)] == [
        "console.webhooks.cancel_replay", "console.webhooks.replay",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [{"since": "2y"}, {"since": "1h", "rate": "0"}, {"since": "1h", "rate": "1001"}, {"since": "1h", "rate": "x"}],
)
def test_a_replay_that_may_not_be_is_refused(tenant: Browser, fields: dict[str, str]) -> None:
    assert tenant.post(f"/console/webhooks/{OURS}/crm/replay", fields).status_code == 400


def test_where_no_events_are_kept_the_page_says_so(api: MemoryApi, tenant: Browser) -> None:
    cast("MemoryEventStream", api.uno.events).switched_off = True

    answer = tenant.post(f"/console/webhooks/{OURS}/crm/replay", {"since": "1h"})

    assert (answer.status_code, "events are not kept" in answer.text) == (409, True)


OWN = f"/v15.0/{OURS}/webhooks/crm"


def test_the_token_of_a_number_pauses_and_replays_its_webhooks_over_http(api: MemoryApi) -> None:
    own = token_of(OURS)
    events = cast("MemoryEventStream", api.uno.events)
    events.put(FanOut(id="e", phone=OURS, message_id="wamid.E", kind="message", body="{}"), published_ms=now_ms())

    paused = api.post(f"{OWN}/pause", {"seconds": 60}, token=own)
    resumed = api.post(f"{OWN}/resume", {}, token=own)
    began = api.post(f"{OWN}/replay", {"since": "2026-01-01T00:00:00"}, token=own)
    known = api.get(f"{OWN}/replay", token=own)
    ended = api.request("DELETE", f"{OWN}/replay", token=own)

    assert (paused.json()["paused_ms"], resumed.json()["was_paused"]) == (60_000, True)
    assert (began.json()["state"], known.json()["id"]) == ("running", began.json()["id"])
    assert (ended.status_code, ended.json()["state"]) == (200, "cancelled")


@pytest.mark.parametrize(("verb", "body"), [("pause", {}), ("resume", {}), ("replay", {"since": "2026-01-01"})])
def test_another_numbers_webhook_and_one_that_is_not_there_are_refused(
    api: MemoryApi, verb: str, body: dict[str, Any]
) -> None:
    assert api.post(f"{OWN}/{verb}", body, token=token_of(THEIRS)).status_code == 404
    assert api.post(f"/v15.0/{OURS}/webhooks/none/{verb}", body, token=token_of(OURS)).status_code == 404


def test_settings_change_and_an_old_secret_goes_on_for_a_while(api: MemoryApi, tenant: Browser) -> None:
    fields = {
        "url": "https://new.test/hook",
        "header": "X-Token",
        "secret": "another-secret",
        "overlap": "1h",
        "sendCalls": "true",
    }

    answer = tenant.post(f"/console/webhooks/{OURS}/crm/settings", fields)
    (webhook,) = api.uno.sessions.find(OURS).webhooks

    assert answer.status_code == 303
    assert (f"{webhook.url_absolute}", webhook.header, webhook.token.get_secret_value()) == (
        "https://new.test/hook", "X-Token", "t0p-s3cret",
    )  # fmt: skip
    assert webhook.secret.get_secret_value() == "another-secret"
    assert webhook.previous_secret.get_secret_value() == "s1gn-s3cret"
    assert (webhook.send_calls, webhook.send_group_messages) == (True, False)
    assert "another-secret" not in str(api.uno.audit.latest(1))


@pytest.mark.parametrize("url", ["nonsense", "javascript:alert(1)", "x" * 3000])
def test_an_address_that_may_not_be_is_refused_on_the_page(api: MemoryApi, tenant: Browser, url: str) -> None:
    answer = tenant.post(f"/console/webhooks/{OURS}/crm/settings", {"url": url})

    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert f"{api.uno.sessions.find(OURS).webhooks[0].url_absolute}" == CRM["urlAbsolute"]


def test_who_logs_in_and_out_is_a_line_and_a_wrong_token_is_none(api: MemoryApi, operator: Browser) -> None:
    Browser(api, token_of(OURS))
    Browser(api).log_in("wrong")
    operator.post("/console/logout")

    lines = [(entry.who, entry.what) for entry in api.uno.audit.latest() if "login" in entry.what]

    assert lines == [
        ("operator", "console.login.log_out"),
        (OURS, "console.login.log_in"),
        ("operator", "console.login.log_in"),
    ]  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("where", ["/console/messages", LETTERS, "/console/webhooks", f"/console/webhooks/{OURS}/crm"])
def test_every_page_is_there_in_both_languages(api: MemoryApi, language: str, where: str) -> None:
    page = Browser(api, OPERATOR, language=language).page(where)

    assert f'<html lang="{language}">' in page
    assert not re.search(r">\s*(messages|dead_letters|webhooks|reason|filter)\.[a-z_]+\s*<", page)
