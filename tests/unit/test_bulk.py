"""Campaigns on parts in memory: from the request to the report, with everything that may stop in between."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest
from celery.exceptions import Ignore, Reject, Retry
from pydantic import SecretStr

from tasks.app import make_worker
from tasks.bulk import look_again
from tests.support.api import MemoryApi, memory_api
from tests.support.fakes import CONTACT, PHONE, MemoryCampaigns, ScriptedProvider
from tests.support.voice_server import KEY, VoiceServer
from tests.support.worker import run
from unoapi.broker.messages import from_body
from unoapi.errors import FetchFailed, MessageRejected
from unoapi.models.bulk import WINDOW, message_id_of
from unoapi.models.jobs import (
    AdvanceCampaign,
    FanOut,
    HandleOwnMessage,
    Job,
    ParseCampaign,
    SendBulkMessage,
    SendMessage,
    now_ms,
)
from unoapi.models.receipts import Receipt, StatusUpdate
from unoapi.models.voice import OperatorAccounts, VoiceAccount
from unoapi.services import bulk
from unoapi.services.bulk import plain_word
from unoapi.services.media import save

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.models.cloud_api.messages import OutboundMessage

HOOK = {"id": "main", "urlAbsolute": "http://receiver.test/hook", "sendUpdateMessages": False}
BULK = f"/v15.0/{PHONE}/bulk"
FAST = {"batch": 1000, "delay": 1}


class Phone(ScriptedProvider):
    """Sends what it gets; numbers that end in 13 have no WhatsApp, 66 is limited."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[OutboundMessage] = []

    def send(self, message: OutboundMessage, *, phone: str, message_id: str) -> Receipt:  # noqa: ARG002 (the port's)
        if message.addressee.endswith("13"):
            raise MessageRejected("Message undeliverable", code=131026, details="not on WhatsApp")
        if message.addressee.endswith("66"):
            raise MessageRejected("Message kept back", code=131049, details="kept back")
        self.messages.append(message)
        return Receipt(recipient=message.addressee, statuses=(StatusUpdate(status="sent"),))


class Address:
    """A downloader that has one file."""

    def __init__(self, content: str = "", error: FetchFailed | None = None) -> None:
        self.content, self.error = content, error
        self.asked: list[str] = []

    def fetch(self, url: str, target: BinaryIO, **_: object) -> None:
        self.asked.append(url)
        if self.error is not None:
            raise self.error
        target.write(self.content.encode())


class Place:
    """The API, the queues, and workers that take whatever is there, at a clock of their own."""

    def __init__(self, api: MemoryApi, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api, self.now_ms = api, now_ms()
        self.phone = Phone()
        self.campaigns = MemoryCampaigns()
        self.uno = replace(
            api.uno,
            campaigns=self.campaigns,
            providers=dict.fromkeys(("whatsmeow", "forwarder", "sandbox"), self.phone),
        )
        self.use()
        self.repeats, self.draw = 0.0, random.Random(1)
        self.queued_at: list[int] = []
        monkeypatch.setattr(bulk, "now_ms", lambda: self.now_ms)

    def use(self, **parts: Any) -> None:
        """Go on with these parts in the place of others."""
        self.uno = replace(self.uno, **parts)
        self.api.app.extensions["uno"] = self.uno
        self.worker = make_worker(self.uno)

    def begin(self, **body: Any) -> str:
        answer = self.api.post(BULK, {**FAST, **body})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def shown(self, campaign_id: str) -> Any:
        return self.api.get(f"{BULK}/{campaign_id}").json()

    def verb(self, campaign_id: str, verb: str) -> int:
        return self.api.post(f"{BULK}/{campaign_id}/{verb}").status_code

    def report(self, campaign_id: str) -> list[dict[str, str]]:
        text = self.api.get(f"{BULK}/{campaign_id}/report").text
        return list(csv.DictReader(io.StringIO(text), delimiter=";"))

    def waiting(self) -> list[Job]:
        """All jobs, which leave their queues."""
        names = [queue.name for queue in self.uno.topology.queues if queue.name != self.uno.topology.dead]
        found = []
        for name in names:
            while message := self.api.queues.take(name):
                found.append(from_body(message.headers["task"], message.body))
        return found

    def work(self, rounds: int, *, step_ms: int = 250) -> list[Job]:
        """Let the workers do what waits; a share of the jobs is done twice, as after a worker that was killed."""
        left: list[Job] = []
        for _ in range(rounds):
            self.now_ms += step_ms
            jobs = self.waiting()
            self.draw.shuffle(jobs)
            for job in jobs:
                if isinstance(job, SendBulkMessage):
                    self.queued_at.append(self.now_ms)
                again = self.draw.random() < self.repeats
                for redelivered in (False, True) if again else (False,):
                    with suppress(Ignore, Reject, Retry):
                        run(self.uno, job, redelivered=redelivered, worker=self.worker)
            left = jobs
        return left


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with memory_api(BASE_STORE=str(tmp_path)) as api:
        api.register([HOOK])
        yield Place(api, monkeypatch)


def numbers(count: int) -> list[str]:
    return [f"55119{91000000 + number}" for number in range(count)]


def table(wanted: list[str], **more: str) -> str:
    lines = [f"{number};Pessoa {position};Oi #NOME" for position, number in enumerate(wanted)]
    return "\n".join(["TELEFONE;NOME;MENSAGEM", *lines, *more.values()])


def upload(place: Place, text: str | bytes, **fields: str) -> str:
    data = {name: f"{value}" for name, value in {**FAST, **fields}.items()}
    content = text if isinstance(text, bytes) else text.encode()
    answer = place.api.request("POST", BULK, data={**data, "file": (io.BytesIO(content), "lista.csv")})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def test_every_good_row_is_sent_once_though_everything_is_done_twice_and_redis_goes_away(place: Place) -> None:
    good = [number for number in numbers(130) if not number.endswith(("13", "66"))]
    out, refused = good[5:9], "5511991000013"
    place.uno.campaigns.opt_out(PHONE, out)
    campaign = upload(place, table([*good, refused], bad="abc;x;y\n;;;\n5511991000001;de novo;x"))
    place.repeats = 0.5

    for number in range(60):
        place.campaigns.away = number % 9 == 8
        place.work(1)
    place.campaigns.away = False
    assert place.verb(campaign, "pause") == 200
    place.work(10)
    paused_at = len(place.phone.messages)
    place.work(40)
    assert len(place.phone.messages) == paused_at, "a paused campaign sends nothing"
    assert place.verb(campaign, "resume") == 200
    place.work(400)

    shown, sent = place.shown(campaign), Counter(message.addressee for message in place.phone.messages)
    assert shown["status"] == "done"
    assert sent == Counter(number for number in good if number not in out)
    assert shown["rows"] == {"read": len(good) + 3, "good": len(good) + 1, "bad": 1, "duplicates": 1}
    assert shown["counts"] == {"sent": len(sent), "opted-out": len(out), "without-whatsapp": 1}
    statuses = Counter(row["status"] for row in place.report(campaign))
    assert statuses == {**shown["counts"], "bad-row": 1, "duplicate": 1}
    assert not [job for job in place.waiting() if isinstance(job, (SendMessage, AdvanceCampaign))]


def test_a_file_at_an_address_is_fetched_once_and_keeps_no_other_file_waiting(place: Place) -> None:
    address = Address(table(numbers(3)))
    place.use(media_downloader=address)
    assert place.campaigns.take_parsing("UNO.CMD.ANOTHER"), "the file of another campaign is being read"
    campaign = place.begin(file={"link": "https://lists.test/lista.csv"})

    place.work(4)
    assert address.asked == ["https://lists.test/lista.csv"]
    assert place.shown(campaign)["status"] == "parsing"
    place.campaigns.end_parsing("UNO.CMD.ANOTHER")
    place.work(40)

    assert len(place.phone.messages) == 3
    assert len(address.asked) == 1


def test_a_file_that_cannot_be_fetched_ends_the_campaign_with_the_reason(place: Place) -> None:
    place.use(media_downloader=Address(error=FetchFailed("the file's server answered HTTP 404")))
    campaign = place.begin(file={"link": "https://lists.test/lista.csv"})

    place.work(2)

    shown = place.shown(campaign)
    assert (shown["status"], shown["reason"]) == (
        "failed", "the file could not be fetched: the file's server answered HTTP 404",
    )  # fmt: skip


def test_the_pace_is_kept_and_few_are_on_their_way(place: Place) -> None:
    campaign = place.begin(rows=[{"to": number, "message": "oi"} for number in numbers(40)], batch=4, delay=2)

    place.work(4 * 15)

    assert 4 * 7 - 4 <= len(place.phone.messages) <= 4 * 7 + 4  # 2 a second, for 15 s
    most = max(sum(at <= other < at + 2000 for other in place.queued_at) for at in place.queued_at)
    assert most <= 4 + 3
    assert place.shown(campaign)["status"] == "running"


def test_a_campaign_ends_with_its_number_and_does_not_go_on_as_the_next_owners(place: Place) -> None:
    campaign = place.begin(rows=[{"to": number, "message": "oi"} for number in numbers(40)], batch=2, delay=2)
    place.work(8)
    sent = len(place.phone.messages)
    assert 0 < sent < 40

    assert place.api.post(f"/v15.0/{PHONE}/deregister").status_code == 204
    place.api.register([HOOK])
    place.work(60)

    assert len(place.phone.messages) <= sent + WINDOW
    assert (place.shown(campaign)["status"], place.shown(campaign)["reason"]) == ("stopped", bulk.REMOVED)


def test_no_more_than_a_few_are_queued_while_nobody_sends(place: Place) -> None:
    place.begin(rows=[{"to": number, "message": "oi"} for number in numbers(40)])
    run(place.uno, place.waiting()[0])

    sends: list[Job] = []
    for _ in range(30):
        place.now_ms += 1000
        for job in place.waiting():
            if isinstance(job, AdvanceCampaign):
                run(place.uno, job, worker=place.worker)
            else:
                sends.append(job)

    assert len(sends) == WINDOW
    assert {job.queue for job in sends} == {"bulk"}


def test_a_preview_sends_nothing_until_somebody_says_so(place: Place) -> None:
    campaign = upload(place, table(numbers(3), bad="abc;x;y"), dry_run="true")
    place.work(5)

    shown = place.shown(campaign)
    assert shown["status"] == "previewed"
    assert shown["bad_rows"] == [{"line": 5, "number": "abc", "reason": shown["bad_rows"][0]["reason"]}]
    assert "phone" in shown["bad_rows"][0]["reason"]
    assert place.phone.messages == []

    assert place.verb(campaign, "resume") == 200
    place.work(20)
    assert len(place.phone.messages) == 3


def test_a_stopped_campaign_stays_stopped(place: Place) -> None:
    campaign = place.begin(rows=[{"to": number, "message": "oi"} for number in numbers(40)])
    place.work(2)

    assert place.verb(campaign, "stop") == 200
    place.work(30)

    left = [row for row in place.report(campaign) if row["status"] == "stopped"]
    assert len(left) + len(place.phone.messages) == 40
    assert place.verb(campaign, "resume") == 409
    assert place.verb(campaign, "pause") == 409


def test_a_limit_of_the_number_holds_the_campaign(place: Place) -> None:
    limited = "5511991000066"
    campaign = place.begin(rows=[{"to": one, "message": "oi"} for one in [limited, *numbers(40)]])

    place.work(10)

    shown = place.shown(campaign)
    assert shown["status"] == "held"
    assert "131049" in shown["reason"]
    assert len(place.phone.messages) <= WINDOW
    assert place.verb(campaign, "resume") == 200
    place.work(60)
    assert place.shown(campaign)["status"] == "done"


def test_a_campaign_that_redis_lost_is_held_and_goes_on_where_it_was(place: Place) -> None:
    campaign = place.begin(rows=[{"to": number, "message": "oi"} for number in numbers(30)])
    place.work(6)
    before = len(place.phone.messages)
    place.campaigns.saved.clear()
    place.campaigns.rows.clear()

    place.work(20)
    shown = place.shown(campaign)
    held_at = len(place.phone.messages)
    assert shown["status"] == "held"
    assert before <= held_at <= before + WINDOW
    assert place.verb(campaign, "resume") == 200
    place.work(60)

    assert Counter(message.addressee for message in place.phone.messages) == Counter(
        number for number in numbers(30) if not number.endswith("13")
    )


def test_a_campaign_waits_for_the_connection_of_its_number(place: Place) -> None:
    place.phone.connected = False
    campaign = place.begin(rows=[{"to": number, "message": "oi"} for number in numbers(3)])

    place.work(5)
    assert "the number" in place.shown(campaign)["waits_for"]
    place.phone.connected = True
    place.work(20)

    assert place.shown(campaign)["status"] == "done"


def test_a_second_campaign_of_a_number_waits_for_the_first(place: Place) -> None:
    first = place.begin(rows=[{"to": number, "message": "oi"} for number in numbers(30)], batch=10, delay=1)
    second = place.begin(rows=[{"to": number, "message": "oi"} for number in numbers(3)])

    place.work(8)

    states = {place.shown(one)["status"]: place.shown(one).get("waits_for", "") for one in (first, second)}
    assert any("the campaign UNO.CMD." in why for why in states.values()), states
    place.work(100)
    assert {place.shown(one)["status"] for one in (first, second)} == {"done"}


def test_messages_whose_status_never_comes_do_not_stop_a_campaign_for_good(place: Place) -> None:
    campaign = place.begin(rows=[{"to": number, "message": "oi"} for number in numbers(WINDOW + 2)])
    for _ in range(6):
        place.now_ms += 1000
        for job in place.waiting():
            if isinstance(job, (AdvanceCampaign, ParseCampaign)) or not isinstance(job, SendBulkMessage):
                run(place.uno, job, worker=place.worker)
    place.api.queues.publish([bulk.first_look(place.campaigns.saved[PHONE, campaign])])
    place.now_ms += 3_600_000

    place.work(40)

    assert place.shown(campaign)["counts"] == {"unknown": WINDOW, "sent": 2}


def test_a_campaign_whose_job_got_lost_is_looked_at_again(place: Place) -> None:
    campaign = place.begin(rows=[{"to": number, "message": "oi"} for number in numbers(10)])
    place.work(2)
    place.waiting()  # lost
    place.work(5)
    before = len(place.phone.messages)
    place.campaigns.looks[PHONE, campaign] = -10_000.0
    place.now_ms += 3_600_000

    look_again(place.uno)
    place.work(60)

    assert before == 0
    assert place.shown(campaign)["counts"] == {"unknown": WINDOW, "sent": 10 - WINDOW}


def test_a_file_that_is_no_table_ends_the_campaign_with_the_reason(place: Place) -> None:
    campaign = upload(place, b"%PDF-1.7\x00\x01")

    place.work(2)

    shown = place.shown(campaign)
    assert shown["status"] == "failed"
    assert "neither a text nor a workbook" in shown["reason"]


def test_a_contact_that_answers_with_a_word_gets_no_more(place: Place) -> None:
    for text, contact in [
        ("SAIR!", "5511991000001"),
        ("quero sair daqui", "5511991000002"),
        (" parar ", "5511991000003"),
    ]:
        run(place.uno, fan_out(contact, text))
    post = {"id": "status@broadcast", "type": "status"}
    run(place.uno, fan_out("5511991000004", "sair", chat=post))

    campaign = place.begin(rows=[{"to": number, "message": "oi"} for number in numbers(5)])
    place.work(20)

    out = [row["number"] for row in place.report(campaign) if row["status"] == "opted-out"]
    assert out == ["5511991000001", "5511991000003"]
    listed = place.api.get(f"{BULK}/opt_outs").text
    assert [line.partition(";")[0] for line in listed.split()] == ["contact", "5511991000001", "5511991000003"]


def test_who_opted_out_or_is_blocked_under_whatsapps_form_of_a_number_gets_no_more(place: Place) -> None:
    class Blacklist:
        def blocked_by_any(self, phone: str, webhook_ids: Any, contacts: list[str]) -> set[str]:  # noqa: ARG002
            return {"5491123456789"} & set(contacts)

    run(place.uno, fan_out("5215512345678", "sair"))
    blacklist: Any = Blacklist()
    place.uno = replace(place.uno, blacklist=blacklist)
    place.worker = make_worker(place.uno)

    campaign = place.begin(rows=[{"to": number, "message": "oi"} for number in ("525512345678", "541123456789")])
    place.work(20)

    assert [row["status"] for row in place.report(campaign)] == ["opted-out", "blacklisted"]


def fan_out(contact: str, text: str, **beside: Any) -> FanOut:
    message = {"from": contact, "id": f"wamid.{contact}", "timestamp": "1", "type": "text", "text": {"body": text}}
    value = {"metadata": {"display_phone_number": PHONE}, "messages": [message], "contacts": [{"wa_id": contact}],
             **beside}  # fmt: skip
    body = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]})
    return FanOut(
        id=f"e{contact}",
        phone=PHONE,
        message_id=f"wamid.{contact}",
        kind="message",
        body=body,
        webhook_ids=(),
        stored=True,
    )


def test_what_redis_could_not_take_is_remembered_by_a_job(place: Place) -> None:
    place.campaigns.away = True
    run(place.uno, fan_out(CONTACT, "stop"))
    place.campaigns.away = False

    place.work(2)

    assert place.campaigns.opted_out(PHONE, [CONTACT]) == {CONTACT}


def test_opt_outs_are_added_and_taken_off_by_hand(place: Place) -> None:
    added = place.api.post(f"{BULK}/opt_outs", {"numbers": [CONTACT, "+55 11 99100-0001"]})
    removed = place.api.request("DELETE", f"{BULK}/opt_outs", json={"numbers": [CONTACT]})

    assert added.status_code == 200
    assert removed.json() == {"success": True, "removed": 1}
    assert place.campaigns.opted_out(PHONE, [CONTACT, "5511991000001"]) == {"5511991000001"}
    assert place.api.post(f"{BULK}/opt_outs", {"numbers": ["x"]}).status_code == 400


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("(49) 98888-7777", CONTACT), ("049 8888-7777", CONTACT), (f"{CONTACT}:7@s.whatsapp.net", CONTACT),
        ("BR.42", "BR.42"), ("777@lid", "777@lid"),
    ],
)  # fmt: skip
def test_who_opts_out_by_hand_is_who_a_row_of_that_number_is_for(place: Place, written: str, known: str) -> None:
    added = place.api.post(f"{BULK}/opt_outs", {"numbers": [written]})
    out = place.campaigns.opted_out(PHONE, [known])
    removed = place.api.request("DELETE", f"{BULK}/opt_outs", json={"numbers": [written]})

    assert (added.status_code, out) == (200, {known})
    assert removed.json()["removed"] == 1


def test_a_repeated_request_begins_no_second_campaign(place: Place) -> None:
    body = {"rows": [{"to": CONTACT, "message": "oi"}], **FAST}
    answers = [place.api.post(BULK, body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    place.work(10)

    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert len(place.phone.messages) == 1


def test_a_contact_whom_meta_spares_holds_no_campaign(place: Place) -> None:
    """131049 at Meta: the contact got enough advertising, of whomever. Every larger campaign has such contacts."""
    place.api.register([HOOK], provider="forwarder")
    hello = {"type": "template", "template": {"name": "hello", "language": {"code": "pt_BR"}}}
    campaign = place.begin(rows=[{"to": one, **hello} for one in ["5511991000066", *numbers(12)]])

    place.work(60)

    assert place.shown(campaign)["status"] == "done"
    assert len(place.phone.messages) == 12


def test_an_image_is_fetched_once_for_a_campaign(place: Place) -> None:
    place.api.register([HOOK], provider="whatsmeow")
    link = "https://h/a.jpg"
    campaign = place.begin(rows=[{"to": one, "type": "image", "url": link, "message": "x"} for one in numbers(3)])
    run(place.uno, place.waiting()[0])
    place.campaigns.remember_file(PHONE, campaign, link, "31410000000000000000001")
    place.now_ms += 1000

    jobs: list[Job] = []
    for _ in range(30):
        place.now_ms += 2000
        for job in place.waiting():
            if isinstance(job, AdvanceCampaign):
                run(place.uno, job, worker=place.worker)
            else:
                jobs.append(job)

    assert [job.task for job in jobs] == ["media.prepare_voice"] * 3
    assert all('"id":"31410000000000000000001"' in job.body for job in jobs)  # type: ignore[attr-defined]


@pytest.mark.parametrize("named", [False, True], ids=["one text", "a text for each"])
def test_rows_that_are_said_are_voice_notes_and_one_text_is_said_once(place: Place, named: bool) -> None:
    text = "Olá {{name}}" if named else "Olá"
    with VoiceServer() as server:
        account = VoiceAccount("openai", server.url, SecretStr(KEY), "whisper-1", "tts-1", trusted=True)
        place.uno = replace(place.uno, operator_accounts=OperatorAccounts(account))
        place.worker = make_worker(place.uno)
        rows = [{"to": one, "name": f"N{one}", "type": "speech", "message": text} for one in numbers(3)]

        campaign = place.begin(rows=rows)
        place.work(30)

        assert len(server.asked) == (3 if named else 1)
    assert [message.type for message in place.phone.messages] == ["audio"] * 3
    assert {row["status"] for row in place.report(campaign)} == {"sent"}


def test_a_preview_names_the_rows_that_nobody_can_say(place: Place) -> None:
    rows = [{"to": numbers(1)[0], "type": "speech", "message": "Olá"}]

    campaign = place.begin(rows=rows, dry_run=True)
    place.work(5)

    (row,) = place.report(campaign)
    assert "OPENAI_API_KEY" in row["error"]


def test_the_blacklist_is_asked_once_for_all_rows_of_a_look(place: Place) -> None:
    asked = list[list[str]]()

    class Blacklist:
        def blocked_by_any(self, phone: str, webhook_ids: Any, contacts: list[str]) -> set[str]:  # noqa: ARG002
            asked.append(contacts)
            return {numbers(3)[1]}

        def blocking(self, phone: str, webhook_ids: Any, contacts: Any) -> set[str]:  # noqa: ARG002
            return set()

    blacklist: Any = Blacklist()
    place.uno = replace(place.uno, blacklist=blacklist)
    place.worker = make_worker(place.uno)
    campaign = place.begin(rows=[{"to": one, "message": "x"} for one in numbers(3)])
    place.work(10)

    assert asked == [numbers(3)]
    assert [row["status"] for row in place.report(campaign)] == ["sent", "blacklisted", "sent"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"rows": []}, 400),
        ({"rows": [1]}, 400),
        ({"rows": [{"to": CONTACT}], "file": {"id": "1"}}, 400),
        ({"file": {"id": "31419999999999999999999"}}, 400),
        ({"file": {"link": "ftp://h/x"}}, 400),
        ({"rows": [{"to": CONTACT}], "hours": "18:00-09:00"}, 400),
        ({"rows": [{"to": CONTACT}], "batch": 0}, 400),
        ({"rows": [{"to": CONTACT}], "message": {"type": "text"}}, 400),
        ({"rows": [{"to": CONTACT}], "message": {"type": "template", "template": {}}}, 400),
    ],
)
def test_what_is_no_campaign_is_refused_at_the_door(place: Place, body: dict[str, Any], status: int) -> None:
    answer = place.api.post(BULK, body)

    assert answer.status_code in (400, status), answer.text
    assert answer.json()["error"]["error_data"]["details"]
    assert place.waiting() == []


def test_a_campaign_is_its_numbers_alone(place: Place) -> None:
    other = "5521977776666"
    place.api.register([HOOK], phone=other)
    campaign = place.begin(rows=[{"to": CONTACT, "message": "oi"}])
    token = f"session-token-{other}"

    assert place.api.get(f"{BULK}/{campaign}", token=token).status_code in (401, 404)
    assert place.api.get(f"/v15.0/{other}/bulk/{campaign}", token=token).status_code == 404
    assert place.api.post(f"/v15.0/{other}/bulk/{campaign}/stop", token=token).status_code == 404
    assert place.api.get(f"{BULK}/../../etc").status_code == 404


def test_only_so_many_campaigns_of_a_number_are_open(place: Place) -> None:
    for _ in range(20):
        place.begin(rows=[{"to": CONTACT, "message": "oi"}])

    answer = place.api.post(BULK, {"rows": [{"to": CONTACT, "message": "oi"}]})

    assert answer.status_code == 429
    assert answer.headers["Retry-After"]


def test_the_number_is_told_and_gets_the_report(place: Place) -> None:
    campaign = place.begin(rows=[{"to": CONTACT, "message": "=1+1"}], notify=True)
    place.work(20)

    own = [message.to_wire() for message in place.phone.messages if message.addressee == PHONE]
    assert [message["type"] for message in own] == ["text", "document"]
    assert campaign in own[0]["text"]["body"]
    assert "sent: 1" in own[1]["document"]["caption"]


def test_cells_of_a_report_are_no_formulas(place: Place) -> None:
    campaign = place.begin(rows=[{"to": "=cmd|' /C calc'!A0", "message": "oi"}])
    place.work(3)

    (row,) = place.report(campaign)
    assert row["number"].startswith("'=cmd")


def test_a_campaign_is_followed_by_its_id(place: Place) -> None:
    campaign = place.begin(rows=[{"to": CONTACT, "message": "oi"}])
    place.work(20)

    trace = place.api.get(f"/v15.0/{PHONE}/messages/{campaign}/trace").json()["trace"]
    row = place.api.get(f"/v15.0/{PHONE}/messages/{message_id_of(campaign, 0)}/trace").json()["trace"]
    assert [step["step"] for step in trace] == ["accepted", "queued", "sent"]
    assert row[0] == {"at": row[0]["at"], "step": "accepted", "kind": "bulk", "detail": campaign}


@pytest.mark.parametrize(
    ("written", "word"),
    [(" Sair. ", "sair"), ("*STOP*", "stop"), ("não", "não"), ("“SAIR”", "sair"), ("Sair 🙏", "sair"), ("❌", "")],
)
def test_a_word_is_compared_without_what_stands_around_it(written: str, word: str) -> None:
    assert plain_word(written) == word


# --- from the number's own chat ---


def own_message(place: Place, **content: Any) -> HandleOwnMessage:
    place.api.register([HOOK], commands=True)
    body = json.dumps({"id": "3EB0AA", **content})
    return HandleOwnMessage(id="own", phone=PHONE, message_id="3EB0AA", body=body)


@pytest.mark.parametrize("caption", ["campanha", " Campanha "])
def test_a_document_that_the_number_sends_to_itself_is_a_campaign(place: Place, caption: str) -> None:
    text = table(numbers(3)).encode()
    file = save(PHONE, [text], mime_type="text/csv", files=place.uno.media_store, index=place.uno.media_index)
    job = own_message(place, type="document", document={"id": file.id, "caption": caption, "filename": "lista.csv"})

    run(place.uno, job, worker=place.worker)
    run(place.uno, job, worker=place.worker, redelivered=True)
    place.work(400, step_ms=1000)

    (campaign,) = place.campaigns.all(PHONE)
    to_others = [message for message in place.phone.messages if message.addressee != PHONE]
    assert (campaign.state, campaign.name, campaign.total) == ("done", "lista.csv", 3)
    assert len(to_others) == 3
    assert {message.type for message in place.phone.messages if message not in to_others} == {"text", "document"}


def test_a_quotation_mark_in_a_row_makes_no_other_message_of_json_in_a_text(place: Place) -> None:
    action = '{"buttons":[{"type":"reply","reply":{"id":"a","title":"#APELIDO"}}]}'
    menu = {"type": "button", "body": {"text": "b"}, "action": action}

    campaign = place.begin(
        rows=[{"to": CONTACT, "apelido": 'Ana "a"'}],
        message={"type": "interactive", "interactive": menu},
    )
    place.work(5)

    (message,) = place.phone.messages
    assert message.to_wire()["interactive"]["action"]["buttons"][0]["reply"]["title"] == 'Ana "a"'
    assert place.shown(campaign)["status"] == "done"


@pytest.mark.parametrize("kind", ["", None])
def test_a_message_for_all_rows_whose_type_is_empty_is_a_text(place: Place, kind: str | None) -> None:
    place.begin(rows=[{"to": CONTACT}], message={"type": kind, "text": {"body": "oi"}})
    place.work(5)

    assert [message.type for message in place.phone.messages] == ["text"]


@pytest.mark.parametrize("written", ["unoapi-bulk-report", "Unoapi-bulk-report ", "\nUNOAPI-BULK-REPORT"])
def test_the_report_comes_when_its_template_is_sent_to_the_number_itself(place: Place, written: str) -> None:
    campaign = place.begin(rows=[{"to": CONTACT, "message": "oi"}])
    place.work(20)
    before = len(place.phone.messages)

    run(
        place.uno,
        own_message(place, type="text", text={"body": f"{written}\nbulk: {campaign.lower()}"}),
        worker=place.worker,
    )
    place.work(5)

    (report,) = place.phone.messages[before:]
    assert report.type == "document"
    assert report.addressee == PHONE


@pytest.mark.parametrize("text", ["unoapi-bulk-report\nbulk: UNO.CMD.1", "unoapi-bulk-report"])
def test_a_report_of_no_campaign_is_answered_in_the_chat(place: Place, text: str) -> None:
    run(place.uno, own_message(place, type="text", text={"body": text}), worker=place.worker)
    place.work(3)

    (answer,) = place.phone.messages
    assert "there is no campaign" in answer.to_wire()["text"]["body"]


def test_what_else_a_number_notes_for_itself_is_no_campaign(place: Place) -> None:
    for content in (
        {"type": "document", "document": {"id": "1", "caption": "campanhas"}},
        {"type": "text", "text": {"body": "campanha"}},
    ):
        run(place.uno, own_message(place, **content), worker=place.worker)
    place.work(3)

    assert place.campaigns.all(PHONE) == []
    assert place.phone.messages == []
