"""The Node version's cases: which are tried, where, and why the others are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CASES = json.loads((Path(__file__).parent / "cases.json").read_text())
GROUPS: dict[str, dict[str, Any]] = {group["id"]: group for group in CASES["groups"]}
ELSEWHERE = {
    "template_bind": "tests/unit/test_session_cases.py",
    "config_save": "tests/unit/test_session_cases.py",
    "fork_waba_id": "tests/unit/test_session_cases.py",
    "webhook_filter": "tests/unit/test_session_cases.py",
    "timer_job": "tests/unit/test_session_cases.py",
    "raw_to_event": "tests/connector/test_inbound.py",
    "raw_message_type": "tests/connector/test_cases.py",
    "raw_needs_media_download": "tests/connector/test_cases.py",
    "event_envelope": "tests/connector/test_cases.py",
    "send_to_raw": "tests/connector/test_cases.py",
    "send_to_raw_native": "tests/connector/test_cases.py",
    "filter_by_jid": "tests/connector/test_cases.py",
    "filter_by_key": "tests/connector/test_cases.py",
    "listener_job": "tests/connector/test_cases.py",
    "listener_filter": "tests/connector/test_cases.py",
    "calls": "tests/connector/test_cases.py",
    "commander": "tests/unit/test_own_chat.py",
    "bulk_csv": "tests/unit/test_tables.py",
    "bulk_number": "tests/unit/test_bulk_rows.py",
    "bulk_render": "tests/unit/test_bulk_rows.py",
    "bulk_row_sisodonto": "tests/unit/test_bulk_rows.py",
    "bulk_row_default": "tests/unit/test_bulk_rows.py",
    "bulk_status": "tests/unit/test_bulk_rows.py",
}
LIBRARY = "of the Node version's WhatsApp library, which the connector does not use"
LEFT_OUT: dict[str, str] = {
    "queue_retry": "decided otherwise: exponential backoff, retries counted after the first attempt",
    "queue_topology": "decided otherwise: its own exchanges and queues",
    "chat_number_id": "chat, writer, phone and LID come apart: text_* and group_* in raw_to_event",
    "session_standby": "attempts are counted by the supervisor: tests/connector/test_processes.py",
    "send_error_codes": "decided otherwise: Meta's own error codes",
    "first_message_delay": "nothing sleeps in a worker: a webhook that needs the order says `ordered`",
    "fork_groups": "group management is not part of this installation",
    "fork_transient_infra_error": LIBRARY,
    "fork_transient_whatsapp_error": LIBRARY,
    "internal_id": "an id is mapped when a pair is known, whatever it looks like",
}
OTHERS: dict[str, str] = {
    "auth_no_master_configured": "decided otherwise: without a token the API listens on loopback alone",
    "auth_no_phone_any_session": "there is no such route of a message: see any_session_token in test_rules.py",
    "messages_sender_fails": "nothing is sent while the client waits: a wrong body is refused, which is tried below",
    "debug_token": "ours checks the token: tests/clients and tests/integration/test_management.py",
    "media_metadata": "tests/integration/test_media.py, with the Node version's own metadata",
    "media_download": "tests/integration/test_media.py, with the Node version's own file",
    "timer_start": "tests/integration/test_management.py: a timer's phone and contact are digits",
    "templates_save_fork": "tests/integration/test_management.py: our list has defaults beside what is saved",
    "templates_delete_fork": "tests/integration/test_management.py: our list has defaults beside what is saved",
    "templates_list": "tests/integration/test_management.py: our list has defaults",
    "cc_forward_internal_id": "tests/unit/test_graph_answers.py: a mark on a message that was made here",
    "cc_stale_send": LIBRARY,
    "cc_read_internal_key": "tests/integration/test_forwarder.py: the provider's id is saved for read marks",
    "rw_connect_count": "attempts are counted by the supervisor, not in Redis",
    "rw_auth": LIBRARY,
    "rw_group": "the subject of a group comes with the event, not from Redis",
    "rw_message": "bodies of messages are not stored in Redis",
    "rw_message_status": "unoapi-told has the last status of a message",
    "rw_bulk": "decided otherwise: one letter for each row, a million of them in a megabyte",
    "rw_media": "ours also has where the file is: tests/contracts/test_media_stores.py reads the Node version's form",
    "rw_session_status": "tests/contracts/test_connections.py",
    "rw_direction": "tests/integration/test_management.py: timers know who wrote last",
    "rw_blacklist_remove": "tried by bl_removed",
    "cl_store_types": "the store is chosen by STORAGE_ENDPOINT, not per session",
    "cl_fork_defaults": LIBRARY,
    "m_raw_payload": "raw messages of the Node version's library are not taken: 131051",
    "m_status_reply_chatwoot": "raw_status_quoted: an answer to a status is reported as text",
    "cls_api": "no event, but a message on its way in",
    "cls_group_contact": "an event without message and status has no recipient",
    "custom_char": "nothing is put into a client's text",
    "custom_char_no_space": "nothing is put into a client's text",
    "pairing_code_format": "tests/connector/test_page.py",
    "session_webhook_body": "tests/connector/test_notices.py",
    "transcription_event": "tests/unit/test_transcription.py",
    "cm_campaign": "tests/unit/test_bulk.py",
    "unoid_race": "our ids are computed before a message is sent",
    "jidmap_br_variants": "the engine asks WhatsApp which form of a number has an account",
    "embedded_token_ok": "a public route that hands out tokens is not built",
    "history_after_marker": "history is not asked for",
    "media_key_unknown": "unknown types end in .bin, as in the fork",
    "webhook_failure_range": "tests/integration/test_end_to_end.py and tests/unit/test_curl_answers.py",
    "webhook_success_range": "tests/unit/test_curl_answers.py",
    "meta_alias_phone_number_id": "tests/integration/test_management.py",
    "meta_alias_waba": "tests/integration/test_management.py",
    **dict.fromkeys(
        (
            "raw_update_error_405",
            "raw_update_error_custom",
            "raw_update_empty",
            "raw_update_starred",
            "raw_update_status_1",
            "raw_update_status_3",
            "raw_update_status_5",
            "raw_update_status_deleted",
            "raw_update_status_delivery_ack",
            "raw_update_status_error",
            "raw_update_status_server_ack",
            "raw_update_stub_revoke_v1",
            "raw_edit_as_update",
            "raw_receipt_delivered",
            "raw_text_status_pending_not_mine",
            "raw_group_status_read_cloud_format",
        ),
        "updates come as receipts, edits and deletions of the contract: tests/unit/test_whatsmeow_provider.py",
    ),
    **dict.fromkeys(
        (
            "raw_stub_bad_mac",
            "raw_stub_invalid_prekey_id",
            "raw_stub_message_absent_from_node",
            "raw_stub_no_session_found_to_decrypt_message",
            "raw_stub_other",
        ),
        "what cannot be read is `undecryptable`: lj_decrypt_last_try",
    ),
    **dict.fromkeys(("mt_status3_not_mine", "mt_status3_mine", "mt_update"), "statuses come as receipts"),
    "mt_status_server_ack_not_mine": "statuses come as receipts",
    "lj_split_append": "the connector reports each message by itself",
    "lj_decrypt_not_marked": "whatsmeow asks for the message again by itself, and reports it once",
    "lj_decrypt_retry": "whatsmeow asks for the message again by itself, and reports it once",
    "lj_other_server": "tests/connector/test_notices.py: a connector runs the sessions of its own name",
    "lf_append_pending": LIBRARY,
    "lf_append_pending_own_ignored": LIBRARY,
    "wf_no_incoming_own_text": "a quirk: the flag of received messages would suppress the number's own",
}
TRIED: set[str] = set()


def cases(group: str) -> pytest.MarkDecorator:
    tried = [case for case in GROUPS[group]["cases"] if case["id"] not in OTHERS]
    TRIED.update(case["id"] for case in tried)
    return pytest.mark.parametrize("case", tried, ids=[case["id"] for case in tried])
