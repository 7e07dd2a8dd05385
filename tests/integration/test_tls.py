"""RabbitMQ behind TLS, as platforms offer it: everything works, and the certificate is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import trustme

from tests.connector.phones import Phone
from tests.support.receiver import Behaviour, Receiver
from tests.support.stack import Stack, eventually
from tests.support.tls import TlsDoor
from unoapi.broker.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return made


@pytest.fixture
def door(uno: Stack, authority: trustme.CA, tmp_path: Path) -> Iterator[TlsDoor]:
    """The stack's RabbitMQ with TLS, and an environment that trusts it."""
    plain = urlsplit(uno.environment["AMQP_URL"])
    assert plain.port
    with TlsDoor(authority, "localhost", plain.port) as running:
        uno.environment |= {
            "AMQP_URL": f"amqps://{plain.username}:{plain.password}@localhost:{running.port}{plain.path}",
            "SSL_CERT_FILE": str(tmp_path / "authority.pem"),
        }
        yield running


def test_the_whole_way_works_over_tls(uno: Stack, door: TlsDoor, receiver: Receiver) -> None:
    receiver.script("/main", Behaviour(failures=1))
    phone = Phone(uno)
    uno.web()
    uno.worker()
    phone.log_in()
    uno.register([{"id": "main", "urlAbsolute": receiver.url("/main")}], provider="whatsmeow")
    uno.connector()
    phone.wait_online()

    uno.send("hello")
    eventually(phone.sent, within_s=30)
    phone.receives("3EB0TLS", {"kind": "text", "body": "hi"})

    eventually(lambda: any("3EB0TLS" in request.body for request in receiver.requests("/main")), within_s=30)
    receiver.wait(4, "/main", timeout_s=30)
    assert uno.get("/health/ready").json()["checks"]["rabbitmq"] == "ok"
    assert uno.dead() == []
    assert uno.get("/admin/queues").status_code == 200
    assert set(door.asked_for) == {"localhost"}, "each connection says which host it wants"


def test_each_address_of_a_list_is_expected_to_be_its_host() -> None:
    connection: Any = Connection("amqps://one.test;amqps://two.test;amqp://three.test")

    names = [connection.ssl["server_hostname"]]
    connection.switch("amqps://two.test")
    names.append(connection.clone().ssl["server_hostname"])
    connection.switch("amqp://three.test")

    assert names == ["one.test", "two.test"]
    assert not connection.ssl


def test_a_certificate_that_nobody_vouches_for_is_refused(uno: Stack, door: TlsDoor) -> None:
    del uno.environment["SSL_CERT_FILE"]

    done = uno.cli("release", "--wait", "2", check=False)

    assert done.returncode == 1
    assert "its certificate is not trusted" in done.stdout
    assert door.port


def test_the_certificate_of_another_host_is_refused(uno: Stack, door: TlsDoor, authority: trustme.CA) -> None:
    port = door._to_port
    with TlsDoor(authority, "another.test", port) as other:
        uno.environment["AMQP_URL"] = uno.environment["AMQP_URL"].replace(f":{door.port}/", f":{other.port}/")

        done = uno.cli("release", "--wait", "2", check=False)

    assert done.returncode == 1
    assert "its certificate is not trusted, or is another host's" in done.stdout
