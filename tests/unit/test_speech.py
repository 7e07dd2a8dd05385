"""Texts that are sent as voice notes: at the door, in the worker, and what becomes of each failure."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from celery.exceptions import Retry

from tests.support.api import memory_api
from tests.support.fakes import CONTACT, PHONE, MemoryMediaIndex, MemoryPublisher, MemorySessions, make_session
from tests.support.voice_server import KEY, SPEECH, Answered, VoiceServer, error_body
from tests.support.worker import make_uno, run
from unoapi.errors import UnoError
from unoapi.media.folder import FolderMediaStore
from unoapi.models.jobs import FireTimer, Job, PrepareMessage, SendMessage, Speak, now_ms
from unoapi.models.timers import TimerState
from unoapi.services.speech import SPOKEN
from unoapi.services.timers import fire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.bootstrap import Uno

TEXT = "Olá, seu pedido saiu."


@pytest.fixture
def server() -> Iterator[VoiceServer]:
    with VoiceServer() as running:
        yield running


def make(tmp_path: Path, server: VoiceServer | None, *, provider: str = "sandbox", **settings: str) -> Uno:
    own = {"OPENAI_API_KEY": KEY, "OPENAI_API_BASE_URL": server.url} if server else {}
    return make_uno(
        make_session(provider=provider),
        settings={**own, **settings},
        media_store=FolderMediaStore(tmp_path / "files"),
        media_index=MemoryMediaIndex(),
    )


def speech(message_id: str = "wamid.S", **fields: Any) -> Speak:
    body = {"messaging_product": "whatsapp", "to": CONTACT, "type": "speech", "speech": {"body": TEXT}, **fields}
    accepted = {"accepted_at_ms": fields.pop("accepted_at_ms")} if "accepted_at_ms" in fields else {}
    body.pop("accepted_at_ms", None)
    return Speak(id=message_id, phone=PHONE, message_id=message_id, body=json.dumps(body), contact=CONTACT, **accepted)


def queue(uno: Uno, name: str) -> list[Any]:
    return cast("MemoryPublisher", uno.publisher).jobs(f"unoapi.{name}")


def failed(uno: Uno, job: Speak) -> dict[str, Any]:
    """Run a job that ends as a failed status; its error."""
    run(uno, job)
    (status,) = queue(uno, "outgoing")
    item = json.loads(status.body)["entry"][0]["changes"][0]["value"]["statuses"][0]
    assert (item["id"], item["status"], item["recipient_id"]) == (job.id, "failed", CONTACT)
    assert cast("MemoryPublisher", uno.publisher).depth("unoapi.dead") == 0
    return cast("dict[str, Any]", item["errors"][0])


# --- at the door ---


def test_a_speech_is_accepted_like_any_message(server: VoiceServer) -> None:
    with memory_api(OPENAI_API_KEY=KEY, OPENAI_API_BASE_URL=server.url) as api:
        api.register([])
        answer = api.post(f"/v15.0/{PHONE}/messages", {"to": CONTACT, "type": "speech", "speech": {"body": TEXT}})

        (job,) = api.queues.jobs("unoapi.speech")
    assert answer.status_code == 200
    assert (job.id, job.contact) == (answer.json()["messages"][0]["id"], CONTACT)
    assert server.asked == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"speech": {"body": ""}}, "speech.body"),
        ({"speech": {"body": "x" * 4097}}, "4096"),
        ({"speech": {"body": TEXT, "voice": "a b"}}, "speech.voice"),
        ({"speech": TEXT}, "speech"),
        ({}, "speech"),
    ],
    ids=["empty", "long", "voice", "text", "missing"],
)
def test_what_is_no_speech_is_refused(body: dict[str, Any], says: str) -> None:
    with memory_api(OPENAI_API_KEY=KEY) as api:
        api.register([])
        answer = api.post(f"/v15.0/{PHONE}/messages", {"to": CONTACT, "type": "speech", **body})

    assert answer.status_code == 400
    assert says in answer.json()["error"]["error_data"]["details"]


def test_without_a_service_the_answer_says_what_to_set() -> None:
    with memory_api() as api:
        api.register([])
        answer = api.post(f"/v15.0/{PHONE}/messages", {"to": CONTACT, "type": "speech", "speech": {"body": TEXT}})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 131051)
    assert "OPENAI_API_KEY" in answer.json()["error"]["error_data"]["details"]


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("openaiBaseUrl", "http://127.0.0.1:6379", 400),
        ("groqApiBaseUrl", "http://169.254.169.254/", 400),
        ("openaiBaseUrl", "https://8.8.8.8/v1", 200),
        ("openaiApiKey", "a\nb", 400),
        ("openaiApiTranscribeModel", "whisper 1\r\n", 400),
        ("openaiApiSpeechVoice", "", 200),
        ("openaiApiKey", "", 200),
        ("groqApiKey", None, 200),
    ],
)
def test_the_account_of_a_session_is_checked_when_it_is_registered(field: str, value: Any, status: int) -> None:
    uno = make_uno()
    checked = MemorySessions(check=lambda session: check(uno, session))
    with memory_api() as api:
        app = type(api)(replace(api.uno, sessions=checked))
        answer = app.post(f"/v15.0/{PHONE}/register", {"provider": "sandbox", field: value})

    assert answer.status_code == status, answer.text
    assert "openaiApiKey" not in answer.text or status == 400


def check(uno: Uno, session: Any) -> None:
    from unoapi.services.sessions import check_addresses  # noqa: PLC0415 (as the real store is made in bootstrap)

    check_addresses(session, refusal=uno.address_guard.refusal)


# --- in the worker ---


@pytest.mark.parametrize(("provider", "kind"), [("sandbox", SendMessage), ("whatsmeow", PrepareMessage)])
def test_a_text_becomes_a_voice_note(tmp_path: Path, server: VoiceServer, provider: str, kind: type[Job]) -> None:
    uno = make(tmp_path, server, provider=provider)

    run(uno, speech(context={"message_id": "wamid.X"}, biz_opaque_callback_data="mine"))

    (job,) = queue(uno, kind.queue)
    document = json.loads(job.body)
    media = uno.media_index.find(document["audio"]["id"])
    assert (type(job), job.id, job.contact) == (kind, "wamid.S", CONTACT)
    assert document == {
        "messaging_product": "whatsapp", "to": CONTACT, "type": "audio", "context": {"message_id": "wamid.X"},
        "biz_opaque_callback_data": "mine", "audio": {"id": media.id, "voice": True},
    }  # fmt: skip
    assert b"".join(uno.media_store.read(media.key)) == SPEECH
    assert (media.mime_type, media.id.isdigit(), server.asked[0].fields["input"]) == (
        "audio/ogg; codecs=opus", True, TEXT
    )  # fmt: skip


def test_a_repeated_job_finds_its_file_again_and_pays_once(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server)

    run(uno, speech())
    run(uno, speech(), redelivered=True)

    first, again = queue(uno, "incoming")
    assert (first.body, again.claimed_only) == (again.body, True)
    assert len(server.asked) == 1
    assert cast("Any", uno.usage).amounts[PHONE, SPOKEN] == len(TEXT)


def test_the_message_may_name_its_voice(tmp_path: Path, server: VoiceServer) -> None:
    run(make(tmp_path, server), speech(speech={"body": TEXT, "voice": "nova"}))

    assert server.asked[0].fields["voice"] == "nova"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answered(401, error_body(f"Incorrect API key provided: {KEY}", code="invalid_api_key")), "invalid_api_key"),
        (Answered(400, error_body("voice")), "HTTP 400"),
        (Answered(429, headers=(("Retry-After", "3600"),)), "Retry-After"),
    ],
    ids=["key", "voice", "long pause"],
)
def test_a_refusal_is_a_failed_status_at_once(tmp_path: Path, answer: Answered, error: str) -> None:
    with VoiceServer(answer) as server:
        uno = make(tmp_path, server)
        told = failed(uno, speech())

    assert told["title"] == "Speech not made"
    assert error in told["error_data"]["details"]
    assert KEY not in json.dumps(told)
    assert cast("Any", uno.usage).amounts[PHONE, SPOKEN] == 0


def test_the_characters_of_a_day_are_bounded(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server, UNOAPI_SPEECH_CHARACTERS_PER_DAY=str(len(TEXT)))
    run(uno, speech())

    told = failed(uno, speech("wamid.T"))

    assert told["code"] == 130429
    assert "UNOAPI_SPEECH_CHARACTERS_PER_DAY" in told["error_data"]["details"]


def test_a_service_that_was_taken_away_is_a_failed_status(tmp_path: Path) -> None:
    assert "OPENAI_API_KEY" in failed(make(tmp_path, None), speech())["error_data"]["details"]


def test_files_beyond_the_quota_are_a_failed_status(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server, UNOAPI_SESSION_MEDIA_MAX="1")
    run(uno, speech())

    assert "UNOAPI_SESSION_MEDIA_MAX" in failed(uno, speech("wamid.T"))["error_data"]["details"]


@pytest.mark.parametrize(
    "answer",
    [Answered(500), Answered(429), Answered(200, b"<html>", mime_type="text/html"), Answered(200, b"{}")],
    ids=["500", "429", "page", "json"],
)
def test_what_may_pass_is_tried_again_and_then_a_dead_letter_with_a_failed_status(
    tmp_path: Path, answer: Answered
) -> None:
    with VoiceServer(answer, answer) as server:
        uno = make(tmp_path, server)
        with pytest.raises(Retry):
            run(uno, speech())
        with pytest.raises(UnoError, match="voice_failed"):
            run(uno, speech(), retries=5)

    (status,) = queue(uno, "outgoing")
    assert '"failed"' in status.body
    assert cast("MemoryPublisher", uno.publisher).depth("unoapi.dead") == 1
    assert cast("Any", uno.usage).amounts[PHONE, SPOKEN] == 0


def test_a_pause_that_the_service_asks_for_is_kept(tmp_path: Path) -> None:
    with VoiceServer(Answered(429, headers=(("Retry-After", "7"),))) as server, pytest.raises(Retry) as retry:
        run(make(tmp_path, server), speech())

    assert 7 <= cast("float", retry.value.when) < 8


def test_what_waited_too_long_is_not_said(tmp_path: Path, server: VoiceServer) -> None:
    with pytest.raises(UnoError, match="too_old"):
        run(make(tmp_path, server), speech(accepted_at_ms=now_ms() - 3_600_000))

    assert server.asked == []


def test_it_waits_for_redis(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server)
    cast("MemoryMediaIndex", uno.media_index).away = True

    with pytest.raises(Retry):
        run(uno, speech())

    assert server.asked == []


def test_a_timer_may_speak() -> None:
    class Timers:
        def state(self, phone: str, contact: str) -> TimerState:  # noqa: ARG002 (the port's)
            return TimerState(last_ms=1, direction="incoming")

        def waits(self, phone: str, timer_id: str, *, until_ms: int) -> None:
            """Not asked for here."""

    step = {"timeout": 1, "message": {"body": TEXT}, "type": "speech"}
    job = FireTimer(id="1", phone=PHONE, to=CONTACT, accepted_at_ms=1, step=step)

    (envelope,) = fire(job, timers=cast("Any", Timers()), began_ms=0, for_phone=False, voice=True, always_voice=False)

    assert type(envelope.job) is Speak
    assert not isinstance(envelope.job, SendMessage)
