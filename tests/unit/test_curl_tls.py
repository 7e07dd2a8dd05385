"""Whom the HTTP client trusts."""

import os
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from tests.support.raw_http_server import LOOPBACK, OK, Listen, answer_with, send
from unoapi.http.ca_bundle import find_ca_bundle
from unoapi.http.webhook_client import CurlSender


class TestCertificates:
    @pytest.mark.usefixtures("trusted")
    def test_the_authority_in_ssl_cert_file_is_trusted(self, listen: Listen, tls: ssl.SSLContext) -> None:
        receiver = listen(OK, tls=tls)

        answer = send(CurlSender(LOOPBACK), receiver.url, body=b"exact")

        assert (answer.status, answer.error) == (200, "")
        assert [request.body for request in receiver.requests] == [b"exact"]

    @pytest.mark.usefixtures("no_certificates_named")
    def test_another_authority_is_not_trusted(self, listen: Listen, tls: ssl.SSLContext) -> None:
        receiver = listen(OK, tls=tls)

        answer = send(CurlSender(LOOPBACK), receiver.url)

        assert answer.status is None
        assert answer.error.startswith("certificate not valid: ")
        assert receiver.requests == []

    @pytest.mark.usefixtures("trusted")
    def test_a_certificate_for_another_name_is_not_trusted(self, listen: Listen, authority: trustme.CA) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("elsewhere.example").configure_cert(context)
        receiver = listen(OK, tls=context)

        answer = send(CurlSender(LOOPBACK), receiver.url)

        assert answer.error.startswith("certificate not valid: ")
        assert receiver.requests == []

    @pytest.mark.usefixtures("trusted")
    def test_a_receiver_that_wants_a_certificate_from_us_is_told_as_that(
        self, listen: Listen, tls: ssl.SSLContext
    ) -> None:
        tls.verify_mode = ssl.CERT_REQUIRED
        tls.minimum_version = ssl.TLSVersion.TLSv1_3

        answer = send(CurlSender(LOOPBACK), listen(OK, tls=tls).url)

        assert (answer.failed_at, "wants a certificate" in answer.error) == ("tls", True)

    def test_a_port_that_is_silent_in_the_handshake_is_no_slow_receiver(self, sender: CurlSender) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            answer = send(sender, f"https://127.0.0.1:{listener.getsockname()[1]}/", timeout_ms=200)

        assert (answer.failed_at, answer.error) == ("tls", "did not answer within 200 ms: no TLS handshake")

    @pytest.mark.usefixtures("no_certificates_named")
    def test_the_default_bundle_is_a_file_with_certificates(self) -> None:
        bundle = find_ca_bundle()

        assert Path(bundle).is_file()
        assert ssl.create_default_context(cafile=bundle).cert_store_stats()["x509_ca"] > 50

    def test_a_bundle_that_is_missing_is_named_as_the_trouble(
        self, listen: Listen, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", os.path.join(os.sep, "nowhere", "ca.pem"))  # noqa: PTH118

        answer = send(CurlSender(LOOPBACK), listen(OK, tls=tls).url)

        assert answer.error == "our certificate bundle cannot be read"

    def test_a_receiver_without_tls_is_named_as_the_trouble(self, sender: CurlSender) -> None:
        def answer_in_the_clear() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                time.sleep(0.1)
                connection.sendall(answer_with(400))

        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
            thread.submit(answer_in_the_clear)
            answer = send(sender, f"https://127.0.0.1:{listener.getsockname()[1]}/")

        assert answer.status is None
        assert answer.error.startswith("TLS handshake failed: the port does not speak TLS")
        assert answer.duration_ms >= 100
        assert (answer.timings_ms["tls"], answer.timings_ms["first_byte"]) == (0, 0)
