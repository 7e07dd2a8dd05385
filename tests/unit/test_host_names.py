"""Who configures an address is told of a host that does not exist, and nobody waits for it."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.api import memory_api
from tests.support.fakes import PHONE
from unoapi.cli import probes
from unoapi.http.address_guard import AddressGuard
from unoapi.http.host_names import MOST_AT_ONCE, MOST_HOSTS, WAIT_S, HostNames
from unoapi.models.request_bin import BIN_URL, BIN_WEBHOOK

if TYPE_CHECKING:
    from collections.abc import Callable


def raising(error: Exception) -> Callable[[str, None], Any]:
    def lookup(_: str, __: None) -> Any:
        raise error

    return lookup


NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
SERVER_FAILS = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


@pytest.mark.parametrize(
    ("host", "outcome", "unknown"),
    [
        ("crm.acme.dev", None, False),
        ("crm.acme.dev", NO_SUCH_NAME, True),
        ("crm", NO_SUCH_NAME, True),
        ("crm.acme.dev", SERVER_FAILS, False),
        ("crm..dev", UnicodeError("label empty"), False),
        ("crm.example", None, True),
        ("crm.invalid", None, True),
        ("192.0.2.1", NO_SUCH_NAME, False),
        ("2001:db8::1", NO_SUCH_NAME, False),
        ("allowed.internal", NO_SUCH_NAME, False),
        ("allowed", NO_SUCH_NAME, False),
    ],
)
def test_a_host_is_unknown_when_a_name_server_says_so_and_the_operator_did_not_name_it(
    host: str, outcome: Exception | None, *, unknown: bool
) -> None:
    lookup = raising(outcome) if outcome else (lambda _, __: [])
    names = HostNames(AddressGuard(("*.internal", "allowed")), lookup=lookup)

    assert names.unknown([host]) == ({host} if unknown else set())


def test_a_resolver_that_hangs_costs_a_second_and_few_threads() -> None:
    asked: list[str] = []
    end = threading.Event()

    def hang(name: str, _: None) -> None:
        asked.append(name)
        end.wait(30)

    names = HostNames(AddressGuard(), lookup=hang)
    callers = [threading.Thread(target=names.unknown, args=([f"{n}.dev"],)) for n in range(MOST_AT_ONCE)]
    for caller in callers:
        caller.start()
    while len(asked) < MOST_AT_ONCE:
        time.sleep(0.01)

    begun = time.monotonic()
    assert names.unknown(["one-more.dev"]) == set()
    assert time.monotonic() - begun < WAIT_S / 2
    assert sorted(asked) == ["0.dev", "1.dev"]

    for caller in callers:
        caller.join(WAIT_S * 5)
        assert not caller.is_alive()
    end.set()


def test_of_many_hosts_the_first_few_are_asked_for() -> None:
    names = HostNames(AddressGuard(), lookup=raising(NO_SUCH_NAME))

    assert names.unknown(f"{n}.dev" for n in range(100)) == {f"{n}.dev" for n in range(MOST_HOSTS)}


def test_the_request_bin_which_goes_nowhere_on_purpose_is_no_unknown_name() -> None:
    hook = {"id": BIN_WEBHOOK, "urlAbsolute": BIN_URL}
    with memory_api() as api:
        api.register([hook])

        assert "warnings" not in api.post(f"/v15.0/{PHONE}/register", {"webhooks": [hook]}).json()
        assert [finding for finding in probes._addresses(api.uno) if "bin.invalid" in finding.words] == []


def test_register_stores_a_webhook_whose_host_is_not_known_and_warns_of_it() -> None:
    hooks = [
        {"id": "crm", "urlAbsolute": "https://user:secret@crm.example/hook?key=secret"},
        {"id": "two", "url": "https://1.2.3.4/x"},
    ]
    with memory_api() as api:
        api.register([])
        answer = api.post(f"/v15.0/{PHONE}/register", {"webhooks": hooks})

        (warning,) = answer.json()["warnings"]
        assert warning.startswith("webhooks[crm].urlAbsolute: no name server here knows crm.example; ")
        assert "secret" not in warning
        assert f"unoapi endpoint test {PHONE} crm" in warning
        assert len(api.uno.sessions.config(PHONE)["webhooks"]) == 2  # type: ignore[index]
