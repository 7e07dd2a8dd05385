"""The outbox of a session, and its publisher: no event is lost or left lying after an error of the disk."""

from __future__ import annotations

import sqlite3
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.phones import CHAT
from tests.support.fakes import PHONE, MemoryPublisher
from tests.support.stack import TOPOLOGY, eventually
from unoapi.connector import outbox_publisher
from unoapi.connector.engines.simulated import SimulatedEngine
from unoapi.connector.outbox import Outbox
from unoapi.connector.outbox_publisher import EventSource, OutboxPublisher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KIND, MIB = "kind", 1024 * 1024
EVENTS = "unoapi.incoming.whatsmeow"
REFUSE_DELETES = "CREATE TRIGGER refusing BEFORE DELETE ON spool BEGIN SELECT RAISE(FAIL, 'disk'); END"


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    opened = Outbox(tmp_path / "outbox.db")
    yield opened
    opened.close()


def change_file(tmp_path: Path, statement: str) -> None:
    with sqlite3.connect(tmp_path / "outbox.db") as file:
        file.execute(statement)


def rows_on_disk(tmp_path: Path) -> int:
    """As another process sees them: only what is committed."""
    with sqlite3.connect(tmp_path / "outbox.db") as file:
        return int(file.execute("SELECT count(*) FROM spool").fetchone()[0])


def publisher_of(outbox: Outbox, queues: MemoryPublisher, tmp_path: Path) -> OutboxPublisher:
    return OutboxPublisher(
        outbox=outbox,
        publisher=queues,
        engine=SimulatedEngine(tmp_path / "engine", PHONE),
        source=EventSource(PHONE, "server", "simulated"),
        save_file=lambda *_: {},
    )


def test_events_that_are_left_out_are_not_read(outbox: Outbox) -> None:
    """While files are fetched, each step would read all that wait for one, with everything in them."""
    fetching = frozenset(outbox.append(KIND, bytes(MIB)) for _ in range(20))
    last = outbox.append(KIND, b"last")

    tracemalloc.start()
    rows = outbox.oldest(5, without=fetching)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [row.seq for row in rows] == [last]
    assert peak < MIB


def test_after_a_removal_that_failed_events_are_on_the_disk_again(outbox: Outbox, tmp_path: Path) -> None:
    """A transaction that stayed open would take all later events with it when the process ends."""
    first = outbox.append(KIND, b"first")
    change_file(tmp_path, REFUSE_DELETES)

    with pytest.raises(sqlite3.Error):
        outbox.remove([first])
    outbox.append(KIND, b"second")

    assert rows_on_disk(tmp_path) == len(outbox) == 2


def test_a_result_that_cannot_be_written_is_not_counted(outbox: Outbox, tmp_path: Path) -> None:
    """What was taken back is not in the outbox, and its own error is shown."""
    change_file(tmp_path, "CREATE TRIGGER full BEFORE INSERT ON spool BEGIN SELECT RAISE(ROLLBACK, 'disk'); END")

    with pytest.raises(sqlite3.Error, match="disk"):
        outbox.finish("c-1", {"command_id": "c-1", "status": "sent"})

    assert (len(outbox), outbox.state_of("c-1")) == (0, "")


def test_an_error_of_the_disk_does_not_end_the_publisher(
    outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process would go on, and nobody would hear of any event until it is started again."""
    monkeypatch.setattr(outbox_publisher, "IDLE_S", 0.05)
    queues = MemoryPublisher(TOPOLOGY)
    publisher = publisher_of(outbox, queues, tmp_path)
    change_file(tmp_path, REFUSE_DELETES)
    outbox.append_event("session", {"state": "connected"})
    publisher.start()
    eventually(lambda: queues.depth(EVENTS) == 1, what="the event is published")

    change_file(tmp_path, "DROP TRIGGER refusing")
    outbox.append_event("session", {"state": "disconnected"})

    eventually(lambda: len(outbox) == 0, what="the outbox is empty")
    publisher.stop(5)
    assert queues.depth(EVENTS) == 2


def test_a_message_is_not_lost_for_a_character_that_nobody_can_store(outbox: Outbox, tmp_path: Path) -> None:
    """From the phone's side: it became a dead letter, with the name of a contact as the reason."""
    queues = MemoryPublisher(TOPOLOGY)
    sender = {**CHAT, "push_name": "Maria \ud83d"}
    content = {"kind": "text", "body": "a\0b"}
    outbox.append_event(
        "message", {"id": "3EB0", "chat": CHAT, "sender": sender, "timestamp_ms": 1, "content": content}
    )

    assert publisher_of(outbox, queues, tmp_path).step()

    (job,) = queues.jobs(EVENTS)
    assert (queues.depth("unoapi.dead"), job.event["data"]["content"]["body"]) == (0, "ab")
    assert job.event["data"]["sender"]["push_name"] == "Maria \ufffd"


class SlowFiles(SimulatedEngine):
    """Files come when they are let go."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, PHONE)
        self.go = threading.Event()

    def download(self, descriptor: dict[str, Any]) -> bytes:
        assert self.go.wait(20)
        return super().download(descriptor)


def writes(outbox: Outbox, message_id: str, content: dict[str, Any], *, chat: dict[str, str] = CHAT) -> None:
    data = {"id": message_id, "chat": chat, "sender": chat, "timestamp_ms": 1, "content": content}
    outbox.append_event("message", data)


def test_a_text_after_its_picture_stays_after_it_and_other_chats_go_on(outbox: Outbox, tmp_path: Path) -> None:
    queues, engine = MemoryPublisher(TOPOLOGY), SlowFiles(tmp_path / "engine")
    publisher = OutboxPublisher(
        outbox=outbox, publisher=queues, engine=engine, source=EventSource(PHONE, "server", "simulated"),
        save_file=lambda *_: {},
    )  # fmt: skip
    picture = {"kind": "image", "media": {"state": "pending", "descriptor": {"media_type": "image"}}}
    writes(outbox, "picture", picture)
    writes(outbox, "text", {"kind": "text", "body": "that is it"})
    writes(outbox, "other", {"kind": "text", "body": "oi"}, chat={**CHAT, "jid": "5511988887777@s.whatsapp.net"})
    publisher.start()
    published: list[str] = []

    def arrived(count: int) -> bool:
        published.extend(str(job.message_id) for job in queues.jobs(EVENTS))
        return len(published) == count

    eventually(lambda: arrived(1), what="the other chat's text")
    engine.go.set()
    eventually(lambda: arrived(3), what="the picture and its text")
    publisher.stop(5)

    assert published == ["other", "picture", "text"]


def test_a_file_that_takes_too_long_holds_up_nobody(
    outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_publisher, "ORDER_S", 0.2)
    monkeypatch.setattr(outbox_publisher, "IDLE_S", 0.05)
    queues, engine = MemoryPublisher(TOPOLOGY), SlowFiles(tmp_path / "engine")
    publisher = OutboxPublisher(
        outbox=outbox, publisher=queues, engine=engine, source=EventSource(PHONE, "server", "simulated"),
        save_file=lambda *_: {},
    )  # fmt: skip
    writes(outbox, "film", {"kind": "video", "media": {"state": "pending", "descriptor": {"media_type": "video"}}})
    writes(outbox, "text", {"kind": "text", "body": "that is it"})
    publisher.start()

    eventually(lambda: queues.depth(EVENTS) == 1, what="the text")
    engine.go.set()
    eventually(lambda: queues.depth(EVENTS) == 2, what="the film")
    publisher.stop(5)

    assert [job.message_id for job in queues.jobs(EVENTS)] == ["text", "film"]


@pytest.mark.parametrize(
    ("said", "filename", "known"),
    [
        ("", "", "image/png"),
        ("application/octet-stream", "", "image/png"),
        ("image/webp", "", "image/webp"),
    ],
)
def test_field_report_42_a_received_file_that_names_no_type_has_that_of_its_bytes(
    outbox: Outbox, tmp_path: Path, said: str, filename: str, known: str
) -> None:
    queues = MemoryPublisher(TOPOLOGY)
    saved: list[tuple[str, str]] = []

    def save(_: bytes, mime_type: str, name: str) -> dict[str, Any]:
        saved.append((mime_type, name))
        return {"key": "1"}

    publisher = OutboxPublisher(
        outbox=outbox, publisher=queues, engine=SimulatedEngine(tmp_path / "engine", PHONE),
        source=EventSource(PHONE, "server", "simulated"),
        save_file=save,
    )  # fmt: skip
    media = {"state": "pending", "descriptor": {"media_type": "document"}}
    writes(outbox, "file", {"kind": "document", "mime_type": said, "filename": filename, "media": media})
    publisher.start()

    eventually(lambda: queues.depth(EVENTS) == 1, what="the file")
    publisher.stop(5)

    (job,) = queues.jobs(EVENTS)
    file: Any = job.event["data"]["content"]
    assert (file["mime_type"], file["media"]["key"]) == (known, "1")
    assert saved == [(known, filename)]


class SoundEngine(SimulatedEngine):
    """Each file is a sound in an MP4."""

    def download(self, descriptor: dict[str, Any]) -> bytes:  # noqa: ARG002 (the interface)
        return b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isom"


def test_field_report_42_a_received_sound_in_a_container_of_films_is_a_sound(outbox: Outbox, tmp_path: Path) -> None:
    queues = MemoryPublisher(TOPOLOGY)
    publisher = OutboxPublisher(
        outbox=outbox, publisher=queues, engine=SoundEngine(tmp_path / "engine", PHONE),
        source=EventSource(PHONE, "server", "simulated"), save_file=lambda *_: {"key": "1"},
    )  # fmt: skip
    media = {"state": "pending", "descriptor": {"media_type": "audio"}}
    writes(outbox, "file", {"kind": "audio", "mime_type": "", "media": media})
    publisher.start()

    eventually(lambda: queues.depth(EVENTS) == 1, what="the file")
    publisher.stop(5)

    (job,) = queues.jobs(EVENTS)
    file: Any = job.event["data"]["content"]
    assert file["mime_type"] == "audio/mp4"
