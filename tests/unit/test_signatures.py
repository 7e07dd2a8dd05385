"""What is signed is checked by the reference library and by hand, so that both ends of the arithmetic are not ours."""

import base64
import hashlib
import hmac
import time

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from unoapi import __version__
from unoapi.http.signatures import build_headers, sign_hub, sign_standard

BODY = b'{"text":"ol\\u00e1",  "n": 1}\n'
KEY = bytes(range(24))
ENCODED = "whsec_" + base64.b64encode(KEY).decode()
OURS = [
    "Content-Type",
    "User-Agent",
    "webhook-id",
    "webhook-timestamp",
    "webhook-attempt",
    "webhook-signature",
    "X-Hub-Signature-256",
]


def make_headers(
    *,
    token_header: str = "Authorization",
    token: str = "",
    secret: str = "",
    attempt: int = 1,
    timestamp_s: int = 1_700_000_000,
) -> tuple[tuple[str, str], ...]:
    return build_headers(
        delivery_id="d-1",
        attempt=attempt,
        timestamp_s=timestamp_s,
        body=BODY,
        token_header=token_header,
        token=token,
        secrets=[secret] if secret else [],
    )


def make_verifier(key: bytes) -> Verifier:
    return Verifier(base64.b64encode(key).decode())


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        pytest.param(ENCODED, KEY, id="base64 after whsec_"),
        pytest.param("plain secret", b"plain secret", id="plain"),
        pytest.param("çedilha", "çedilha".encode(), id="plain and not ASCII"),
        pytest.param("c2VjcmV0", b"c2VjcmV0", id="plain, though it could be base64"),
        pytest.param("whsec_pass-word", b"whsec_pass-word", id="whsec_ without base64 is plain"),
        pytest.param("whsec_", b"whsec_", id="whsec_ alone is plain"),
    ],
)
def test_the_reference_library_accepts_the_signature(secret: str, key: bytes) -> None:
    headers = dict(make_headers(secret=secret, timestamp_s=int(time.time())))

    verified = make_verifier(key).verify(BODY, headers)

    assert verified == {"text": "olá", "n": 1}


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp"])
def test_the_signature_covers_the_id_and_the_time(name: str) -> None:
    now = int(time.time())
    headers = dict(make_headers(secret=ENCODED, timestamp_s=now - 1))
    change = {name: {"webhook-id": "d-2", "webhook-timestamp": str(now)}[name]}

    with pytest.raises(WebhookVerificationError):
        make_verifier(KEY).verify(BODY, headers | change)


def test_the_signature_covers_every_byte_of_the_body() -> None:
    headers = dict(make_headers(secret=ENCODED, timestamp_s=int(time.time())))

    with pytest.raises(WebhookVerificationError):
        make_verifier(KEY).verify(BODY.replace(b"  ", b" "), headers)


def test_the_signature_is_the_example_of_the_specification() -> None:
    signature = sign_standard(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp_s=1_614_265_330,
        body=b'{"test": 2432232314}',
    )

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["app secret", ENCODED])
def test_the_hub_signature_is_the_hmac_of_the_body_under_the_secret_as_it_stands(secret: str) -> None:
    digest = hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()

    assert sign_hub(secret, BODY) == f"sha256={digest}"
    assert dict(make_headers(secret=secret))["X-Hub-Signature-256"] == f"sha256={digest}"


def test_without_a_secret_nothing_is_signed() -> None:
    headers = make_headers(token="Bearer t", attempt=3)

    assert headers == (
        ("Content-Type", "application/json; charset=utf-8"),
        ("User-Agent", f"unoapi/{__version__}"),
        ("webhook-id", "d-1"),
        ("webhook-timestamp", "1700000000"),
        ("webhook-attempt", "3"),
        ("Authorization", "Bearer t"),
    )


def test_with_a_secret_the_own_header_comes_beside_the_signatures() -> None:
    headers = make_headers(token_header="X-Key", token="t", secret="s")

    assert [name for name, _ in headers] == [*OURS, "X-Key"]


@pytest.mark.parametrize("change", [str, str.upper, str.lower])
@pytest.mark.parametrize("name", [*OURS, "Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect"])
def test_the_own_header_never_stands_in_for_one_of_ours(name: str, change: type[str]) -> None:
    headers = make_headers(token_header=change(name), token="mine", secret="s")

    assert headers == make_headers(secret="s")


@pytest.mark.parametrize("name", OURS)
def test_the_own_header_stands_in_for_none_of_ours_without_a_secret_either(name: str) -> None:
    assert make_headers(token_header=name, token="mine") == make_headers()


@pytest.mark.parametrize(("token_header", "token"), [("", "t"), ("Authorization", "")])
def test_an_own_header_without_a_name_or_a_token_is_left_out(token_header: str, token: str) -> None:
    assert make_headers(token_header=token_header, token=token) == make_headers()
