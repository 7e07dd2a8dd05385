"""Every secret can be changed under traffic: what was handed out before goes on working as long as it was asked for."""

from __future__ import annotations

import hashlib
import hmac
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.api import api as serve_api
from tests.support.api import make_settings
from tests.support.fakes import CONTACT, PHONE, SECRET, make_webhook
from tests.support.stack import eventually
from unoapi.devenv.packages import REDIS
from unoapi.devenv.servers import PrivateServers
from unoapi.http.signatures import build_headers, sign_hub, sign_standard
from unoapi.media.signed_urls import SignedUrls
from unoapi.models.media import MediaFile
from unoapi.models.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.api import Api

OLD, NEW = "the-token-of-yesterday", "the-token-of-tomorrow"
OPERATORS_OLD = "the-operators-token-of-yesterday"
META_OLD, META_NEW = "app-secret-of-yesterday", "app-secret-of-tomorrow"
REGISTER = f"/v15.0/{PHONE}/register"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("rotation")
    settings = {
        "UNOAPI_AUTH_TOKEN_PREVIOUS": OPERATORS_OLD,
        "UNOAPI_META_APP_SECRET": META_NEW,
        "UNOAPI_META_APP_SECRET_PREVIOUS": META_OLD,
    }
    with PrivateServers(folder / "redis", wanted=(REDIS,)) as redis, serve_api(redis, folder, **settings) as running:
        yield running


@pytest.fixture
def number(api: Api) -> str:
    """A number whose token is the old one, with a webhook whose secret is, too."""
    hook = {"id": "crm", "urlAbsolute": "https://crm.example/hook", "secret": OLD}
    api.register([hook], authToken=OLD)
    return f"/v15.0/{PHONE}"


def opened_by(api: Api, token: str) -> bool:
    return len(api.get("/sessions", token=token).json().get("data", [])) == 1


def stored_webhook(api: Api) -> Any:
    return api.uno.sessions.find(PHONE).webhooks[0]


def test_a_token_that_is_replaced_opens_no_longer_because_it_may_have_leaked(api: Api, number: str) -> None:
    api.post(REGISTER, {"authToken": NEW})

    assert api.get(number, token=NEW).status_code == 200
    assert api.get(number, token=OLD).status_code in (401, 404)


def test_a_token_goes_on_opening_for_the_time_that_was_asked_for(api: Api, number: str) -> None:
    answer = api.post(REGISTER, {"authToken": NEW, "overlapSeconds": 3600})

    assert [api.get(number, token=token).status_code for token in (NEW, OLD, "neither-of-both-tokens")] == [
        200,
        200,
        401,
    ]
    for token in (NEW, OLD):  # which numbers a token opens is read at most once a second
        eventually(partial(opened_by, api, token), within_s=5)
    assert OLD not in answer.text + api.get("/sessions").text
    assert "overlapSeconds" not in answer.text


def test_the_time_of_an_overlap_ends() -> None:
    session = Session.model_validate({
        "phone": PHONE, "authToken": NEW, "previousAuthToken": OLD, "previousAuthTokenUntil": 1000,
    })  # fmt: skip

    assert session.tokens_at(999.9) == (NEW, OLD)
    assert session.tokens_at(1000.0) == (NEW,)


def test_a_second_change_without_an_overlap_ends_the_first_one(api: Api, number: str) -> None:
    api.post(REGISTER, {"authToken": NEW, "overlapSeconds": 3600})
    api.post(REGISTER, {"authToken": "a-third-token-of-this-number"})

    # 404 while the API still has in mind, for half a second, that the token opened a number.
    assert {api.get(number, token=token).status_code for token in (OLD, NEW)} <= {401, 404}


def test_a_change_of_something_else_leaves_an_overlap_alone(api: Api, number: str) -> None:
    api.post(REGISTER, {"authToken": NEW, "overlapSeconds": 3600})
    api.post(REGISTER, {"label": "Shop"})

    assert api.get(number, token=OLD).status_code == 200


@pytest.mark.parametrize("name", ["previousAuthToken", "previousAuthTokenUntil"])
def test_nobody_gives_a_number_a_second_token_of_his_own(api: Api, number: str, name: str) -> None:
    api.post(REGISTER, {name: "another-token-of-my-own" if name.endswith("Token") else 2**40}, token=OLD)

    assert name not in (api.uno.sessions.config(PHONE) or {})
    assert api.get(number, token="another-token-of-my-own").status_code == 401


@pytest.mark.parametrize("seconds", [-1, 604_801, "1h", True, 1.5, [1]])
def test_an_overlap_is_a_number_of_seconds_of_a_week_at_most(api: Api, number: str, seconds: Any) -> None:
    answer = api.post(REGISTER, {"authToken": NEW, "overlapSeconds": seconds})

    assert answer.status_code == 400
    assert "overlapSeconds: must be a whole number from 0 to 604800" in answer.text
    assert api.get(number, token=OLD).status_code == 200


@pytest.mark.usefixtures("number")
def test_both_secrets_of_a_webhook_sign_during_an_overlap(api: Api) -> None:
    api.post(REGISTER, {"webhooks": [{"id": "crm", "secret": NEW}], "overlapSeconds": 3600}, token=OLD)
    webhook = stored_webhook(api)

    assert webhook.secrets_at(time.time()) == (NEW, OLD)
    assert webhook.secrets_at(time.time() + 3601) == (NEW,)
    assert OLD not in api.get("/sessions").text


def test_a_receiver_with_either_secret_takes_the_request() -> None:
    body = b'{"object": "whatsapp_business_account"}'
    headers = dict(build_headers(
        delivery_id="id", attempt=1, timestamp_s=5, body=body, token_header="", token="", secrets=(NEW, OLD),
    ))  # fmt: skip

    signatures = headers["webhook-signature"].split(" ")

    assert signatures == [sign_standard(key, message_id="id", timestamp_s=5, body=body) for key in (NEW, OLD)]
    assert headers["X-Hub-Signature-256"] == sign_hub(NEW, body)


def test_a_webhook_without_a_secret_signs_with_none_that_it_had() -> None:
    assert make_webhook(secret="", previousSecret=SECRET).secrets_at(0) == ()


@pytest.mark.parametrize(("token", "status"), [(OPERATORS_OLD, 200), ("the-operators-token-of-nobody", 401)])
def test_the_operators_token_before_a_change_opens_until_its_setting_is_empty(
    api: Api, token: str, status: int
) -> None:
    assert api.get("/admin/endpoints", token=token).status_code == status


def test_a_short_token_before_a_change_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="UNOAPI_AUTH_TOKEN_PREVIOUS has fewer than 16 characters"):
        make_settings(UNOAPI_AUTH_TOKEN_PREVIOUS="short")


@pytest.mark.parametrize(("secret", "status"), [(META_NEW, 200), (META_OLD, 200), ("app-secret-of-nobody", 401)])
@pytest.mark.usefixtures("number")
def test_callbacks_of_meta_are_taken_with_either_app_secret(api: Api, secret: str, status: int) -> None:
    body = (
        b'{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":'
        b'{"messaging_product":"whatsapp","metadata":{"display_phone_number":"%s","phone_number_id":"%s"},'
        b'"statuses":[{"id":"wamid.1","status":"sent","timestamp":"1","recipient_id":"%s"}]}}]}]}'
    ) % (PHONE.encode(), PHONE.encode(), CONTACT.encode())
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()

    answer = api.post(
        f"/webhooks/whatsapp/{PHONE}", token=None, data=body,
        headers={"X-Hub-Signature-256": signature, "Content-Type": "application/json"},
    )  # fmt: skip

    assert answer.status_code == status, answer.text


def test_links_of_the_key_before_a_change_go_on_working() -> None:
    def urls(key: str, *former: str) -> SignedUrls:
        return SignedUrls(base_url="http://uno.test", read_key=lambda: key, former_keys=("oldest", *former), ttl_s=60)

    file = MediaFile(id="1", phone=PHONE, key=f"{PHONE}/1.jpg")
    signature = urls(OLD).make(file).partition("signature=")[2]

    assert urls(NEW, OLD).opens(file.key, signature)
    assert not urls(NEW).opens(file.key, signature)
    assert not urls(OLD).opens(file.key, urls(NEW, OLD).make(file).partition("signature=")[2])


def verifies(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """A receiver of Standard Webhooks: any of the signatures will do."""
    expected = sign_standard(secret, message_id=headers["webhook-id"], timestamp_s=5, body=body)
    return expected in headers["webhook-signature"].split(" ")


@pytest.mark.usefixtures("number")
def test_nothing_is_refused_while_token_and_secret_change_under_traffic(api: Api) -> None:
    """The change is made at the 10th request; client and receiver learn of it at the 20th."""
    statuses, verified = [], []
    for step in range(30):
        if step == 10:
            change = {"authToken": NEW, "webhooks": [{"id": "crm", "secret": NEW}], "overlapSeconds": 3600}
            assert api.post(REGISTER, change, token=OLD).status_code == 200
        known = OLD if step < 20 else NEW
        statuses.append(api.send(f"message {step}", token=known).status_code)
        secrets = stored_webhook(api).secrets_at(time.time())
        headers = dict(build_headers(
            delivery_id=f"d{step}", attempt=1, timestamp_s=5, body=b"{}", token_header="", token="", secrets=secrets,
        ))  # fmt: skip
        verified.append(verifies(known, headers, b"{}"))

    assert set(statuses) == {200}
    assert all(verified)
    assert len(api.queues.jobs("unoapi.incoming")) == 30
