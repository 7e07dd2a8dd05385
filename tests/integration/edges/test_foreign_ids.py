"""An id that a tenant writes down proves nothing: other numbers stay who they are, whatever it claims."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.integration.edges.calls import (
    arranged,
    config_of,
    event,
    happens,
    is_over,
    post_event,
    register,
    registered,
    steps,
    store,
    text,
    token_of,
)
from tests.support.receiver import Receiver
from tests.support.stack import OPERATOR, Stack, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unoapi.devenv.servers import PrivateServers

APP_SECRET = "secret-of-the-operators-app-at-meta"
PNG = b"\x89PNG\r\n\x1a\n of another number"
CLAIMS = ["phoneNumberId", "businessAccountId"]


@pytest.fixture(scope="module")
def hooks() -> Iterator[Receiver]:
    with Receiver() as running:
        running.record("full")
        yield running


@pytest.fixture(scope="module")
def uno(servers: PrivateServers, hooks: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"WEBHOOK_URL": hooks.url("/environment"), "UNOAPI_META_APP_SECRET": APP_SECRET}
    with stack(servers, tmp_path_factory.mktemp("ids"), **settings) as running:
        running.web()
        running.worker()
        yield running


@pytest.fixture
def numbers(uno: Stack, hooks: Receiver) -> tuple[str, str]:
    """The attacker's number, registered, and another tenant's, which is not; the attacker's sorts first."""
    count = int(store(uno).incr("edges-pairs"))
    attacker, victim = f"55119100{count:05}", f"55119900{count:05}"
    registered(uno, [{"id": "own", "urlAbsolute": hooks.url(f"/{attacker}")}], phone=attacker)
    hooks.clear()
    return attacker, victim


def claim(uno: Stack, attacker: str, kind: str, node: str) -> None:
    """The attacker says that an id is its own. Every process knows it afterwards, if it was taken."""
    register(uno, attacker, {"webhookForward": {kind: node}})
    happens(lambda: False, within_s=0.7)


def upload(uno: Stack, phone: str) -> str:
    files = {"file": ("a.png", PNG, "image/png")}
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    answer = requests.post(f"{uno.url}/v15.0/{phone}/media", files=files, headers=headers, timeout=10)
    return str(answer.json()["id"])


def shown_phone(uno: Stack, node: str) -> str:
    """Which number the operator gets under an id."""
    return str(uno.get(f"/v15.0/{node}").json().get("display_phone_number"))


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_number_that_is_not_stored_means_itself_whatever_another_claims(
    uno: Stack, numbers: tuple[str, str], kind: str
) -> None:
    """Security 5a: what the operator's clients send from a number leaves through that number."""
    attacker, victim = numbers
    claim(uno, attacker, kind, victim)

    message_id = uno.send("from the victim", phone=victim).json()["messages"][0]["id"]

    assert shown_phone(uno, victim) == victim
    assert not happens(lambda: "sent" in steps(uno, attacker, message_id), within_s=3)


@pytest.mark.parametrize("kind", CLAIMS)
def test_registering_a_claimed_number_stores_that_number(uno: Stack, numbers: tuple[str, str], kind: str) -> None:
    """Security 5a: the operator's own act is for the number in the path."""
    attacker, victim = numbers
    claim(uno, attacker, kind, victim)

    registered(uno, [], phone=victim, label="the victim")

    assert config_of(uno, victim).get("label") == "the victim"
    assert config_of(uno, attacker)["authToken"] == token_of(attacker)


def test_a_claim_does_not_open_the_events_of_a_number(uno: Stack, numbers: tuple[str, str], hooks: Receiver) -> None:
    """Security 5b: the environment's webhook is reached in the victim's name, signed and with its token."""
    attacker, victim = numbers
    claim(uno, attacker, "phoneNumberId", victim)

    answer = post_event(uno, victim, event(text("wamid.FORGED")), token=token_of(attacker))

    assert answer.status_code == 404
    assert not happens(lambda: hooks.count(f"/environment/{victim}"), within_s=1)


def test_a_claim_does_not_open_the_files_of_a_number(uno: Stack, numbers: tuple[str, str]) -> None:
    """Security 5b: the folder is the victim's."""
    attacker, victim = numbers
    media_id = upload(uno, victim)
    address = urlsplit(uno.get(f"/v15.0/{media_id}").json()["url"])
    claim(uno, attacker, "phoneNumberId", victim)

    answer = uno.get(address.path, token=token_of(attacker))

    assert uno.get(address.path).content == PNG
    assert answer.status_code == 400
    assert answer.content != PNG


@pytest.mark.parametrize("kind", CLAIMS)
def test_an_id_stays_with_who_had_it_first(uno: Stack, numbers: tuple[str, str], kind: str) -> None:
    """Security 5c: the attacker's number sorts first."""
    attacker, victim = numbers
    node = f"10{victim}"
    registered(uno, [], phone=victim, webhookForward={kind: node})
    claim(uno, attacker, kind, node)

    assert shown_phone(uno, node) == victim


def test_a_computed_account_id_cannot_be_claimed(uno: Stack, numbers: tuple[str, str]) -> None:
    """Security 5c: anybody can compute it of the phone."""
    attacker, victim = numbers
    registered(uno, [], phone=victim)
    node = uno.get(f"/v15.0/{victim}").json()["business_account_id"]
    claim(uno, attacker, "businessAccountId", node)

    assert shown_phone(uno, node) == victim
    listed = uno.get(f"/v15.0/{victim}/phone_numbers").json()["data"]
    assert [number["display_phone_number"] for number in listed] == [victim]


def test_metas_callback_reaches_the_number_whose_id_it_names(
    uno: Stack, numbers: tuple[str, str], hooks: Receiver
) -> None:
    """Security 5c: Meta shows Brazilian numbers without their ninth digit, so the phone does not help."""
    attacker, victim = numbers
    node = f"20{victim}"
    webhooks = [{"id": "own", "urlAbsolute": hooks.url(f"/{victim}")}]
    registered(uno, webhooks, phone=victim, provider="forwarder", webhookForward={"phoneNumberId": node, "token": "t"})
    claim(uno, attacker, "phoneNumberId", node)
    metadata = {"display_phone_number": f"{victim[:4]}{victim[5:]}", "phone_number_id": node}
    body = json.dumps(event(text("wamid.TO-THE-VICTIM"), metadata=metadata)).encode()
    signature = hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}

    answer = requests.post(f"{uno.url}/webhooks/whatsapp", data=body, headers=headers, timeout=10)
    came = arranged(
        lambda: hooks.count(f"/{victim}") + hooks.count(f"/{attacker}") or not answer.ok, what="the event comes"
    )

    assert came
    assert hooks.count(f"/{attacker}") == 0


def test_a_trace_cannot_be_pushed_out_by_another_number(uno: Stack, numbers: tuple[str, str]) -> None:
    """An id that two numbers use has two traces."""
    attacker, victim = numbers
    registered(uno, [], phone=victim)
    message_id = uno.contact_writes("followed", phone=victim)
    arranged(lambda: is_over(uno, victim, message_id), what="the event is over")
    before = steps(uno, victim, message_id)

    flood = [text(message_id, text={"body": f"{number}"}) for number in range(250)]
    assert post_event(uno, attacker, event(*flood)).ok
    happens(lambda: steps(uno, victim, message_id) != before, within_s=3)

    assert steps(uno, victim, message_id)[: len(before)] == before


@pytest.mark.parametrize("token", ["", "made-up"])
def test_without_a_token_a_known_number_looks_like_an_unknown_one(
    uno: Stack, numbers: tuple[str, str], token: str
) -> None:
    """Nobody finds out which numbers are served."""
    attacker, unknown = numbers
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    answers = []
    for phone in (attacker, unknown):
        document = event(text("wamid.X"), metadata={"phone_number_id": phone})
        answers.append(requests.post(f"{uno.url}/webhooks/whatsapp", json=document, headers=headers, timeout=10))

    assert [answer.status_code for answer in answers] == [401, 401]
    assert len({_without_ids(answer.json()) for answer in answers}) == 1


def test_with_a_made_up_token_a_known_file_looks_like_an_unknown_one(uno: Stack, numbers: tuple[str, str]) -> None:
    """Nobody finds out which files are there."""
    media_id = upload(uno, numbers[1])
    unknown = f"{int(media_id) + 1:0{len(media_id)}}"

    answers = [uno.get(f"/v15.0/{node}", token="made-up") for node in (media_id, unknown)]

    assert [answer.status_code for answer in answers] == [401, 401]


def test_metas_query_field_is_a_token_in_the_handshake_alone(uno: Stack, numbers: tuple[str, str]) -> None:
    """Elsewhere a token in the query would stand in logs that nobody expects it in."""
    attacker, _ = numbers
    query = {"hub.verify_token": token_of(attacker)}

    answer = requests.get(f"{uno.url}/v15.0/{attacker}/phone_numbers", params=query, timeout=10)
    challenge = requests.get(
        f"{uno.url}/webhooks/whatsapp/{attacker}",
        params={**query, "hub.mode": "subscribe", "hub.challenge": "1158201444"},
        timeout=10,
    )

    assert challenge.text == "1158201444"
    assert answer.status_code == 401


def test_no_token_stands_in_the_address_of_the_next_page(uno: Stack, numbers: tuple[str, str]) -> None:
    """What looks like a token in the query does not come back."""
    attacker, _ = numbers
    query = f"limit=1&hub.verify_token={token_of(attacker)}&access_token={token_of(attacker)}"

    answer = uno.get(f"/v15.0/{attacker}/message_templates?{query}")

    assert answer.json()["paging"]["next"]
    assert token_of(attacker) not in answer.json()["paging"]["next"]


def _without_ids(document: dict[str, Any]) -> str:
    """An error without what is new in each."""
    error = {key: part for key, part in document["error"].items() if key != "fbtrace_id"}
    return json.dumps(error, sort_keys=True)
