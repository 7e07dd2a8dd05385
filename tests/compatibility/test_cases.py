"""What the former program does, as executable facts: how many are tried here, and why the others are not.

Where a case suggests something better, the better is expected (`INSTEAD`).
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
import requests

from tests.fakes import make_webhook
from tests.receiver import Receiver
from tests.stack import OPERATOR, PHONE, Stack, stack
from tests.unit import test_session_cases
from unoapi.models import phones
from unoapi.models.events import Event, serialise
from unoapi.models.media import file_key, type_of
from unoapi.stores.sessions import RedisSessions, environment_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.cli.servers import PrivateServers
    from unoapi.models.session import Session

CASES = json.loads((Path(__file__).parent / "cases.json").read_text())
GROUPS: dict[str, dict[str, Any]] = {group["id"]: group for group in CASES["groups"]}
INSTEAD: dict[str, Any] = {
    "pn_5549812345": "5549812345",  # left as it is: no mobile number has so few digits
}
ELSEWHERE = {
    "template_bind": "tests/unit/test_session_cases.py",
    "config_save": "tests/unit/test_session_cases.py",
    "fork_waba_id": "tests/unit/test_session_cases.py",
    "webhook_filter": "tests/unit/test_session_cases.py",
    "timer_job": "tests/unit/test_session_cases.py",
}
WHATSMEOW = "of the connector: its own cases are in tests/connector"
LATER = "bulk, transcription, speech and the commander come later: 501 until then"
LIBRARY = "of the former program's WhatsApp library, which the connector does not use"
LEFT_OUT: dict[str, str] = {
    "queue_retry": "DESIGN.md decides otherwise: exponential backoff, retries counted after the first attempt",
    "queue_topology": "DESIGN.md decides otherwise: its own exchanges and queues",
    "chat_number_id": WHATSMEOW,
    "raw_message_type": WHATSMEOW,
    "raw_needs_media_download": WHATSMEOW,
    "raw_to_event": WHATSMEOW,
    "event_envelope": WHATSMEOW,
    "send_to_raw": WHATSMEOW,
    "send_to_raw_native": WHATSMEOW,
    "filter_by_jid": WHATSMEOW,
    "filter_by_key": WHATSMEOW,
    "listener_job": WHATSMEOW,
    "listener_filter": WHATSMEOW,
    "calls": WHATSMEOW,
    "session_standby": WHATSMEOW,
    "send_error_codes": WHATSMEOW,
    "first_message_delay": WHATSMEOW,
    "fork_groups": "group management is not part of this installation",
    "fork_transient_infra_error": LIBRARY,
    "fork_transient_whatsapp_error": LIBRARY,
    "internal_id": "an id is mapped when a pair is known, whatever it looks like",
    "bulk_csv": LATER,
    "bulk_number": LATER,
    "bulk_render": LATER,
    "bulk_row_sisodonto": LATER,
    "bulk_row_default": LATER,
    "bulk_status": LATER,
    "commander": LATER,
}
OTHERS: dict[str, str] = {
    "auth_no_master_configured": "DESIGN.md decides otherwise: without a token the API listens on loopback alone",
    "auth_no_phone_any_session": "there is no such route of a message: see any_session_token in tests/test_rules.py",
    "messages_sender_fails": "nothing is sent while the client waits: a wrong body is refused, which is tried below",
    "debug_token": "ours checks the token: tests/clients and tests/test_management.py",
    "media_metadata": "tests/test_media.py, with the former program's own note",
    "media_download": "tests/test_media.py, with the former program's own file",
    "timer_start": "tests/test_management.py: a timer's phone and contact are digits",
    "templates_save_fork": "tests/test_management.py: our list has defaults beside what is saved",
    "templates_delete_fork": "tests/test_management.py: our list has defaults beside what is saved",
    "templates_list": "tests/test_management.py: our list has defaults",
    "cc_forward_internal_id": "tests/test_forwarder.py: an id of ours is mapped to Meta's",
    "cc_stale_send": LIBRARY,
    "cc_read_internal_key": "tests/test_forwarder.py: the provider's id is kept for reading",
    "rw_connect_count": WHATSMEOW,
    "rw_auth": LIBRARY,
    "rw_group": WHATSMEOW,
    "rw_message": "bodies of messages are not kept in Redis",
    "rw_message_status": "unoapi-told holds how far a status is",
    "rw_bulk": LATER,
    "rw_media": "ours also holds where the file is: tests/contracts/test_media_stores.py reads the former form",
    "rw_session_status": WHATSMEOW,
    "rw_direction": "tests/test_management.py: timers know who wrote last",
    "rw_blacklist_remove": "tried by bl_removed",
    "cl_store_types": "the store is chosen by STORAGE_ENDPOINT, not per session",
    "cl_fork_defaults": LIBRARY,
    "m_raw_payload": "raw messages of the former program's library are not taken: 131051",
    "m_status_reply_chatwoot": WHATSMEOW,
    "cls_api": "no event, but a message on its way in",
    "cls_group_contact": "an event without message and status has no recipient",
    "custom_char": WHATSMEOW,
    "custom_char_no_space": WHATSMEOW,
    "pairing_code_format": WHATSMEOW,
    "session_webhook_body": WHATSMEOW,
    "transcription_event": LATER,
    "unoid_race": "our ids are computed before a message is sent",
    "jidmap_br_variants": WHATSMEOW,
    "embedded_token_ok": "a public route that hands out tokens is not built",
    "history_after_marker": WHATSMEOW,
    "media_key_unknown": "unknown types end in .bin, as in the fork",
    "webhook_failure_range": "tests/test_end_to_end.py and tests/unit/test_curl_answers.py",
    "webhook_success_range": "tests/unit/test_curl_answers.py",
    "meta_alias_phone_number_id": "tests/test_management.py",
    "meta_alias_waba": "tests/test_management.py",
    **test_session_cases.LEFT_OUT,
}
TRIED: set[str] = set()


def cases(group: str) -> pytest.MarkDecorator:
    found = [case for case in GROUPS[group]["cases"] if case["id"] not in OTHERS]
    TRIED.update(case["id"] for case in found)
    return pytest.mark.parametrize("case", found, ids=[case["id"] for case in found])


def expected(case: dict[str, Any]) -> Any:
    return INSTEAD.get(case["id"], case.get("out", case.get("out_fork")))


def matches(given: Any, wanted: Any) -> bool:
    """Whether a value is what a case wants, with the cases' own matchers; more keys than wanted are no harm."""
    if isinstance(wanted, dict):
        if "$any" in wanted:
            return given is not None
        if "$regex" in wanted:
            return re.search(wanted["$regex"], str(given)) is not None
        if "$contains" in wanted:
            return all(part in str(given) for part in wanted["$contains"])
        return isinstance(given, dict) and all(
            matches(given.get(key), part) for key, part in wanted.items() if not key.startswith("$")
        )
    if isinstance(wanted, list):
        return isinstance(given, list) and len(given) >= len(wanted) and all(map(matches, given, wanted))
    return bool(given == wanted)


# --- numbers and addresses ---


@cases("phone_from_jid")
def test_a_jid_or_number_is_shown_as_a_phone(case: dict[str, Any]) -> None:
    assert phones.to_phone(case["in"]["value"]) == expected(case)


@cases("phone_to_jid")
def test_a_recipient_becomes_a_jid(case: dict[str, Any]) -> None:
    assert phones.to_jid(case["in"]["value"]) == expected(case)


@cases("phone_valid")
def test_a_number_is_valid_or_not(case: dict[str, Any]) -> None:
    assert phones.is_valid(case["in"]["value"]) is expected(case)


@cases("jid_is_individual")
def test_a_jid_is_one_persons_or_not(case: dict[str, Any]) -> None:
    assert phones.is_individual(case["in"]["value"]) is expected(case)


@cases("jid_without_device")
def test_a_jid_loses_its_device(case: dict[str, Any]) -> None:
    assert phones.without_device(case["in"]["value"]) == expected(case)


@cases("jid_to_phone_if_user")
def test_only_persons_have_phones(case: dict[str, Any]) -> None:
    assert phones.phone_or_jid(case["in"]["value"]) == expected(case)


# --- files ---


@cases("send_mimetype")
def test_a_links_ending_tells_its_type(case: dict[str, Any]) -> None:
    link = case["in"]["link"]
    named = re.search(r"filename%3D([^%;]+)", link)
    if "response-content-type" in link:
        pytest.skip("the type in a link's query is the provider's affair")
    assert type_of(named[1] if named else link) == expected(case)


@cases("misc")
def test_small_facts(case: dict[str, Any]) -> None:
    given, out = case["in"], expected(case)
    if case["id"] == "media_key":
        assert file_key(given["session"], given["id"], given["mime"]) == out["key"]
    elif case["id"] == "webhook_url":
        assert make_webhook(**given["webhook"], urlAbsolute="").address(given["session"]) == out["url"]
    else:
        pytest.fail(f"nothing tries {case['id']}")


# --- events and configuration ---


@cases("event_classification")
def test_an_event_is_understood(case: dict[str, Any]) -> None:
    payload, out = case["in"]["payload"], expected(case)
    value = payload["entry"][0]["changes"][0]["value"]
    kind = "message" if "messages" in value or "message_echoes" in value else value["statuses"][0].get("status", "sent")
    traits = Event(event_id="1", message_id="1", kind=kind, body=serialise(payload)).traits(PHONE)

    assert traits.own is (out["is_outgoing"] and not out["is_update"])
    assert traits.newsletter is out["is_newsletter"]
    assert traits.status is out["is_update"]
    if not out["is_update"]:
        assert traits.group is out["is_group"]


@cases("config_load")
def test_what_a_stored_configuration_means(case: dict[str, Any]) -> None:
    environment: dict[str, Any] | None = None
    if env := case["in"].get("env"):
        environment = {
            "url": env.get("WEBHOOK_URL", "https://env"),
            "header": env.get("WEBHOOK_HEADER", "Authorization"),
        }
    stored, out = case["in"]["stored"], expected(case)
    merged: Session = RedisSessions.__new__(RedisSessions)  # type: ignore[assignment]
    merged._environment = environment_config(environment)  # type: ignore[attr-defined]
    if case["id"] == "cl_webhook_header_default":
        stored = {"webhooks": [{"url": "https://w"}]}
    session = merged._session(PHONE, stored)  # type: ignore[attr-defined]
    shown = session.model_dump(mode="json", by_alias=True)
    if case["id"] == "cl_empty_webhooks":
        assert [webhook.address(PHONE) for webhook in session.webhooks] == [f"https://env/{PHONE}"]
        return
    for webhook in shown["webhooks"]:
        webhook["url"] = webhook["url"].rstrip("/") if webhook["url"] else webhook["url"]
    assert matches(shown, out)


# --- over HTTP ---


@pytest.fixture(scope="module")
def hooks() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(servers, tmp_path_factory.mktemp("cases"), UNOAPI_AUTH_TOKEN="m") as running:
        running.web()
        running.worker()
        register(running, hooks)
        yield running


def register(uno: Stack, hooks: Receiver, phone: str = PHONE, token: str = "s", **config: Any) -> None:
    body = {
        "provider": "sandbox",
        "authToken": token,
        "webhooks": [{"id": "1", "urlAbsolute": hooks.url("/")}],
        **config,
    }
    answer = uno.post(f"/v15.0/{phone}/register", body, token="m")
    assert answer.status_code == 200, answer.text


@cases("http_auth")
def test_who_may_come_in(uno: Stack, case: dict[str, Any]) -> None:
    given, out = case["in"], expected(case)
    answer = requests.get(
        f"{uno.url}/v15.0/{given['path_phone']}", headers=given.get("headers"), params=given.get("query"), timeout=10
    )

    if out.get("allowed"):
        assert answer.status_code == 200
    else:
        assert answer.status_code in (401, 403)


@cases("http_routes")
def test_a_route_answers(uno: Stack, hooks: Receiver, case: dict[str, Any]) -> None:
    given, out = case["in"], expected(case)
    register(uno, hooks, token=given.get("given", {}).get("session_auth_token", "s"))
    register(uno, hooks, phone="2", token="two")
    headers = {"Authorization": "Bearer m"} if "hub." not in given["path"] else {}

    answer = requests.request(
        given["method"], f"{uno.url}{given['path']}", json=given.get("json"), headers=headers, timeout=10
    )

    assert answer.status_code == out["status"], answer.text
    if "text" in out:
        assert answer.text == out["text"]
    if "json" in out:
        wanted = dict(out["json"])
        if "messages" in wanted:
            wanted["messages"] = [{"id": {"$regex": "^wamid\\.[0-9A-F]{32}$"}}]  # Meta's form instead of UNO.INC
        assert matches(answer.json(), wanted), answer.text


@cases("client_commands")
def test_a_command_is_answered(uno: Stack, case: dict[str, Any]) -> None:
    given, out = case["in"], expected(case)
    body = {"messaging_product": "whatsapp", "message_id": given.get("key", {}).get("id")}
    body |= {key: given[key] for key in ("status", "type") if key in given}

    answer = uno.post(f"/v15.0/{PHONE}/messages", {**body, "to": "5549988887777"}, token="m")

    if out.get("$error"):
        assert answer.status_code == 400
    else:
        assert answer.json() == out["answer"]


@cases("blacklist")
def test_a_contact_is_kept_from_a_webhook(uno: Stack, hooks: Receiver, case: dict[str, Any]) -> None:
    contact, key = "5549988887777", f"unoapi-blacklist:{PHONE}:1:5549988887777"
    client = redis.Redis.from_url(uno.servers.redis_url)
    register(uno, hooks)
    client.delete(key, f"unoapi-blocked:{PHONE}")
    for operation in case["in"].get("ops", []):
        answer = uno.post(f"/{PHONE}/blacklist/1", {"to": contact, **operation}, token="m")
        assert answer.status_code == 200, answer.text
    for name in case["in"].get("redis_keys", []):
        assert name.count(":") == key.count(":")
        client.set(key, "1")
    time.sleep(0.6)  # what a process has read is fresh for half a second
    hooks.clear()

    uno.contact_writes("hello", sender=contact, token="m")
    uno.contact_writes("hello", sender="5549911112222", token="m")
    hooks.wait(1)
    time.sleep(0.5)

    assert hooks.count() == (1 if expected(case)["blocked"] else 2)
    if expected(case).get("expires") is False:
        assert client.ttl(key) == -1


@cases("redis_write")
def test_the_keys_that_other_programs_read(uno: Stack, hooks: Receiver, case: dict[str, Any]) -> None:
    register(uno, hooks, webhooks=[{"id": "w1", "urlAbsolute": hooks.url("/")}])
    (wanted,) = expected(case)
    body = {"to": case["in"]["contact"], "ttl": case["in"]["ttl"]}

    uno.post(f"/{PHONE}/blacklist/{case['in']['webhook']}", body, token="m")

    client = redis.Redis.from_url(uno.servers.redis_url, decode_responses=True)
    assert client.get(wanted["key"]) == wanted["value"]
    assert client.ttl(wanted["key"]) == -1


@cases("fork_meta")
def test_metas_own_routes_are_served(uno: Stack, hooks: Receiver, case: dict[str, Any]) -> None:
    given, out = case["in"], expected(case)
    forward = {"phoneNumberId": "pnid", "businessAccountId": "waba"}
    register(uno, hooks, token="tok", label="Shop", webhookForward=forward)
    headers = {"Authorization": f"Bearer {given.get('bearer', 'm')}"}

    answer = requests.request(
        given["method"], f"{uno.url}{given['path']}", json=given.get("json"), headers=headers, timeout=10
    )

    assert answer.status_code == out["status"], answer.text
    wanted = json.loads(json.dumps(out["json"]).replace('"input": "120363040468224422@g.us"', '"input": {"$any": 1}'))
    assert matches(answer.json(), wanted), answer.text
    register(uno, hooks)


# --- the census ---


def test_every_case_is_tried_or_has_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    tried, reasons, nowhere = 0, Counter[str](), []
    for name, group in GROUPS.items():
        for case in group["cases"]:
            reason = OTHERS.get(case["id"]) or LEFT_OUT.get(name)
            if case["id"] in TRIED or (name in ELSEWHERE and case["id"] not in OTHERS):
                tried += 1
            elif reason:
                reasons[f"{name}: {reason}"] += 1
            else:
                nowhere.append(f"{name}: {case['id']}")

    with capsys.disabled():
        lines = "\n".join(f"  {count:3} {reason}" for reason, count in sorted(reasons.items()))
        print(f"\n{tried} cases tried, {sum(reasons.values())} left out:\n{lines}")  # noqa: T201 (for who reads the run)
    assert nowhere == []
    assert tried >= 100
    assert set(ELSEWHERE) | set(LEFT_OUT) <= GROUPS.keys()
    assert OPERATOR
