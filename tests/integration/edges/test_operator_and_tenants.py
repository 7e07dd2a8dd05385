"""What only the operator may do, over HTTP: ids, options, links, guesses, and the API without a token."""

from __future__ import annotations

import hashlib
import json
import socket
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from itsdangerous import URLSafeTimedSerializer

from tests.integration.edges.calls import event, text
from tests.support.api import api as serve_api
from tests.support.fakes import PHONE
from tests.support.stack import OPERATOR
from unoapi.errors import NotSent
from unoapi.http.address_guard import AddressGuard
from unoapi.http.signatures import sign_hub
from unoapi.models.session import computed_waba_id
from unoapi.stores.link_secret import RedisLinkSecret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.api import Answer, Api
    from unoapi.devenv.servers import PrivateServers

OTHER = "5521977776666"
META = {"phoneNumberId": "106540352242922", "businessAccountId": "102290129340398", "token": "token-at-meta"}
TOKEN, OTHER_TOKEN = "token-of-the-tenant", "token-of-the-other"


@pytest.fixture
def api(servers: PrivateServers, tmp_path: Path) -> Iterator[Api]:
    with serve_api(servers, tmp_path, UNOAPI_RATE_LIMIT_REFUSED="3") as running:
        body = {"provider": "sandbox", "authToken": TOKEN}
        assert running.post(f"/v15.0/{PHONE}/register", {**body, "webhookForward": META}).status_code == 200
        assert running.post(f"/v15.0/{OTHER}/register", {**body, "authToken": OTHER_TOKEN}).status_code == 200
        yield running


def register(api: Api, config: dict[str, Any], *, phone: str = PHONE, token: str = OPERATOR) -> Answer:
    return api.post(f"/v15.0/{phone}/register", config, token=token)


def stored(api: Api, phone: str = PHONE) -> dict[str, Any]:
    return dict(json.loads(api.redis.get(f"unoapi-config:{phone}")))


@pytest.mark.parametrize(
    "claimed",
    [
        {"phoneNumberId": META["phoneNumberId"]},
        {"phoneNumberId": f" {META['phoneNumberId']}\n"},
        {"phoneNumberId": META["businessAccountId"]},
        {"phoneNumberId": PHONE},
        {"businessAccountId": PHONE},
        {"businessAccountId": META["phoneNumberId"]},
    ],
    ids=repr,
)
def test_an_id_that_another_number_has_is_refused_to_the_operator_too(api: Api, claimed: dict[str, str]) -> None:
    answer = register(api, {"webhookForward": claimed}, phone=OTHER)

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, 100)
    assert "webhookForward" not in stored(api, OTHER)


def test_the_computed_account_of_another_number_is_refused(api: Api) -> None:
    answer = register(api, {"webhookForward": {"businessAccountId": computed_waba_id(OTHER)}})

    assert answer.status_code == 409


def test_numbers_of_one_business_account_may_share_it(api: Api) -> None:
    account = {"phoneNumberId": "106540352242923", "businessAccountId": META["businessAccountId"]}

    assert register(api, {"webhookForward": account}, phone=OTHER).status_code == 200


def test_an_id_that_two_numbers_claimed_before_is_nobodys_word(api: Api) -> None:
    config = {**stored(api, OTHER), "webhookForward": META}
    api.redis.set(f"unoapi-config:{OTHER}", json.dumps(config))
    api.redis.sadd(f"unoapi-node:{META['phoneNumberId']}", OTHER)
    api.uno.sessions.refresh(OTHER)

    answer = api.get(f"/v15.0/{META['phoneNumberId']}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, 100)


def test_a_session_may_post_its_configuration_back(api: Api) -> None:
    shown = api.get(f"/v15.0/{PHONE}", token=TOKEN).json()
    before = stored(api)

    answer = register(api, {**shown, "label": "Shop"}, token=TOKEN)

    assert answer.status_code == 200, answer.text
    assert stored(api) == {**before, "label": "Shop"}


def test_what_is_the_operators_is_refused_to_a_session_and_nothing_is_stored(api: Api) -> None:
    before = stored(api)

    answer = register(api, {"label": "Shop", "provider": "forwarder"}, token=TOKEN)

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, 10)
    assert "provider" in answer.json()["error"]["error_data"]["details"]
    assert stored(api) == before


def test_the_operator_may_take_a_sessions_token_away_and_a_session_may_not(api: Api) -> None:
    assert register(api, {"authToken": None}, token=TOKEN).status_code == 400
    assert register(api, {"authToken": ""}).status_code == 200


def test_a_short_token_that_is_stored_goes_on_working(api: Api) -> None:
    api.redis.set(f"unoapi-config:{PHONE}", json.dumps({**stored(api), "authToken": "short"}))
    api.uno.sessions.refresh(PHONE)

    assert register(api, {"label": "Shop", "authToken": "short"}, token="short").status_code == 200


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:8080", "ftp://proxy.example", "socks5://", "http://10.0.0.1:3128"])
def test_a_proxy_of_the_operators_api_is_checked_too(api: Api, proxy: str) -> None:
    assert register(api, {"proxyUrl": proxy}).status_code == 400
    assert register(api, {"proxyUrl": "socks5://user:login@proxy.example:1080"}).status_code == 200


def test_a_proxy_is_checked_by_what_its_name_leads_to(monkeypatch: pytest.MonkeyPatch) -> None:
    guard, addresses = AddressGuard(), ["93.184.216.34"]
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in addresses],
    )

    assert guard.resolve("socks5://u:p@proxy.example:1080") == "socks5://u:p@93.184.216.34:1080"
    assert guard.resolve("https://proxy.example:3128") == "https://proxy.example:3128"
    addresses.append("169.254.169.254")
    for scheme in ("http", "https", "socks5"):
        with pytest.raises(NotSent, match="metadata"):
            guard.resolve(f"{scheme}://proxy.example:3128")


def test_an_event_of_the_operators_keeps_its_metadata_and_one_of_a_session_does_not(api: Api) -> None:
    metadata = {"display_phone_number": "5500000000", "phone_number_id": "1"}
    for token in (TOKEN, OPERATOR):
        document = event(text(f"wamid.{token}"), metadata=dict(metadata))
        assert api.post(f"/webhooks/whatsapp/{PHONE}", document, token=token).status_code == 200

    events = [json.loads(job.body) for job in api.queues.jobs("unoapi.outgoing")]
    values = [document["entry"][0]["changes"][0]["value"]["metadata"] for document in events]
    assert values == [{"display_phone_number": PHONE, "phone_number_id": META["phoneNumberId"]}, metadata]


@pytest.mark.parametrize("account", [{"appSecret": "own-secret", "token": "own"}, {"appSecret": "own-secret"}])
def test_a_sessions_own_app_signs_for_its_own_number_alone(api: Api, account: dict[str, str]) -> None:
    register(api, {"webhookForward": {**account, "phoneNumberId": "106540352242923"}}, phone=OTHER)
    document = event(text("wamid.SIGNED"), metadata={"display_phone_number": PHONE, "phone_number_id": PHONE})
    body = json.dumps(document).encode()
    signature = {"X-Hub-Signature-256": sign_hub("own-secret", body), "Content-Type": "application/json"}

    answer = api.request("POST", f"/webhooks/whatsapp/{OTHER}", token=None, data=body, headers=signature)
    stolen = api.request("POST", f"/webhooks/whatsapp/{PHONE}", token=None, data=body, headers=signature)

    (job,) = api.queues.jobs("unoapi.outgoing")
    assert (answer.status_code, stolen.status_code) == (200, 401)
    assert json.loads(job.body)["entry"][0]["changes"][0]["value"]["metadata"]["display_phone_number"] == OTHER


# --- links to files ---


def test_the_key_of_links_says_nothing_of_the_operators_token(api: Api) -> None:
    derived = hashlib.sha256(f"links:{OPERATOR}".encode()).hexdigest()
    former_signer = URLSafeTimedSerializer(derived, salt="media")
    key = f"{PHONE}/1.png"

    made = api.uno.signed_urls._signer(api.uno.signed_urls._read_key()).dumps(key)

    assert not former_signer.loads_unsafe(made)[0]
    assert api.uno.signed_urls.opens(key, made)
    assert api.uno.signed_urls.opens(key, former_signer.dumps(key))  # one that an earlier version made
    assert not api.uno.signed_urls.opens(f"{OTHER}/1.png", made)


def test_all_processes_sign_links_with_one_key(api: Api) -> None:
    key = api.uno.signed_urls._read_key()

    assert len(key) == 64
    assert RedisLinkSecret(api.uno.redis).read() == key


# --- guesses ---


def test_wrong_tokens_are_counted_wherever_they_may_be_tried(api: Api) -> None:
    handshake = {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": "guess"}
    for number in range(3):
        answer = api.get(f"/webhooks/whatsapp/{PHONE}", token=None, params={**handshake, "n": str(number)})
        assert answer.status_code == 403

    assert api.get("/webhooks/whatsapp", token=None, params=handshake).status_code == 429
    assert api.get("/v15.0/debug_token", token=TOKEN, params={"input_token": "guess"}).status_code == 429
    assert api.get("/v15.0/debug_token", token=TOKEN, params={"input_token": TOKEN}).status_code == 200


def test_who_guesses_does_not_make_all_sessions_be_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound a token is compared with what was read last, wherever it is tried."""
    for number in range(4):
        api.get("/sessions", token=f"guess-{number}")
    load = mock.Mock(return_value=[])
    monkeypatch.setattr(api.uno.directory, "_loaded", load)

    tried = {
        "sessions": api.get("/sessions", token="guess"),
        "a file that nobody has": api.get("/v15.0/31410000000000000001", token="guess"),
        "an id that nobody has": api.get("/v15.0/waba-of-nobody/phone_numbers", token="guess"),
        "a token that is looked at": api.get("/v15.0/debug_token", token=TOKEN, params={"input_token": "guess"}),
    }

    assert {name: answer.status_code for name, answer in tried.items()} == dict.fromkeys(tried, 429)
    assert load.call_count == 0


# --- without a token ---


@pytest.fixture
def open_api(servers: PrivateServers, tmp_path: Path) -> Iterator[Api]:
    settings = {"UNOAPI_AUTH_TOKEN": "", "UNOAPI_CORS_ORIGINS": "https://panel.example"}
    with serve_api(servers, tmp_path, **settings) as running:
        yield running


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:9876"}, 200),
        ({"Host": "localhost:9876", "Origin": "http://localhost:9876"}, 200),
        ({"Host": "[::1]:9876", "Origin": "http://127.0.0.1:3000"}, 200),
        ({"Host": "127.0.0.1:9876", "Origin": "https://panel.example"}, 200),
        ({"Host": "127.0.0.1:9876", "Origin": "https://evil.example"}, 403),
        ({"Host": "127.0.0.1:9876", "Origin": "null"}, 403),
        ({"Host": "127.0.0.1:9876", "Origin": "http://localhost.evil.example"}, 403),
        ({"Host": "rebound.evil.example:9876"}, 403),
    ],
)
def test_without_a_token_no_page_of_the_web_is_the_operator(
    open_api: Api, headers: dict[str, str], status: int
) -> None:
    body = json.dumps({"provider": "sandbox"})

    answer = open_api.request(
        "POST",
        f"/v15.0/{PHONE}/register",
        token=None,
        data=body,
        headers={"Content-Type": "application/json", **headers},
    )

    assert answer.status_code == status, answer.text
    assert bool(open_api.redis.exists(f"unoapi-config:{PHONE}")) is (status == 200)
