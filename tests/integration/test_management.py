"""Sessions and everything around them: what clients of the Cloud API ask of a number."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.api import Api
from tests.support.api import api as serve_api
from tests.support.fakes import PHONE as NUMBER
from tests.support.stack import CONTACT, OPERATOR, Stack, eventually, stack
from unoapi.models.session import computed_waba_id
from unoapi.web.parts import EXTENSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.receiver import Receiver
    from unoapi.devenv.servers import PrivateServers

SHOP, OTHER = NUMBER, "5521977776666"
META = {"phoneNumberId": "106540352242922", "businessAccountId": "102290129340398"}
PNID, WABA = META["phoneNumberId"], META["businessAccountId"]
TOKEN, OTHER_TOKEN = "token-of-the-shop", "token-of-the-other"
SECRET = "secret-of-the-webhook"
HOOK = {"id": "crm", "urlAbsolute": "http://127.0.0.1:1/hook", "token": SECRET}
V = "/v21.0"
REMEMBERED_S = 3 * 86_400
"""A day longer than the oldest delivery may wait (`UNOAPI_MESSAGE_MAX_AGE`)."""
GIVEN = {"type": "body", "parameters": [{"type": "text", "text": "x"}]}


@pytest.fixture(scope="module")
def api(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serve_api(servers, tmp_path_factory.mktemp("management"), UNOAPI_ALLOWED_HOSTS="127.0.0.0/8") as running:
        yield running


@pytest.fixture(scope="module")
def gateway(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Real processes, for what a worker does."""
    with stack(servers, tmp_path_factory.mktemp("gateway")) as running:
        running.web()
        running.worker()
        yield running


@pytest.fixture(autouse=True)
def _two_sessions(request: pytest.FixtureRequest) -> None:
    """The shop has an account at Meta by name only; the other has none."""
    api = request.getfixturevalue("gateway" if "gateway" in request.fixturenames else "api")
    for phone in (SHOP, OTHER):
        ask(api, "POST", f"{V}/{phone}/deregister")
    shop = {"provider": "sandbox", "label": "Shop", "authToken": TOKEN, "webhooks": [HOOK], "webhookForward": META}
    assert ask(api, "POST", f"{V}/{SHOP}/register", json=shop).status_code == 200
    other = {"provider": "sandbox", "authToken": OTHER_TOKEN}
    assert ask(api, "POST", f"{V}/{OTHER}/register", json=other).status_code == 200


def ask(api: Api | Stack, method: str, path: str, token: str | None = OPERATOR, **given: Any) -> Any:
    return api.request(method, path, token=token, **given)


def got(api: Api, path: str, token: str = TOKEN, **given: Any) -> dict[str, Any]:
    answer = ask(api, "GET", path, token, **given)
    assert answer.status_code == 200, answer.text
    assert SECRET not in answer.text
    assert TOKEN not in answer.text
    document: dict[str, Any] = answer.json()
    return document


def refused(answer: Any, status: int, code: int | None = None) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert {"message", "type", "code", "error_data", "fbtrace_id"} <= set(error)
    assert code is None or error["code"] == code


# --- the name space of the Graph ---


@pytest.mark.parametrize("node", [SHOP, PNID, WABA])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_number_is_found_by_each_of_its_ids(api: Api, node: str, slash: str) -> None:
    assert got(api, f"{V}/{node}{slash}", params={"fields": "display_phone_number"}) == {
        "id": WABA if node == WABA else PNID,  # C12: the account is shown as what was asked for
        "display_phone_number": SHOP,
    }


@pytest.mark.parametrize("node", [SHOP, PNID, WABA])
def test_a_message_may_be_sent_by_each_of_them(api: Api, node: str) -> None:
    text = {"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": "hi"}}

    sent = ask(api, "POST", f"{V}/{node}/messages", TOKEN, json=text)
    message_id = sent.json()["messages"][0]["id"]

    steps = f"{V}/{SHOP}/messages/{message_id}/trace"
    eventually(lambda: ask(api, "GET", steps, TOKEN).status_code == 200, within_s=5)


def test_a_token_opens_no_other_ones_ids(api: Api) -> None:
    for node in (SHOP, PNID, WABA, computed_waba_id("5500000000")):
        refused(ask(api, "GET", f"{V}/{node}", OTHER_TOKEN), 404, 100)


@pytest.mark.parametrize("node", ["nobody", "12345678901234567890", "no-media", "123456789012345", "5500000000"])
def test_c4_an_unknown_id_is_no_matter_of_the_token(api: Api, node: str) -> None:
    refused(ask(api, "GET", f"{V}/{node}", OTHER_TOKEN), 404, 100)
    refused(ask(api, "GET", f"{V}/{node}", "wrong"), 401, 190)
    refused(ask(api, "GET", f"{V}/{node}", None), 401, 0)


def test_a_number_without_an_account_is_its_own(api: Api) -> None:
    shown = got(api, f"{V}/{computed_waba_id(OTHER)}", OTHER_TOKEN)

    assert (shown["id"], shown["business_account_id"]) == (computed_waba_id(OTHER), computed_waba_id(OTHER))
    assert shown["display_phone_number"] == OTHER


# --- sessions ---


def test_a_session_is_shown_with_its_status_templates_and_configuration_but_no_secret(api: Api) -> None:
    shown = got(api, f"{V}/{SHOP}")

    assert (shown["label"], shown["verified_name"], shown["status"]) == ("Shop", "Shop", "online")
    assert shown["webhooks"] == [{"id": "crm", "urlAbsolute": HOOK["urlAbsolute"]}]
    assert shown["message_templates"]["data"][0]["name"] == "hello"


def test_the_shown_session_may_be_posted_back(api: Api) -> None:
    before = json.loads(api.redis.get(f"unoapi-config:{SHOP}"))

    assert ask(api, "POST", f"{V}/{SHOP}/register", json=got(api, f"{V}/{SHOP}")).status_code == 200

    assert json.loads(api.redis.get(f"unoapi-config:{SHOP}")) == before


@pytest.mark.parametrize(
    ("token", "seen"),
    [(OPERATOR, [SHOP, OTHER]), (TOKEN, [SHOP]), (OTHER_TOKEN, [OTHER])],
    ids=["all", "shop", "other"],
)
def test_a_token_lists_the_sessions_that_it_opens(api: Api, token: str, seen: list[str]) -> None:
    def listed() -> bool:
        phones = [session["display_phone_number"] for session in got(api, "/sessions", token)["data"]]
        return phones == seen

    eventually(listed, within_s=3)


def test_a_form_configures_like_json(api: Api) -> None:
    form = {"label": "Form", "ignoreGroupMessages": "false", "webhooks[0][id]": "crm", "webhooks[0][timeoutMs]": "5000"}

    assert ask(api, "POST", f"{V}/{SHOP}/register", data=form).status_code == 200

    stored = json.loads(api.redis.get(f"unoapi-config:{SHOP}"))
    assert (stored["label"], stored["ignoreGroupMessages"]) == ("Form", False)
    assert stored["webhooks"] == [{**HOOK, "timeoutMs": "5000"}]


@pytest.mark.parametrize("body", [{"messaging_product": "whatsapp", "pin": "123456"}, None])
def test_a_registration_at_meta_wipes_nothing(api: Api, body: dict[str, str] | None) -> None:
    before = api.redis.get(f"unoapi-config:{SHOP}")

    assert ask(api, "POST", f"{V}/{PNID}/register", TOKEN, json=body).json()["success"] is True

    assert api.redis.get(f"unoapi-config:{SHOP}") == before


def test_a_deregistered_session_is_gone_on_purpose(api: Api) -> None:
    assert ask(api, "POST", f"{V}/{SHOP}/deregister", TOKEN).status_code == 204

    assert api.redis.get(f"unoapi-config:{SHOP}") is None
    assert REMEMBERED_S - 60 < api.redis.ttl(f"unoapi-removed:{SHOP}") <= REMEMBERED_S
    eventually(lambda: ask(api, "GET", f"{V}/{SHOP}", TOKEN).status_code == 401, within_s=3)


def test_a_pairing_code_is_asked_for(api: Api) -> None:
    assert ask(api, "POST", f"{V}/{SHOP}/register", json={"provider": "whatsmeow"}).ok

    assert ask(api, "POST", f"/{SHOP}/request_code", TOKEN).json() == {"success": True}

    assert json.loads(api.redis.get(f"unoapi-config:{SHOP}"))["connectionType"] == "pairing_code"


def test_only_the_operator_says_that_a_number_is_at_meta_as_the_node_version_does(api: Api) -> None:
    def to(how: str, token: str) -> Any:
        return ask(api, "POST", f"{V}/{SHOP}/register", token, json={"connectionType": how, "provider": "baileys"})

    refused(to("forward", TOKEN), 403)
    forwarded = to("forward", OPERATOR)
    provider = got(api, f"/session/{SHOP}/state")["provider"]
    refused(to("qrcode", TOKEN), 403)

    assert (forwarded.status_code, provider) == (200, "forwarder")
    assert "webhookForward" in forwarded.json()["warnings"][0]
    assert to("forward", TOKEN).status_code == 200  # as an answer showed it
    assert to("qrcode", OPERATOR).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"connectionType": "wire"}, {"ignoreGroupMessages": "perhaps"}, {"webhookForward": {"url": "ftp://x"}},
        {"webhookForward": 5}, {"sessionWebhook": "nonsense"}, {"businessProfile": {"about": "x" * 140}},
        {"webhooks": [{"id": "crm", "addToBlackListOnOutgoingMessageWithTtl": "soon"}]},
    ],
    ids=lambda wrong: json.dumps(wrong)[:40],
)  # fmt: skip
def test_options_are_checked_at_the_door(api: Api, wrong: dict[str, Any]) -> None:
    refused(ask(api, "POST", f"{V}/{SHOP}/register", json=wrong), 400)


# --- accounts and tokens ---


def test_the_numbers_of_an_account_are_listed_without_a_null_next(api: Api) -> None:
    for node in (WABA, SHOP):
        listed = got(api, f"{V}/{node}/phone_numbers", params={"fields": "id,display_phone_number", "limit": 100})

        assert listed["data"] == [{"id": PNID, "display_phone_number": SHOP}]
        assert "next" not in listed["paging"]


def test_a_token_is_really_checked(api: Api) -> None:
    def data(token: str) -> dict[str, Any]:
        answer = ask(api, "GET", f"{V}/debug_token", OPERATOR, params={"input_token": token})
        data: dict[str, Any] = answer.json()["data"]
        return data

    assert data("wrong")["is_valid"] is False
    own = data(TOKEN)
    assert (own["is_valid"], own["expires_at"], own["app_id"]) == (True, 0, "unoapi")
    assert own["scopes"] == ["whatsapp_business_management", "whatsapp_business_messaging"]
    assert own["granular_scopes"][0]["target_ids"] == [WABA]


def test_the_accounts_of_a_token_are_listed(api: Api) -> None:
    assert got(api, f"{V}/me/whatsapp_business_accounts")["data"] == [{"id": WABA, "name": "Shop"}]


def test_credentials_can_be_tested(api: Api) -> None:
    assert ask(api, "GET", "/v13.0/", TOKEN).status_code == 200
    refused(ask(api, "GET", "/v13.0/", "wrong"), 401, 190)


def test_the_query_may_carry_the_token(api: Api) -> None:
    answer = ask(api, "GET", f"{V}/{WABA}/message_templates?access_token={TOKEN}", None)

    assert answer.status_code == 200


# --- webhooks, Meta's way ---


@pytest.mark.parametrize("way", ["subscribed_apps", "phone"])
def test_a_webhook_is_set_and_taken_back_the_way_meta_does(api: Api, way: str) -> None:
    override = {"override_callback_uri": "http://127.0.0.1:1/new", "verify_token": "x"}
    path, body = (
        (f"{V}/{WABA}/subscribed_apps", override)
        if way == "subscribed_apps"
        else (f"{V}/{SHOP}/", {"webhook_configuration": override})
    )

    assert ask(api, "POST", path, TOKEN, json=body).json() == {"success": True}
    (stored,) = json.loads(api.redis.get(f"unoapi-config:{SHOP}"))["webhooks"]
    assert {name: stored[name] for name in HOOK} == {**HOOK, "urlAbsolute": "http://127.0.0.1:1/new"}

    assert ask(api, "DELETE", f"{V}/{WABA}/subscribed_apps", TOKEN).json() == {"success": True}
    assert json.loads(api.redis.get(f"unoapi-config:{SHOP}"))["webhooks"] == [HOOK]


def test_subscribing_without_a_body_changes_nothing(api: Api) -> None:
    before = api.redis.get(f"unoapi-config:{SHOP}")

    assert ask(api, "POST", f"{V}/{WABA}/subscribed_apps", TOKEN).json() == {"success": True}

    assert got(api, f"{V}/{WABA}/subscribed_apps")["data"][0]["whatsapp_business_api_data"]["id"] == "unoapi"
    assert api.redis.get(f"unoapi-config:{SHOP}") == before


# --- business profile, blocked users ---


def test_a_business_profile_is_saved_and_always_has_a_vertical(api: Api) -> None:
    path = f"{V}/{SHOP}/whatsapp_business_profile"
    assert got(api, path)["data"][0]["vertical"] == "UNDEFINED"

    body = {"messaging_product": "whatsapp", "about": "We sell.", "websites": ["https://shop.test"]}
    assert ask(api, "POST", path, TOKEN, json=body).json() == {"success": True}

    eventually(lambda: got(api, path)["data"][0]["about"] == "We sell.", within_s=3)
    assert got(api, path, params={"fields": "about"})["data"] == [
        {"messaging_product": "whatsapp", "about": "We sell."}
    ]


def test_a_blocked_user_may_be_a_json_number_with_an_empty_id(api: Api) -> None:
    users = {"block_users": [{"user": int(CONTACT), "user_id": None}]}

    added = ask(api, "POST", f"{V}/{SHOP}/block_users", TOKEN, json=users).json()
    ask(api, "DELETE", f"{V}/{SHOP}/block_users", TOKEN, json=users)

    assert added["block_users"]["added_users"] == [{"input": CONTACT, "wa_id": CONTACT}]


def test_users_are_blocked_listed_and_unblocked(api: Api) -> None:
    path, users = f"{V}/{SHOP}/block_users", {"messaging_product": "whatsapp", "block_users": [{"user": f"+{CONTACT}"}]}

    added = ask(api, "POST", path, TOKEN, json=users).json()
    assert added["block_users"]["added_users"] == [{"input": f"+{CONTACT}", "wa_id": CONTACT}]
    assert got(api, path)["data"] == [{"messaging_product": "whatsapp", "wa_id": CONTACT}]
    assert api.redis.get(f"unoapi-blacklist:{SHOP}:crm:{CONTACT}") == "1"
    removed = ask(api, "DELETE", path, TOKEN, json=users).json()

    assert removed["block_users"]["removed_users"] == [{"input": f"+{CONTACT}", "wa_id": CONTACT}]
    assert got(api, path)["data"] == []
    refused(ask(api, "POST", path, TOKEN, json={"block_users": [{"user": "nobody"}]}), 400)


# --- templates ---


def test_templates_are_created_listed_and_deleted_the_way_meta_does(api: Api) -> None:
    path = f"{V}/{WABA}/message_templates"
    api.redis.set(f"unoapi-template:{SHOP}", "[]")  # the default ones were deleted
    body = {"type": "BODY", "text": "Hi {{1}}"}

    made = [
        ask(
            api,
            "POST",
            path,
            TOKEN,
            json={"name": name, "language": "en", "category": "MARKETING", "components": [body]},
        )
        for name in ("a", "b", "c")
    ]

    assert made[0].json() == {"id": made[0].json()["id"], "status": "APPROVED", "category": "MARKETING"}
    first = got(api, path, params={"limit": 2, "fields": "name,status", "summary": "total_count"})
    assert [template["name"] for template in first["data"]] == ["a", "b"]
    assert set(first["data"][0]) == {"id", "name", "status"}
    assert set(first["summary"]) == {
        "total_count", "message_template_count", "message_template_limit", "are_translations_complete",
    }  # fmt: skip
    rest = ask(api, "GET", first["paging"]["next"].removeprefix(api.url), TOKEN).json()
    assert [template["name"] for template in rest["data"]] == ["c"]
    assert "next" not in rest["paging"]
    assert ask(api, "DELETE", path, TOKEN, params={"name": "a"}).json() == {"success": True}
    assert [template["name"] for template in got(api, path)["data"]] == ["b", "c"]
    assert got(api, path, params={"name": "b"})["data"][0]["parameter_format"] == "POSITIONAL"
    refused(ask(api, "DELETE", path, TOKEN, params={"name": "a"}), 404)


def test_templates_are_saved_and_deleted_the_way_the_node_version_did(api: Api) -> None:
    api.redis.set(f"unoapi-template:{SHOP}", json.dumps([{"id": 2, "name": "other"}]))

    saved = ask(api, "POST", f"{V}/{SHOP}/templates", TOKEN, json={"id": 1, "name": "hello"})
    gone = ask(api, "DELETE", f"{V}/{SHOP}/templates/1", TOKEN)

    assert saved.json() == {"status": "success", "data": {"id": 1, "name": "hello"}}
    assert gone.json()["data"] == [{"id": 2, "name": "other"}]


@pytest.mark.parametrize(
    ("provider", "template", "status", "code"),
    [
        ("whatsmeow", {"name": "nobody"}, 404, 132001),
        ("whatsmeow", {"name": "known"}, 400, 132000),
        ("whatsmeow", {"name": "known", "components": [GIVEN]}, 200, None),
        ("sandbox", {"name": "nobody"}, 404, 132001),  # C16: it refuses what a phone refuses
        ("sandbox", {"name": "known", "components": [GIVEN]}, 200, None),
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_sent_is_refused_at_the_door(
    api: Api, provider: str, template: dict[str, Any], status: int, code: int | None
) -> None:
    ask(api, "POST", f"{V}/{OTHER}/register", json={"provider": provider})
    stored = {"name": "known", "language": "en", "components": [{"type": "BODY", "text": "Hi {{1}}"}]}
    api.redis.set(f"unoapi-template:{OTHER}", json.dumps([stored]))
    body = {"messaging_product": "whatsapp", "to": CONTACT, "type": "template"}

    answer = ask(
        api, "POST", f"{V}/{OTHER}/messages", json={**body, "template": {**template, "language": {"code": "en"}}}
    )

    if status == 200:
        assert answer.status_code == 200, answer.text
    else:
        refused(answer, status, code)


# --- blacklist, timers, contacts ---


def test_the_blacklist_takes_its_fields_from_the_body_or_the_query(api: Api) -> None:
    path, key = f"/{SHOP}/blacklist/crm", f"unoapi-blacklist:{SHOP}:crm:{CONTACT}"

    assert ask(api, "POST", path, TOKEN, json={"to": CONTACT, "ttl": 60}).json() == {"success": True}
    assert api.redis.ttl(key) > 0
    assert ask(api, "POST", path, TOKEN, params={"to": CONTACT, "ttl": "0"}).json() == {"success": True}
    assert api.redis.get(key) is None
    refused(ask(api, "POST", path, TOKEN, json={"ttl": 1}), 400, 131008)


@pytest.mark.parametrize("to", ["", "\ud800", "x" * 129, ["5549"], {}, None, "54\x0099"], ids=repr)
def test_a_blacklist_takes_no_contact_that_cannot_be_one(api: Api, to: object) -> None:
    refused(ask(api, "POST", f"/{SHOP}/blacklist/crm", TOKEN, json={"to": to, "ttl": 60}), 400)


def test_a_token_that_is_no_text_shuts_nobody_out(api: Api) -> None:
    answer = ask(api, "POST", f"{V}/{OTHER}/register", OTHER_TOKEN, json={"authToken": "\ud800"})

    assert answer.status_code in (200, 400)
    assert ask(api, "GET", "/sessions", TOKEN).status_code == 200


def test_contacts_are_checked(api: Api) -> None:
    numbers = [f"+{CONTACT}", "15550000001", "nobody", "", None]
    body = {"blocking": "no_wait", "contacts": numbers, "force_check": True}

    for path in (f"/{SHOP}/contacts", f"{V}/{SHOP}/contacts"):
        assert ask(api, "POST", path, TOKEN, json=body).json() == {
            "contacts": [
                {"input": f"+{CONTACT}", "status": "valid", "wa_id": CONTACT},
                {"input": "15550000001", "status": "invalid"},
                {"input": "nobody", "status": "invalid"},
                {"input": "", "status": "invalid"},
                {"input": "", "status": "invalid"},
            ]
        }


@pytest.mark.parametrize(
    "wrong",
    [
        {"message": "x"},
        {"timeout": 5},
        {"timeout": "soon", "message": "x"},
        {"timeout": 5, "message": "x", "nexts": "{"}, {"timeout": 5, "type": "image", "message": {}},
        {"timeout": 5, "message": "x", "nexts": [{"timeout": 5, "type": "carrier_pigeon", "message": {}}]},
    ],
)  # fmt: skip
def test_wrong_timers_are_refused(api: Api, wrong: dict[str, Any]) -> None:
    refused(ask(api, "POST", f"/timer/{SHOP}/{CONTACT}", TOKEN, json=wrong), 400)


@pytest.mark.parametrize("empty", [None, ""])
def test_what_a_client_leaves_empty_is_left_out_in_every_form_but_in_that_of_a_purge(
    api: Api, empty: str | None
) -> None:
    step = {"message": 12, "timeout": 5, "type": empty}
    campaign = {"rows": [{"phone": CONTACT, "message": "x"}], "name": empty, "file": empty, "hours": empty}

    timer = api.post(f"/timer/{SHOP}/{CONTACT}", {**step, "nexts": [step]})
    last_timer = api.post(f"/timer/{SHOP}/{CONTACT}", {**step, "nexts": empty})
    blacklist = api.post(f"/{SHOP}/blacklist/crm", {"to": CONTACT, "ttl": empty})
    bulk = api.post(f"/v15.0/{SHOP}/bulk", campaign)
    of_nobody = api.post(f"/{SHOP}/blacklist/crm", {"to": empty})
    purge = api.post("/admin/dead/purge", {"older_than_s": "", "limit": empty, "all": True})

    assert [answer.status_code for answer in (timer, last_timer, blacklist, bulk)] == [200] * 4
    assert [answer.status_code for answer in (of_nobody, purge)] == [400] * 2


class SlowContacts:
    """A connector that answers when it is allowed to."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.may_answer = threading.Event()

    def contacts(self, _: str, numbers: Sequence[str]) -> list[bool]:
        self.asked.release()
        self.may_answer.wait(20)
        return [True] * len(numbers)


def test_checks_of_contacts_hold_a_quarter_of_the_threads_and_half_of_these_for_one_number(api: Api) -> None:
    """Each may wait for its connector for 8 seconds. Four threads of 16, two of them for one number."""
    slow, body, numbers = SlowContacts(), {"contacts": [CONTACT]}, [SHOP, "5511900000071", "5511900000072"]
    for number in numbers[1:]:
        api.register([], phone=number)
    uno = api.app.extensions[EXTENSION]
    api.app.extensions[EXTENSION] = replace(uno, providers={**uno.providers, "sandbox": slow})

    def check(number: str) -> int:
        return int(api.post(f"/{number}/contacts", body).status_code)

    try:
        with ThreadPoolExecutor(4) as clients:
            waiting = [clients.submit(check, number) for number in numbers[:2] for _ in range(2)]
            assert all(slow.asked.acquire(timeout=10) for _ in waiting)
            refused_at_once = [check(number) for number in (SHOP, numbers[2])]
            slow.may_answer.set()
            answered = [client.result() for client in waiting]
        free_again = check(numbers[2])
    finally:
        slow.may_answer.set()
        api.app.extensions[EXTENSION] = uno

    assert refused_at_once == [429, 503]
    assert [*answered, free_again] == [200] * 5


@pytest.mark.parametrize("part", ["transcriptions", "speech", "commander"])
def test_parts_without_a_route_of_their_own_are_no_success(api: Api, part: str) -> None:
    refused(ask(api, "POST", f"{V}/{SHOP}/{part}", TOKEN, json={}), 404)


# --- with a worker ---


def test_a_timer_sends_its_messages_unless_it_is_stopped(gateway: Stack, receiver: Receiver) -> None:
    hook = {"id": "crm", "urlAbsolute": receiver.url("/timer"), "sendNewMessages": True}
    ask(gateway, "POST", f"{V}/{SHOP}/register", json={"webhooks": [hook]})
    quiet = "5549988880000"
    for to in (CONTACT, quiet):
        redis.Redis.from_url(gateway.servers.redis_url).set(f"unoapi-message-direction:{SHOP}:{to}", "incoming")
        asked = {"message": f"first to {to}", "timeout": 500, "nexts": [{"timeout": "400", "message": f"then to {to}"}]}
        assert ask(gateway, "POST", f"/timer/{SHOP}/{to}", TOKEN, json=asked).json() == {"success": True}
    assert ask(gateway, "DELETE", f"/timer/{SHOP}/{quiet}", TOKEN).json() == {"success": True}

    def sent() -> list[str]:
        texts = [str(request.body) for request in receiver.requests("/timer")]
        return [f"{word} to {to}" for word in ("first", "then") for to in (CONTACT, quiet)
                if any(f"{word} to {to}" in text for text in texts)]  # fmt: skip

    eventually(lambda: len(sent()) == 2, within_s=15)
    assert sent() == [f"first to {CONTACT}", f"then to {CONTACT}"]


def test_the_answer_of_a_contacts_check_is_posted_too(gateway: Stack, receiver: Receiver) -> None:
    body = {"contacts": [CONTACT], "webhook": receiver.url("/checked")}

    answer = ask(gateway, "POST", f"/{SHOP}/contacts", TOKEN, json=body).json()

    posted = eventually(lambda: receiver.requests("/checked"), within_s=15)
    assert json.loads(posted[0].body) == answer


def test_a_filtered_delivery_is_traced_with_the_filters_name(gateway: Stack) -> None:
    ask(gateway, "POST", f"/{SHOP}/blacklist/crm", TOKEN, json={"to": CONTACT, "ttl": 60})
    written = {"from": CONTACT, "type": "text", "text": {"body": "hi"}}
    message_id = ask(gateway, "POST", f"/sandbox/{SHOP}/messages", TOKEN, json=written).json()["messages"][0]["id"]

    def filtered() -> list[dict[str, Any]]:
        steps = ask(gateway, "GET", f"{V}/{SHOP}/messages/{message_id}/trace", TOKEN).json().get("trace", [])
        return [step for step in steps if step["step"] == "filtered"]

    (step,) = eventually(filtered, within_s=15)
    assert (step["webhook"], step["detail"]) == ("crm", "blacklist")
    ask(gateway, "POST", f"/{SHOP}/blacklist/crm", TOKEN, json={"to": CONTACT})


def test_the_command_line_remembers_a_removed_session_as_long_as_the_api(gateway: Stack) -> None:
    assert gateway.cli("session", "remove", SHOP).stdout == f"{SHOP} removed.\n"

    left_s = int(redis.Redis.from_url(gateway.servers.redis_url).ttl(f"unoapi-removed:{SHOP}"))
    assert REMEMBERED_S - 60 < left_s <= REMEMBERED_S


@pytest.mark.parametrize("provider", ["sandbox", "forwarder"])
def test_the_page_of_a_number_without_a_phone_offers_no_connection(api: Api, provider: str) -> None:
    ask(api, "POST", f"{V}/{SHOP}/register", json={"provider": provider})

    state = got(api, f"/session/{SHOP}/state")

    assert (state["provider"], state["status"], state["state"]) == (provider, "online", "online")
