"""Meta's callbacks at the door: whose they are, and that no part of one costs another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock, call

import pytest

from tests.support.api import api as serve_api
from tests.support.fakes import CONTACT, PHONE
from tests.support.stack import OPERATOR, eventually
from unoapi.http.signatures import sign_hub
from unoapi.models.jobs import FanOut, ReceiveCallback, SaveMedia
from unoapi.models.phones import without_ninth_digit
from unoapi.models.text import is_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.api import Answer, Api
    from unoapi.devenv.servers import PrivateServers

SECOND, STRANGER, PHONES_OWN, SANDBOX = "5511970000002", "5511970000003", "5511970000004", "5511970000005"
ACCOUNT, OWN_ACCOUNT = "2001", "3001"
APP_SECRET, OWN_SECRET, TOKEN = "secret-of-the-app", "secret-of-the-sessions-app", "token-of-the-session"
ALL = "/webhooks/whatsapp"
LIMIT = 64 * 1024


@pytest.fixture(scope="module")
def running(servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    settings = {"UNOAPI_META_APP_SECRET": APP_SECRET, "UNOAPI_BODY_MAX_BYTES": str(LIMIT)}
    with serve_api(servers, tmp_path_factory.mktemp("callbacks"), **settings) as api:
        for phone, number_id in ((PHONE, "1001"), (SECOND, "1002")):
            forward = {"phoneNumberId": number_id, "businessAccountId": ACCOUNT, "token": "t"}
            api.register([], phone=phone, provider="forwarder", webhookForward=forward, authToken=f"{TOKEN}-{phone}")
        own = {"phoneNumberId": "1003", "businessAccountId": OWN_ACCOUNT, "token": "t", "appSecret": OWN_SECRET}
        api.register([], phone=STRANGER, provider="forwarder", webhookForward=own)
        api.register([], phone=PHONES_OWN, provider="whatsmeow")
        api.register([], phone=SANDBOX)
        yield api


@pytest.fixture
def api(running: Api) -> Api:
    taken(running)
    return running


def text(message_id: object = "wamid.A", **more: Any) -> dict[str, Any]:
    return {"from": CONTACT, "id": message_id, "timestamp": "1", "type": "text", "text": {"body": "oi"}, **more}


def change(number_id: str = "1001", *, field: str = "messages", **value: Any) -> dict[str, Any]:
    metadata = {"metadata": {"phone_number_id": number_id}} if number_id else {}
    return {"field": field, "value": {"messaging_product": "whatsapp", **metadata, **value}}


def callback(*changes: Any, account: str = ACCOUNT) -> dict[str, Any]:
    entries = [{"id": account, "changes": [one]} for one in changes]
    return {"object": "whatsapp_business_account", "entry": entries}


def signed(api: Api, document: Any, *, path: str = ALL, secret: str = APP_SECRET) -> Answer:
    raw = json.dumps(document).encode()
    headers = {"X-Hub-Signature-256": sign_hub(secret, raw), "Content-Type": "application/json"}
    return api.request("POST", path, token=None, data=raw, headers=headers)


def by_operator(api: Api, document: Any, *, path: str = ALL) -> Answer:
    return api.post(path, document)


SENDERS = pytest.mark.parametrize("post", [signed, by_operator], ids=["signature", "token"])


def taken(api: Api) -> list[Any]:
    """The jobs that were queued, which leave the queues."""
    return list(api.queues.jobs("unoapi.outgoing", "unoapi.media", "unoapi.incoming"))


def events(jobs: list[Any]) -> list[tuple[str, str, str]]:
    """Whose events were queued: phone, kind and message id."""
    return [(job.phone, job.kind, job.message_id) for job in jobs if isinstance(job, (FanOut, SaveMedia))]


def kept(jobs: list[Any]) -> list[ReceiveCallback]:
    """What was queued to be placed later."""
    return [job for job in jobs if isinstance(job, ReceiveCallback)]


TEMPLATE = {"event": "APPROVED", "message_template_id": 1, "message_template_name": "x"}


@SENDERS
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message_template_status_update", TEMPLATE),
        ("message_template_quality_update", {"new_quality_score": "GREEN", "message_template_id": 1}),
        ("template_category_update", {"new_category": "MARKETING"}),
        ("account_update", {"event": "VOLUME_BASED_PRICING_TIER_UPDATE"}),
        ("account_alerts", {"alert_type": "X"}),
        ("account_review_update", {"decision": "APPROVED"}),
        ("business_capability_update", {"max_daily_conversation_per_phone": 1000}),
        ("flows", {"event": "FLOW_STATUS_CHANGE", "flow_id": "1"}),
        ("payment_configuration_update", {"configuration_name": "x"}),
        ("partner_solutions", {"event": "SOLUTION_CREATED"}),
        ("something_new", {}),
    ],
)
def test_field_report_69_an_event_of_an_account_reaches_its_numbers(
    api: Api, post: Any, field: str, value: dict[str, Any]
) -> None:
    answer = post(api, callback({"field": field, "value": value}))

    assert answer.status_code == 200, answer.text
    jobs = taken(api)
    assert sorted(events(jobs)) == [(SECOND, field, ""), (PHONE, field, "")]
    documents = [json.loads(job.body)["entry"][0] for job in jobs]
    assert [document["id"] for document in documents] == [ACCOUNT, ACCOUNT]
    ids = [document["changes"][0]["value"]["metadata"]["phone_number_id"] for document in documents]
    assert sorted(ids) == ["1001", "1002"]


@SENDERS
@pytest.mark.parametrize("field", ["phone_number_quality_update", "phone_number_name_update", "security"])
@pytest.mark.parametrize("shown", [SECOND, "+55 11 97000-0002"])
def test_field_report_69_an_event_that_shows_its_number_reaches_this_one(
    api: Api, post: Any, field: str, shown: str
) -> None:
    answer = post(api, callback({"field": field, "value": {"display_phone_number": shown, "event": "UPGRADE"}}))

    assert answer.status_code == 200, answer.text
    jobs = taken(api)
    assert events(jobs) == [(SECOND, field, "")]


@SENDERS
@pytest.mark.parametrize("shown", ["551170000002", "+55 11 7000-0002"])
def test_field_report_69_a_number_that_is_shown_without_its_ninth_digit_is_that_number(
    api: Api, post: Any, shown: str
) -> None:
    quality = {"display_phone_number": shown, "event": "FLAGGED", "current_limit": "TIER_250"}
    message = change("", messages=[text()])
    message["value"]["metadata"] = {"display_phone_number": shown}

    answer = post(api, callback({"field": "phone_number_quality_update", "value": quality}, message))

    assert answer.status_code == 200, answer.text
    assert events(taken(api)) == [(SECOND, "phone_number_quality_update", ""), (SECOND, "message", "wamid.A")]


def test_an_event_of_one_of_two_numbers_that_differ_in_the_ninth_digit_is_that_ones(api: Api) -> None:
    short = without_ninth_digit(SECOND)
    forward = {"phoneNumberId": "1005", "businessAccountId": OWN_ACCOUNT, "token": "t", "appSecret": OWN_SECRET}
    api.register([], phone=short, provider="forwarder", webhookForward=forward)
    try:
        for number_id, shown, phone in (("1002", SECOND, SECOND), ("1005", short, short), ("", short, short)):
            message = change("", messages=[text()])
            message["value"]["metadata"] = {"phone_number_id": number_id, "display_phone_number": shown}
            for path in (ALL, f"{ALL}/{short}", f"{ALL}/{SECOND}"):
                assert by_operator(api, callback(message), path=path).status_code == 200
                assert events(taken(api)) == [(phone, "message", "wamid.A")]
    finally:
        api.request("POST", f"/v15.0/{short}/deregister", json={})


@SENDERS
def test_field_report_69_an_event_whose_entry_is_a_business_reaches_the_numbers_of_its_account(
    api: Api, post: Any
) -> None:
    value = {"event": "PARTNER_REMOVED", "waba_info": {"waba_id": ACCOUNT, "owner_business_id": "9001"}}

    answer = post(api, callback({"field": "account_update", "value": value}, account="9001"))

    assert answer.status_code == 200, answer.text
    assert sorted(events(taken(api))) == [(SECOND, "account_update", ""), (PHONE, "account_update", "")]


@pytest.mark.parametrize(
    ("node", "secret", "phone"),
    [("1001", APP_SECRET, PHONE), ("1003", OWN_SECRET, STRANGER), (OWN_ACCOUNT, OWN_SECRET, STRANGER)],
)
def test_field_report_69_the_address_may_name_the_number_by_its_ids(
    api: Api, node: str, secret: str, phone: str
) -> None:
    document = callback({"field": "account_alerts", "value": {"alert_type": "X"}})

    answer = signed(api, document, path=f"{ALL}/{node}", secret=secret)

    assert answer.status_code == 200, answer.text
    assert events(taken(api)) == [(phone, "account_alerts", "")]
    for wrong in ("no-secret", OWN_SECRET if secret == APP_SECRET else APP_SECRET):
        assert signed(api, document, path=f"{ALL}/{node}", secret=wrong).status_code in (401, 403)


@pytest.mark.parametrize("node", [PHONE, "1001", ACCOUNT])
def test_the_handshake_at_any_id_of_a_number_takes_its_token(api: Api, node: str) -> None:
    asked = {"hub.mode": "subscribe", "hub.challenge": "42"}

    answers = [
        api.get(f"{ALL}/{node}", token=None, params={**asked, "hub.verify_token": token})
        for token in (f"{TOKEN}-{PHONE}", f"session-token-{SANDBOX}")
    ]

    assert [answer.status_code for answer in answers] == [200, 403]
    assert answers[0].text == "42"


@SENDERS
def test_field_report_70_an_unknown_number_costs_the_others_nothing(api: Api, post: Any) -> None:
    document = callback(
        change("9999", messages=[text("wamid.X")]),
        change(messages=[text()]),
        change(
            number_id="1002", statuses=[{"id": "wamid.S", "status": "read", "recipient_id": CONTACT, "type": "call"}]
        ),
    )

    answer = post(api, document)

    assert answer.status_code == 200, answer.text
    jobs = taken(api)
    assert events(jobs) == [(PHONE, "message", "wamid.A"), (SECOND, "call.read", "wamid.S")]
    (unknown,) = kept(jobs)
    assert (unknown.is_placed, unknown.odd, unknown.message_id) == (False, "", "wamid.X")


@SENDERS
def test_field_report_70_what_shows_another_number_of_the_account_is_not_its_neighbours(api: Api, post: Any) -> None:
    shown = {
        "field": "messages",
        "value": {"metadata": {"display_phone_number": "5511970000099"}, "messages": [text()]},
    }

    answer = post(api, callback(shown, change(messages=[text("wamid.B")])))

    assert answer.status_code == 200, answer.text
    jobs = taken(api)
    assert events(jobs) == [(PHONE, "message", "wamid.B")]
    assert [job.phone for job in kept(jobs)] == ["5511970000099"]


@SENDERS
def test_field_report_70_a_good_entry_beside_a_template_event_is_taken(api: Api, post: Any) -> None:
    document = callback(change(messages=[text()]), {"field": "message_template_status_update", "value": TEMPLATE})
    document["entry"][1]["id"] = OWN_ACCOUNT if post is by_operator else "0"

    assert post(api, document).status_code == 200
    jobs = taken(api)
    assert (PHONE, "message", "wamid.A") in events(jobs)


ODD: list[tuple[dict[str, Any], int]] = [
    ({"messages": [text(5), text()]}, 1),
    ({"messages": ["x", text(), None]}, 2),
    ({"messages": [text("x" * 513), text()]}, 1),
    ({"messages": [text()], "statuses": [{"id": "1", "status": {}}]}, 1),
    ({"messages": [text()], "statuses": {}}, 1),
    ({"messages": [text()], "statuses": None, "contacts": None, "metadata_": None}, 0),
    ({"messages": [text()], "errors": None, "unknown": {"a": [None]}}, 0),
]


@SENDERS
@pytest.mark.parametrize(("value", "odd"), ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("path", [ALL, f"{ALL}/{PHONE}"])
def test_field_report_70_an_odd_item_costs_the_others_nothing(
    api: Api, post: Any, value: dict[str, Any], odd: int, path: str
) -> None:
    answer = post(api, callback(change(**value)), path=path)

    assert answer.status_code == 200, answer.text
    jobs = taken(api)
    assert events(jobs) == [(PHONE, "message", "wamid.A")]
    assert len([job for job in kept(jobs) if job.odd]) == odd


@SENDERS
@pytest.mark.parametrize("entry", [{}, 5, None, {"changes": []}, {"changes": [5]}, {"changes": [{"value": 5}]}])
def test_field_report_70_an_odd_entry_costs_the_others_nothing(api: Api, post: Any, entry: Any) -> None:
    document = callback(change(messages=[text()]))
    document["entry"].insert(0, entry)

    assert post(api, document).status_code == 200
    jobs = taken(api)
    assert events(jobs) == [(PHONE, "message", "wamid.A")]
    assert [bool(job.odd) for job in kept(jobs)] == [True]


@pytest.mark.parametrize(
    "beside", [{"contacts": ["x"]}, {"contacts": {}}, {"metadata": 5}], ids=["contact", "contacts", "metadata"]
)
def test_strange_things_beside_a_message_of_metas_do_not_cost_it(api: Api, beside: dict[str, Any]) -> None:
    document = callback({"field": "messages", "value": {"messages": [text()], **beside}})

    assert signed(api, document, path=f"{ALL}/{PHONE}").status_code == 200
    jobs = taken(api)
    assert events(jobs) == [(PHONE, "message", "wamid.A")]


def test_meta_gets_200_also_for_what_nobody_can_place(api: Api) -> None:
    answer = signed(api, callback(change("9999", messages=[text()]), {"field": "flows", "value": {}}, account="9"))

    assert answer.status_code == 200
    jobs = taken(api)
    assert [job.is_placed for job in kept(jobs)] == [False, False]


def test_who_posts_by_hand_reads_that_nothing_could_be_placed(api: Api) -> None:
    answer = by_operator(api, callback(change("9999", messages=[text()])))

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 100)
    assert not taken(api)


def test_a_tenants_callback_reaches_its_own_number_and_leaves_nothing_of_others(api: Api) -> None:
    """Kept, it would be placed later by somebody whom everybody trusts."""
    others = [change("1002", messages=[text("wamid.B")]), change("9999", messages=[text("wamid.C")])]
    document = callback(*others, change(messages=[text()]))

    answer = api.post(ALL, document, token=f"{TOKEN}-{PHONE}")
    refused = api.post(ALL, callback(*others), token=f"{TOKEN}-{PHONE}")

    assert (answer.status_code, refused.status_code) == (200, 404)
    jobs = taken(api)
    assert events(jobs) == [(PHONE, "message", "wamid.A")]
    assert not kept(jobs)


def test_a_sessions_own_app_signs_for_its_own_number_and_account(api: Api) -> None:
    document = callback(
        change("1003", messages=[text("wamid.OWN")]), {"field": "flows", "value": {}}, change(messages=[text()])
    )
    document["entry"][1]["id"] = OWN_ACCOUNT

    answer = signed(api, document, secret=OWN_SECRET)

    assert answer.status_code == 200
    jobs = taken(api)
    assert events(jobs) == [(STRANGER, "message", "wamid.OWN"), (STRANGER, "flows", "")]
    assert not kept(jobs)


def test_one_request_makes_no_more_events_though_an_account_has_several_numbers(api: Api) -> None:
    changes = [{"field": "flows", "value": {"n": number}} for number in range(600)]

    assert signed(api, callback(*changes)).status_code == by_operator(api, callback(*changes)).status_code == 400
    assert not taken(api)


def history(size: int) -> dict[str, Any]:
    thread = {"id": CONTACT, "messages": [text(f"wamid.{number}") for number in range(3)], "pad": "é" * (size // 6)}
    return callback(change(field="history", history=[{"metadata": {"phase": 0}, "threads": [thread]}]))


@pytest.mark.parametrize("path", [ALL, f"{ALL}/{PHONE}"])
def test_field_report_71_metas_large_callback_is_taken(api: Api, path: str) -> None:
    answer = signed(api, history(3 * 1024 * 1024), path=path)

    assert answer.status_code == 200, answer.text
    jobs = taken(api)
    assert events(jobs) == [(PHONE, "history", "")]


@pytest.mark.parametrize("path", [ALL, f"{ALL}/{PHONE}"])
def test_field_report_71_a_callback_of_more_than_4_mb_is_refused(api: Api, path: str) -> None:
    assert signed(api, history(5 * 1024 * 1024), path=path).status_code == 413


@pytest.mark.parametrize("path", [ALL, f"{ALL}/{PHONE}", f"{ALL}/{STRANGER}"])
def test_a_large_body_needs_a_good_signature(api: Api, path: str) -> None:
    large = history(2 * LIMIT)

    assert signed(api, large, path=path, secret="wrong").status_code in (401, 413)
    assert by_operator(api, large, path=path).status_code == 413
    assert not taken(api)


@pytest.mark.parametrize("challenge", ["1158201444", "CHALLENGE_ACCEPTED", "a-b.c~d", "MTIzNDU2Nzg5MA==", "x" * 256])
@pytest.mark.parametrize("path", [ALL, f"{ALL}/{PHONE}"])
def test_the_handshake_echoes_any_challenge(api: Api, path: str, challenge: str) -> None:
    query = {"hub.mode": "subscribe", "hub.verify_token": OPERATOR, "hub.challenge": challenge}

    answer = api.get(path, token=None, params=query)

    assert (answer.status_code, answer.text) == (200, challenge)
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("challenge", ["", "<script>alert(1)</script>", "a b", "é", "x" * 257])
def test_the_handshake_echoes_nothing_that_a_browser_runs(api: Api, challenge: str) -> None:
    query = {"hub.mode": "subscribe", "hub.verify_token": OPERATOR, "hub.challenge": challenge}

    assert api.get(ALL, token=None, params=query).status_code == 400


@SENDERS
@pytest.mark.parametrize("status", ["sent", "delivered", "read", "failed"])
@pytest.mark.parametrize("path", [ALL, f"{ALL}/{PHONE}"])
def test_field_report_77_a_status_of_an_unknown_message_waits(api: Api, post: Any, status: str, path: str) -> None:
    early = {"id": f"wamid.M{status}", "status": status, "timestamp": "1", "recipient_id": CONTACT}

    answer = post(api, callback(change(messages=[text()], statuses=[early])), path=path)

    assert answer.status_code == 200
    jobs = taken(api)
    assert events(jobs) == [(PHONE, "message", "wamid.A")]
    assert [(job.is_placed, job.message_id) for job in kept(jobs)] == [(True, f"wamid.M{status}")]


def test_a_status_of_a_known_message_does_not_wait(api: Api) -> None:
    api.uno.message_ids.remember(PHONE, theirs="wamid.KNOWN", ours="wamid.OURS")
    eventually(lambda: api.uno.message_ids.ours(PHONE, "wamid.KNOWN") == "wamid.OURS")
    known = {"id": "wamid.KNOWN", "status": "read", "timestamp": "1", "recipient_id": CONTACT}

    signed(api, callback(change(statuses=[known])))

    jobs = taken(api)
    assert events(jobs) == [(PHONE, "read", "wamid.OURS")]
    assert not kept(jobs)


# --- to whom a message may go ---

TO_A_USER = {"messaging_product": "whatsapp", "recipient": "BR.1234567890"}


@pytest.mark.parametrize(
    "content",
    [
        {"type": "text", "text": {"body": "oi"}},
        {"type": "reaction", "reaction": {"message_id": "wamid.X", "emoji": "👍"}},
    ],
    ids=["text", "reaction"],
)
def test_field_report_5_a_phone_cannot_write_to_a_user_id(api: Api, content: dict[str, Any]) -> None:
    answers = {
        phone: api.post(f"/v15.0/{phone}/messages", {**TO_A_USER, **content}) for phone in (PHONES_OWN, PHONE, SANDBOX)
    }

    assert {phone: answer.status_code for phone, answer in answers.items()} == {
        PHONES_OWN: 400,
        PHONE: 200,
        SANDBOX: 200,
    }
    error = answers[PHONES_OWN].json()["error"]
    assert (error["code"], "user ids" in error["error_data"]["details"]) == (131062, True)
    assert answers[PHONE].json()["contacts"] == [{"input": "BR.1234567890", "user_id": "BR.1234567890"}]


def test_a_user_id_can_be_blocked_and_listed(api: Api) -> None:
    path = f"/v15.0/{SANDBOX}/block_users"
    users = {
        "block_users": [{"user_id": "BR.42"}, {"user": CONTACT, "user_id": "BR.43"}, {"user": "", "user_id": "5@lid"}]
    }

    answer = api.post(path, users)
    listed = api.get(path).json()["data"]
    api.request("DELETE", path, json=users)

    assert answer.json()["block_users"]["added_users"] == [
        {"input": "BR.42", "user_id": "BR.42"},
        {"input": CONTACT, "wa_id": CONTACT},
        {"input": "5@lid", "user_id": "5@lid"},
    ]
    assert {tuple(user) for user in listed} == {("messaging_product", "user_id"), ("messaging_product", "wa_id")}
    assert api.get(path).json()["data"] == []


def test_a_timer_may_wait_for_somebody_whose_phone_is_not_known(api: Api) -> None:
    answer = api.post(f"/timer/{PHONE}/BR.42", {"timeout": 60_000, "message": "hello?"})

    assert answer.status_code == 200, answer.text


# --- texts ---

NO_TEXT = ["\0", "\ud83d", "\x01", "\b", "\f", "\x1f"]


@pytest.mark.parametrize("odd", NO_TEXT, ids=ascii)
def test_field_report_89_a_received_text_is_mended(api: Api, odd: str) -> None:
    contacts = [{"profile": {"name": f"A{odd}na"}, "wa_id": CONTACT}]
    document = {"filename": f"a{odd}.pdf", "mime_type": "application/pdf"}

    answer = signed(api, callback(change(contacts=contacts, messages=[text(type="document", document=document)])))

    assert answer.status_code == 200
    (job,) = taken(api)
    value = json.loads(job.body)["entry"][0]["changes"][0]["value"]
    shown = (value["contacts"][0]["profile"]["name"], value["messages"][0]["document"]["filename"])
    assert all(is_text(part) for part in shown)
    assert shown[0][0] == "A"


@pytest.mark.parametrize("odd", NO_TEXT, ids=ascii)
@pytest.mark.parametrize("path", ["/v15.0/{}/messages", "/sandbox/{}/messages", "/v15.0/{}/message_templates"])
def test_field_report_89_a_clients_text_is_refused(api: Api, odd: str, path: str) -> None:
    body = {"to": CONTACT, "from": CONTACT, "type": "text", "text": {"body": f"a{odd}b"}, "name": "x"}

    answer = api.post(path.format(SANDBOX), body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 131009)


@pytest.mark.parametrize("field", ["from_user_id", "from"])
@pytest.mark.parametrize("user_id", ["BR.42", "777@lid"])
def test_a_simulated_contact_may_be_somebody_whose_phone_is_not_known(api: Api, user_id: str, field: str) -> None:
    words = {"type": "text", "text": {"body": "oi"}}

    answer = api.post(f"/sandbox/{SANDBOX}/messages", {**words, field: user_id})
    nobody = api.post(f"/sandbox/{SANDBOX}/messages", words)

    assert (answer.status_code, nobody.status_code) == (200, 400)
    (job,) = taken(api)
    value = json.loads(job.body)["entry"][0]["changes"][0]["value"]
    assert (value["messages"][0]["from"], value["messages"][0]["from_user_id"]) == ("", user_id)
    assert value["contacts"] == [{"profile": {"name": user_id}, "wa_id": "", "user_id": user_id}]


@SENDERS
def test_what_names_another_registered_number_is_that_numbers_at_the_address_of_one(api: Api, post: Any) -> None:
    """Meta posts what happens to all numbers of an account to its one address."""
    quality = {"field": "phone_number_quality_update", "value": {"display_phone_number": SECOND, "event": "UPGRADE"}}
    document = callback(
        change("1002", messages=[text("wamid.B")]), change("9999", messages=[text("wamid.C")]), quality,
        {"field": "flows", "value": {}}, change(messages=[text()]),
    )  # fmt: skip

    answer = post(api, document, path=f"{ALL}/{PHONE}")

    assert answer.status_code == 200, answer.text
    jobs = taken(api)
    assert events(jobs) == [
        (SECOND, "message", "wamid.B"), (PHONE, "message", "wamid.C"), (SECOND, "phone_number_quality_update", ""),
        (PHONE, "flows", ""), (PHONE, "message", "wamid.A"),
    ]  # fmt: skip


def test_a_tenant_reaches_no_other_number_by_its_own_address(api: Api) -> None:
    for name, post in (("TOKEN", api.post), ("OWN", None)):
        document = callback(change("1002", messages=[text(f"wamid.{name}")]))
        if post is not None:
            answer = post(f"{ALL}/{PHONE}", document, token=f"{TOKEN}-{PHONE}")
        else:
            answer = signed(api, document, path=f"{ALL}/{STRANGER}", secret=OWN_SECRET)
        assert answer.status_code == 200, answer.text

    jobs = taken(api)
    assert events(jobs) == [(PHONE, "message", "wamid.TOKEN"), (STRANGER, "message", "wamid.OWN")]


@SENDERS
def test_what_may_be_another_numbers_waits_while_nobody_can_say(api: Api, post: Any) -> None:
    unreadable = "5511970000006"
    api.redis.set(f"unoapi-config:{unreadable}", "{")
    document = callback(change("1006", metadata={"display_phone_number": unreadable}, messages=[text("wamid.B")]))

    answer = post(api, document, path=f"{ALL}/{PHONE}")
    api.redis.delete(f"unoapi-config:{unreadable}")

    assert answer.status_code == 200, answer.text
    jobs = taken(api)
    assert (events(jobs), [job.message_id for job in kept(jobs)]) == ([], ["wamid.B"])


def test_a_tenant_has_no_ids_looked_up_by_what_its_events_name(api: Api) -> None:
    directory: Any = api.uno.directory

    answer = api.post(f"{ALL}/{PHONE}", callback(change("4711", messages=[text()])), token=f"{TOKEN}-{PHONE}")

    assert answer.status_code == 200, answer.text
    assert events(taken(api)) == [(PHONE, "message", "wamid.A")]
    assert "4711" not in directory._nodes


@pytest.mark.parametrize("token", [None, f"{TOKEN}-{PHONE}"])
@pytest.mark.parametrize("secret", ["", "wrong"])
def test_whose_number_it_is_says_no_refusal(api: Api, token: str | None, secret: str) -> None:
    """One that nobody has, one that the token does not open, and one whose own app signs."""
    answers = []
    for number_id in ("9999", "1002", "1003"):
        raw = json.dumps(callback(change(number_id, messages=[text()]), account="")).encode()
        headers = {"Content-Type": "application/json"}
        headers |= {"X-Hub-Signature-256": sign_hub(secret, raw)} if secret else {}
        answers.append(api.request("POST", ALL, token=token, data=raw, headers=headers))

    assert {answer.status_code for answer in answers} == {404 if token and not secret else 401}
    assert len({json.dumps({**answer.json()["error"], "fbtrace_id": ""}) for answer in answers}) == 1


@pytest.mark.parametrize("by", ["nobody", "tenant", "app of a session"])
def test_nobody_has_many_numbers_looked_for(api: Api, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes some questions to Redis, and a thread of the API meanwhile."""
    directory: Any = api.uno.directory
    guesses = Mock()
    monkeypatch.setattr("unoapi.web.events.refuse_guess", guesses)
    strangers = [change(f"77{number:03}", messages=[text(f"wamid.{number}")]) for number in range(100)]
    document = callback(change(messages=[text()]), *strangers)

    if by == "tenant":
        answer = api.post(ALL, document, token=f"{TOKEN}-{PHONE}")
    else:
        path, secret = (ALL, "wrong") if by == "nobody" else (f"{ALL}/{STRANGER}", OWN_SECRET)
        answer = signed(api, document, path=path, secret=secret)

    assert answer.status_code == 400
    assert f"at most {21 if by == 'tenant' else 20} numbers" in answer.text
    assert not [node for node in directory._nodes if node.startswith("77")]
    assert not taken(api)
    assert guesses.call_count == (by == "nobody")  # the app's signature was right


@SENDERS
def test_a_number_that_many_changes_name_is_looked_for_once(
    api: Api, post: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory: Any = api.uno.directory
    look = Mock(wraps=directory.phones_of)
    monkeypatch.setattr(directory, "phones_of", look)

    assert post(api, callback(*[change(messages=[text(f"wamid.{number}")]) for number in range(50)])).status_code == 200

    assert look.call_args_list.count(call("1001")) == 1
    assert len(events(taken(api))) == 50
