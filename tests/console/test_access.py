"""Who gets into the console, and what a login is worth."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.console.conftest import OURS, THEIRS, token_of
from tests.support.api import MemoryApi, memory_api
from tests.support.console import Browser
from tests.support.stack import OPERATOR
from unoapi.web.console import access
from unoapi.web.console.login import OWN_PAGE

if TYPE_CHECKING:
    from werkzeug.routing import Rule

CONSOLE = ("console any", "console operator", "console session")


def rules(api: MemoryApi, *accesses: str) -> list[tuple[str, str, str]]:
    """Each route with one of these decisions: its decision, a method, and its path for the number that is ours."""
    return [
        (decision, method, path_of(rule))
        for rule in api.app.url_map.iter_rules()
        if (decision := getattr(api.app.view_functions[rule.endpoint], "access", "")) in accesses
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def path_of(rule: Rule) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda match: OURS if match[1] == "phone" else "x", rule.rule)


def status(browser: Browser, method: str, path: str) -> int:
    answer = browser.get(path) if method == "GET" else browser.post(path)
    return answer.status_code


# --- who gets in ---


def test_a_stranger_is_asked_for_a_token_on_every_page_and_does_nothing(api: MemoryApi) -> None:
    stranger = Browser(api)
    answers = {(method, path): status(stranger, method, path) for _, method, path in rules(api, *CONSOLE)}

    assert len(answers) >= 5
    assert {code for (method, _), code in answers.items() if method == "GET"} == {303}
    assert {code for (method, _), code in answers.items() if method == "POST"} <= {401}


def test_a_part_that_renews_itself_leads_to_the_login_when_the_login_is_over(api: MemoryApi) -> None:
    answer = Browser(api).get("/console/overview/live", **{access.HTMX: "true"})

    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/console/login")


def test_the_operators_pages_are_closed_to_a_numbers_token(tenant: Browser, api: MemoryApi) -> None:
    answers = {path: status(tenant, method, path) for _, method, path in rules(api, "console operator")}

    assert len(answers) >= 3
    assert set(answers.values()) == {403}


def test_the_operator_and_only_a_numbers_own_token_open_its_pages(api: MemoryApi) -> None:
    theirs = Browser(api, token_of(THEIRS))

    assert {status(theirs, method, path) for _, method, path in rules(api, "console session")} <= {404}


@pytest.mark.parametrize("token", ["wrong", "", "x" * 5000, "é", f"{OPERATOR}x", "\ud800"])
def test_a_wrong_token_is_told_so_and_logs_nobody_in(api: MemoryApi, token: str) -> None:
    stranger = Browser(api)

    answer = stranger.log_in(token.encode("utf-8", "replace").decode())

    assert answer.status_code == 401
    assert "does not open anything" in answer.text
    assert stranger.get("/console/overview").status_code == 303


def test_guesses_are_limited_and_a_right_token_still_gets_in() -> None:
    with memory_api(UNOAPI_RATE_LIMIT_REFUSED="3") as api:
        stranger = Browser(api)
        codes = [stranger.log_in(f"guess {n}").status_code for n in range(6)]

        assert codes == [401, 401, 401, 429, 429, 429]
        assert Browser(api).log_in(OPERATOR).status_code == 303


def test_without_an_operators_token_this_machine_is_the_operator() -> None:
    with memory_api(UNOAPI_AUTH_TOKEN="", BASE_URL="http://127.0.0.1:9876") as api:
        here = api.app.test_client()
        answer = here.get("/console", base_url="http://127.0.0.1", follow_redirects=True)

        assert "Overview" in answer.text


# --- what a login is ---


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites_and_expires(api: MemoryApi) -> None:
    browser = Browser(api, OPERATOR)
    cookie = browser.client.get_cookie(access.COOKIE, domain="api.test")

    assert cookie is not None
    assert (cookie.http_only, cookie.same_site, cookie.max_age) == (True, "Lax", access.LIFETIME_S)
    assert OPERATOR not in cookie.value


def test_over_tls_the_cookie_travels_over_tls_alone(api: MemoryApi) -> None:
    plain = api.app.test_client().get("/console/login", base_url="http://api.test")
    ended_before = api.app.test_client().get(
        "/console/login", base_url="http://api.test", headers={"X-Forwarded-Proto": "https"}
    )

    assert "Secure" not in plain.headers["Set-Cookie"]
    assert "Secure" in ended_before.headers["Set-Cookie"]


def test_a_login_gets_an_id_that_nobody_knew_before(api: MemoryApi) -> None:
    browser = Browser(api)
    before = browser.get("/console/login").headers["Set-Cookie"].split(";")[0]
    after = browser.log_in(OPERATOR).headers["Set-Cookie"].split(";")[0]

    thief = api.app.test_client()
    thief.set_cookie(access.COOKIE, before.partition("=")[2], domain="api.test")

    assert before != after
    assert thief.get("/console/overview", base_url="http://api.test").status_code == 303


def test_an_expired_or_altered_cookie_is_nobodys(api: MemoryApi, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(api, OPERATOR)
    cookie = browser.client.get_cookie(access.COOKIE, domain="api.test")
    assert cookie is not None
    altered = Browser(api)
    altered.client.set_cookie(access.COOKIE, cookie.value[:-2] + "AA", domain="api.test")
    monkeypatch.setattr(access, "LIFETIME_S", -1)

    assert altered.get("/console/overview").status_code == 303
    assert browser.get("/console/overview").status_code == 303


def test_whoever_logs_out_is_out_also_with_a_copy_of_the_cookie(api: MemoryApi) -> None:
    browser, copy = Browser(api, OPERATOR), Browser(api)
    cookie = browser.client.get_cookie(access.COOKIE, domain="api.test")
    assert cookie is not None
    copy.client.set_cookie(access.COOKIE, cookie.value, domain="api.test")
    assert copy.get("/console/overview").status_code == 200

    browser.post("/console/logout")

    assert browser.get("/console/overview").status_code == 303
    assert copy.get("/console/overview").status_code == 303


def test_a_token_that_is_changed_ends_the_logins_it_opened(api: MemoryApi) -> None:
    tenant = Browser(api, token_of(OURS))
    assert tenant.get("/console/sessions").status_code == 200

    api.register([], authToken="another-token-of-ours")

    assert tenant.get("/console/sessions").status_code == 303


# --- forms ---


def test_every_form_needs_the_token_of_its_own_login(api: MemoryApi, operator: Browser) -> None:
    foreign = Browser(api, OPERATOR).csrf_token("/console/login")
    posts = [path for _, method, path in rules(api, *CONSOLE, "public") if method == "POST" and "/console" in path]

    for path in posts:
        for token in ("", "0" * 32, foreign):
            assert operator.post_as(path, {"csrf_token": token}).status_code == 403, path
        assert operator.post_as(path, {}).status_code == 403, path
    assert len(posts) >= 2


def test_a_script_of_ours_may_send_the_token_as_a_header(operator: Browser) -> None:
    token = operator.csrf_token("/console/login")

    assert operator.post_as("/console/logout", {}, **{"X-CSRF-Token": token}).status_code == 303


# --- ways on ---


@pytest.mark.parametrize(
    "wanted", ["https://evil.test/", "//evil.test", "/\\evil.test", "/console\n/x", "/v15.0/1/messages", "javascript:1"]
)
def test_a_login_leads_on_to_pages_of_ours_alone(api: MemoryApi, wanted: str) -> None:
    answer = Browser(api).log_in(OPERATOR, next=wanted)

    assert answer.headers["Location"] == "/console"
    assert not OWN_PAGE.fullmatch(wanted)


def test_a_login_leads_on_to_the_page_that_was_asked_for(api: MemoryApi) -> None:
    stranger = Browser(api)
    asked = stranger.get("/console/queues?x=1")

    assert asked.headers["Location"] == "/console/login?next=/console/queues%3Fx%3D1"
    assert stranger.log_in(OPERATOR, next="/console/queues?x=1").headers["Location"] == "/console/queues?x=1"


def test_the_page_of_a_number_asks_for_a_token_and_is_opened_by_it(api: MemoryApi) -> None:
    stranger = Browser(api)
    asked = stranger.get(f"/session/{OURS}")

    assert asked.status_code == 401
    assert f'name="next" value="/session/{OURS}"' in asked.text
    former = [stranger.get(f"/{page}/{OURS}") for page in ("sessions", "connect")]  # as in the Node version
    assert [f'name="next" value="/session/{OURS}"' in page.text for page in former] == [True, True]
    assert stranger.log_in(token_of(OURS), next=f"/session/{OURS}").headers["Location"] == f"/session/{OURS}"
    assert f"Label of {OURS}" in stranger.page(f"/session/{OURS}")
    assert stranger.get(f"/session/{THEIRS}").status_code == 404


def test_a_token_in_the_address_logs_in_and_leaves_the_address(api: MemoryApi) -> None:
    stranger = Browser(api)

    answer = stranger.get(f"/session/{OURS}?access_token={token_of(OURS)}")

    assert (answer.status_code, answer.headers["Location"]) == (303, f"/session/{OURS}")
    assert f"Label of {OURS}" in stranger.page(f"/session/{OURS}")
    assert stranger.get("/console/overview").status_code == 403


def test_a_link_with_a_token_does_not_take_the_operators_login_away(operator: Browser) -> None:
    operator.get(f"/session/{OURS}?access_token={token_of(OURS)}")

    assert operator.get("/console/overview").status_code == 200


def test_the_root_is_the_console_to_browsers_and_a_signpost_to_programs(api: MemoryApi) -> None:
    client = api.app.test_client()
    browser = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    program = client.get("/", headers={"Accept": "*/*"})

    assert browser.headers["Location"] == "/console"
    assert program.get_json()["docs"] == "/docs"


# --- what nobody asks like this ---


@pytest.mark.parametrize(
    "path",
    [
        "/console/%00",
        "/console/%ff%fe",
        "/session/%01",
        "/console/x?q=%00",
        "/console/%ed%a0%80",
        "/session/x?access_token=%00",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_hostile_address_is_refused_on_a_page(api: MemoryApi, operator: Browser, path: str, method: str) -> None:
    for browser in (operator, Browser(api)):
        answer = browser.client.open(path, method=method)

        assert 300 <= answer.status_code < 500, answer.text
        assert answer.mimetype in ("text/html", "application/json")
