"""What the operator put into the environment and what a tenant wrote never merge: no secret goes anywhere else."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.connector.phones import Phone
from tests.integration.edges.calls import (
    arranged,
    config_of,
    event,
    happens,
    is_over,
    new_number,
    post_event,
    register,
    registered,
    said,
    second_stack,
    statuses,
    steps,
    store,
    text,
    token_of,
    trace,
)
from tests.support.fake_graph_api import NUMBER_ID, Graph
from tests.support.receiver import Receiver
from tests.support.stack import OPERATOR, Stack, stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unoapi.devenv.servers import PrivateServers

META_TOKEN = "canary-token-of-the-operator-at-meta"
WEBHOOK_TOKEN = "canary-token-of-the-operators-webhook"
SECRETS = (META_TOKEN, WEBHOOK_TOKEN, OPERATOR)
SIGNATURE = "x-hub-signature-256"
VICTIM = "5511900000999"


@pytest.fixture(scope="module")
def operators() -> Iterator[Receiver]:
    """The operator's own application: `/operator` is the environment's webhook."""
    with Receiver() as running:
        running.record("full")
        yield running


@pytest.fixture(scope="module")
def evil() -> Iterator[Receiver]:
    """A server of the attacker's. Its name is allowed; the operator's is trusted as the environment's webhook only."""
    with Receiver() as running:
        running.record("full")
        yield running


@pytest.fixture(scope="module")
def graph() -> Iterator[Graph]:
    """The operator's account at Meta."""
    with Graph() as running:
        running.files["1003383421387256"] = ("image/png", b"\x89PNG a picture of another number")
        yield running


@pytest.fixture(scope="module")
def uno(
    servers: PrivateServers, operators: Receiver, graph: Graph, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    settings = {
        "WEBHOOK_URL": operators.url("/operator"),
        "WEBHOOK_TOKEN": WEBHOOK_TOKEN,
        "UNOAPI_WEBHOOK_SECRET": "canary-secret-of-the-operators-webhook",
        "WEBHOOK_FORWARD_URL": graph.url.replace("127.0.0.1", "localhost"),
        "WEBHOOK_FORWARD_PHONE_NUMBER_ID": NUMBER_ID,
        "WEBHOOK_FORWARD_TOKEN": META_TOKEN,
        "UNOAPI_ALLOWED_HOSTS": "localhost",
        "UNOAPI_MESSAGE_RETRY_LIMIT": "1",
        "UNOAPI_MESSAGE_RETRY_DELAY": "200",
    }
    with stack(servers, tmp_path_factory.mktemp("credentials"), **settings) as running:
        running.web()
        running.worker()
        yield running


@pytest.fixture
def tenant(uno: Stack, operators: Receiver, evil: Receiver, graph: Graph) -> str:
    """A number of the attacker's, registered by the operator. Its events go to the environment's webhook."""
    phone = new_number(uno)
    registered(uno, [], phone=phone)
    operators.clear()
    evil.clear()
    graph.sent.clear()
    return phone


def at(receiver: Receiver, path: str) -> str:
    """The same server under the name that is allowed."""
    return receiver.url(path).replace("127.0.0.1", "localhost")


def sends(uno: Stack, phone: str, contact: str = "5549988887777") -> None:
    """A text is sent, and everything that follows is waited for."""
    answer = uno.send("x", phone=phone, to=contact, token=token_of(phone))
    if answer.ok:
        message_id = str(answer.json()["messages"][0]["id"])
        arranged(lambda: {"sent", "failed", "dead"} & set(steps(uno, phone, message_id)), what="the send is over")


def gets(uno: Stack, phone: str, message_id: str = "wamid.EDGE", **value: Any) -> None:
    """An event of the tenant's choice is accepted, and everything that follows is waited for."""
    message_id = f"{message_id}.{phone}"
    if post_event(uno, phone, event(text(message_id), **value)).ok:
        arranged(lambda: is_over(uno, phone, message_id), what="the event is over", within_s=30)


# --- the operator's account at Meta ---


@pytest.mark.parametrize("who", ["tenant", "operator"])
def test_the_operators_token_at_meta_never_goes_to_an_address_of_a_session(
    uno: Stack, tenant: str, evil: Receiver, who: str
) -> None:
    """Whoever stored it, the environment's account counts as a whole or not at all."""
    forward = {"provider": "forwarder", "webhookForward": {"url": at(evil, "/graph"), "phoneNumberId": f"1{tenant}"}}

    register(uno, tenant, forward, token=OPERATOR if who == "operator" else token_of(tenant))
    sends(uno, tenant)

    assert META_TOKEN not in said(evil.requests())


def test_the_operators_token_at_meta_never_sends_as_a_number_that_a_tenant_names(
    uno: Stack, tenant: str, graph: Graph
) -> None:
    """Another number of the operator's account is not the tenant's to send from."""
    register(uno, tenant, {"provider": "forwarder", "webhookForward": {"phoneNumberId": "106540352249999"}})
    sends(uno, tenant)

    assert [sent.path for sent in list(graph.sent) if META_TOKEN in sent.token] == []


def test_a_file_at_meta_that_a_tenant_names_is_not_fetched_with_the_operators_token(
    uno: Stack, tenant: str, graph: Graph
) -> None:
    """Only a callback that Meta signed can name a file of the operator's account."""
    register(uno, tenant, {"provider": "forwarder", "webhookForward": {"phoneNumberId": f"1{tenant}"}})
    picture = text(f"wamid.STOLEN.{tenant}", type="image", image={"id": "1003383421387256", "mime_type": "image/png"})

    if post_event(uno, tenant, event(picture)).ok:
        arranged(
            lambda: graph.sent or is_over(uno, tenant, picture["id"]), what="the picture is fetched, or never will be"
        )

    assert [sent.path for sent in list(graph.sent) if META_TOKEN in sent.token] == []


# --- the operator's webhook ---


def by_its_python_name(operators: Receiver, evil: Receiver) -> dict[str, Any]:
    return {"url": operators.url("/x"), "url_absolute": at(evil, "/x")}


def by_another_host(_: Receiver, evil: Receiver) -> dict[str, Any]:
    return {"urlAbsolute": at(evil, "/x")}


@pytest.mark.parametrize(
    "webhook",
    [
        by_its_python_name,
        by_another_host,
    ],
)
def test_the_operators_webhook_token_and_signature_never_go_to_another_server(
    uno: Stack,
    tenant: str,
    operators: Receiver,
    evil: Receiver,
    webhook: Callable[[Receiver, Receiver], dict[str, Any]],
) -> None:
    """The decision is made on the address that is called, under whatever name it came in."""
    register(uno, tenant, {"webhooks": [webhook(operators, evil)]})
    gets(uno, tenant)

    assert WEBHOOK_TOKEN not in said(evil.requests())
    assert [request.path for request in evil.requests() if SIGNATURE in request.headers] == []


@pytest.mark.parametrize("path", ["/api/v1/agents?agent[role]=administrator", f"/operator/{VICTIM}"])
def test_the_operators_token_never_goes_to_a_path_that_a_tenant_chose(
    uno: Stack, tenant: str, operators: Receiver, path: str
) -> None:
    """Security 3a and 3b: the operator's token is for exactly the operator's address and exactly this phone."""
    register(uno, tenant, {"webhooks": [{"urlAbsolute": operators.url(path)}]})
    gets(uno, tenant)

    elsewhere = operators.requests(path.partition("?")[0])
    assert WEBHOOK_TOKEN not in said(elsewhere)
    assert [request.path for request in elsewhere if SIGNATURE in request.headers] == []


def test_an_event_that_meta_did_not_sign_speaks_only_of_the_number_whose_token_came_with_it(
    uno: Stack, tenant: str, operators: Receiver
) -> None:
    """Security 3b: clients route by the metadata, so they are the gateway's."""
    gets(uno, tenant, metadata={"display_phone_number": VICTIM, "phone_number_id": VICTIM})

    posted = operators.requests("/operator")
    assert VICTIM not in said(posted)


def test_a_link_in_a_message_never_reaches_the_operators_private_server(
    uno: Stack, tenant: str, operators: Receiver
) -> None:
    """Security 3c: the environment's address is trusted as the webhook alone. Its server is on loopback here."""
    audio = {"link": operators.url("/private/file.mp3"), "voice": True}

    answer = uno.post(
        f"/v15.0/{tenant}/messages", {"to": "5549988887777", "type": "audio", "audio": audio}, token=token_of(tenant)
    )
    if answer.ok:
        message_id = answer.json()["messages"][0]["id"]
        happens(
            lambda: {"sent", "failed", "dead"} & set(steps(uno, tenant, message_id)) or operators.count("/private"),
            within_s=10,
        )

    assert operators.count("/private") == 0


def test_a_session_at_meta_never_reaches_the_operators_private_server(
    uno: Stack, tenant: str, operators: Receiver
) -> None:
    """Security 3c: a token of the tenant's own does not open the operator's host as Graph API."""
    forward = {"url": operators.url("/graph"), "phoneNumberId": f"1{tenant}", "token": "the-tenants-own"}

    register(uno, tenant, {"provider": "forwarder", "webhookForward": forward}, token=OPERATOR)
    sends(uno, tenant)

    assert operators.count("/graph") == 0


# --- what a tenant may not set ---


@pytest.mark.parametrize(
    "proxy",
    ["http://169.254.169.254:80", "socks5://127.0.0.1:5672", "http://[::1]:6379", "gopher://example.com", "nonsense"],
)
def test_a_proxy_inside_is_refused(uno: Stack, tenant: str, proxy: str) -> None:
    """The connector would connect to it from inside."""
    answer = register(uno, tenant, {"proxyUrl": proxy})

    assert answer.status_code in (400, 401, 403), answer.text
    assert "proxyUrl" not in config_of(uno, tenant)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("provider", "forwarder"),
        ("server", "another_connector"),
        ("proxyUrl", "socks5://proxy.example:1080"),
        ("webhookForward", {"phoneNumberId": "106540352249999", "token": "t"}),
    ],
)
def test_a_sessions_token_does_not_set_what_is_the_operators(uno: Stack, tenant: str, field: str, value: Any) -> None:
    """Those fields are a model of their own, for the operator's token."""
    before = config_of(uno, tenant).get(field)

    register(uno, tenant, {field: value})

    assert config_of(uno, tenant).get(field) == before


@pytest.mark.parametrize("short", ["", "x", "fifteen-letters"])
def test_a_short_token_is_refused(uno: Stack, tenant: str, short: str) -> None:
    """At least 16 characters, so that nobody guesses it."""
    answer = register(uno, tenant, {"authToken": short})

    assert answer.status_code in (400, 401, 403), answer.text
    assert config_of(uno, tenant)["authToken"] == token_of(tenant)


def test_a_number_that_was_deregistered_has_to_be_connected_anew(uno: Stack, tenant: str) -> None:
    """The login at WhatsApp goes with the session."""
    phone = Phone(uno, tenant)
    phone.log_in()
    registered(uno, [], phone=tenant, provider="whatsmeow")
    connector = uno.connector()
    arranged(lambda: phone.status() == "online", what="the simulated phone is online", within_s=30)

    assert uno.post(f"/v15.0/{tenant}/deregister").status_code == 204
    login = phone.folder.parent / "login"
    gone = happens(lambda: not login.exists(), within_s=6)
    connector.stop()

    assert gone


# --- header lines ---


def test_a_token_that_is_no_header_is_refused(uno: Stack, tenant: str, evil: Receiver) -> None:
    """What cannot be a header line is not stored, whoever says it."""
    forward = {"url": at(evil, "/graph"), "phoneNumberId": f"1{tenant}", "token": "x\r\nX-Injected: yes"}

    answer = register(uno, tenant, {"webhookForward": forward}, token=OPERATOR)

    assert answer.status_code == 400, answer.text


def test_a_stored_token_never_becomes_more_than_one_header(uno: Stack, tenant: str, evil: Receiver) -> None:
    """Also one that an older version stored."""
    forward = {"url": at(evil, "/graph"), "phoneNumberId": f"1{tenant}", "token": "x\r\nX-Injected: yes"}
    config = {**config_of(uno, tenant), "provider": "forwarder", "webhookForward": forward}
    store(uno).set(f"unoapi-config:{tenant}", json.dumps(config))

    arranged(lambda: uno.get(f"/v15.0/{tenant}").ok, what="the session is readable")
    happens(lambda: False, within_s=0.7)  # until every process has read the new configuration
    sends(uno, tenant)

    assert [request.path for request in evil.requests() if "x-injected" in request.headers] == []


def test_a_token_that_cannot_be_sent_is_no_unknown_outcome(
    uno: Stack, tenant: str, evil: Receiver, operators: Receiver
) -> None:
    """Nothing left, so the status says what is wrong instead of that it may have left."""
    forward = {"url": at(evil, "/graph"), "phoneNumberId": f"1{tenant}", "token": "caf\u00e9"}
    config = {**config_of(uno, tenant), "provider": "forwarder", "webhookForward": forward}
    store(uno).set(f"unoapi-config:{tenant}", json.dumps(config))
    happens(lambda: False, within_s=0.7)  # until every process has read the new configuration

    message_id = uno.send("x", phone=tenant).json()["messages"][0]["id"]
    (status, *_) = arranged(lambda: statuses(operators, message_id, "/operator"), what="a status", within_s=20)

    assert status["status"] == "sent" or "may have left" not in json.dumps(status)


# --- what is shown ---


def test_the_login_in_the_environments_webhook_is_shown_to_nobody(
    tenant: str, servers: PrivateServers, operators: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An address may hold a login and a key."""
    address = operators.url("/operator?key=canary-key").replace("http://", "http://user:canary-password@")
    folder = tmp_path_factory.mktemp("shown")
    with second_stack(servers, folder, WEBHOOK_URL_ABSOLUTE=address, UNOAPI_ALLOWED_HOSTS="localhost") as other:
        other.web()
        registered(other, [], phone=tenant)
        shown = [
            other.get(path, token=token_of(tenant)).text
            for path in (f"/v15.0/{tenant}", f"/v15.0/{tenant}/subscribed_apps", "/sessions")
        ]

    assert [answer for answer in shown if "canary" in answer] == []


def test_a_refusal_does_not_name_the_address_behind_a_name(uno: Stack, tenant: str) -> None:
    """Else the trace is a map of the inner network."""
    name = socket.gethostname()
    address = socket.gethostbyname(name)  # private: this machine's
    register(uno, tenant, {"webhooks": [{"id": "inner", "urlAbsolute": f"http://{name}:8080/x"}]})
    gets(uno, tenant)

    entries = trace(uno, tenant, f"wamid.EDGE.{tenant}")
    assert entries
    assert [entry for entry in entries if address in json.dumps(entry)] == []


@pytest.mark.parametrize("name", ["auth_token", "proxy_url"])
def test_a_secret_is_hidden_under_each_name_that_is_accepted(uno: Stack, tenant: str, name: str) -> None:
    """The names of Python are not accepted, or their values are hidden."""
    register(uno, tenant, {name: "http://canary-of-the-session.example"}, token=OPERATOR)

    assert "canary-of-the-session" not in uno.get("/sessions").text
    assert "canary-of-the-session" not in uno.get(f"/v15.0/{tenant}").text
