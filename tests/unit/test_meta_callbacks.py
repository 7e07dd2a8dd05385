"""Parts of Meta's callbacks that wait, and what becomes of what nobody can place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pytest
from pydantic import ValidationError

from tests.support.fakes import CONTACT, PHONE, MemoryIds, MemoryMediaIndex, MemorySessions, make_session
from unoapi.errors import OddCallback, Postponed, RequestError, UnknownNumber
from unoapi.http.downloader import Fetched
from unoapi.media.folder import FolderMediaStore
from unoapi.models.cloud_api.callbacks import Change, OddPart, read_callback
from unoapi.models.cloud_api.events import error_object
from unoapi.models.jobs import FanOut, ReceiveCallback, SaveMedia, now_ms
from unoapi.models.message_keys import message_token
from unoapi.providers.cloud_api import callbacks
from unoapi.services.failure_callbacks import status_report
from unoapi.services.received_media import save_media, without_media
from unoapi.stores.statuses import RedisStatuses

if TYPE_CHECKING:
    from pathlib import Path

SESSION = make_session(provider="forwarder", webhook_forward={"phoneNumberId": "1001", "businessAccountId": "2001"})
ERROR = error_object(131047, "Re-engagement message", "More than 24 hours have passed.")
STATUS = {"id": "wamid.M1", "status": "failed", "timestamp": "1", "recipient_id": CONTACT, "errors": [ERROR]}


class Directory:
    """SessionDirectory, as far as it is asked."""

    def __init__(self, **nodes: str) -> None:
        self.nodes = nodes

    def phones_of(self, node: str) -> tuple[str, ...]:
        return (self.nodes.get(f"n{node}", node),)


def run(job: ReceiveCallback, ids: MemoryIds | None = None, *, directory: Directory | None = None) -> list[Any]:
    known: Any = directory or Directory()
    return callbacks.receive(job, directory=known, sessions=MemorySessions(SESSION), ids=ids or MemoryIds())


def waiting(*statuses: dict[str, Any], age_ms: int = 0) -> ReceiveCallback:
    change = Change({"messaging_product": "whatsapp", "statuses": list(statuses or [STATUS])}, entry_id="2001")
    rest, (job,) = callbacks.without_what_waits(
        change, phone=PHONE, trusted=True, sessions=MemorySessions(SESSION), ids=MemoryIds()
    )
    assert rest is None
    return job.model_copy(update={"accepted_at_ms": now_ms() - age_ms})


def status_in(job: Any) -> dict[str, Any]:
    value = json.loads(job.body)["entry"][0]["changes"][0]["value"]
    return dict(value["statuses"][0])


def test_the_status_of_a_payment_is_none_of_its_message() -> None:
    failed = {"id": "wamid.M1", "type": "payment", "status": "failed", "timestamp": "3", "recipient_id": CONTACT}
    read = {**failed, "type": "message", "status": "read"}
    change = Change({"messaging_product": "whatsapp", "statuses": [read, failed]})
    statuses = RedisStatuses(cast("Any", None), ttl_s=1)

    message, payment = callbacks.jobs_of(
        change, phone=PHONE, trusted=True, sessions=MemorySessions(SESSION), ids=MemoryIds()
    )

    assert (message.kind, payment.kind) == ("read", "payment.failed")
    assert status_report(cast("FanOut", payment)) is None
    assert statuses.admission(PHONE, "wamid.M1", status=payment.kind, event_id="1") is None  # it passes after any other


@pytest.mark.parametrize(("age_ms", "wait_ms"), [(0, 1_000), (1_500, 4_000), (6_000, 10_000)])
def test_field_report_77_a_status_waits_for_the_answer_to_its_send(age_ms: int, wait_ms: int) -> None:
    with pytest.raises(Postponed) as caught:
        run(waiting(age_ms=age_ms))

    assert caught.value.after_ms == wait_ms


def test_field_report_77_a_status_that_waited_has_the_clients_id() -> None:
    ids, job = MemoryIds(), waiting()
    ids.remember(PHONE, theirs="wamid.M1", ours="wamid.OURS")

    (event,) = run(job, ids)

    assert (event.message_id, event.kind, event.phone) == ("wamid.OURS", "failed", PHONE)
    assert status_in(event) == {**STATUS, "id": "wamid.OURS"}


def test_field_report_77_a_status_of_somebody_elses_message_goes_on_after_a_while() -> None:
    (event,) = run(waiting(age_ms=16_000))

    assert status_in(event)["id"] == "wamid.M1"


def test_field_report_77_a_status_waits_as_long_as_metas_answer_may_take() -> None:
    job, ids = waiting(age_ms=39_000), MemoryIds()
    slow = SESSION.model_copy(
        update={"webhook_forward": SESSION.webhook_forward.model_copy(update={"timeout_ms": 40_000})}
    )
    known: Any = Directory()

    with pytest.raises(Postponed):
        callbacks.receive(job, directory=known, sessions=MemorySessions(slow), ids=ids)
    ids.remember(PHONE, theirs="wamid.M1", ours="wamid.OURS")
    (event,) = callbacks.receive(job, directory=known, sessions=MemorySessions(slow), ids=ids)

    assert event.message_id == "wamid.OURS"


def test_field_report_77_what_stands_beside_statuses_that_wait_is_not_lost() -> None:
    problem = {"errors": [{"code": 130429, "title": "Rate limit hit"}], "a_field_of_next_year": 1}
    memories: dict[str, Any] = {"sessions": MemorySessions(SESSION), "ids": MemoryIds()}
    one = Change({"messaging_product": "whatsapp", "statuses": [STATUS], **problem})
    two = Change({"messaging_product": "whatsapp", "statuses": [STATUS, {**STATUS, "id": "wamid.M2"}], **problem})

    alone, (job,) = callbacks.without_what_waits(one, phone=PHONE, trusted=True, **memories)
    rest, jobs = callbacks.without_what_waits(two, phone=PHONE, trusted=True, **memories)

    assert (alone, job.change["value"]) == (None, one.value)
    assert rest is not None
    assert (rest.value["statuses"], rest.value["errors"], len(jobs)) == ([], problem["errors"], 2)


def test_the_same_status_twice_is_the_same_event_though_one_of_them_waited() -> None:
    ids = MemoryIds()
    ids.remember(PHONE, theirs="wamid.M1", ours="wamid.OURS")
    change = Change({"messaging_product": "whatsapp", "statuses": [STATUS]}, entry_id="2001")

    (at_once,) = callbacks.jobs_of(change, phone=PHONE, trusted=True, sessions=MemorySessions(SESSION), ids=ids)

    assert [event.id for event in run(waiting(), ids)] == [at_once.id]


def test_a_number_that_is_registered_later_gets_what_was_kept() -> None:
    change = Change({"metadata": {"phone_number_id": "77"}, "messages": [{"id": "wamid.A", "from": CONTACT}]})
    job = callbacks.job_to_place(change)

    with pytest.raises(UnknownNumber):
        run(job)
    (event,) = run(job, directory=Directory(n77=PHONE))
    assert (event.phone, event.message_id) == (PHONE, "wamid.A")


@pytest.mark.parametrize(
    ("metadata", "phone"),
    [
        ({"display_phone_number": "+55 11 97000-0009"}, "5511970000009"),
        ({"phone_number_id": "1009"}, "1009"),
        ({"phone_number_id": "9" * 30}, "0"),
        ({}, "0"),
    ],
)
def test_a_part_that_nobody_can_place_names_its_number_as_far_as_it_can(metadata: dict[str, str], phone: str) -> None:
    assert callbacks.job_to_place(Change({"metadata": metadata})).phone == phone


def test_what_is_no_event_ends_with_its_reason() -> None:
    with pytest.raises(OddCallback, match="no id"):
        run(callbacks.job_for_odd(OddPart({"change": 5}, "no id"), phone=PHONE))
    with pytest.raises(OddCallback):
        run(ReceiveCallback(id="1", phone=PHONE, change={"value": 5}))


@pytest.mark.parametrize("kind", ["image", "video", "audio", "document", "sticker"])
@pytest.mark.parametrize("place", ["messages", "message_echoes"])
def test_field_report_51_the_file_of_an_echo_is_fetched_like_any_other(kind: str, place: str) -> None:
    item = {"id": "wamid.E", "from": PHONE, "to": CONTACT, "type": kind, kind: {"id": "123", "mime_type": "a/b"}}

    (job,) = callbacks.jobs_of(
        Change({place: [item]}, field="smb_message_echoes"),
        phone=PHONE, trusted=True, sessions=MemorySessions(SESSION), ids=MemoryIds(),
    )  # fmt: skip

    assert isinstance(job, SaveMedia)
    (echo,) = json.loads(without_media(job).body)["entry"][0]["changes"][0]["value"][place]
    assert (echo["errors"][0]["code"], echo[kind]["id"]) == (131052, "123")


@pytest.mark.parametrize(
    ("kind", "said", "data", "name", "mime_type"),
    [
        ("document", None, b"%PDF-1.7", None, "application/pdf"),
        ("document", "application/octet-stream", b"%PDF-1.7", "a", "application/pdf"),
        ("document", "application/octet-stream", b"a;b", "a.csv", "text/csv"),
        ("document", "application/x-nota", b"%PDF-1.7", "a.pdf", "application/x-nota"),
        ("audio", None, b"\0\0\0\x18ftypmp42", None, "audio/mp4"),
        ("audio", "audio/ogg; codecs=opus", b"OggS", None, "audio/ogg; codecs=opus"),
        ("video", None, b"\0\0\0\x18ftypmp42", None, "video/mp4"),
    ],
)
def test_field_report_42_a_received_file_that_names_no_type_has_that_of_its_bytes_or_name(
    tmp_path: Path, *, kind: str, said: str | None, data: bytes, name: str | None, mime_type: str
) -> None:
    class AtMeta:
        def fetch(self, phone: str, media_id: str, target: BinaryIO, *, limit: int) -> Any:  # noqa: ARG002 (the port's)
            target.write(data)
            return Fetched(mime_type="application/octet-stream", size=len(data))

    item = {"id": "wamid.E", "type": kind, kind: {"id": "123", "mime_type": said, "filename": name}}
    (job,) = callbacks.jobs_of(
        Change({"messages": [item]}), phone=PHONE, trusted=True, sessions=MemorySessions(SESSION), ids=MemoryIds()
    )
    index = MemoryMediaIndex()
    assert isinstance(job, SaveMedia)

    event = save_media(
        job, remote=AtMeta(), files=FolderMediaStore(tmp_path), index=index, link=lambda media: media.mime_type
    )

    document = json.loads(event.body)["entry"][0]["changes"][0]["value"]["messages"][0][kind]
    assert (document["mime_type"], document["url"]) == (mime_type, mime_type)


@pytest.mark.parametrize("place", ["messages", "message_echoes"])
def test_field_report_51_the_file_of_an_edit_is_fetched_and_missed_like_any_other(place: str) -> None:
    inner = {"type": "image", "image": {"id": "123", "mime_type": "image/jpeg", "caption": "new words"}}
    edit = {"original_message_id": "wamid.R0", "message": inner}
    item = {"id": "wamid.E", "from": PHONE, "to": CONTACT, "type": "edit", "edit": edit}

    (job,) = callbacks.jobs_of(
        Change({place: [item]}), phone=PHONE, trusted=True, sessions=MemorySessions(SESSION), ids=MemoryIds()
    )

    assert isinstance(job, SaveMedia)
    (told,) = json.loads(without_media(job).body)["entry"][0]["changes"][0]["value"][place]
    assert (told["errors"][0]["code"], told["edit"]) == (131052, edit)


@pytest.mark.parametrize("kind", [None, [], {}, 5, "image"])
def test_a_message_whose_type_is_no_text_has_no_file(kind: Any) -> None:
    (job,) = callbacks.jobs_of(
        Change({"messages": [{"id": "1", "type": kind, "image": 5}]}),
        phone=PHONE, trusted=True, sessions=MemorySessions(SESSION), ids=MemoryIds(),
    )  # fmt: skip

    assert job.task == "outgoing.fan_out"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("account_settings_update", {"phone_number_settings": {"phone_number_id": "1001"}}),
        ("account_alerts", {"entity_type": "PHONE_NUMBER", "entity_id": "1001"}),
        ("account_alerts", {"entity_type": "PHONE_NUMBER", "entity_id": 1001}),
        ("account_update", {"phone_number": "+55 49 98888-0000", "event": "VERIFIED_ACCOUNT"}),
        ("something_new", {"phone_number_id": "1001"}),
        ("messaging_handovers", {"recipient": {"phone_number_id": "1001"}, "sender": {"phone_number": CONTACT}}),
        ("messaging_handovers", {"recipient": {"display_phone_number": "5549988880000"}, "type": "control_taken"}),
    ],
)
def test_field_report_69_a_number_that_is_named_in_another_place_gets_its_event_alone(
    field: str, value: dict[str, Any]
) -> None:
    others = "5511970000009"
    sessions = MemorySessions(SESSION, SESSION.model_copy(update={"phone": others}))

    class Account:
        """SessionDirectory of an account with two numbers."""

        def phones_of(self, node: str) -> tuple[str, ...]:
            named = {"1001": (PHONE,), "2001": (others, PHONE), "5549988880000": (PHONE,)}
            return named.get(node, ())

    numbers = callbacks.numbers_of(Change(value, field=field, entry_id="2001"), directory=Account(), sessions=sessions)  # type: ignore[arg-type]

    assert numbers == [PHONE]


# --- ids from the other side ---

SENT = "wamid.HBgNNTUxMTk4ODg4MDAwMRUCABIYDjNFQjAwMDAwMzYzMzAwAA=="
SEEN_BY_THE_CONTACT = "wamid.HBgNNTUxMTk3MDAwMDAwMRUCABIYDjNFQjAwMDAwMzYzMzAwAA=="


@pytest.mark.parametrize("message_id", [SENT, SEEN_BY_THE_CONTACT])
@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("text", lambda about: {"context": {"from": PHONE, "id": about}}),
        ("reaction", lambda about: {"reaction": {"message_id": about, "emoji": "x"}}),
        ("edit", lambda about: {"edit": {"original_message_id": about, "message": {}}}),
        ("edit", lambda about: {"edit": {"original_message_id": "wamid.R0", "message": {"context": {"id": about}}}}),
        ("revoke", lambda about: {"revoke": {"original_message_id": about}}),
    ],
)
@pytest.mark.parametrize("place", ["messages", "message_echoes"])
def test_field_report_25_what_a_message_is_about_has_the_clients_id(
    message_id: str, kind: str, part: Any, place: str
) -> None:
    ids = MemoryIds()
    ids.remember(PHONE, theirs=SENT, ours="wamid.OURS")
    item = {"id": "wamid.R", "from": CONTACT, "type": kind, **part(message_id)}

    (job,) = callbacks.jobs_of(
        Change({place: [item]}), phone=PHONE, trusted=True, sessions=MemorySessions(SESSION), ids=ids
    )

    assert "wamid.OURS" in job.body
    assert message_id not in job.body


@pytest.mark.parametrize("place", ["messages", "message_echoes"])
@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": {"body": "x"}, "context": {"from": CONTACT, "id": SEEN_BY_THE_CONTACT}},
        {"type": "reaction", "reaction": {"message_id": SEEN_BY_THE_CONTACT, "emoji": "x"}},
        {"type": "edit", "edit": {"original_message_id": SEEN_BY_THE_CONTACT, "message": {}}},
        {"type": "revoke", "revoke": {"original_message_id": SEEN_BY_THE_CONTACT}},
    ],
    ids=lambda part: str(part["type"]),
)
def test_field_report_25_what_is_about_a_message_that_no_client_sent_has_the_id_by_which_it_was_told(
    place: str, part: dict[str, Any]
) -> None:
    memories: dict[str, Any] = {"sessions": MemorySessions(SESSION), "ids": MemoryIds()}
    first = Change({place: [{"id": SENT, "from": CONTACT, "type": "text", "text": {"body": "x"}}]})
    about_it = Change({"messages": [{"id": "wamid.R", "from": CONTACT, **part}]})

    (told,) = callbacks.jobs_of(first, phone=PHONE, trusted=True, **memories)
    (job,) = callbacks.jobs_of(about_it, phone=PHONE, trusted=True, **memories)

    assert told.message_id == SENT
    assert SENT in job.body
    assert SEEN_BY_THE_CONTACT not in job.body


@pytest.mark.parametrize("message_id", [SENT, SEEN_BY_THE_CONTACT])
def test_field_report_25_a_status_in_either_form_is_of_the_clients_message(message_id: str) -> None:
    ids = MemoryIds()
    ids.remember(PHONE, theirs=SENT, ours="wamid.OURS")
    change = Change({"statuses": [{**STATUS, "id": message_id}]})
    memories: dict[str, Any] = {"sessions": MemorySessions(SESSION), "ids": ids}

    rest, early = callbacks.without_what_waits(change, phone=PHONE, trusted=True, **memories)

    assert (rest, early) == (change, [])
    (job,) = callbacks.jobs_of(change, phone=PHONE, trusted=True, **memories)
    assert job.message_id == "wamid.OURS"


@pytest.mark.parametrize(
    "message_id",
    ["", "wamid.", "3EB0AA", "wamid." + "A1" * 16, "wamid.HBgN", "HBgNNTUxMTk4ODg4MDAwMRUCABIYDjNFQjAwMDAwMzYzMzAwAA==",
     "wamid.!!!!", "wamid.HBh/AAAAAAAAAAAAAAAAAAAA"],
)  # fmt: skip
def test_other_ids_have_no_token(message_id: str) -> None:
    assert message_token(message_id) == ""


def test_the_token_of_metas_own_examples_is_found() -> None:
    assert message_token("wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0RgA=") == "3A4A6599AEE03810144F"
    assert message_token("wamid.HBgLMzM2Mjk2MTg2NzAVAgARGBJDNUE3MDVCOTQ4MjZCQ0QyODgA") == "C5A705B94826BCD288"


def test_statuses_that_wait_have_their_own_contact_alone_and_do_not_grow() -> None:
    contacts = [{"profile": {"name": f"Name {n}"}, "wa_id": f"55119888800{n:02}", "pad": "x" * 1000} for n in range(50)]
    statuses = [{**STATUS, "id": f"wamid.{n}", "recipient_id": contacts[n]["wa_id"]} for n in range(50)]
    change = Change({"messaging_product": "whatsapp", "contacts": contacts, "statuses": statuses})
    memories: dict[str, Any] = {"sessions": MemorySessions(SESSION), "ids": MemoryIds()}

    _, waiting = callbacks.without_what_waits(change, phone=PHONE, trusted=True, **memories)

    assert [len(job.change["value"]["contacts"]) for job in waiting] == [1] * 50  # type: ignore[index]
    assert sum(len(json.dumps(job.change)) for job in waiting) < 2 * len(json.dumps(change.value))
    with pytest.raises(RequestError):
        callbacks.without_what_waits(change, phone=PHONE, trusted=True, most_bytes=10_000, **memories)


def test_odd_items_do_not_grow_with_what_stands_beside_them() -> None:
    value = {"contacts": [{"pad": "x" * 100_000}], "messages": [{"id": "wamid.A"}, *({"id": n} for n in range(900))]}
    document = {"entry": [{"id": "2001", "changes": [{"field": "messages", "value": value}]}]}

    (change,), odd = read_callback(document, mended=True)

    assert change.value["messages"] == [{"id": "wamid.A"}]
    assert len(odd) == 900
    assert sum(len(json.dumps(part.document)) for part in odd) < len(json.dumps(document))


@pytest.mark.parametrize(("field", "name"), [("calls", "calls"), ("group_lifecycle_update", "groups")])
def test_an_endless_id_of_an_item_does_not_lose_the_callback(field: str, name: str) -> None:
    value = {name: [{"id": "x" * 600, "event": "connect"}]}
    document = {"entry": [{"id": "2001", "changes": [{"field": field, "value": value}]}]}
    (change,), _ = read_callback(document, mended=True)

    (job,) = callbacks.jobs_of(change, phone=PHONE, trusted=True, sessions=MemorySessions(SESSION), ids=MemoryIds())

    assert "x" * 600 in cast("FanOut", job).body
    assert cast("FanOut", job).message_id == "x" * 512


def test_a_thousand_items_in_one_list_are_bound_too() -> None:
    value = {"messages": [{"id": "wamid.A"}] * 600 + [{"id": 5}], "statuses": [{"id": "1"}] * 600}

    with pytest.raises(ValidationError):
        read_callback({"entry": [{"changes": [{"value": value}]}]}, mended=True)


def test_the_ids_of_a_callback_are_asked_for_in_one_command_each_time() -> None:
    asked: list[int] = []

    class CountedIds(MemoryIds):
        """MessageIds that count the commands."""

        def all_ours(self, phone: str, theirs: Any) -> dict[str, str]:
            asked.append(len(theirs))
            return super().all_ours(phone, theirs)

        def known_ours(self, phone: str, theirs: Any) -> dict[str, str]:
            asked.append(len(theirs))
            return super().known_ours(phone, theirs)

    ids = CountedIds()
    statuses: list[dict[str, Any]] = [{**STATUS, "id": f"wamid.{n}"} for n in range(100)]
    for status in statuses:
        ids.remember(PHONE, theirs=status["id"], ours=f"ours-{status['id']}")
    change = Change({"messaging_product": "whatsapp", "statuses": statuses}, entry_id="2001")
    memories: dict[str, Any] = {"sessions": MemorySessions(SESSION), "ids": ids}

    rest, _ = callbacks.without_what_waits(change, phone=PHONE, trusted=True, **memories)
    assert rest is not None
    jobs = callbacks.jobs_of(rest, phone=PHONE, trusted=True, **memories)

    assert asked == [100, 100]
    assert [job.message_id for job in jobs] == [f"ours-wamid.{n}" for n in range(100)]


# --- while Redis is away: nobody knows whose ids, files and numbers these are ---


PICTURE = {"from": CONTACT, "id": "wamid.I", "timestamp": "1", "type": "image", "image": {"id": "77"}}
OF_METAS = {"messaging_product": "whatsapp", "metadata": {"display_phone_number": PHONE, "phone_number_id": "1001"}}


@pytest.mark.parametrize("items", [{"statuses": [STATUS]}, {"messages": [PICTURE]}], ids=["status", "picture"])
def test_field_report_77_a_callback_waits_whole_while_its_session_cannot_be_read(items: dict[str, Any]) -> None:
    ids, sessions = MemoryIds(), MemorySessions(SESSION)
    ids.remember(PHONE, theirs="wamid.M1", ours="wamid.OURS")
    sessions.away = True
    change = Change({**OF_METAS, **items}, entry_id="2001")

    rest, (job,) = callbacks.without_what_waits(change, phone=PHONE, trusted=True, sessions=sessions, ids=ids)
    known: Any = Directory()
    with pytest.raises(Postponed):
        callbacks.receive(job, directory=known, sessions=sessions, ids=ids)
    sessions.away = False
    (event,) = callbacks.receive(job, directory=known, sessions=sessions, ids=ids)

    assert rest is None
    assert (type(event), event.message_id) in ((FanOut, "wamid.OURS"), (SaveMedia, "wamid.I"))


@pytest.mark.parametrize(("age_ms", "wait_ms"), [(0, 2_000), (16_000, 8_000), (3_600_000, 60_000)])
def test_field_report_77_a_status_waits_for_redis_however_long_it_is_away(age_ms: int, wait_ms: int) -> None:
    ids, job = MemoryIds(), waiting(age_ms=age_ms)
    ids.remember(PHONE, theirs="wamid.M1", ours="wamid.OURS")
    ids.away = True

    with pytest.raises(Postponed) as caught:
        run(job, ids)
    ids.away = False
    (event,) = run(job, ids)

    assert abs(caught.value.after_ms - wait_ms) < 1_000
    assert event.message_id == "wamid.OURS"


def test_field_report_77_a_status_that_comes_while_redis_is_away_is_taken_and_waits() -> None:
    ids = MemoryIds()
    ids.away = True
    change = Change({**OF_METAS, "messages": [PICTURE], "statuses": [STATUS]}, entry_id="2001")

    rest, (job,) = callbacks.without_what_waits(
        change, phone=PHONE, trusted=True, sessions=MemorySessions(SESSION), ids=ids
    )

    assert rest is not None
    assert (rest.value["messages"], rest.value["statuses"], job.message_id) == ([PICTURE], [], "wamid.M1")


# --- beside a change stands when Meta made it: clients fail without it in events of an account ---


@pytest.mark.parametrize(
    ("written", "kept"),
    [(1795600000, 1795600000), ("1795600000", 1795600000), ("soon", None), (-1, None), (True, None)],
)
@pytest.mark.parametrize("beside", [[], ["no change"]], ids=["good", "odd beside"])
def test_when_meta_made_an_event_of_an_account_goes_on_with_it(
    beside: list[Any], written: object, kept: object
) -> None:
    approved = {"field": "message_template_status_update", "value": {"event": "APPROVED"}}
    document = {"entry": [{"id": "2001", "time": written, "changes": [approved, *beside]}]}

    (change,), _ = read_callback(document, mended=True)
    memories: dict[str, Any] = {"sessions": MemorySessions(SESSION), "ids": MemoryIds()}
    (event,) = callbacks.jobs_of(change, phone=PHONE, trusted=True, **memories)
    (again,) = run(callbacks.job_to_place(change), directory=Directory(n2001=PHONE))

    assert [json.loads(job.body)["entry"][0].get("time") for job in (event, again)] == [kept, kept]
    assert json.loads(event.body)["entry"][0]["id"] == "2001"


@pytest.mark.parametrize(("times", "events"), [((1795600000, 1795690000), 2), ((1795600000, 1795600000), 1)])
def test_the_same_event_of_an_account_at_another_time_is_another_one(times: tuple[int, int], events: int) -> None:
    paused = {"event": "PAUSED", "message_template_id": 1, "message_template_name": "x"}
    memories: dict[str, Any] = {"sessions": MemorySessions(SESSION), "ids": MemoryIds()}

    ids = {
        job.id
        for made in times
        for job in callbacks.jobs_of(
            Change(paused, field="message_template_status_update", entry_id="2001", entry_time=made),
            phone=PHONE, trusted=True, **memories,
        )
    }  # fmt: skip

    assert len(ids) == events


def test_a_message_that_is_told_at_another_time_is_the_same_one() -> None:
    message = {"from": CONTACT, "id": "wamid.B", "timestamp": "1", "type": "text", "text": {"body": "oi"}}
    memories: dict[str, Any] = {"sessions": MemorySessions(SESSION), "ids": MemoryIds()}

    jobs = [
        callbacks.jobs_of(Change({"messages": [message]}, entry_time=made), phone=PHONE, trusted=True, **memories)
        for made in (1795600000, 1795690000)
    ]

    assert jobs[0][0].id == jobs[1][0].id


@pytest.mark.parametrize(
    ("trusted", "own_secret", "expected"), [(True, "", "5511970000002"), (True, "own", PHONE), (False, "", PHONE)]
)
def test_what_waited_at_the_address_of_one_number_reaches_the_one_that_it_names(
    trusted: bool, own_secret: str, expected: str
) -> None:
    other = make_session(provider="forwarder", webhook_forward={"phoneNumberId": "1002", "appSecret": own_secret})
    other = other.model_copy(update={"phone": "5511970000002"})
    message = {"from": CONTACT, "id": "wamid.B", "timestamp": "1", "type": "text", "text": {"body": "oi"}}
    change = Change({"metadata": {"phone_number_id": "1002"}, "messages": [message]})
    job = callbacks.job_at(change, phone=PHONE).model_copy(update={"trusted": trusted})
    known: Any = Directory(n1002="5511970000002")

    (event,) = callbacks.receive(job, directory=known, sessions=MemorySessions(SESSION, other), ids=MemoryIds())

    assert event.phone == expected


OLD_FORM = "554988887777"
"""How Meta knows a mobile of Brazil that is older than the ninth digit."""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", {"messages": [{"id": "1", "from": OLD_FORM, "type": "text", "text": {"body": "oi"}}]}),
        ("messages", {"messages": [{"id": "1", "from": int(OLD_FORM), "type": "text", "text": {"body": "oi"}}]}),
        ("messages", {"messages": [{"id": "1", "from": "5521977776666", "type": "text",
                                    "context": {"from": OLD_FORM, "id": "2"}}]}),
        ("messages", {"messages": [{"id": "1", "from": OLD_FORM, "type": "system", "system": {"wa_id": OLD_FORM}}]}),
        ("messages", {"messages": [{"id": "1", "from": OLD_FORM, "type": "system",
                                    "system": {"customer": OLD_FORM, "new_wa_id": OLD_FORM}}]}),
        ("messages", {"statuses": [{**STATUS, "recipient_id": OLD_FORM}]}),
        ("messages", {"statuses": [{**STATUS, "recipient_id": "Y2FwaV9ncm91cDox", "recipient_type": "group",
                                    "recipient_participant_id": OLD_FORM}]}),
        ("smb_message_echoes", {"message_echoes": [{"id": "1", "from": PHONE, "to": OLD_FORM, "type": "text"}]}),
        ("calls", {"calls": [{"id": "1", "from": OLD_FORM, "to": PHONE, "event": "connect"}]}),
        ("user_preferences", {"user_preferences": [{"wa_id": OLD_FORM, "value": "stop"}]}),
        ("smb_app_state_sync", {"state_sync": [{"type": "contact", "contact": {"phone_number": OLD_FORM}}]}),
        ("history", {"history": [{"threads": [{"id": OLD_FORM, "messages": [{"id": "1", "from": OLD_FORM}]}]}]}),
    ],
)  # fmt: skip
def test_contacts_have_the_ninth_digit_wherever_a_callback_names_them(field: str, value: dict[str, Any]) -> None:
    contacts = [{"profile": {"name": "Ana"}, "wa_id": OLD_FORM}]

    (job,) = callbacks.jobs_of(
        Change({"contacts": contacts, **value}, field=field),
        phone=PHONE, trusted=True, sessions=MemorySessions(SESSION), ids=MemoryIds(),
    )  # fmt: skip

    assert CONTACT in job.body
    assert OLD_FORM not in job.body


def test_a_status_that_waited_beside_a_message_names_its_contact_as_the_message_does() -> None:
    contacts = [{"profile": {"name": "Ana"}, "wa_id": OLD_FORM}]
    status = {**STATUS, "recipient_id": OLD_FORM}
    change = Change({**OF_METAS, "contacts": contacts, "messages": [PICTURE], "statuses": [status]}, entry_id="2001")
    memories: dict[str, Any] = {"sessions": MemorySessions(SESSION), "ids": MemoryIds()}

    _, (waiting,) = callbacks.without_what_waits(change, phone=PHONE, trusted=True, **memories)
    memories["ids"].remember(PHONE, theirs=status["id"], ours="wamid.OURS")
    (job,) = run(waiting, memories["ids"])

    assert OLD_FORM not in job.body
    assert json.loads(job.body)["entry"][0]["changes"][0]["value"]["contacts"][0]["user_id"] == CONTACT


def test_the_number_itself_is_named_as_meta_shows_it() -> None:
    own = "551188880000"
    echo = {"id": "1", "from": own, "to": CONTACT, "type": "text"}
    change = Change({"metadata": {"display_phone_number": own, "phone_number_id": "1001"}, "message_echoes": [echo]})
    session = SESSION.model_copy(update={"phone": "5511988880000"})

    (job,) = callbacks.jobs_of(
        change, phone=session.phone, trusted=True, sessions=MemorySessions(session), ids=MemoryIds()
    )

    value = json.loads(job.body)["entry"][0]["changes"][0]["value"]
    assert value["message_echoes"][0]["from"] == value["metadata"]["display_phone_number"] == own
