"""What the Node version does, as executable facts: how many are tried here, and why the others are not.

Where a case suggests something better, the better is expected (`INSTEAD`).
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.compatibility.census import ELSEWHERE, GROUPS, LEFT_OUT, OTHERS, TRIED, cases
from tests.support.api import Api
from tests.support.api import api as serve_api
from tests.support.fakes import make_webhook
from tests.support.receiver import Receiver
from tests.support.stack import OPERATOR, PHONE, Stack, stack
from unoapi.models import phones
from unoapi.models.cloud_api.event_content import EventContent
from unoapi.models.cloud_api.events import serialise
from unoapi.models.media import file_key, type_of
from unoapi.providers.whatsmeow.commands import mime_type_of
from unoapi.stores.sessions import RedisSessions, environment_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers
    from unoapi.models.session import Session

INSTEAD: dict[str, Any] = {
    "pn_5549812345": "5549812345",  # left as it is: no mobile number has so few digits
}


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


@cases("send_mimetype")
def test_a_file_to_send_is_announced_with_the_type_of_its_link(case: dict[str, Any]) -> None:
    assert mime_type_of(case["in"]["link"], kind=case["in"]["type"]) == expected(case)


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
    traits = EventContent.of(serialise(payload), kind=kind).traits(PHONE)

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
def api(servers: PrivateServers, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    settings = {"UNOAPI_AUTH_TOKEN": "m", "UNOAPI_HOST": "127.0.0.1", "UNOAPI_ALLOWED_HOSTS": "127.0.0.0/8"}
    with serve_api(servers, tmp_path_factory.mktemp("api"), **settings) as running:
        register(running, hooks)
        yield running


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Real processes, for what a worker does."""
    with stack(servers, tmp_path_factory.mktemp("cases"), UNOAPI_AUTH_TOKEN="m") as running:
        running.web()
        running.worker()
        register(running, hooks)
        yield running


def register(uno: Api | Stack, hooks: Receiver, phone: str = PHONE, token: str = "s", **config: Any) -> None:
    body: dict[str, Any] = {
        "provider": "sandbox",
        "webhooks": [{"id": "1", "urlAbsolute": hooks.url("/")}],
        **config,
    }
    answer = uno.post(f"/v15.0/{phone}/register", body, token="m")
    assert answer.status_code == 200, answer.text
    if not isinstance(uno, Stack):  # the cases have shorter tokens than may be registered today
        uno.uno.sessions.save(phone, {**(uno.uno.sessions.config(phone) or {}), "authToken": token})


@cases("http_auth")
def test_who_may_come_in(api: Api, case: dict[str, Any]) -> None:
    given, out = case["in"], expected(case)
    answer = api.get(
        f"/v15.0/{given['path_phone']}", token=None, headers=given.get("headers", {}), params=given.get("query")
    )

    if out.get("allowed"):
        assert answer.status_code == 200
    else:
        assert answer.status_code in (401, 403)


@cases("http_routes")
def test_a_route_answers(api: Api, hooks: Receiver, case: dict[str, Any]) -> None:
    given, out = case["in"], expected(case)
    register(api, hooks, token=given.get("given", {}).get("session_auth_token", "s"))
    register(api, hooks, phone="2", token="two")
    token = "m" if "hub." not in given["path"] else None

    answer = api.request(given["method"], given["path"], token=token, json=given.get("json"))

    assert answer.status_code == out["status"], answer.text
    if "text" in out:
        assert answer.text == out["text"]
    if "json" in out:
        wanted = dict(out["json"])
        if "messages" in wanted:
            wanted["messages"] = [{"id": {"$regex": "^wamid\\.[0-9A-F]{32}$"}}]  # Meta's form instead of UNO.INC
        assert matches(answer.json(), wanted), answer.text


@cases("client_commands")
def test_a_command_is_answered(api: Api, case: dict[str, Any]) -> None:
    given, out = case["in"], expected(case)
    body = {"messaging_product": "whatsapp", "message_id": given.get("key", {}).get("id")}
    body |= {key: given[key] for key in ("status", "type") if key in given}

    answer = api.post(f"/v15.0/{PHONE}/messages", {**body, "to": "5549988887777"}, token="m")

    if out.get("$error"):
        assert answer.status_code == 400
    else:
        assert answer.json() == out["answer"]


@cases("blacklist")
def test_a_webhook_gets_no_events_of_a_blocked_contact(uno: Stack, hooks: Receiver, case: dict[str, Any]) -> None:
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
def test_the_keys_that_other_programs_read(api: Api, hooks: Receiver, case: dict[str, Any]) -> None:
    register(api, hooks, webhooks=[{"id": "w1", "urlAbsolute": hooks.url("/")}])
    (wanted,) = expected(case)
    body = {"to": case["in"]["contact"], "ttl": case["in"]["ttl"]}

    api.post(f"/{PHONE}/blacklist/{case['in']['webhook']}", body, token="m")

    assert api.redis.get(wanted["key"]) == wanted["value"]
    assert api.redis.ttl(wanted["key"]) == -1


@cases("fork_meta")
def test_metas_own_routes_are_served(api: Api, hooks: Receiver, case: dict[str, Any]) -> None:
    given, out = case["in"], expected(case)
    forward = {"phoneNumberId": "pnid", "businessAccountId": "waba"}
    register(api, hooks, token="tok", label="Shop", webhookForward=forward)

    answer = api.request(given["method"], given["path"], token=given.get("bearer", "m"), json=given.get("json"))

    assert answer.status_code == out["status"], answer.text
    wanted = json.loads(json.dumps(out["json"]).replace('"input": "120363040468224422@g.us"', '"input": {"$any": 1}'))
    assert matches(answer.json(), wanted), answer.text
    register(api, hooks)


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
