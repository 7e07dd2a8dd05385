"""The options of a phone: read as stored, shown without secrets, merged so that nothing is lost by accident."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from tests.support.fakes import PHONE, SECRET, MemorySessions, make_webhook
from unoapi.errors import RequestError
from unoapi.models.provenance import Environment
from unoapi.models.session import (
    MAX_TIMEOUT_MS,
    MAX_TTL_S,
    MAX_WEBHOOKS,
    Session,
    Webhook,
    with_own_ids,
    without_secrets,
)
from unoapi.services.sessions import change, merge
from unoapi.settings import Settings

A = {"id": "a", "url": "http://a.test", "token": "token-a"}
B = {"id": "b", "url": "http://b.test", "token": "token-b"}


def webhooks(merged: dict[str, Any]) -> list[dict[str, Any]]:
    return list(merged["webhooks"])


# --- reading ---


def test_a_configuration_of_the_node_version_is_read() -> None:
    stored = {
        "provider": "baileys",
        "authToken": "t",
        "rejectCalls": "no calls",
        "ignoreGroupMessages": True,
        "webhooks": [{
            "id": "crm", "urlAbsolute": "https://crm.test/hook", "url": "", "token": "abc", "header": "X-Key",
            "timeoutMs": 5000, "sendGroupMessages": False, "sendNewMessages": True, "sendIncomingMessages": True,
        }],
    }  # fmt: skip

    session = Session.model_validate({**stored, "phone": PHONE})

    (webhook,) = session.webhooks
    assert session.provider == "whatsmeow"
    assert session.auth_token.get_secret_value() == "t"
    assert (webhook.id, webhook.header, webhook.timeout_ms, webhook.url) == ("crm", "X-Key", 5000, None)
    assert (webhook.send_group_messages, webhook.send_incoming_messages) == (False, True)


@pytest.mark.parametrize(
    ("stored", "read"),
    [("baileys", "whatsmeow"), ("", "whatsmeow"), (None, "whatsmeow"), ("whatsmeow", "whatsmeow"),
     ("forwarder", "forwarder"), ("sandbox", "sandbox")],
)  # fmt: skip
def test_the_providers_of_the_node_version_are_understood(stored: object, read: str) -> None:
    assert Session.model_validate({"phone": PHONE, "provider": stored}).provider == read


@pytest.mark.parametrize(
    ("provider", "read"),
    [(None, "forwarder"), ("", "forwarder"), ("baileys", "forwarder"), ("whatsmeow", "whatsmeow"),
     ("sandbox", "sandbox")],
)  # fmt: skip
def test_a_number_that_the_node_version_forwards_is_at_meta(provider: object, read: str) -> None:
    stored = {"provider": provider, "connectionType": "forward"}
    by_environment = Environment(options={"connectionType": "forward"})

    assert Environment().complete(PHONE, stored).provider == read
    assert by_environment.complete(PHONE, {"provider": provider}).provider == read
    assert by_environment.complete(PHONE, {"provider": provider, "connectionType": "qrcode"}).provider != "forwarder"
    assert by_environment.session(PHONE).provider == "forwarder"


@pytest.mark.parametrize("field", ["authToken", "auth_token"])
def test_the_token_is_read_under_both_names(field: str) -> None:
    session = Session.model_validate({"phone": PHONE, field: SECRET})

    assert session.auth_token.get_secret_value() == SECRET


def test_empty_values_are_no_values() -> None:
    session = Session.model_validate({"phone": PHONE, "authToken": None, "label": None})
    webhook = Webhook.model_validate(
        {"id": "a", "url": "", "urlAbsolute": "http://a.test", "token": None, "secret": None}
    )

    assert (session.auth_token.get_secret_value(), session.label) == ("", "")
    assert (webhook.token.get_secret_value(), webhook.secret.get_secret_value()) == ("", "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"provider": "telegram"},
        {"provider": 5},
        {"webhooks": [A, A]},
        {"webhooks": [{**A, "url": "ftp://a.test"}]},
        {"webhooks": [{**A, "url": "http://"}]},
        {"webhooks": [{**A, "url": "not an address"}]},
        {"webhooks": [{**A, "header": "X Key"}]},
        {"webhooks": [{**A, "header": "X\r\nY"}]},
        {"webhooks": [{**A, "timeoutMs": 0}]},
        {"webhooks": [{**A, "sendGroupMessages": "perhaps"}]},
        {"webhooks": [{**A, "id": str(number)} for number in range(MAX_WEBHOOKS + 1)]},
        {"authToken": "x" * 513},
        {"label": "x" * 201},
        {"phone": "+5511"},
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Session.model_validate({"phone": PHONE, **wrong})


def test_a_refusal_does_not_quote_a_token() -> None:
    with pytest.raises(ValidationError) as refusal:
        Session.model_validate({"phone": PHONE, "authToken": [SECRET], "webhooks": [{**A, "token": {"x": SECRET}}]})

    assert SECRET not in str(refusal.value)


def test_the_address_is_the_absolute_one_or_has_the_phone_appended() -> None:
    plain = Webhook.model_validate({"url": "https://crm.test/hooks/"})
    absolute = Webhook.model_validate({"url": "https://crm.test/hooks", "urlAbsolute": "https://crm.test/exact/?a=b"})

    assert plain.address(PHONE) == f"https://crm.test/hooks/{PHONE}"
    assert absolute.address(PHONE) == "https://crm.test/exact/?a=b"


def test_a_deadline_is_a_minute_at_most() -> None:
    assert make_webhook(timeoutMs=5000).deadline_ms == 5000
    assert make_webhook(timeoutMs=360_000).deadline_ms == MAX_TIMEOUT_MS


def test_a_webhook_is_found_by_its_id() -> None:
    session = Session.model_validate({"phone": PHONE, "webhooks": [A, B]})

    assert session.webhook("b") == session.webhooks[1]
    assert session.webhook("c") is None


# --- showing ---


def test_secrets_are_left_out_at_every_depth() -> None:
    config = {
        "authToken": SECRET, "proxyUrl": f"socks5://u:{SECRET}@p", "openaiApiKey": SECRET, "groqApiKey": SECRET,
        "wavoipToken": SECRET, "webhookSecret": SECRET, "STORAGE_SECRETACCESSKEY": SECRET, "dbPassword": SECRET,
        "voipServiceToken": SECRET, "storage": {"accessKeyId": SECRET, "session_token": SECRET}, "private_key": SECRET,
        "label": "shop", "webhooks": [{"id": "a", "token": SECRET, "secret": SECRET, "deep": [{"token": SECRET}]}],
    }  # fmt: skip

    shown = without_secrets(config)

    assert SECRET not in json.dumps(shown)
    assert shown == {"label": "shop", "storage": {}, "webhooks": [{"id": "a", "deep": [{}]}]}


def test_a_shown_configuration_may_be_stored_again_without_destroying_a_token() -> None:
    stored = {"authToken": SECRET, "webhooks": [A, B]}

    assert merge(stored, without_secrets(stored)) == stored


@pytest.mark.parametrize("text", [repr, str])
def test_a_session_never_prints_its_secrets(text: Any) -> None:
    session = Session.model_validate({"phone": PHONE, "authToken": SECRET, "webhooks": [{**A, "token": SECRET}]})

    assert SECRET not in text(session)
    assert SECRET not in session.model_dump_json()


# --- merging ---


def test_what_is_not_named_stays() -> None:
    assert merge({"label": "a", "provider": "sandbox"}, {"label": "b"}) == {"label": "b", "provider": "sandbox"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, "rang"),
        ({"messageCallsWebhook": None}, "rang"),
        ({"messageCallsWebhook": ""}, ""),
        ({"messageCallsWebhook": "", "rejectCallsWebhook": "new"}, "new"),
    ],
)
def test_an_option_that_is_emptied_is_so_whatever_its_older_name_said(change: dict[str, Any], text: str) -> None:
    config = merge({"rejectCallsWebhook": "rang"}, change)

    assert Environment().complete(PHONE, config).message_calls_webhook == text


@pytest.mark.parametrize(
    "change", [{}, {"webhooks": []}, {"webhooks": None}, {"webhooks": [], "overrideWebhooks": True}]
)
def test_an_absent_or_empty_list_never_silences_a_session(change: dict[str, Any]) -> None:
    assert webhooks(merge({"webhooks": [A, B]}, change)) == [A, B]


def test_a_webhook_is_changed_by_its_id_and_the_others_stay() -> None:
    merged = merge({"webhooks": [A, B]}, {"webhooks": [{"id": "b", "url": "http://new.test"}]})

    assert webhooks(merged) == [A, {**B, "url": "http://new.test"}]


def test_a_new_webhook_is_added() -> None:
    merged = merge({"webhooks": [A]}, {"webhooks": [B]})

    assert webhooks(merged) == [A, B]


def test_a_webhook_without_an_id_is_the_default_one() -> None:
    merged = merge({"webhooks": [{"url": "http://a.test"}]}, {"webhooks": [{"id": "default", "token": "t"}]})

    assert webhooks(merged) == [{"url": "http://a.test", "id": "default", "token": "t"}]


def test_an_id_of_nothing_is_the_default_one() -> None:
    merged = merge({"webhooks": [{**A, "id": "default"}, B]}, {"webhooks": [{"id": None, "label": "x"}]})

    session = Session.model_validate({**merged, "phone": PHONE})
    assert [webhook.id for webhook in session.webhooks] == ["default", "b"]


def test_override_replaces_the_list_and_keeps_the_tokens_of_those_that_stay() -> None:
    change = {"webhooks": [{"id": "b", "url": "http://new.test"}], "overrideWebhooks": True}

    merged = merge({"webhooks": [A, B]}, change)

    assert merged == {"webhooks": [{**B, "url": "http://new.test"}]}


def test_what_is_no_configuration_is_not_stored() -> None:
    answer = {"success": True, "display_phone_number": PHONE, "messaging_product": "whatsapp", "pin": "123456"}

    assert merge({"label": "a"}, {**answer, "phone": "1", "stored": True, "overrideWebhooks": True}) == {"label": "a"}


@pytest.mark.parametrize("wrong", [5, "text", {"id": "a"}, [5], ["text"], [None], [{"id": ["a"]}], [{"id": {}}]])
def test_a_wrong_list_is_left_for_the_validation_to_refuse(wrong: object) -> None:
    merged = merge({"webhooks": [A]}, {"webhooks": wrong})

    with pytest.raises(ValidationError):
        Session.model_validate({**merged, "phone": PHONE})


def test_merging_changes_neither_side() -> None:
    stored: dict[str, Any] = {"webhooks": [dict(A)]}
    change: dict[str, Any] = {"webhooks": [{"id": "a", "url": "http://new.test"}], "label": "x"}

    merge(stored, change)

    assert stored == {"webhooks": [A]}
    assert change == {"webhooks": [{"id": "a", "url": "http://new.test"}], "label": "x"}


def test_the_header_of_a_webhook_may_have_underscores_as_chatwoot_wants_it() -> None:
    webhook = Webhook.model_validate({"id": "crm", "urlAbsolute": "https://crm.test", "header": "api_access_token"})

    assert webhook.header == "api_access_token"


@pytest.mark.parametrize(("model", "prefix", "shared"), [(Session, "", 15), (Webhook, "webhook_", 9)])
def test_a_default_is_written_twice_and_the_same(model: type[BaseModel], prefix: str, shared: int) -> None:
    """What production says for a session that says nothing is what tests see that set nothing."""
    names = [name for name in model.model_fields if f"{prefix}{name}" in Settings.model_fields]

    ours = {name: model.model_fields[name].get_default(call_default_factory=True) for name in names}
    settings = {name: Settings.model_fields[f"{prefix}{name}"].get_default(call_default_factory=True) for name in names}

    assert len(names) >= shared
    assert ours == settings


def test_an_address_is_text_that_is_written_as_it_is_read() -> None:
    webhook = Webhook.model_validate({"url": "HTTP://B\u00fccher.example"})

    assert (webhook.url, Webhook().address(PHONE)) == ("http://xn--bcher-kva.example/", f"/{PHONE}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # which pydantic gives where a value is not of its field's kind
        assert Webhook.model_validate_json(webhook.model_dump_json(by_alias=True)) == webhook


def test_what_a_form_of_the_node_version_left_empty_makes_no_session_unreadable() -> None:
    nothing = {"timeoutMs": None, "header": None, "sendGroupMessages": None, "sendNewMessages": ""}
    config = {"autoRestartMs": "", "qrTimeoutMs": "", "customMessageCharacters": "", "webhookForward": "",
              "webhooks": [{**A, **nothing, "addToBlackListOnOutgoingMessageWithTtl": ""}]}  # fmt: skip

    session = Environment().complete(PHONE, config)

    (webhook,) = session.webhooks
    assert (webhook.timeout_ms, webhook.header, webhook.send_group_messages) == (15_000, "Authorization", True)
    assert (webhook.send_new_messages, session.auto_restart_ms, session.qr_timeout_ms) == (False, 0, 60_000)


@pytest.mark.parametrize(
    ("written", "server"), [("", "server_9"), (None, "server_9"), (" server_2\n", "server_2"), (3, "3")]
)
def test_the_connector_of_a_number_is_the_environments_where_a_form_left_it_empty(written: object, server: str) -> None:
    session = Environment(options={"server": "server_9"}).complete(PHONE, {"server": written, "interactiveMode": ""})

    assert (session.server, session.interactive_mode) == (server, "text")


def test_flags_that_a_form_left_empty_do_not_silence_a_webhook() -> None:
    flags = {field.alias: "" for field in Webhook.model_fields.values() if field.annotation is bool}

    session = Environment().complete(PHONE, {"webhooks": [{**A, **flags}]})

    assert session.webhooks == (Webhook.model_validate(A),)


@pytest.mark.parametrize("written", ["X-Api.Key", " X-Api.Key", "X-Api.Key\r\n"])
def test_a_header_has_any_name_that_http_knows_without_what_was_copied_around_it(written: str) -> None:
    session = Environment().complete(PHONE, {"webhooks": [{**A, "header": written}]})

    assert session.webhooks[0].header == "X-Api.Key"


@pytest.mark.parametrize("newer", ["", None, "a call"])
def test_the_older_name_of_the_text_for_calls_counts_where_the_newer_one_is_empty(newer: str | None) -> None:
    session = Environment().complete(PHONE, {"rejectCallsWebhook": "rang", "messageCallsWebhook": newer})

    assert session.message_calls_webhook == (newer or "rang")


@pytest.mark.parametrize("host", ["localhost:9876", "127.0.0.1:3000"])
def test_what_the_node_version_stored_where_nothing_was_configured_is_no_webhook(host: str) -> None:
    nowhere = {"id": "default", "urlAbsolute": "", "url": f"http://{host}/webhooks/fake", "token": "123abc"}
    environment = Environment(webhook=Webhook.model_validate(A))

    alone = environment.complete(PHONE, {"webhooks": [nowhere]})
    beside = environment.complete(PHONE, {"webhooks": [nowhere, {**A, "id": "crm"}]})
    changed = environment.complete(PHONE, {"webhooks": [{**nowhere, "urlAbsolute": "http://crm.test/hook"}]})

    assert alone.webhooks == ()  # not the environment's either: nobody got these events
    assert [webhook.id for webhook in beside.webhooks] == ["crm"]
    assert [webhook.address(PHONE) for webhook in changed.webhooks] == ["http://crm.test/hook"]


def test_several_webhooks_of_one_id_as_the_node_version_serves_them_have_ids_of_their_own() -> None:
    ids = ["crm", "crm", "crm-2", "crm", "", None, 7, 7]

    config = with_own_ids(
        {"webhooks": [{"id": name, "urlAbsolute": f"http://a.test/{n}"} for n, name in enumerate(ids)]}
    )

    session = Environment().complete(PHONE, config)
    own = ["crm", "crm-3", "crm-2", "crm-4", "default", "default-2", "7", "7-2"]
    assert [webhook.id for webhook in session.webhooks] == own
    assert [webhook.url_absolute for webhook in session.webhooks] == [f"http://a.test/{number}" for number in range(8)]


def test_a_list_that_names_one_id_twice_is_served_as_the_node_version_does_however_often_it_is_sent() -> None:
    sessions = MemorySessions()
    webhooks = [{"url": "http://a.test"}, {"url": "http://b.test"}, {"id": 7, "url": "http://c.test"}]

    for _ in range(2):
        config = change(PHONE, {"webhooks": webhooks}, sessions=sessions, by_operator=True)

    found = [(webhook.get("id", "default"), webhook["url"]) for webhook in config["webhooks"]]
    assert found == [("default", "http://a.test"), ("default-2", "http://b.test"), ("7", "http://c.test")]


def test_webhooks_that_are_the_same_in_everything_are_one() -> None:
    assert with_own_ids({"webhooks": [A, B, A]})["webhooks"] == [A, B]


def test_webhooks_with_ids_of_their_own_stay_as_they_are() -> None:
    config = {"webhooks": [{"urlAbsolute": "http://a.test"}, {"id": "b"}]}

    assert with_own_ids(config) == config
    assert with_own_ids({"webhooks": [None, {}, {}]}) == {"webhooks": [None, {}, {}]}


def test_a_token_of_the_node_version_may_be_a_number_and_no_time_on_a_blacklist_is_too_long() -> None:
    webhook = {**A, "addToBlackListOnOutgoingMessageWithTtl": 999_999_999}

    session = Environment().complete(PHONE, {"authToken": 123456, "webhooks": [webhook]})

    assert session.auth_token.get_secret_value() == "123456"
    assert session.webhooks[0].add_to_black_list_on_outgoing_message_with_ttl == MAX_TTL_S


def test_a_line_end_that_was_copied_with_a_token_or_an_id_is_no_part_of_it() -> None:
    account = {"phoneNumberId": " 1001", "businessAccountId": "2001\n", "token": "EAAG\n", "version": "v21.0 "}

    session = Environment().complete(PHONE, {"webhooks": [{**A, "token": "Bearer x\r\n"}], "webhookForward": account})

    forward = session.webhook_forward
    assert session.webhooks[0].token.get_secret_value() == "Bearer x"
    assert (forward.phone_number_id, forward.business_account_id, forward.version) == ("1001", "2001", "v21.0")
    assert forward.token.get_secret_value() == "EAAG"


def test_a_number_that_is_too_short_for_a_token_is_refused() -> None:
    with pytest.raises(RequestError) as refusal:
        change(PHONE, {"authToken": 123456}, sessions=MemorySessions(), by_operator=True)

    assert "at least 16" in refusal.value.details


def test_numbers_of_a_configuration_of_the_node_version_are_texts_where_texts_are_meant() -> None:
    webhook = {**A, "token": 123456, "addToBlackListOnOutgoingMessageWithTtl": -5}

    session = Environment().complete(PHONE, {"label": 7, "webhooks": [webhook]})

    assert (session.label, session.webhooks[0].token.get_secret_value()) == ("7", "123456")
    assert session.webhooks[0].add_to_black_list_on_outgoing_message_with_ttl == -1


def test_the_older_name_of_an_option_counts_before_the_environments() -> None:
    environment = Environment(options={"messageCallsWebhook": "of all"})

    texts = [
        environment.complete(PHONE, config).message_calls_webhook
        for config in ({"rejectCallsWebhook": "rang"}, {"rejectCallsWebhook": ""}, {"messageCallsWebhook": ""})
    ]

    assert texts == ["rang", "of all", ""]


@pytest.mark.parametrize("older", [True, 5, ["rang"], {"body": "rang"}])
def test_what_is_no_text_under_an_older_name_is_none(older: object) -> None:
    assert Environment().complete(PHONE, {"rejectCallsWebhook": older}).message_calls_webhook == ""
