"""Converts WhatsApp's messages, as the JSON of their protobufs, to the contract's content. Knows no engine.

Keys are compared in lower case, because the libraries disagree about them (`fileSha256`, `fileSHA256`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from unoapi.connector.convert import interactive
from unoapi.connector.convert.files import MEDIA, file_in
from unoapi.connector.convert.json_fields import Raw, float_at, int_at, list_at, lowered, object_at, objects_at, text_at
from unoapi.connector.convert.words import joined, money, target_of, words_of
from unoapi.models.connector.bounds import bounded
from unoapi.models.connector.content import EMPTY, PLACEHOLDER
from unoapi.models.connector.quoting import quoted_of
from unoapi.models.phones import STATUS_POSTS, user_of
from unoapi.models.text import bold

if TYPE_CHECKING:
    from collections.abc import Callable

WRAPPERS = frozenset(
    {
        "documentwithcaptionmessage", "viewoncemessage", "viewoncemessagev2", "viewoncemessagev2extension",
        "ephemeralmessage", "lottiestickermessage", "editedmessage", "devicesentmessage", "associatedchildmessage",
        "groupmentionedmessage", "groupstatusmessage", "groupstatusmessagev2", "botinvokemessage",
        "botforwardedmessage",
        "statusaddyours", "spoilermessage", "questionmessage", "questionreplymessage", "pollcreationmessagev4",
        "pollcreationoptionimagemessage", "eventcoverimage", "bottaskmessage", "limitsharingmessage",
        "newsletteradminprofilemessage", "newsletteradminprofilestatusmessage", "newsletterscheduledmessage",
        "audiostickermessage",
    }
)  # fmt: skip
HOUSEKEEPING = frozenset(
    {
        "senderkeydistributionmessage", "fastratchetkeysenderkeydistributionmessage", "messagecontextinfo",
        "keepinchatmessage", "albummessage", "call", "chat", "statuslinkpreviewmetadata",
        "statusmentionmessage", "groupstatusmentionmessage",
        "stickersyncrmrmessage", "messagehistorybundle", "messagehistorynotice", "grouprootkeyshare",
        "rootsecretdistributemessage", "placeholdermessage",
    }
)  # fmt: skip
VIEW_ONCE = ("viewoncemessage", "viewoncemessagev2", "viewoncemessagev2extension")
POLLS = frozenset({"pollcreationmessage", *(f"pollcreationmessagev{number}" for number in range(2, 7))})
RESULTS = frozenset({"pollresultsnapshotmessage", "pollresultsnapshotmessagev3"})
ABOUT = (
    "questionresponsemessage", "statusquestionanswermessage", "commentmessage", "requestpaymentmessage",
    "sendpaymentmessage", "secretencryptedmessage", "enccommentmessage", "encreactionmessage",
    "declinepaymentrequestmessage", "cancelpaymentrequestmessage", "scheduledcalleditmessage", "polladdoptionmessage",
    "enceventresponsemessage", "statusquotedmessage", "statusstickerinteractionmessage",
)  # fmt: skip
WORDLESS = {
    "declinepaymentrequestmessage": "Payment request declined",
    "cancelpaymentrequestmessage": "Payment request cancelled",
    "paymentinvitemessage": "Invitation to payments",
    "scheduledcalleditmessage": "Scheduled call cancelled",
    "splitpaymentupdatemessage": "Split payment changed",
}
"""What somebody did without a word of their own."""
RESPONSES = {"GOING": "Going", "NOT_GOING": "Not going", "MAYBE": "Maybe"}
TIMED = frozenset({"conversation", "extendedtextmessage", *MEDIA})
"""What says by its silence that it stays."""
SECOND_UPLOADS = frozenset({"HD_IMAGE_DUAL_UPLOAD", "HD_VIDEO_DUAL_UPLOAD", "HEVC_VIDEO_DUAL_UPLOAD", "MOTION_PHOTO"})
MAX_DEPTH = 12
MAX_OWNER, MAX_PRODUCT_ID, MAX_TITLE = 100, 512, 1000
MAX_TIME_S = 32_503_680_000
"""The year 3000: a time beyond it is none."""


def content_of(message: Raw) -> dict[str, Any]:
    """The content of a message. Never raises: what is unknown is `unsupported` with its field's name."""
    return bounded(_content(lowered(message), 0))


def context_of(message: Raw) -> dict[str, Any] | None:
    """What the message answers to, and whether it was forwarded or comes from an advertisement."""
    plain = lowered(message)
    info = _find_context(plain, 0)
    about = _target(plain, 0)
    if info is None and not about:
        return None
    info = info or {}
    named = about if about and not text_at(info, "stanzaid") else {}
    context: dict[str, Any] = {
        "id": text_at(info, "stanzaid") or text_at(named, "id"),
        "participant": text_at(info, "participant") or text_at(named, "participant"),
        "forwarded": bool(info.get("isforwarded")),
        "forwarding_score": int_at(info, "forwardingscore"),
        "mentions": [str(jid) for jid in list_at(info, "mentionedjid")][:1000],
    }
    referral = _referral(info)
    if referral:
        context["referral"] = referral
    if product := _referred_product(info):
        context["product"] = product
    if text_at(info, "remotejid") == STATUS_POSTS:
        quoted = quoted_of(_content(object_at(info, "quotedmessage"), 0))
        context["status"] = {"kind": quoted.kind if quoted else "", "text": quoted.text if quoted else ""}
    if named:
        context["target_from_me"] = bool(named.get("fromme"))
    return context if any(context.values()) else None


def timer_of(message: Raw) -> int:
    """After how many seconds the message disappears; -1 when it is of a kind that does not say."""
    plain = lowered(message)
    if seconds := int_at(_find_context(plain, 0) or {}, "expiration"):
        return seconds
    for _ in range(MAX_DEPTH):
        inner = next((plain[name] for name in WRAPPERS if isinstance(plain.get(name), dict)), None)
        if inner is None:
            break
        plain = _inside(inner)
    return 0 if not TIMED.isdisjoint(plain) else -1


def is_view_once(message: Raw) -> bool:
    """Whether a wrapper says that the message can be seen once: the library opens the outer ones only."""
    return _is_view_once(lowered(message), 0)


def _is_view_once(message: Raw, depth: int) -> bool:
    if depth > MAX_DEPTH:
        return False
    inner = [_inside(message[name]) for name in WRAPPERS if isinstance(message.get(name), dict)]
    return any(name in message for name in VIEW_ONCE) or any(_is_view_once(part, depth + 1) for part in inner)


def _inside(wrapper: Raw) -> Raw:
    return object_at(wrapper, "message") or wrapper


def _referral(info: Raw) -> dict[str, Any]:
    """The advertisement that was answered to, in Meta's words."""
    advert, former = object_at(info, "externaladreply"), object_at(info, "quotedad")
    if not advert and not former:
        return {}
    kinds = {"1": "image", "2": "video"}
    kind = str((advert or former).get("mediatype") or "").lower()
    shown = kinds.get(kind, kind)
    media_type = kinds.get(kind, "" if kind in ("0", "none") else kind)
    if not advert:
        words = {"headline": text_at(former, "advertisername"), "body": text_at(former, "caption")}
        return {"source_type": "ad", "media_type": media_type, **words}
    return {
        "source_type": text_at(advert, "sourcetype") or "ad",
        "source_id": text_at(advert, "sourceid"),
        "source_url": text_at(advert, "sourceurl"),
        "headline": text_at(advert, "title"),
        "body": text_at(advert, "body"),
        "media_type": media_type,
        "image_url": (text_at(advert, "originalimageurl") or text_at(advert, "thumbnailurl"))
        if shown == "image"
        else "",
        "video_url": text_at(advert, "mediaurl") if shown == "video" else "",
        "thumbnail_url": text_at(advert, "thumbnailurl") or text_at(advert, "mediaurl"),
        "ctwa_clid": text_at(advert, "ctwaclid"),
        "greeting": text_at(advert, "greetingmessagebody"),
    }


def _referred_product(info: Raw) -> dict[str, Any]:
    """The product of a catalogue from whose page was written, in Meta's words."""
    quoted = object_at(object_at(info, "quotedmessage"), "productmessage")
    product = object_at(quoted, "product")
    retailer_id = (text_at(product, "retailerid") or text_at(product, "productid"))[:MAX_PRODUCT_ID]
    owner, title = user_of(text_at(quoted, "businessownerjid"))[:MAX_OWNER], text_at(product, "title")[:MAX_TITLE]
    return {"catalog_id": owner, "product_retailer_id": retailer_id, "title": title} if retailer_id else {}


def _target(message: Raw, depth: int) -> Raw:
    """The key of the message that one of a newer kind is about: it names it outside of the context."""
    parts = (object_at(message, name) for name in ABOUT)
    target = next((key for part in parts if part and (key := target_of(part))), {}) or _first_upload(message)
    if target or depth > MAX_DEPTH:
        return target
    wrapped = next((message[name] for name in WRAPPERS if isinstance(message.get(name), dict)), None)
    return _target(_inside(wrapped), depth + 1) if wrapped else {}


def _first_upload(message: Raw) -> Raw:
    """The key of a picture or film that this is a second upload of: in a better quality, or the film of its moment."""
    association = object_at(object_at(message, "messagecontextinfo"), "messageassociation")
    parent = text_at(object_at(association, "parentmessagekey"), "id")
    is_second = parent and text_at(association, "associationtype") in SECOND_UPLOADS
    return {"id": parent, "fromme": True} if is_second else {}  # as its writer sees it


def _content(message: Raw, depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        return {"kind": "unsupported", "field": "nested"}
    for name in WRAPPERS:
        inner = message.get(name)
        if isinstance(inner, dict):
            return _content(_inside(inner), depth + 1)
    return _plain(message, depth)


def _plain(message: Raw, depth: int) -> dict[str, Any]:
    file = file_in(message)
    if file is not None:
        return file
    if "conversation" in message:
        return _written(text_at(message, "conversation"), "conversation")
    for name, convert in _CONVERTERS.items():
        part = message.get(name)
        if isinstance(part, dict):
            return convert(part)
    if isinstance(message.get("protocolmessage"), dict):
        return _protocol(message["protocolmessage"], depth)
    return _other(message, depth)


def _other(message: Raw, depth: int) -> dict[str, Any]:
    name = next((name for name in message if name not in HOUSEKEEPING), "")
    if not name:
        own = PLACEHOLDER if PLACEHOLDER in message else next(iter(message), EMPTY)
        return {"kind": "protocol", "name": own}
    part = object_at(message, name)
    if name in POLLS:
        options = [text_at(option, "optionname") for option in objects_at(part, "options")]
        selectable = int_at(part, "selectableoptionscount")
        if not options and not text_at(part, "name"):
            return {"kind": "unsupported", "field": name}
        return {"kind": "poll", "name": text_at(part, "name"), "options": options, "selectable": selectable}
    if name in RESULTS:
        votes = [
            f"{text_at(vote, 'optionname')}: {int_at(vote, 'optionvotecount')}"
            for vote in objects_at(part, "pollvotes")
        ]
        return _text(joined(bold(text_at(part, "name")), *votes))
    inner = object_at(part, "message")
    content = _content(inner, depth + 1) if inner else {}
    if content.get("kind") not in (None, "unsupported", "protocol"):
        return content
    words = joined(WORDLESS.get(name, ""), words_of(part))
    return {"kind": "text", "body": words} if words else {"kind": "unsupported", "field": name}


def _protocol(part: Raw, depth: int) -> dict[str, Any]:
    target = text_at(object_at(part, "key"), "id")
    edited = object_at(part, "editedmessage")
    if edited:
        at_ms = int_at(part, "timestampms")
        return {"kind": "edit", "target_id": target, "content": _content(edited, depth + 1), "at_ms": at_ms}
    kind = part.get("type", 0)
    if target and kind in (0, "REVOKE"):
        return {"kind": "revoke", **_message_meant(part)}
    return {"kind": "protocol", "name": str(kind), "seconds": int_at(part, "ephemeralexpiration")}


def _extended(part: Raw) -> dict[str, Any]:
    """A text; where there is none, what its link leads to."""
    shown = text_at(part, "text") or text_at(part, "matchedtext")
    return _written(shown or joined(text_at(part, "title"), text_at(part, "description")), "extendedtextmessage")


def _written(body: str, field: str) -> dict[str, Any]:
    """A text that somebody wrote: an empty one is something that cannot be read here."""
    return _text(body) if body else {"kind": "unsupported", "field": field}


def _text(body: str) -> dict[str, Any]:
    return {"kind": "text", "body": body}


def _contact(part: Raw) -> dict[str, Any]:
    return {"kind": "contacts", "contacts": [_card(part)]}


def _contacts(part: Raw) -> dict[str, Any]:
    cards = [_card(card) for card in objects_at(part, "contacts")]
    return {"kind": "contacts", "contacts": cards} if cards else _written(text_at(part, "displayname"), "contacts")


def _card(part: Raw) -> dict[str, Any]:
    return {"name": text_at(part, "displayname"), "vcard": text_at(part, "vcard")}


def _location(part: Raw) -> dict[str, Any]:
    """A place. What was written beside it stands in its name, or below its address."""
    name, words = text_at(part, "name"), text_at(part, "comment") or text_at(part, "caption")
    return {
        "kind": "location",
        "latitude": float_at(part, "degreeslatitude"),
        "longitude": float_at(part, "degreeslongitude"),
        "name": name or words,
        "address": joined(text_at(part, "address"), words if name else ""),
        "live": bool(part.get("islive")),
        "url": text_at(part, "url"),
    }


def _live(part: Raw) -> dict[str, Any]:
    return _location(part) | {"live": True}


def _message_meant(part: Raw) -> dict[str, Any]:
    """The message that something is about."""
    key = object_at(part, "key")
    return {
        "target_id": text_at(key, "id"),
        "target_from_me": bool(key.get("fromme")),
        "target_participant": text_at(key, "participant"),
    }


def _reaction(part: Raw) -> dict[str, Any]:
    return {"kind": "reaction", **_message_meant(part), "emoji": text_at(part, "text")}


def _pin(part: Raw) -> dict[str, Any]:
    return {"kind": "pin", **_message_meant(part)}


def _order(part: Raw) -> dict[str, Any]:
    return {
        "kind": "order",
        "item_count": int_at(part, "itemcount"),
        "currency": text_at(part, "totalcurrencycode") or text_at(part, "currencycode"),
        "total_1000": int_at(part, "totalamount1000"),
        "text": joined(text_at(part, "ordertitle"), text_at(part, "message")),
    }


def _product(part: Raw) -> dict[str, Any]:
    product = object_at(part, "product") or object_at(part, "catalog")
    price = money(text_at(product, "currencycode"), int_at(product, "priceamount1000"), offset=1000)
    words = joined(
        text_at(product, "description"), price, text_at(product, "url"), text_at(part, "body"), text_at(part, "footer")
    )
    title = text_at(product, "title")
    if not title and not words:
        return {"kind": "unsupported", "field": "productmessage"}
    return {"kind": "product", "title": title, "description": words}


def _vote(part: Raw) -> dict[str, Any]:
    """A vote. Its hashes are no field of WhatsApp's: the engine adds them where it has the poll's secret."""
    hashes = [str(digest) for digest in list_at(part, "optionhashes")][:1000]
    return {
        "kind": "poll_vote",
        "poll_id": text_at(object_at(part, "pollcreationmessagekey"), "id"),
        "option_hashes": hashes,
        "options": [str(option) for option in list_at(part, "options")],
        "withdrawn": part.get("withdrawn") is True,
    }


def _event(part: Raw) -> dict[str, Any]:
    place = object_at(part, "location")
    where = ", ".join(word for name in ("name", "address", "comment") if (word := text_at(place, name)))
    when = " - ".join(time for name in ("starttime", "endtime") if (time := _time(int_at(part, name))))
    label = "Event cancelled" if part.get("iscanceled") else "Event"
    words = (text_at(part, "description") or text_at(part, "caption"), text_at(part, "joinlink"))
    name = text_at(part, "name") or text_at(part, "eventtitle")
    return _lines(label, bold(name), when, where, text_at(place, "url"), *words, text_at(part, "calllink"))


def _event_response(part: Raw) -> dict[str, Any]:
    """The answer to an invitation. Its words are no field of WhatsApp's: the engine adds them where it can open it."""
    words = RESPONSES.get(text_at(part, "response"), "(an answer to an event)")
    guests = int_at(part, "extraguestcount")
    return _text(f"{words} (+{guests})" if guests > 0 else words)


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if 0 < seconds < MAX_TIME_S else ""


def _highly_structured(part: Raw) -> dict[str, Any]:
    """A template in its old form, as it is shown."""
    shown = object_at(part, "hydratedhsm")
    return interactive.template_message(shown) if shown else {"kind": "unsupported", "field": "highlystructuredmessage"}


def _sticker_pack(part: Raw) -> dict[str, Any]:
    words = (text_at(part, name) for name in ("publisher", "packdescription", "caption"))
    return _lines("Sticker pack", bold(text_at(part, "name")), *words)


def _payment(label: str) -> Callable[[Raw], dict[str, Any]]:
    """A payment or the wish for one: how much, and the words beside it."""

    def convert(part: Raw) -> dict[str, Any]:
        sum_of = object_at(part, "amount") or object_at(part, "totalamount")
        currency = text_at(sum_of, "currencycode") or text_at(part, "currencycodeiso4217")
        value, offset = int_at(sum_of, "value") or int_at(part, "amount1000"), int_at(sum_of, "offset") or 1000
        return _lines(
            label,
            money(currency, value, offset=offset),
            words_of({key: item for key, item in part.items() if key != "amount"}),
        )

    return convert


def _group_invite(part: Raw) -> dict[str, Any]:
    code = text_at(part, "invitecode")
    link = f"https://chat.whatsapp.com/{code}" if code else ""
    return _lines("Group invitation", bold(text_at(part, "groupname")), link, text_at(part, "caption"))


def _phone_request(_: Raw) -> dict[str, Any]:
    return _lines("Asks for your phone number")


def _channel_invite(part: Raw) -> dict[str, Any]:
    return _lines("Channel invitation", bold(text_at(part, "newslettername")), text_at(part, "caption"))


def _call_log(part: Raw) -> dict[str, Any]:
    kind = "Video call" if part.get("isvideo") else "Call"
    return _lines(kind, f"{text_at(part, 'calloutcome')} {int_at(part, 'durationsecs')} s".strip())


def _status_quoted(part: Raw) -> dict[str, Any]:
    return _lines("Answer to a status", text_at(part, "text"))


def _scheduled_call(part: Raw) -> dict[str, Any]:
    begins = _time(int_at(part, "scheduledtimestampms") // 1000)
    return _lines("Scheduled call", bold(text_at(part, "title")), begins)


def _music(part: Raw) -> dict[str, Any]:
    song = object_at(part, "embeddedmusic")
    return _lines("Music", bold(text_at(song, "title")), text_at(song, "author"), text_at(part, "songuri"))


def _lines(*lines: str) -> dict[str, Any]:
    return _text(joined(*lines))


_CONVERTERS: dict[str, Callable[[Raw], dict[str, Any]]] = {
    "extendedtextmessage": _extended,
    "contactmessage": _contact,
    "contactsarraymessage": _contacts,
    "locationmessage": _location,
    "livelocationmessage": _live,
    "reactionmessage": _reaction,
    "pininchatmessage": _pin,
    "listresponsemessage": interactive.list_response,
    "buttonsresponsemessage": interactive.buttons_response,
    "templatebuttonreplymessage": interactive.template_reply,
    "interactiveresponsemessage": interactive.interactive_response,
    "listmessage": interactive.list_message,
    "buttonsmessage": interactive.buttons_message,
    "templatemessage": interactive.template_message,
    "interactivemessage": interactive.interactive_message,
    "ordermessage": _order,
    "productmessage": _product,
    "pollupdatemessage": _vote,
    "eventmessage": _event,
    "eventinvitemessage": _event,
    "enceventresponsemessage": _event_response,
    "musicmessage": _music,
    "groupinvitemessage": _group_invite,
    "requestphonenumbermessage": _phone_request,
    "newsletteradmininvitemessage": _channel_invite,
    "newsletterfollowerinvitemessagev2": _channel_invite,
    "calllogmesssage": _call_log,
    "statusquotedmessage": _status_quoted,
    "scheduledcallcreationmessage": _scheduled_call,
    "highlystructuredmessage": _highly_structured,
    "stickerpackmessage": _sticker_pack,
    "requestpaymentmessage": _payment("Payment request"),
    "sendpaymentmessage": _payment("Payment"),
    "paymentremindermessage": _payment("Payment reminder"),
    "splitpaymentmessage": _payment("Split payment"),
}


def _find_context(message: Raw, depth: int) -> Raw | None:
    if depth > MAX_DEPTH:
        return None
    for name, part in message.items():
        if not isinstance(part, dict):
            continue
        if name in WRAPPERS:
            return _find_context(_inside(part), depth + 1)
        if isinstance(part.get("contextinfo"), dict):
            return dict(part["contextinfo"])
        for inner in (part.get("message"), part.get("editedmessage") if name == "protocolmessage" else None):
            found = _find_context(inner, depth + 1) if isinstance(inner, dict) else None
            if found is not None:
                return found
    return None
