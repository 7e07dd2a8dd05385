"""The pages of the numbers: found, registered, connected, set, tried and removed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import pytest

from tests.console.conftest import OURS, THEIRS, token_of
from tests.support.console import Browser
from tests.support.stack import OPERATOR
from unoapi.models.connector.events import PairingCode, QrCode, SessionState
from unoapi.models.jobs import now_ms

if TYPE_CHECKING:
    from tests.support.api import MemoryApi
    from tests.support.fakes import MemoryConnections, MemorySessions

PHONE = "5511988880001"
HTMX = {"HX-Request": "true"}


def commands(api: MemoryApi) -> list[str]:
    """What the connector was told."""
    messages = iter(lambda: api.queues.take("unoapi.outgoing.whatsmeow"), None)
    return [json.loads(message.body)["type"] for message in messages]


@pytest.fixture
def phone(api: MemoryApi) -> str:
    api.register([], phone=PHONE, provider="whatsmeow", label="Front desk")
    return PHONE


def report(api: MemoryApi, change: Any, *, seq: int = 1) -> None:
    cast("MemoryConnections", api.uno.connections).record(PHONE, change, at_ms=now_ms(), seq=seq)


# --- the list ---


def test_each_login_sees_its_own_numbers(operator: Browser, tenant: Browser) -> None:
    everything, own = operator.page("/console/sessions"), tenant.page("/console/sessions")

    assert (OURS in everything, THEIRS in everything) == (True, True)
    assert (OURS in own, THEIRS in own) == (True, False)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=99999000", [OURS]), ("q=%2B55+11+99999-0000", [OURS]), ("q=label+of+5521", [THEIRS]), ("q=nobody", []),
        ("state=online", [OURS, THEIRS]), ("state=offline", []), ("page=2", []), ("q=---", []),
    ],
)  # fmt: skip
def test_numbers_are_found_by_digits_name_and_state(operator: Browser, query: str, found: list[str]) -> None:
    page = operator.page(f"/console/sessions?{query}")

    assert re.findall(r'href="/session/(\d+)"', page) == found


def test_hundreds_of_numbers_are_pages(api: MemoryApi, operator: Browser) -> None:
    for number in range(60):
        api.register([], phone=f"55318888{number:05}")

    first = operator.page("/console/sessions?q=55318888")
    second = operator.page(re.findall(r'href="([^"]+)" rel="next"', first)[0].replace("&amp;", "&"))

    assert [len(re.findall(r'href="/session/', page)) for page in (first, second)] == [50, 10]
    assert 'rel="prev"' in second


# --- a new one ---


def test_a_number_is_registered_with_what_was_filled_in_and_its_token_shown_once(
    api: MemoryApi, operator: Browser
) -> None:
    fields = {
        "phone": "+55 (11) 97777-0001", "label": "Shop", "provider": "sandbox",
        "switches": ["readOnReceipt", "ignoreGroupMessages"],
        "webhook_url": "https://192.0.2.7/hook", "webhook_token": "of-the-receiver", "webhook_secret": "our-secret",
    }  # fmt: skip

    answer = operator.post("/console/sessions/new", fields)
    found = re.search(r'id="new-token">([^<]+)<', answer.text)

    assert answer.status_code == 200, answer.text
    config = api.uno.sessions.config("5511977770001")
    assert config is not None
    assert found is not None
    assert config["authToken"] == found[1]
    assert len(found[1]) >= 32
    assert (config["label"], config["readOnReceipt"], config["autoConnect"]) == ("Shop", True, False)
    assert config["webhooks"][0]["urlAbsolute"] == "https://192.0.2.7/hook"
    assert "ignoreGroupMessages" not in config  # as it is for every number here
    page = operator.page("/session/5511977770001")
    assert not [secret for secret in (found[1], "of-the-receiver", "our-secret") if secret in page]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"phone": "abc"}, "no phone number"),
        ({"phone": "123@g.us"}, "no phone number"),
        ({"phone": OURS}, "registered already"),
        ({"phone": "5511977770001", "auth_token": "short"}, "at least 16"),
        ({"phone": "5511977770001", "provider": "nothing"}, "provider"),
        ({"phone": "5511977770001", "webhook_url": "ftp://x"}, "webhooks"),
        ({"phone": "5511977770001", "switches": ["authToken"]}, ""),
        ({"phone": "5511977770001", "more": "x"}, "more"),
    ],
)
def test_what_is_wrong_with_a_new_number_is_said_above_the_form(
    api: MemoryApi, operator: Browser, fields: dict[str, Any], said: str
) -> None:
    answer = operator.post("/console/sessions/new", fields)

    if said:
        assert answer.status_code == 400
        assert said in answer.text
        assert api.uno.sessions.config("5511977770001") is None
    else:
        config = api.uno.sessions.config("5511977770001")
        assert config is not None
        assert config["authToken"] is not True


@pytest.mark.parametrize("written", ["abc", "12", "120363012345678901@g.us"])
def test_what_is_no_number_is_refused_in_the_readers_language(api: MemoryApi, written: str) -> None:
    answer = Browser(api, OPERATOR, language="pt-BR").post("/console/sessions/new", {"phone": written})

    assert answer.status_code == 400
    assert "Isto não é um número de telefone: escreva no formato internacional." in answer.text


def test_a_secret_does_not_come_back_with_the_form(operator: Browser) -> None:
    answer = operator.post(
        "/console/sessions/new", {"phone": "abc", "auth_token": "typed-by-hand-and-long", "webhook_secret": "typed-too"}
    )

    assert not [secret for secret in ("typed-by-hand-and-long", "typed-too") if secret in answer.text]


# --- one number ---


def test_the_code_to_scan_and_the_state_are_there_and_renew_themselves(
    api: MemoryApi, operator: Browser, phone: str
) -> None:
    report(api, SessionState(state="qr"))
    report(api, QrCode(code="2@x", n=1, of=3), seq=2)
    page = operator.page(f"/session/{phone}")
    part = f"/console/sessions/{phone}/connection"
    (seen,) = re.findall(rf'hx-get="{part}(\?seen=[^"]+)"', page)

    assert "waiting for the scan" in page
    assert 'src="data:image/png;base64,' in page
    assert operator.get(f"{part}{seen}").status_code == 204
    report(api, SessionState(state="connected"), seq=3)
    renewed = operator.get(f"{part}{seen}")
    assert renewed.status_code == 200
    assert "data:image" not in renewed.text
    assert ">connected<" in renewed.text


def test_a_pairing_code_is_shown_with_its_own_steps(api: MemoryApi, operator: Browser, phone: str) -> None:
    report(api, SessionState(state="pairing"))
    report(api, PairingCode(code="ABCD1234"), seq=2)

    page = operator.page(f"/session/{phone}")

    assert "ABCD-1234" in page
    assert "type this code" in page


@pytest.mark.parametrize(
    ("path", "fields", "command"),
    [
        ("connect", {"method": "qr"}, "session.connect"), ("connect", {"method": "code"}, "session.connect"),
        ("disconnect", {}, "session.disconnect"), ("logout", {}, "session.logout"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("phone")
def test_a_button_gives_the_connector_its_command(
    api: MemoryApi, operator: Browser, path: str, fields: dict[str, str], command: str
) -> None:
    answer = operator.post(f"/console/sessions/{PHONE}/{path}", fields)

    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(f"/session/{PHONE}?done=")
    assert commands(api) == [command]
    assert 'class="notice"' in operator.page(answer.headers["Location"])


def test_the_code_of_a_number_of_which_nothing_is_stored_registers_it(api: MemoryApi, operator: Browser) -> None:
    answer = operator.post("/console/sessions/5511970000009/connect", {"method": "qr"})

    assert answer.status_code == 303
    assert api.uno.sessions.find("5511970000009").stored
    assert commands(api) == ["session.connect"]


def test_a_button_in_a_browser_gets_the_part_that_changed(operator: Browser, phone: str) -> None:
    fields = {"csrf_token": operator.csrf_token("/console/login"), "method": "qr"}

    answer = operator.post_as(f"/console/sessions/{phone}/connect", fields, **HTMX)

    assert answer.status_code == 200
    assert answer.text.count('id="connection"') == 1
    assert "<html" not in answer.text


def test_a_method_that_is_none_is_refused(api: MemoryApi, operator: Browser, phone: str) -> None:
    assert operator.post(f"/console/sessions/{phone}/connect", {"method": "magic"}).status_code == 400
    assert commands(api) == []


def test_settings_are_saved_and_what_is_wrong_with_them_is_said(api: MemoryApi, tenant: Browser) -> None:
    path, token = f"/console/sessions/{OURS}/settings", tenant.csrf_token("/console/login")
    good = tenant.post_as(path, {"csrf_token": token, "label": "Desk", "readOnReceipt": "true"}, **HTMX)
    long = tenant.post_as(path, {"csrf_token": token, "label": "x" * 201}, **HTMX)
    session = api.uno.sessions.find(OURS)

    assert ">saved<" in good.text
    assert "problem" in long.text
    assert (session.label, session.read_on_receipt, session.auto_connect) == ("Desk", True, False)


def test_a_test_message_is_queued_like_any_other(api: MemoryApi, tenant: Browser) -> None:
    answer = tenant.post(f"/console/sessions/{OURS}/message", {"to": "+55 49 98888-7777", "text": "hi"})

    assert answer.headers["Location"] == f"/session/{OURS}?done=done.message_accepted"
    (job,) = api.queues.jobs("unoapi.incoming")
    assert (job.phone, job.contact) == (OURS, "5549988887777")


def test_a_number_is_removed_after_a_question(api: MemoryApi, tenant: Browser) -> None:
    page = tenant.page(f"/session/{OURS}")
    answer = tenant.post(f"/console/sessions/{OURS}/remove")

    assert f"Remove {OURS} for good?" in page
    assert answer.headers["Location"] == "/console/sessions?done=done.removed"
    assert OURS in cast("MemorySessions", api.uno.sessions).removed
    assert tenant.get("/console/sessions").status_code == 303  # the token opens nothing any more


def test_a_notice_is_one_of_ours_whatever_the_address_says(operator: Browser) -> None:
    for written in ("done=<b>x</b>", "done=login.title", "done=done.nothing", "done=done.saved&n=<b>"):
        page = operator.page(f"/console/sessions?{written}")

        assert "<b>" not in page
        assert page.count('class="notice"') == ("done.saved" in written)


# --- trouble ---


def test_with_redis_away_a_page_says_so(api: MemoryApi, operator: Browser) -> None:
    cast("MemorySessions", api.uno.sessions).away = True

    answers = [operator.get(path) for path in ("/console/sessions", f"/session/{OURS}", "/console/overview")]

    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert all("<html" in answer.text for answer in answers)


@pytest.mark.parametrize(
    ("path", "fields"), [("message", {"to": "5549988887777", "text": "hi"}), ("connect", {"method": "qr"})]
)
def test_with_rabbitmq_away_a_button_says_so(
    api: MemoryApi, operator: Browser, path: str, fields: dict[str, str]
) -> None:
    api.queues.away = True

    answer = operator.post(f"/console/sessions/{OURS}/{path}", fields)

    assert answer.status_code == 503
    assert "RabbitMQ" in answer.text


# --- names that somebody chose to do harm ---


HOSTILE = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>{{7*7}}"


@pytest.mark.parametrize(
    "path",
    ["/console/sessions", f"/session/{OURS}", f"/console/try/{OURS}", f"/console/try/{OURS}?id={{}}",
     "/console/sessions?q={}", "/console/nothing/{}",
     f"/console/try/{OURS}?type={{}}", "/console/login?next={}", "/console/sessions/new"],
)  # fmt: skip
def test_a_hostile_name_is_text(api: MemoryApi, operator: Browser, path: str) -> None:
    api.uno.sessions.save(OURS, {"provider": "sandbox", "authToken": token_of(OURS), "label": HOSTILE})

    page = operator.client.get(path.format(quote(HOSTILE)), follow_redirects=True).text

    assert "<html" in page
    assert not [piece for piece in ("<script>alert", "<img src=x", "'\"'>", ">49", "}}49") if piece in page]


@pytest.mark.parametrize(
    "path",
    [
        "/console/sessions/new",
        f"/console/sessions/{OURS}/message",
        f"/console/try/{OURS}",
        f"/console/try/{OURS}/contact",
        f"/console/try/{OURS}/programs",
    ],
)
def test_hostile_forms_are_refused_as_text(operator: Browser, path: str) -> None:
    for fields in (
        {"phone": HOSTILE, "label": HOSTILE, "body": HOSTILE, "to": HOSTILE, "text": HOSTILE},
        {},
        {"body": '{"type": "' + "[" * 99 + '"}'},
    ):
        answer = operator.post(path, fields)

        assert answer.status_code in (200, 400), answer.text
        assert not [piece for piece in ("<script>alert", "<img src=x") if piece in answer.text]
