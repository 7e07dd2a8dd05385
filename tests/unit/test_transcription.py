"""Received audios as texts: first the audio, then its words, once each, whatever the services do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from celery.exceptions import Retry

from tests.compatibility.census import GROUPS
from tests.support.fakes import (
    CONTACT,
    PHONE,
    CallbackRecorder,
    MemoryConnections,
    MemoryMediaIndex,
    MemoryPublisher,
    MemorySessions,
    make_event,
    make_fan_out,
    make_session,
    make_webhook,
)
from tests.support.voice_server import KEY, Answered, VoiceServer, error_body
from tests.support.worker import make_uno, run
from unoapi.errors import StoreUnavailable, UnoError
from unoapi.media.folder import FolderMediaStore
from unoapi.models.attempts import History
from unoapi.models.jobs import DeliverWebhook, FanOut, ReportFailure, Transcribe, delivery_id, now_ms
from unoapi.models.session import Session
from unoapi.models.trace import TraceEntry
from unoapi.models.voice import OperatorAccounts, VoiceAccount, accounts_of
from unoapi.services.media import save
from unoapi.services.transcription import TRANSCRIBED, text_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unoapi.bootstrap import Uno

OGG = b"OggS" + bytes(16_000)
"""Ten seconds, as far as anybody can say: see `lengths.py`."""
WANTS = make_webhook(id="crm", sendTranscribeAudio=True)
PLAIN = make_webhook(id="bot")
CALLBACKS = {"STATUS_FAILED_WEBHOOK_URL": "http://operator.test/failed"}


@pytest.fixture
def server() -> Iterator[VoiceServer]:
    with VoiceServer() as running:
        yield running


def make(tmp_path: Path, server: VoiceServer | None, *webhooks: Any, session: Any = None, **settings: str) -> Uno:
    """The parts of a worker that asks the stand-in, with an audio of ten seconds that was received."""
    own = {"OPENAI_API_KEY": KEY, "OPENAI_API_BASE_URL": server.url} if server else {}
    uno = make_uno(
        session or make_session(*(webhooks or (WANTS, PLAIN))),
        settings={**CALLBACKS, **own, **settings},
        media_store=FolderMediaStore(tmp_path / "files"),
        media_index=MemoryMediaIndex(),
        callback_client=CallbackRecorder(),
    )
    save(PHONE, [OGG], mime_type="audio/ogg", files=uno.media_store, index=uno.media_index, media_id="31410001")
    return uno


def audio(media_id: str = "31410001", **fields: Any) -> FanOut:
    message = {"id": "wamid.A", "type": "audio", "audio": {"id": media_id, "mime_type": "audio/ogg", "voice": True}}
    body: dict[str, Any] = {**message, **fields}
    body.pop("text", None)
    event = make_event(**body)
    return make_fan_out(event, webhook_ids=["crm", "bot"])


def queue(uno: Uno, name: str) -> list[Any]:
    return cast("MemoryPublisher", uno.publisher).jobs(f"unoapi.{name}")


def wait_for(uno: Uno, seconds: int) -> list[Any]:
    """What waits in a bucket."""
    number = uno.topology.bucket(seconds * 1000)
    return cast("MemoryPublisher", uno.publisher).jobs(uno.topology.bucket_queue(number))


def transcription(uno: Uno, event: FanOut | None = None) -> Transcribe:
    """The job that follows from an audio; its deliveries leave the queue."""
    run(uno, event or audio())
    (job,) = queue(uno, "transcribe")
    queue(uno, "outgoing")
    return cast("Transcribe", job)


def delivered(uno: Uno, job: Transcribe) -> None:
    """The audio has come to its webhooks."""
    for webhook in job.webhook_ids:
        uno.deliveries.finish(delivery_id(job.event_id, webhook), TraceEntry.of(job, "delivered"))


def message_in(event: FanOut) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(event.body)["entry"][0]["changes"][0]["value"]["messages"][0])


def test_the_audio_goes_at_once_and_is_written_down_for_those_who_want_it(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server)

    run(uno, audio())

    deliveries = [job for job in queue(uno, "outgoing") if isinstance(job, DeliverWebhook)]
    assert [(job.webhook_id, job.awaited) for job in deliveries] == [("crm", True), ("bot", False)]
    assert [job.webhook_ids for job in queue(uno, "transcribe")] == [("crm",)]


@pytest.mark.parametrize(
    "event",
    [
        make_fan_out(webhook_ids=["crm", "bot"]),
        audio(type="image", image={"id": "31410001"}),
        audio(audio={"mime_type": "audio/ogg"}),
        audio(audio="x"),
    ],
    ids=["text", "image", "no file", "odd"],
)
def test_nothing_else_is_written_down(tmp_path: Path, server: VoiceServer, event: FanOut) -> None:
    uno = make(tmp_path, server)

    run(uno, event)

    assert queue(uno, "transcribe") == []
    assert not any(job.awaited for job in queue(uno, "outgoing"))


def test_a_webhook_that_does_not_get_the_audio_gets_no_text(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server, make_webhook(id="crm", sendTranscribeAudio=True, sendIncomingMessages=False), PLAIN)

    run(uno, audio())

    assert queue(uno, "transcribe") == []


def test_the_text_answers_to_the_audio_a_second_later(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server)
    job = transcription(uno, audio(group_id="1@g.us", context={"id": "wamid.before"}))
    delivered(uno, job)

    run(uno, job)

    (text,) = queue(uno, "outgoing")
    message = message_in(text)
    assert (text.webhook_ids, text.kind, text.message_id) == (("crm",), "message", message["id"])
    assert message["id"].startswith("UNO.STT.")
    assert message == {
        "from": CONTACT, "group_id": "1@g.us", "id": message["id"], "timestamp": "1767225601", "type": "text",
        "text": {"body": "hello, this is Maria"}, "context": {"message_id": "wamid.A", "id": "wamid.A"},
    }  # fmt: skip
    assert json.loads(text.body)["entry"][0]["changes"][0]["value"]["contacts"][0]["profile"]["name"] == "Maria"


def test_what_an_own_message_says_is_an_echo_like_its_audio() -> None:
    document = json.loads(audio().body)
    value = document["entry"][0]["changes"][0]["value"]
    value["message_echoes"] = value.pop("messages")
    job = Transcribe(
        id="1", phone=PHONE, message_id="wamid.A", event_id="e", webhook_ids=("crm",), body=json.dumps(document),
        text="hello",
    )  # fmt: skip

    changed = json.loads(text_event(job).body)["entry"][0]["changes"][0]["value"]

    assert (changed["message_echoes"][0]["text"], "messages" in changed) == ({"body": "hello"}, False)


def test_the_words_wait_until_the_audio_was_delivered_and_are_paid_once(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server)
    job = transcription(uno)

    run(uno, job)

    (waiting,) = wait_for(uno, 2)
    assert (waiting.text, queue(uno, "outgoing")) == ("hello, this is Maria", [])
    with pytest.raises(Retry):
        run(uno, waiting)
    delivered(uno, waiting)
    run(uno, waiting)
    assert len(queue(uno, "outgoing")) == 1
    assert len(server.asked) == 1


def test_a_webhook_that_is_down_holds_up_no_other_ones_text(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server, WANTS, make_webhook(id="bot", sendTranscribeAudio=True))
    job = transcription(uno)
    uno.deliveries.finish(delivery_id(job.event_id, "bot"), TraceEntry.of(job, "delivered"))

    run(uno, job)

    assert [text.webhook_ids for text in queue(uno, "outgoing")] == [("bot",)]
    assert [waiting.webhook_ids for waiting in wait_for(uno, 2)] == [("crm",)]


def test_the_words_do_not_wait_for_ever(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server)
    job = transcription(uno).model_copy(update={"text": "hello", "accepted_at_ms": now_ms() - 3_700_000})

    run(uno, job)

    assert len(queue(uno, "outgoing")) == 1


def test_the_words_do_not_wait_for_redis(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server)
    job = transcription(uno)
    cast("Any", uno.deliveries).away = True

    run(uno, job)

    assert len(queue(uno, "outgoing")) == 1


def test_a_copy_of_the_job_makes_the_same_event_though_other_words_are_heard(
    tmp_path: Path, server: VoiceServer
) -> None:
    uno = make(tmp_path, server)
    job = transcription(uno)
    delivered(uno, job)

    run(uno, job)
    server.heard = "hello, this is Mary"
    run(uno, job)

    first, second = queue(uno, "outgoing")
    assert (first.id, first.message_id) == (second.id, second.message_id)


def test_a_copy_after_the_text_was_delivered_costs_nothing(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server)
    job = transcription(uno)
    text = text_event(job)
    uno.deliveries.finish(delivery_id(text.id, "crm"), TraceEntry.of(job, "delivered"))

    run(uno, job)

    assert (server.asked, queue(uno, "outgoing")) == ([], [])


def test_answers_and_marks_that_name_the_text_mean_the_audio(tmp_path: Path, server: VoiceServer) -> None:
    uno = replace(make(tmp_path, server), connections=MemoryConnections())
    uno.connections.remember_key(PHONE, "wamid.A", chat=f"{CONTACT}@s.whatsapp.net")
    job = transcription(uno)
    delivered(uno, job)

    run(uno, job)

    (text,) = queue(uno, "outgoing")
    key = uno.connections.key(PHONE, text.message_id)
    assert key is not None
    assert (key.id, key.chat) == ("wamid.A", f"{CONTACT}@s.whatsapp.net")
    assert uno.message_ids.theirs(PHONE, text.message_id) == "wamid.A"


# --- what goes wrong ---


def test_a_pause_that_the_service_asks_for_costs_no_attempt(tmp_path: Path) -> None:
    slow_down = Answered(429, error_body("slow down"), headers=(("Retry-After", "7"),))
    with VoiceServer(slow_down) as server:
        uno = make(tmp_path, server)
        job = transcription(uno)
        with pytest.raises(Retry) as retry:
            run(uno, job)

    assert 7 <= cast("float", retry.value.when) < 8
    assert cast("Any", uno.usage).amounts[PHONE, TRANSCRIBED] == 0


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_service_that_fails_is_asked_again_and_then_it_is_reported_once(tmp_path: Path, status: int) -> None:
    with VoiceServer(*[Answered(status, error_body("no"))] * 6) as server:
        uno = make(tmp_path, server)
        job = transcription(uno)
        for retries in range(5):
            with pytest.raises(Retry):
                run(uno, job, retries=retries)
        with pytest.raises(UnoError, match="voice_failed"):
            run(uno, job, retries=5)

    letter = cast("MemoryPublisher", uno.publisher).take("unoapi.dead")
    (report,) = queue(uno, "webhook.status.failed")
    told = json.loads(report.body)
    assert letter.headers["unoapi-reason"] == "voice_failed"
    assert (told["type"], told["message_id"], told["webhook"]) == ("transcription.failed", "wamid.A", "crm")
    assert isinstance(report, ReportFailure)
    assert not report.notify_on_failure
    assert cast("Any", uno.usage).amounts[PHONE, TRANSCRIBED] == 0


def test_a_refusal_ends_it_at_once_without_the_key(tmp_path: Path) -> None:
    wrong = Answered(401, error_body(f"Incorrect API key provided: {KEY}", code="invalid_api_key"))
    with VoiceServer(wrong) as server:
        uno = make(tmp_path, server)
        job = transcription(uno)
        with pytest.raises(UnoError, match="voice_refused"):
            run(uno, job)

    (report,) = queue(uno, "webhook.status.failed")
    letter = cast("MemoryPublisher", uno.publisher).take("unoapi.dead")
    assert "invalid_api_key" in report.body
    assert KEY not in f"{report.body}{letter.body!r}{letter.headers}"


def test_a_file_that_is_gone_ends_it(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server)
    job = transcription(uno, audio("31410099"))

    with pytest.raises(UnoError, match="media_missing"):
        run(uno, job)


def test_another_numbers_file_is_not_written_down(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server)
    save("5521977776666", [OGG], mime_type="audio/ogg", files=uno.media_store, index=uno.media_index, media_id="314177")
    job = transcription(uno, audio("314177"))

    with pytest.raises(UnoError, match="media_missing"):
        run(uno, job)

    assert server.asked == []


def skipped(uno: Uno, job: Transcribe) -> str:
    """Run a job that ends without words and without a dead letter; what the trace says."""
    run(uno, job)
    assert queue(uno, "outgoing") == queue(uno, "webhook.status.failed") == []
    assert cast("MemoryPublisher", uno.publisher).depth("unoapi.dead") == 0
    return uno.traces.read(PHONE, "wamid.A")[-1].detail


def test_without_a_service_the_trace_says_what_to_set(tmp_path: Path) -> None:
    uno = make(tmp_path, None)

    assert "OPENAI_API_KEY" in skipped(uno, transcription(uno))


@pytest.mark.parametrize("webhooks", [(), (make_webhook(id="crm"),)], ids=["removed", "switched off"])
def test_what_no_webhook_wants_any_more_costs_nothing(
    tmp_path: Path, server: VoiceServer, webhooks: tuple[Any, ...]
) -> None:
    uno = make(tmp_path, server)
    job = transcription(uno)
    cast("MemorySessions", uno.sessions).stored[PHONE] = make_session(webhooks[0] if webhooks else PLAIN)

    assert "no webhook wants" in skipped(uno, job)
    assert server.asked == []


@pytest.mark.parametrize(
    ("setting", "value"), [("UNOAPI_TRANSCRIBE_MAX_SECONDS", "9"), ("UNOAPI_TRANSCRIBE_SECONDS_PER_DAY", "9")]
)
def test_what_is_over_a_limit_is_skipped_and_the_trace_names_it(
    tmp_path: Path, server: VoiceServer, setting: str, value: str
) -> None:
    uno = make(tmp_path, server, **{setting: value})

    assert setting in skipped(uno, transcription(uno))
    assert server.asked == []


def test_silence_is_no_text(tmp_path: Path) -> None:
    with VoiceServer(heard="  \n ") as server:
        uno = make(tmp_path, server)

        assert skipped(uno, transcription(uno)) == "not transcribed: nothing is said in its 10 s"


def test_the_seconds_of_a_day_are_counted(tmp_path: Path, server: VoiceServer) -> None:
    uno = make(tmp_path, server, UNOAPI_TRANSCRIBE_SECONDS_PER_DAY="19")

    run(uno, transcription(uno))
    run(uno, transcription(uno, audio(id="wamid.B")))

    assert len(server.asked) == 1
    assert cast("Any", uno.usage).amounts[PHONE, TRANSCRIBED] == 10


def test_without_redis_it_waits_instead_of_spending_what_nobody_counts(tmp_path: Path, server: VoiceServer) -> None:
    class Away:
        def spend(self, phone: str, kind: str, amount: int, *, most: int) -> bool:  # noqa: ARG002 (the port's)
            raise StoreUnavailable("Redis is away")

    uno = replace(make(tmp_path, server), usage=cast("Any", Away()))

    with pytest.raises(Retry):
        run(uno, transcription(uno), history=History())

    assert server.asked == []


# --- whom it asks ---


def groq_settings(groq: VoiceServer) -> dict[str, str]:
    return {"GROQ_API_KEY": KEY, "GROQ_API_BASE_URL": groq.url}


def test_the_next_service_is_asked_when_one_fails(tmp_path: Path) -> None:
    with VoiceServer(Answered(500)) as openai, VoiceServer(heard="by groq") as groq:
        uno = make(tmp_path, openai, **groq_settings(groq))
        job = transcription(uno)
        delivered(uno, job)

        run(uno, job)

        (text,) = queue(uno, "outgoing")
        assert message_in(text)["text"]["body"] == "by groq"
        assert [asked.fields["model"] for asked in (*openai.asked, *groq.asked)] == ["whisper-1", "whisper-large-v3"]


def test_when_all_fail_the_error_that_may_pass_counts(tmp_path: Path) -> None:
    with VoiceServer(Answered(401)) as openai, VoiceServer(Answered(500)) as groq:
        uno = make(tmp_path, openai, **groq_settings(groq))

        with pytest.raises(Retry):
            run(uno, transcription(uno))


def test_a_local_model_is_asked_last(tmp_path: Path, server: VoiceServer) -> None:
    class Local:
        def transcribe(self, file: Path) -> str:
            return f"{file.stat().st_size} bytes"

    server.script.append(Answered(401))
    uno = replace(make(tmp_path, server), local_whisper=cast("Any", Local()))
    job = transcription(uno)
    delivered(uno, job)

    run(uno, job)

    (text,) = queue(uno, "outgoing")
    assert message_in(text)["text"]["body"] == f"{len(OGG)} bytes"


def operators(name: str, **fields: Any) -> VoiceAccount:
    from pydantic import SecretStr  # noqa: PLC0415 (only here)

    return VoiceAccount(
        name=name, url=f"http://{name}.internal", key=SecretStr("operators-key"), transcribe_model="m1",
        speech_model="s1", voice="v1", trusted=True, **fields,
    )  # fmt: skip


OPERATOR = OperatorAccounts(openai=operators("openai"), groq=operators("groq"))


def session(**fields: Any) -> Session:
    return Session.model_validate({"phone": PHONE, "stored": True, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"openaiBaseUrl": "https://evil.test"},
        {"openaiApiTranscribeModel": "costly", "openaiApiSpeechModel": "costly"},
        {"groqApiBaseUrl": "https://evil.test", "groqApiTranscribeModel": "costly"},
        {"openaiApiKey": "", "openaiBaseUrl": "https://evil.test"},
    ],
    ids=str,
)
def test_without_a_key_of_its_own_a_session_changes_nothing_of_the_operators_account(fields: dict[str, Any]) -> None:
    assert accounts_of(session(**fields), OPERATOR) == [OPERATOR.openai, OPERATOR.groq]


def test_a_session_chooses_the_voice_of_the_operators_account() -> None:
    (first, _) = accounts_of(session(openaiApiSpeechVoice="nova"), OPERATOR)

    assert (first.voice, first.key, first.trusted) == ("nova", OPERATOR.openai and OPERATOR.openai.key, True)


def test_a_key_of_its_own_goes_to_its_own_address_which_is_guarded() -> None:
    own = session(
        openaiApiKey="own", openaiBaseUrl="https://own.test/v1", openaiApiTranscribeModel="m2", groqApiKey="own groq"
    )

    openai, groq = accounts_of(own, OPERATOR)

    assert (openai.url, openai.key.get_secret_value(), openai.transcribe_model) == ("https://own.test/v1", "own", "m2")
    assert (groq.url, groq.key.get_secret_value()) == ("https://api.groq.com/openai/v1", "own groq")
    assert not openai.trusted
    assert not groq.trusted


def test_the_node_versions_transcription_event() -> None:
    (case,) = [case for case in GROUPS["misc"]["cases"] if case["id"] == "transcription_event"]
    given, out = case["in"], case["out"]["message"]
    event = audio(id=given["audio_id"], timestamp=given["audio_timestamp"])
    job = Transcribe(
        id="1", phone=PHONE, message_id=given["audio_id"], event_id="e", webhook_ids=("crm",), body=event.body,
        text=given["text"],
    )  # fmt: skip

    message = message_in(text_event(job))

    assert message.pop("id").startswith("UNO.STT.")
    assert message.pop("from") == CONTACT
    assert message == {name: value for name, value in out.items() if name != "id"}
