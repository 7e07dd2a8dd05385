"""The events that webhooks get, for whoever reads them: a model with an example for each message type and status.

Meta adds fields whenever it likes, and they are passed on: more than what is named here may be there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from unoapi.models.cloud_api.event_content import CALLS

Seconds = Annotated[str, Field(pattern=r"^[0-9]+$", description="Seconds since 1970, as text.")]
Id = Annotated[str, Field(min_length=1, max_length=512)]


class Described(BaseModel):
    """A piece of an event. What is not named may be there, too."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)


class EventMetadata(Described):
    """Which number the event is of."""

    display_phone_number: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
    phone_number_id: Annotated[str, Field(min_length=1)]


class EventProfile(Described):
    """How the contact calls itself, or else what stands for its name."""

    name: Annotated[str, Field(min_length=1)]
    username: str | None = None
    picture: str | None = None


class EventContact(Described):
    """The one contact that the event is about. `wa_id` is empty when the phone is not known; `user_id` never is."""

    profile: EventProfile
    wa_id: str
    user_id: Annotated[str, Field(min_length=1)]
    parent_user_id: str | None = None
    group_id: str | None = None


class ErrorData(Described):
    """More about an error."""

    details: str


class EventError(Described):
    """Why something failed, in Meta's codes."""

    code: int
    title: str
    message: str | None = None
    error_data: ErrorData | None = None


class EventContext(Described):
    """What a message answers to, or that it was forwarded."""

    id: str | None = None
    sender: str | None = Field(default=None, alias="from")
    from_user_id: str | None = None
    forwarded: bool | None = None
    frequently_forwarded: bool | None = None


class EventMessage(Described):
    """What all messages have. `from` is empty or absent when the phone is not known."""

    id: Id
    timestamp: Seconds
    type: Annotated[str, Field(min_length=1)]
    sender: str = Field(default="", alias="from")
    from_user_id: str | None = None
    group_id: str | None = None
    context: EventContext | None = None
    errors: list[EventError] | None = None


class EventOtherStatus(Described):
    """What all statuses have. `recipient_id` is a phone, a group, or empty when neither is known."""

    id: Id
    status: Annotated[str, Field(min_length=1)]
    timestamp: Seconds
    recipient_id: str = ""
    recipient_user_id: str | None = None
    recipient_type: Literal["individual", "group"] | None = None
    recipient_participant_id: str | None = None
    recipient_participant_user_id: str | None = None
    biz_opaque_callback_data: str | None = None
    errors: list[EventError] | None = None


class EventStatus(EventOtherStatus):
    """One that this program knows."""

    status: Literal["sent", "delivered", "read", "played", "deleted", "failed"]


class EventGroup(Described):
    """What changed of one group. `changed_by` is who did it, where that is known."""

    timestamp: Seconds
    group_id: Id
    type: Annotated[str, Field(min_length=1)]


MESSAGES: dict[str, Any] = {
    "text": {"body": "hi"},
    "image": {
        "id": "314159265358979",
        "mime_type": "image/jpeg",
        "sha256": "f0…",
        "caption": "look",
        "url": "https://…",
    },
    "video": {"id": "314159265358979", "mime_type": "video/mp4", "sha256": "f0…", "url": "https://…"},
    "audio": {"id": "314159265358979", "mime_type": "audio/ogg", "sha256": "f0…", "voice": True, "url": "https://…"},
    "document": {"id": "314159265358979", "mime_type": "application/pdf", "filename": "bill.pdf", "url": "https://…"},
    "sticker": {"id": "314159265358979", "mime_type": "image/webp", "animated": False, "url": "https://…"},
    "location": {"latitude": -27.1, "longitude": -52.6, "name": "Shop", "address": "Main Street 1"},
    "contacts": [
        {"name": {"formatted_name": "João"}, "phones": [{"phone": "+5549988886666", "wa_id": "5549988886666"}]}
    ],
    "reaction": {"message_id": "wamid.…", "emoji": "👍"},
    "button": {"text": "Yes", "payload": "yes"},
    "interactive": {"type": "button_reply", "button_reply": {"id": "yes", "title": "Yes"}},
    "order": {"catalog_id": "1", "product_items": [{"product_retailer_id": "a", "quantity": 1}]},
    "system": {"type": "user_changed_number", "body": "…", "wa_id": "5549988886666"},
    "edit": {"original_message_id": "wamid.…", "message": {"type": "text", "text": {"body": "hello"}}},
    "revoke": {"original_message_id": "wamid.…"},
}
"""An example of each type's object. Other types may come, and `unsupported`, which has only errors."""
STATUSES = ("sent", "delivered", "read", "played", "deleted", "failed")
_GROUP = "120363040468224422@g.us"
GROUPS: dict[str, tuple[str, dict[str, Any]]] = {
    "group_lifecycle_update": ("A group was made, or is no more.", {"type": "group_create", "subject": "Orders"}),
    "group_settings_update": (
        "A group's subject, description, picture or another setting changed.",
        {"type": "group_settings_update", "group_subject": {"text": "Orders", "update_successful": True}},
    ),
    "group_participants_update": (
        "Members came or went, or are administrators now, or no more.",
        {"type": "group_participants_add", "added_participants": [{"wa_id": "5549988887777"}]},
    ),
}
"""The kinds of changes of groups, with an example of each."""
ACCOUNT = {"event": "APPROVED", "message_template_id": 1, "message_template_name": "hello"}
NUMBER, CONTACT, AT = "5511999990000", "5549988887777", "1767225600"
_METADATA = {"display_phone_number": NUMBER, "phone_number_id": NUMBER}
_CONTACT = {"profile": {"name": "Maria"}, "wa_id": CONTACT, "user_id": CONTACT}
_ERROR = {
    "code": 131026, "title": "Message undeliverable", "message": "Message undeliverable",
    "error_data": {"details": "The number is not on WhatsApp."},
}  # fmt: skip
KNOWN_TYPES = frozenset({*MESSAGES, "unsupported", "request_welcome"})


class CatalogueEntry(BaseModel):
    """One kind of event: the schema of the whole body, and an example of it."""

    model_config = ConfigDict(frozen=True)

    name: str
    description: str
    body_schema: dict[str, Any] = Field(serialization_alias="schema")
    example: dict[str, Any]


def catalogue() -> list[CatalogueEntry]:
    """All kinds of events: `message.<type>`, `status.<status>`, `echo`, changes of groups, `account` for the rest.

    `message.other` and `status.other` are what a number at Meta gets that this program does not know, as it came.
    """
    entries = [_message_entry(kind, part) for kind, part in MESSAGES.items()]
    unsupported = {"errors": [{**_ERROR, "code": 131051}]}
    entries.append(_message_entry("unsupported", None, **unsupported))
    entries.append(_message_entry("request_welcome", None))
    entries += [_status_entry(status) for status in STATUSES]
    entries += _others()
    echo = {"from": NUMBER, "to": CONTACT, "id": "wamid.…", "timestamp": AT, "type": "text", "text": {"body": "hi"}}
    entries.append(
        _entry(
            "echo", "What the number wrote in its own app (`smb_message_echoes`).", "message_echoes", EventMessage, echo
        )
    )
    entries += [_group_entry(field, *described) for field, described in GROUPS.items()]
    value = {"messaging_product": "whatsapp", "metadata": _METADATA, **ACCOUNT}
    body = _model("account", EventOther)
    entries.append(
        CatalogueEntry(
            name="account",
            description="Whatever else Meta reports: templates, quality, calls, flows, history, …; `field` names it.",
            body_schema=body.model_json_schema(by_alias=True),
            example=_body(value, field="message_template_status_update"),
        )
    )
    return entries


class EventOther(Described):
    """The value of an event that is neither a message nor a status."""

    messaging_product: Literal["whatsapp"]
    metadata: EventMetadata


def _message_entry(kind: str, part: Any, **more: Any) -> CatalogueEntry:
    item = {"from": CONTACT, "id": "wamid.…", "timestamp": AT, "type": kind, **more}
    item |= {} if part is None else {kind: part}
    required: Any = (list[Any] if isinstance(part, list) else dict[str, Any], ...)
    fields: dict[str, Any] = {"type": (Literal[kind], ...)} | ({} if part is None else {kind: required})
    model = create_model(f"Message_{kind}", __base__=EventMessage, **fields)
    return _entry(f"message.{kind}", f"A message of type {kind}.", "messages", model, item)


def _status_entry(status: str) -> CatalogueEntry:
    item: dict[str, Any] = {"id": "wamid.…", "status": status, "timestamp": AT, "recipient_id": CONTACT}
    fields: dict[str, Any] = {"status": (Literal[status], ...)}
    if status == "failed":
        item["errors"] = [_ERROR]
        fields["errors"] = (Annotated[list[EventError], Field(min_length=1)], ...)
    model = create_model(f"Status_{status}", __base__=EventStatus, **fields)
    return _entry(f"status.{status}", f"A sent message was or is {status}.", "statuses", model, item)


def _others() -> list[CatalogueEntry]:
    """A message of a type, and a status, that Meta alone knows: as those of a payment, or of next year."""
    message = {"from": CONTACT, "id": "wamid.…", "timestamp": AT, "type": "hologram", "hologram": {"id": "1"}}
    status = {"id": "wamid.…", "status": "captured", "timestamp": AT, "recipient_id": CONTACT, "type": "payment"}
    entries = [
        _entry("message.other", "A message of a type that only Meta knows.", "messages", EventMessage, message),
        _entry("status.other", "Another status of Meta's, as of a payment.", "statuses", EventOtherStatus, status),
    ]
    for entry, item, field, known in zip(
        entries, ("EventMessage", "EventOtherStatus"), ("type", "status"), (KNOWN_TYPES, STATUSES), strict=True
    ):
        entry.body_schema["$defs"][item]["properties"][field] = {"type": "string", "not": {"enum": sorted(known)}}
    return entries


def _group_entry(field: str, description: str, item: dict[str, Any]) -> CatalogueEntry:
    example = {"timestamp": AT, "group_id": _GROUP, **item}
    one: Any = Annotated[list[EventGroup], Field(min_length=1, max_length=1)]
    value = create_model("Value_groups", __base__=EventOther, groups=(one, ...))
    fields = {"messaging_product": "whatsapp", "metadata": _METADATA, "groups": [example]}
    schema = _model(field, value).model_json_schema(by_alias=True)
    schema["$defs"]["Change"]["properties"]["field"] = {"const": field, "type": "string"}
    return CatalogueEntry(name=field, description=description, body_schema=schema, example=_body(fields, field=field))


def _entry(name: str, description: str, key: str, item: type[BaseModel], example: dict[str, Any]) -> CatalogueEntry:
    one: Any = Annotated[list[item], Field(min_length=1, max_length=1)]  # type: ignore[valid-type]
    contacts: Any = Annotated[list[EventContact], Field(min_length=1, max_length=1)]
    fields: dict[str, Any] = {"contacts": (contacts, ...), key: (one, ...)}
    value = create_model(f"Value_{key}", __base__=EventOther, **fields)
    given = {"messaging_product": "whatsapp", "metadata": _METADATA, "contacts": [_CONTACT], key: [example]}
    field = "smb_message_echoes" if key == "message_echoes" else "messages"
    return CatalogueEntry(
        name=name,
        description=description,
        body_schema=_model(name, value).model_json_schema(by_alias=True),
        example=_body(given, field=field),
    )


def _model(name: str, value: type[BaseModel]) -> type[BaseModel]:
    """The whole body around a value."""
    change = create_model(
        "Change", __base__=Described, field=(Annotated[str, Field(min_length=1)], ...), value=(value, ...)
    )
    changes: Any = Annotated[list[change], Field(min_length=1, max_length=1)]
    entry = create_model(
        "Entry", __base__=Described, id=(Annotated[str, Field(min_length=1)], ...), changes=(changes, ...)
    )
    entries: Any = Annotated[list[entry], Field(min_length=1, max_length=1)]
    account: Any = Literal["whatsapp_business_account"]
    return create_model(name, __base__=Described, object=(account, ...), entry=(entries, ...))


def _body(value: dict[str, Any], *, field: str) -> dict[str, Any]:
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": NUMBER, "changes": [{"value": value, "field": field}]}],
    }


def name_of(body: dict[str, Any]) -> str:
    """The name in the catalogue of an event's body."""
    change = body["entry"][0]["changes"][0]
    value = change["value"]
    if change.get("field") in GROUPS:
        return str(change["field"])
    if change.get("field") == CALLS:  # whose statuses are those of a call
        return "account"
    if value.get("message_echoes"):
        return "echo"
    if value.get("statuses"):
        status = value["statuses"][0].get("status")
        return f"status.{status if status in STATUSES else 'other'}"
    if not value.get("messages"):
        return "account"
    kind = value["messages"][0].get("type")
    return f"message.{kind if kind in KNOWN_TYPES else 'other'}"
