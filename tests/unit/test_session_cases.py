"""The Node version's cases about sessions, filters, templates and timers; a suggestion is what we do instead."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compatibility.census import GROUPS, cases
from tests.support.constants import PHONE
from tests.support.fakes import make_webhook
from unoapi.errors import RequestError
from unoapi.models.cloud_api.event_content import EventContent
from unoapi.models.cloud_api.events import serialise
from unoapi.models.cloud_api.messages import Template
from unoapi.models.jobs import FireTimer
from unoapi.models.session import computed_waba_id
from unoapi.models.timers import TimerState
from unoapi.services.filters import mute_s, refusal
from unoapi.services.sessions import merge
from unoapi.services.template_binding import bind
from unoapi.services.timers import fire

FLAGS = (
    "sendGroupMessages", "sendNewsletterMessages", "sendOutgoingMessages", "sendUpdateMessages", "sendIncomingMessages",
)  # fmt: skip
INSTEAD = {
    "tpl_static_without_components": {"text": "No variables"},
    "tpl_dollar_sign_value": {"text": "US$& 5"},
    "tpl_only_body_given": {"$error": True},  # decided: as Meta does, no contact reads a placeholder
    "tpl_missing_value_keeps_placeholder": {"$error": True},
    "cs_stored_wins": {"webhooks": [{"id": "default", "url": "https://new", "token": "t"}]},
    "cs_new_id_dropped": {"webhooks": [{"id": "default", "url": "https://old"}, {"id": "other", "url": "https://new"}]},
    "cs_webhook_without_id": {"webhooks": [{"id": "default", "url": "https://new"}]},  # as in cs_stored_wins
}


def expected(case: dict[str, Any]) -> Any:
    return INSTEAD.get(case["id"], case.get("out", case.get("out_upstream")))


@cases("template_bind")
def test_a_template_is_bound(case: dict[str, Any]) -> None:
    stored, asked, out = case["in"]["stored"], Template.model_validate(case["in"]), expected(case)
    if out.get("$error"):
        with pytest.raises(RequestError):
            bind(stored, asked)
    else:
        assert bind(stored, asked)["text"]["body"] == out["text"]


@cases("config_save")
def test_a_configuration_is_merged(case: dict[str, Any]) -> None:
    assert merge(case["in"]["stored"] or {}, case["in"]["body"]) == expected(case)


@cases("fork_waba_id")
def test_an_account_without_an_id_gets_the_same_one(case: dict[str, Any]) -> None:
    assert computed_waba_id(case["in"]["phone"], case["in"]["phone_number_id"]) == expected(case)


@cases("webhook_filter")
def test_a_webhook_gets_what_its_flags_say(case: dict[str, Any]) -> None:
    body = GROUPS["webhook_filter"]["events"][case["in"]["event"]]
    webhook = make_webhook(**{**dict.fromkeys(FLAGS, True), **case["in"]["webhook"]})
    kind = "delivered" if body["entry"][0]["changes"][0]["value"]["statuses"] else "message"
    content = EventContent.of(serialise(body), kind=kind)
    traits = content.traits(PHONE)
    out = expected(case)

    assert (not refusal(webhook, traits, blocked=case["in"].get("blacklisted", False))) is out["post"]
    added = out.get("blacklist_add")
    assert mute_s(webhook, traits) == (added["ttl"] if added else 0)
    if added:
        assert content.counterparty(PHONE).keys == (added["to"],)


@cases("timer_job")
def test_a_timer_that_ran_out_is_sent_or_not(case: dict[str, Any]) -> None:
    given, out = case["in"], expected(case)

    class KnownTimers:
        def state(self, phone: str, contact: str) -> TimerState:
            assert (phone, contact) == (PHONE, "5549988887777")
            return TimerState(last_ms=given["last_timer"], direction=given["last_direction"])

        def waits(self, phone: str, timer_id: str, *, until_ms: int) -> None:
            """Nobody counts here."""

    job = FireTimer(
        id="1", phone=PHONE, to="5549988887777", accepted_at_ms=given["time"],
        step={"timeout": 1, "message": given.get("message", "hey")}, nexts=tuple(given.get("nexts", ())),
    )  # fmt: skip
    envelopes = fire(job, timers=KnownTimers(), began_ms=0, for_phone=False, voice=True, always_voice=False)

    assert bool(envelopes) is out["sent"]
    if "new_timer" in out:
        following = envelopes[1].job
        assert isinstance(following, FireTimer)
        assert {**following.step, "nexts": list(following.nexts)} == out["new_timer"]
