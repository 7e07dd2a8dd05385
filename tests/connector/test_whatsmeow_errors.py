"""What whatsmeow's errors mean for a message: whether it may have left, and whether a second try helps."""

from __future__ import annotations

import pytest

from unoapi.connector.engines.whatsmeow_errors import classify_error
from unoapi.errors import EngineUnavailable, NewChatsRefused, SendRefused


@pytest.mark.parametrize(
    "text",
    [
        "websocket not connected",
        "failed to get device list: info query returned status 429: rate-overlimit",
        "failed to get group members: info query timed out",
        "no signal session established with 5511999990000:3",
        "failed to encrypt group message to send 3EB0 to 1@g.us: x",
        "failed to create sender key distribution message to send 3EB0 to 1@g.us: x",
        "server returned error 503",
        "server returned error 429",
        "failed to get device list: context deadline exceeded",
    ],
)
def test_before_anything_left_a_message_is_tried_again(text: str) -> None:
    assert isinstance(classify_error(Exception(text)), EngineUnavailable)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no LID found for 5511999990000@s.whatsapp.net from server", 131026),
        ("failed to get group members: info query returned status 403: forbidden", 131026),
        ("failed to get group members: info query returned status 404: item-not-found", 131026),
        ("server returned error 403", 131026),
        ("server returned error 404", 131026),
        ("server returned error 406", 131000),
    ],
)
def test_what_no_second_try_changes_is_refused_with_its_code(text: str, code: int) -> None:
    error = classify_error(Exception(text))

    assert isinstance(error, SendRefused)
    assert error.code == code


def test_the_refusal_of_new_chats_is_an_error_of_its_own() -> None:
    assert isinstance(classify_error(Exception("server returned error 463")), NewChatsRefused)


@pytest.mark.parametrize("text", ["timed out waiting for message send response", "failed to send message node: broken"])
def test_after_the_frame_was_written_nobody_knows(text: str) -> None:
    error = Exception(text)

    assert classify_error(error) is error
