"""A session's configuration: changed, removed, and shown as the Cloud API shows a phone number."""

from __future__ import annotations

import re
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from unoapi.errors import RequestError
from unoapi.errors.validation import (
    HEADER_VALUE,
    MIN_TOKEN_LENGTH,
    TOKEN,
    invalid_value,
    is_usable_secret,
    names_of,
    nearest,
    refused,
)
from unoapi.models.options import BusinessProfile, Forward
from unoapi.models.phones import LOCAL_DIGITS
from unoapi.models.provenance import NO_ADDRESSES, OLDER_NAMES
from unoapi.models.session import (
    FORWARD,
    MAX_TIMEOUT_MS,
    MAX_WEBHOOKS,
    Session,
    Webhook,
    with_own_ids,
    without_secrets,
)
from unoapi.models.text import figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydantic import SecretStr

    from unoapi.models.provenance import OperatorAddresses
    from unoapi.ports import SessionDirectory, Sessions

DAY_S = 86_400
OVERLAP, OVERRIDE = "overlapSeconds", "overrideWebhooks"
MAX_OVERLAP_S = 7 * DAY_S
WEBHOOK_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")

GRAPH_FIELDS = (
    "id", "business_account_id", "display_phone_number", "verified_name", "quality_rating", "messaging_limit_tier",
    "code_verification_status", "account_mode", "name_status", "throughput", "platform_type", "last_onboarded_time",
    "webhook_configuration", "certificate", "status", "message_templates", "is_official_business_account",
    "is_pin_enabled", "whatsapp_business_manager_messaging_limit", "name", "currency", "timezone_id",
    "message_template_namespace", "owner_business_info", "account_review_status", "business_verification_status",
)  # fmt: skip
NOT_CONFIGURATION = frozenset(
    {"messaging_product", "pin", "data_localization_region", "backup", OVERRIDE, "phone", "stored", "success",
     "access_token", "warnings", "overlapSeconds",
     "previousAuthToken", "previousAuthTokenUntil", "beganMs", *GRAPH_FIELDS}
)  # fmt: skip
"""Also what only our answers hold, so that a client may post them back."""
CONNECTED_ELSEWHERE = {"sandbox": "in the sandbox", "forwarder": "at Meta"}
"""Providers that are always there, and where their numbers are; the connector writes the status of the others."""
ADDRESS, REPLACED = "urlAbsolute", "replacedUrlAbsolute"
"""A webhook's address, and the one that an `override_callback_uri` replaced; empty: it had none."""
TOKEN_NAMES = frozenset({"authToken", "auth_token"})
NODE_OPTIONS = frozenset(
    {"authHeader", "retryRequestDelayMs", "logLevel", "whatsappVersion", "wavoipToken", "useRedis", "useS3",
     "baseStore", "storage", "ignoreDataStore", "notifyFailedMessages", "throwWebhookError", "openaiAssistantId",
     "ignoreGroupIndividualReceipts", "groupOnlyDeliveredStatus", "markOnlineOnConnect",
     "clearAppStateSyncOnConnect", "allowFullHistorySync", "voipServiceUrl", "voipServiceToken", "voipServiceTimeoutMs",
     "baileysCountryCode", "coexistenceEnabled", "coexistenceWindowSeconds"}
)  # fmt: skip
"""Names that the Node version reads and this one only keeps."""
KEPT = NODE_OPTIONS | NOT_CONFIGURATION | OLDER_NAMES.keys()
KNOWN = (*names_of(Session), OVERRIDE, *sorted(KEPT), *sorted(TOKEN_NAMES))
"""Where two names are equally near, the first one is meant."""
WEBHOOK_NAMES = (*names_of(Webhook), "typebot", REPLACED)
PARTS = {
    "webhookForward": tuple(names_of(Forward)),
    "businessProfile": (*names_of(BusinessProfile), "messaging_product"),
}
MAX_NAMES = 50
MAX_NAME_CHARS = 64


class OperatorOptions(BaseModel):
    """What only the operator may set of a session: where it is connected, through what, and as whom.

    They decide which of the operator's machines, networks and accounts the session uses, and which ids it answers to.
    """

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", hide_input_in_errors=True)

    provider: Any = None
    server: Any = None
    proxy_url: Any = None
    webhook_forward: Any = None


FLAGS = frozenset(
    field.alias or name
    for model in (Session, Webhook)
    for name, field in model.model_fields.items()
    if field.annotation is bool
)
FLAGS |= {OVERRIDE}
WRITTEN_FLAGS = {"true": True, "false": False}
OPERATOR_OPTIONS = frozenset(field.alias or name for name, field in OperatorOptions.model_fields.items())


def change(phone: str, wanted: dict[str, Any], *, sessions: Sessions, by_operator: bool) -> dict[str, Any]:
    """Save what is named of a configuration; returns all of it. See `merge`.

    Raises RequestError for what is not valid, for a name that nearly is one of ours, for a short token, and without the
    operator's token for a change of `OperatorOptions`.
    """
    wanted = with_own_ids(_with_flags(wanted))
    _check_override(wanted)
    overlap_s = _overlap(wanted)
    with sessions.changing(phone):
        stored = sessions.config(phone) or {}
        _ensure_names(wanted, stored)
        _ensure_known(wanted, stored)
        _check_secrets(wanted, stored)
        _check_token(stored, wanted, by_operator=by_operator)
        if not by_operator:
            wanted = _own_options({**stored, "connectionType": sessions.find(phone).connection_type}, wanted)
        config = merge(stored, wanted)
        _remember_secrets(stored, config, until_s=round(time.time()) + overlap_s if overlap_s else 0)
        try:
            sessions.save(phone, config)
        except ValidationError as error:
            raise refused(error, place=partial(_place, config)) from None
    return config


def _check_override(wanted: dict[str, Any]) -> None:
    """Raise RequestError for a word that is neither yes nor no: it would replace all webhooks."""
    if not isinstance(wanted.get(OVERRIDE) or False, bool):
        raise invalid_value(f"{OVERRIDE}: must be true or false")


def _overlap(wanted: dict[str, Any]) -> int:
    """For how many seconds a token and secrets that change go on working. Raises RequestError."""
    seconds = wanted.get(OVERLAP) or 0
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit():  # a form's
        seconds = int(seconds)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds <= MAX_OVERLAP_S:
        details = f"{OVERLAP}: must be a whole number from 0 to {MAX_OVERLAP_S}"
        raise invalid_value(details)
    return seconds


def _remember_secrets(stored: dict[str, Any], config: dict[str, Any], *, until_s: int) -> None:
    """Keep the token and secrets that are replaced until that time; 0 is not at all, as for one that leaked."""
    old_token = stored.get("authToken") or stored.get("auth_token")
    if (config.get("authToken") or config.get("auth_token")) != old_token:
        _remember(config, "AuthToken", old_token, until_s)
    old = {_id(webhook): webhook.get("secret") for webhook in stored.get("webhooks") or [] if _has_an_id(webhook)}
    webhooks = config.get("webhooks")
    for webhook in webhooks if isinstance(webhooks, list) else []:
        if _has_an_id(webhook) and _id(webhook) in old and webhook.get("secret") != old[_id(webhook)]:
            _remember(webhook, "Secret", old[_id(webhook)], until_s)


def _remember(document: dict[str, Any], name: str, old: Any, until_s: int) -> None:
    for key in (f"previous{name}", f"previous{name}Until"):
        document.pop(key, None)
    if old and until_s:
        document |= {f"previous{name}": old, f"previous{name}Until": until_s}


def unread(wanted: dict[str, Any]) -> list[str]:
    """A sentence for each field that is kept, because another version may know it, and that nothing here reads."""
    return [
        f"{place}{_printable(name)}: kept, and read by nothing here"
        for place, given, known, _ in _objects(wanted, {})
        for name in list(given)[:MAX_NAMES]
        if name not in known
    ][:MAX_NAMES]


def read_otherwise(phone: str, wanted: dict[str, Any]) -> list[str]:
    """A sentence for each field that is taken, and does something else than who wrote it may think."""
    sentences = []
    if phone.startswith("0") or len(phone) < LOCAL_DIGITS:
        sentences.append(f"{phone} is no number in international form, such as 5511999990000: no phone will have it")
    if wanted.get("webhooks") == []:
        sentences.append('webhooks: an empty list changes nothing; send those that stay, with "overrideWebhooks": true')
    if wanted.get("provider") == "baileys" and wanted.get("connectionType") != FORWARD:
        sentences.append("provider: baileys is read as whatsmeow, and the number scans a new QR code")
    if any(wanted.get(name, "") is None or wanted.get(name) == "" for name in TOKEN_NAMES & wanted.keys()):
        sentences.append("authToken: the number has no token of its own now; the operator's alone opens it")
    ids = Counter(_id(webhook) for webhook in wanted.get("webhooks") or [] if _has_an_id(webhook))
    sentences += [f"webhooks[{_printable(name)}]: is there {count} times; those that differ have ids of their own"
                  for name, count in ids.items() if count > 1]  # fmt: skip
    for place, given, known, _ in _objects(wanted, {}):
        timeout_ms = given.get("timeoutMs") if known is WEBHOOK_NAMES else None
        if isinstance(timeout_ms, int) and timeout_ms > MAX_TIMEOUT_MS:
            sentences.append(f"{place}timeoutMs: more than {MAX_TIMEOUT_MS} counts as {MAX_TIMEOUT_MS}")
        url = given.get("url") if known is WEBHOOK_NAMES and not given.get(ADDRESS) else None
        if isinstance(url, str) and ("?" in url or "#" in url):
            sentences.append(
                f"{place}url: /{phone} is appended to all of it, its query too; urlAbsolute is used as it is"
            )
    return sentences


def addresses_in(wanted: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The webhooks' addresses that a change names: the webhook's id, where the address stands, the address."""
    for webhook in with_own_ids(wanted).get("webhooks") or []:
        for name in ("url", ADDRESS):
            if isinstance(url := webhook.get(name), str):
                yield _id(webhook), f"webhooks[{_printable(_id(webhook))}].{name}", url


def _ensure_known(wanted: dict[str, Any], stored: dict[str, Any]) -> None:
    """Raise RequestError for a field whose name nearly is one of ours: it would be kept, and do nothing."""
    slips = [
        f"{place}{_printable(name)}: is not known; did you mean {right}?"
        for place, given, known, kept in _objects(wanted, stored)
        for name in list(given)[:MAX_NAMES]
        if name not in known and name not in kept and (right := nearest(name, known))
    ]
    if not isinstance(wanted.get("webhooks") or [], list) or wanted.get("webhooks") == {}:
        slips.append("webhooks: must be a list: [{…}]")
    if slips:
        raise invalid_value("; ".join(slips[:5]))


def _objects(wanted: dict[str, Any], stored: dict[str, Any]) -> Iterator[tuple[str, Any, tuple[str, ...], Any]]:
    """The objects of a configuration: where each stands, its fields, the names that are known there, what is stored."""
    yield "", wanted, KNOWN, stored
    for name, known in PARTS.items():
        if isinstance(part := wanted.get(name), dict):
            yield f"{name}.", part, known, stored.get(name) or {}
    by_id = {_id(webhook): webhook for webhook in stored.get("webhooks") or [] if _has_an_id(webhook)}
    webhooks = wanted.get("webhooks")
    for webhook in webhooks[:MAX_WEBHOOKS] if isinstance(webhooks, list) else []:  # more are refused
        if _has_an_id(webhook):
            yield f"webhooks[{_printable(_id(webhook))}].", webhook, WEBHOOK_NAMES, by_id.get(_id(webhook), {})


def _check_secrets(wanted: dict[str, Any], stored: dict[str, Any]) -> None:
    """Raise RequestError for a new secret in the form of Standard Webhooks that no receiver can decode."""
    for place, webhook, known, kept in _objects(wanted, stored):
        secret = webhook.get("secret") if known is WEBHOOK_NAMES else None
        if isinstance(secret, str) and secret != kept.get("secret") and not is_usable_secret(secret):
            details = f"{place}secret: base64 must follow whsec_; this makes one: echo whsec_$(openssl rand -base64 24)"
            raise invalid_value(details)


def _place(config: dict[str, Any], loc: tuple[Any, ...]) -> str:
    """Where something stands in a configuration: a webhook is named by its id, not by its place in the merged list."""
    if len(loc) > 1 and loc[0] == "webhooks" and isinstance(loc[1], int):
        webhook = config["webhooks"][loc[1]]
        name = _printable(_id(webhook)) if _has_an_id(webhook) else f"{loc[1]}"
        return ".".join([f"webhooks[{name}]", *(f"{part}" for part in loc[2:])])
    return ".".join(f"{part}" for part in loc)


def _printable(name: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in name[:MAX_NAME_CHARS])


def _with_flags(value: Any) -> Any:
    """A configuration whose flags are flags: forms write words, and the Node version takes any word for true."""
    if isinstance(value, list):
        return [_with_flags(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        key: WRITTEN_FLAGS.get(part, part) if key in FLAGS and isinstance(part, str) else _with_flags(part)
        for key, part in value.items()
    }


def _ensure_names(wanted: dict[str, Any], stored: dict[str, Any]) -> None:
    """Raise RequestError for a new webhook whose id is no name: it stands in keys, tables and callbacks.

    Older ones keep theirs: they are stored, and deliveries wait for them.
    """
    stored_ids = {_id(webhook) for webhook in stored.get("webhooks") or [] if _has_an_id(webhook)}
    new = wanted.get("webhooks")
    for webhook in new if isinstance(new, list) else []:
        if _has_an_id(webhook) and _id(webhook) not in stored_ids and not WEBHOOK_ID.fullmatch(_id(webhook)):
            details = "webhooks.id: 1 to 100 letters, digits, '.', '_' and '-'."
            raise invalid_value(details)


def _check_token(stored: dict[str, Any], wanted: dict[str, Any], *, by_operator: bool) -> None:
    for name in sorted(TOKEN_NAMES):
        token = figures(wanted.get(name))
        if name not in wanted or token == figures(stored.get(name)) or (by_operator and token in (None, "")):
            continue  # without a token of its own only the operator's opens the session
        details = ""
        if token is None or (isinstance(token, str) and len(token) < MIN_TOKEN_LENGTH):
            details = f"{name}: a token has at least {MIN_TOKEN_LENGTH} characters."
        elif isinstance(token, str) and not TOKEN.fullmatch(token):
            details = f"{name}: a token is plain text that a header can carry; this makes one: openssl rand -hex 24"
        if details:
            raise invalid_value(details)


def _own_options(stored: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What a session's own token may change. The operator's options may come back as an answer showed them."""
    named = OPERATOR_OPTIONS & wanted.keys()
    if FORWARD in (wanted.get("connectionType"), stored.get("connectionType")):  # it stands for a provider
        named |= {"connectionType"} & wanted.keys()
    changed = sorted(name for name in named if _shown(wanted[name]) != _shown(stored.get(name)))
    if changed:
        details = f"Only the operator's token may change {', '.join(changed)}."
        raise RequestError("Permission denied", code=10, status=403, details=details)
    return {key: value for key, value in wanted.items() if key not in named}


def _shown(value: Any) -> Any:
    """A value as an answer shows it; `baileys` and no value stand for the provider that is the default."""
    return None if value in ("baileys", "whatsmeow") else without_secrets(value) or None


def check_ids(phone: str, wanted: dict[str, Any], *, directory: SessionDirectory) -> None:
    """Raise RequestError (409) for an id at Meta that is another number's: an id means one number.

    Numbers may share a business account that the operator names for each; a computed account is its number's alone.
    """
    account = wanted.get("webhookForward")
    if not isinstance(account, dict):
        return
    for name in ("phoneNumberId", "businessAccountId"):
        node = str(account.get(name) or "").strip()
        others = [session for session in directory.sessions_of(node) if session.phone != phone] if node else []
        if name == "businessAccountId":
            others = [session for session in others if session.webhook_forward.business_account_id != node]
        if others:
            details = f"webhookForward.{name} is another number's."
            raise RequestError("Id already in use", code=100, status=409, details=details)


def change_business_profile(phone: str, wanted: dict[str, Any], *, sessions: Sessions) -> None:
    """Save what is named of the business profile. Raises ValidationError, RequestError before anything is written."""
    for name in list(wanted)[:MAX_NAMES]:
        if name not in PARTS["businessProfile"] and (right := nearest(name, BusinessProfile.model_fields)):
            details = f"{_printable(name)}: is not known; did you mean {right}?"
            raise invalid_value(details)
    named = {key: value for key, value in wanted.items() if key in BusinessProfile.model_fields and value is not None}
    with sessions.changing(phone):
        config = sessions.config(phone) or {}
        stored = config.get("businessProfile")
        profile = BusinessProfile.model_validate({**(stored if isinstance(stored, dict) else {}), **named})
        sessions.save(phone, merge(config, {"businessProfile": profile.model_dump(exclude_unset=True)}))


def override_callback(phone: str, url: str, *, sessions: Sessions) -> None:
    """Let the events of the first webhook go to this address, as Meta's `override_callback_uri` asks."""
    with sessions.changing(phone):
        sessions.save(phone, with_callback(sessions.config(phone) or {}, url))


def restore_callback(phone: str, *, sessions: Sessions) -> None:
    """Take that address back, if there is one: what it replaced counts again. Nothing else is changed or removed."""
    with sessions.changing(phone):
        config = sessions.config(phone) or {}
        restored = without_callback(config)
        if restored != config:
            sessions.save(phone, restored)


def subscription_id(app: str) -> str:
    """The id of the webhook that a subscription of an app makes."""
    return f"app-{app}"


def subscribe(phone: str, *, app: str, url: str, secret: str, sessions: Sessions) -> None:
    """Let the events go to this address, too. Raises ValidationError, RequestError before anything is written."""
    webhook = {"id": subscription_id(app), ADDRESS: url, "secret": secret}
    change(phone, {"webhooks": [webhook]}, sessions=sessions, by_operator=False)


def unsubscribe(phone: str, *, app: str, sessions: Sessions) -> None:
    """Take that address away again, if there is one."""
    with sessions.changing(phone):
        config = sessions.config(phone) or {}
        stored = config.get("webhooks") or []
        kept = [webhook for webhook in stored if _id(webhook) != subscription_id(app)]
        if len(kept) < len(stored):
            rest = {key: value for key, value in config.items() if key != "webhooks"}
            sessions.save(phone, {**rest, "webhooks": kept} if kept else rest)


def remove(phone: str, *, sessions: Sessions, max_age_s: int) -> bool:
    """Remove a session on purpose. Whether it was stored.

    That it was on purpose is remembered a day longer than the oldest delivery can wait (`max_age_s`): whenever its turn
    comes, it ends as a dead letter instead of waiting for the configuration.
    """
    with sessions.changing(phone):
        return sessions.remove(phone, remember_s=max_age_s + DAY_S)


def merge(stored: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The configuration after a change: named keys win, all others stay.

    Webhooks are merged by id: a named field wins, an unnamed one stays, a new id is added. With `overrideWebhooks` the
    new list replaces the old one, its elements still merged with stored ones of the same id. An absent or empty list
    changes nothing: it never silences a session. Who names an option means it, whatever its older name says.
    """
    outlived = {older for older, newer in OLDER_NAMES.items() if change.get(newer) is not None}
    kept = {key: value for key, value in stored.items() if key not in outlived}
    merged = {**kept, **{key: value for key, value in change.items() if key not in NOT_CONFIGURATION}}
    new = change.get("webhooks") or []
    old = stored.get("webhooks") or []
    if not isinstance(new, list) or not all(_has_an_id(webhook) for webhook in (*new, *old)):
        return merged  # reported by the validation that follows
    by_id = {_id(webhook): webhook for webhook in old}
    replaced = {_id(webhook): _with_change(by_id.get(_id(webhook), {}), webhook) for webhook in new}
    if not new:
        merged["webhooks"] = old
    elif change.get(OVERRIDE):
        merged["webhooks"] = list(replaced.values())
    else:
        merged["webhooks"] = list({**by_id, **replaced}.values())
    if not merged["webhooks"]:
        merged.pop("webhooks")
    return merged


def _with_change(webhook: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """A webhook after a change. One that gets an address of its own keeps none that an override replaced."""
    merged = {**webhook, **change}
    if merged.get(ADDRESS) != webhook.get(ADDRESS) and REPLACED not in change:
        merged.pop(REPLACED, None)
    return merged


def _has_an_id(webhook: Any) -> bool:
    return isinstance(webhook, dict) and isinstance(_id(webhook), str)


def _id(webhook: dict[str, Any]) -> Any:
    return "default" if webhook.get("id") is None else webhook["id"]


def with_callback(config: dict[str, Any], url: str) -> dict[str, Any]:
    """The configuration whose first webhook has this address, as Meta's `override_callback_uri` asks.

    The webhook keeps what the address replaced.
    """
    first, *others = config.get("webhooks") or [{"id": "default"}]
    own = first.get(ADDRESS) or ""
    return {**config, "webhooks": [{REPLACED: own, **first, ADDRESS: url}, *others]}


def without_callback(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without that address: what it replaced counts again. The same when there is no such address."""
    webhooks = [_without_callback(webhook) for webhook in config.get("webhooks") or []]
    rest = {key: value for key, value in config.items() if key != "webhooks"}
    kept = [webhook for webhook in webhooks if webhook]
    return {**rest, "webhooks": kept} if kept else rest


def _without_callback(webhook: dict[str, Any]) -> dict[str, Any]:
    """Empty for a webhook that was made for the override: the environment's counts again."""
    if REPLACED not in webhook:
        return webhook
    own = {key: value for key, value in webhook.items() if key not in (ADDRESS, REPLACED)}
    if webhook[REPLACED]:
        return {**own, ADDRESS: webhook[REPLACED]}
    return own if own.keys() - {"id"} else {}


def status_of(session: Session, stored: str | None) -> str:
    """Whether the number is connected: online, offline, connecting, disconnected, standby, restart_required."""
    return "online" if session.provider in CONNECTED_ELSEWHERE else stored or "disconnected"


def shown_address(address: str, *, phone: str, operators: OperatorAddresses) -> str:
    """A webhook's address as an answer may show it: the operator's without its login and its query."""
    if not operators.include(address, phone=phone):
        return address
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def phone_object(session: Session, *, operators: OperatorAddresses = NO_ADDRESSES) -> dict[str, Any]:
    """A phone number as Meta's Graph shows it."""
    address = session.webhooks[0].address(session.phone) if session.webhooks else ""
    shown = shown_address(address, phone=session.phone, operators=operators)
    return {
        "id": session.phone_number_id,
        "business_account_id": session.waba_id,
        "display_phone_number": session.phone,
        "verified_name": session.label or session.phone,
        "quality_rating": "GREEN",
        "messaging_limit_tier": "TIER_250",
        "code_verification_status": "VERIFIED",
        "account_mode": "LIVE",
        "name_status": "APPROVED",
        "throughput": {"level": "STANDARD"},
        "platform_type": "CLOUD_API",
        "is_official_business_account": False,
        "is_pin_enabled": False,
        "whatsapp_business_manager_messaging_limit": "TIER_250",
        "webhook_configuration": {"application": shown} if shown else {},
    }


def account_object(session: Session) -> dict[str, Any]:
    """The number's business account as Meta's Graph shows it."""
    name = session.label or session.phone
    return {
        "id": session.waba_id,
        "name": name,
        "currency": "USD",
        "timezone_id": "1",
        "message_template_namespace": f"{uuid5(NAMESPACE_URL, session.waba_id)}".replace("-", "_"),
        "account_review_status": "APPROVED",
        "business_verification_status": "verified",
        "owner_business_info": {"id": session.waba_id, "name": name},
    }


def chosen(document: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """Only the fields that were asked for, and the id; all when none were."""
    return {key: value for key, value in document.items() if key == "id" or key in fields} if fields else document


def _tokens(session: Session) -> Iterator[tuple[str, SecretStr]]:
    """What is sent as a header line, by the name that its owner knows it by."""
    yield "webhookForward.token", session.webhook_forward.token
    yield "openaiApiKey", session.openai_api_key
    yield "groqApiKey", session.groq_api_key
    for webhook in session.webhooks:
        yield f"The token of webhook {webhook.id!r}", webhook.token


PROXY_SCHEMES = frozenset({"http", "https", "socks5"})


def refuse_proxy(url: str, *, refusal: Callable[[str], str]) -> str:
    """Why a proxy may not be used, or nothing. `refusal` checks its address."""
    try:
        parts = urlsplit(url)
        complete = parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete or not url.isprintable():
        return f"a proxy is {', '.join(sorted(f'{scheme}://host:port' for scheme in PROXY_SCHEMES))}"
    return refusal(url)


def check_addresses(
    session: Session,
    *,
    refusal: Callable[[str], str],
    operators: OperatorAddresses = NO_ADDRESSES,
    operators_proxy: str = "",
) -> None:
    """Raise RequestError for what can or may never be called: a missing or refused address, a proxy, a header line.

    `refusal` says why an address may not be called, or nothing; those of `operators`, and `operators_proxy`, are not
    checked. A name is checked when it is called.
    """
    proxy = session.proxy_url.get_secret_value()
    if proxy and proxy != operators_proxy and (why := refuse_proxy(proxy, refusal=refusal)):
        raise RequestError("Proxy not allowed", code=100, status=400, details=f"proxyUrl: {why}.")
    others = {
        "sessionWebhook": session.session_webhook,
        "openaiBaseUrl": session.openai_base_url,
        "groqApiBaseUrl": session.groq_base_url,
    }
    for place, url in others.items():
        if url is not None and (why := refusal(f"{url}")):
            kind = "Webhook address" if place == "sessionWebhook" else "Address"
            raise RequestError(f"{kind} not allowed", code=100, status=400, details=f"{place}: {why}.")
    for name, token in _tokens(session):
        if not HEADER_VALUE.fullmatch(token.get_secret_value()):
            details = f"{name}: it has characters, such as line breaks, that a header cannot carry."
            raise invalid_value(details)
    for webhook in session.webhooks:
        if webhook.url is None and webhook.url_absolute is None:
            details = f"Webhook {webhook.id!r} needs a url or urlAbsolute: neither it nor the environment has one."
            raise RequestError("Webhook without an address", code=100, status=400, details=details)
        address = webhook.address(session.phone)
        if not operators.include(address, phone=session.phone) and (why := refusal(address)):
            details = f"Webhook {webhook.id!r}: {why}."
            raise RequestError("Webhook address not allowed", code=100, status=400, details=details)
