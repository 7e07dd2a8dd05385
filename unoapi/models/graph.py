"""Requests to Meta's Graph that are passed on, and their answers."""

from __future__ import annotations

from dataclasses import dataclass, field

ACCOUNT_EDGES = frozenset(
    {
        "activities", "agreements", "analytics", "assigned_users", "audiences", "call_analytics",
        "conversation_analytics", "dataset", "flows", "group_analytics", "message_template_previews",
        "message_templates", "migrate_message_templates", "payment_configuration", "payment_configurations",
        "pricing_analytics", "product_catalogs", "schedules", "solutions", "template_analytics",
        "template_group_analytics", "template_groups", "template_performance_metrics", "upsert_message_templates",
        "welcome_message_sequences",
    }
)  # fmt: skip
"""What belongs to the business account, and not to one of its numbers."""
NUMBER_EDGES = frozenset(
    {
        "business_compliance_info", "call_permissions", "calls", "commerce_settings", "conversational_automation",
        "groups", "message_qrdls", "official_business_account", "request_code", "settings", "smb_app_data", "username",
        "username_suggestions", "verify_code", "whatsapp_business_encryption", "whatsapp_commerce_settings",
    }
)  # fmt: skip
SAID_OF_NUMBERS = frozenset(
    {
        "account_mode", "certificate", "code_verification_status", "conversational_automation",
        "eligibility_for_api_business_global_search", "health_status", "host_platform", "is_official_business_account",
        "is_on_biz_app", "is_pin_enabled", "is_preverified_number", "last_onboarded_time", "messaging_limit_tier",
        "name_status", "new_certificate", "new_name_status", "platform_type", "quality_rating", "quality_score",
        "search_visibility", "throughput", "verified_name", "whatsapp_business_manager_messaging_limit",
    }
)  # fmt: skip
"""What only Meta knows of a number that is there."""
SAID_OF_ACCOUNTS = frozenset(
    {
        "account_review_status", "business_verification_status", "country", "currency", "health_status",
        "is_enabled_for_insights", "marketing_messages_lite_api_status", "message_template_namespace", "name",
        "on_behalf_of_business_info", "owner_business_info", "ownership_type", "primary_funding_id", "timezone_id",
        "whatsapp_business_manager_messaging_limit",
    }
)  # fmt: skip
"""The same of a business account."""


@dataclass(frozen=True)
class GraphRequest:
    """One request, without a client's token. `path` begins with the node; `body` is bytes of `content_type`."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = field(default=None, repr=False)
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class GraphAnswer:
    """Meta's answer: JSON bytes."""

    status: int
    body: bytes = field(repr=False)
    retry_after_s: int | None = None
