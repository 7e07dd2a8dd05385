"""The engine on neonize, which is whatsmeow inside a Python wheel. The only module that imports it.

What the library forces on this module: it acknowledges a message before its handler runs, so the handler does nothing
but write to the disk; a call after `stop`, or two clients in one process, abort the process; `connect` may never
return; of an error only its text is known. So: one client per process, no call before the connection or after its end,
and the process leaves by `os._exit`.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import importlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from unoapi.connector.convert.events import address_of, convert_event
from unoapi.connector.convert.outbound import UNSUPPORTED
from unoapi.connector.engines import library_store, sealed_messages
from unoapi.connector.engines.base import (
    CONTRACT_EVENT,
    LOGGED_OUT,
    STILL_LISTED,
    Ended,
    EngineEvent,
    Exit,
    Login,
    ProfilePicture,
    Sent,
    contract_event,
)
from unoapi.connector.engines.neonize_groups import NeonizeGroups
from unoapi.connector.engines.whatsmeow_errors import (
    classify_connection_error,
    classify_error,
    classify_question_error,
)
from unoapi.errors import EngineUnavailable, QuestionRefused, SendRefused, describe
from unoapi.models.identity import is_same_phone
from unoapi.models.phones import is_channel, user_of, without_device
from unoapi.telemetry.logging import get_logger

if TYPE_CHECKING:
    from unoapi.connector.engines.base import Emit
    from unoapi.connector.session_folder import SessionFolder

log = get_logger(__name__)

# Loaded by name, so that type checking does not depend on whether the extra is installed.
neonize: Any = importlib.import_module("neonize.client")
events: Any = importlib.import_module("neonize.events")
enums: Any = importlib.import_module("neonize.utils.enum")
protobufs: Any = importlib.import_module("neonize.proto.Neonize_pb2")
e2e: Any = importlib.import_module("neonize.proto.waE2E.WAWebProtobufsE2E_pb2")
companion: Any = importlib.import_module("neonize.proto.waCompanionReg.WAWebProtobufsCompanionReg_pb2")
json_format: Any = importlib.import_module("google.protobuf.json_format")
unknown_fields: Any = importlib.import_module("google.protobuf.unknown_fields")
DecodeError: Any = importlib.import_module("google.protobuf.message").DecodeError
package: Any = importlib.import_module("importlib.metadata")

SAVED_EVENTS = {
    "Message": events.MessageEv,
    "UndecryptableMessage": events.UndecryptableMessageEv,
    "Receipt": events.ReceiptEv,
    "CallOffer": events.CallOfferEv,
    "CallOfferNotice": events.CallOfferNoticeEv,
    "CallTerminate": events.CallTerminateEv,
    "GroupInfo": events.GroupInfoEv,
    "JoinedGroup": events.JoinedGroupEv,
    "Picture": events.PictureEv,
}
HISTORY = "HistorySync"
EVENTS = {**SAVED_EVENTS, HISTORY: events.HistorySyncEv}
MAX_HISTORY, HISTORY_BATCH = 10_000, 100
"""So many messages of a history are reported after one start, the newest of each part, so many with one row."""
LOGIN_ENDS = {
    "timeout": (Exit.NOT_SCANNED, "nobody scanned a code in time"),
    "err-client-outdated": (Exit.OUTDATED, "WhatsApp refuses this version of the library"),
    "err-scanned-without-multidevice": (Exit.LINK_FAILED, "the phone's WhatsApp is too old to link devices"),
    "err-unexpected-state": (Exit.LINK_FAILED, "WhatsApp did not expect a link now; try again"),
    "error": (Exit.LINK_FAILED, "WhatsApp refused the link; try again"),
}
"""What the library says of the linking phase, of which it reports no event."""
LOGOUTS = {
    protobufs.MAIN_DEVICE_GONE: (
        Exit.LOGGED_OUT, "WhatsApp has locked the account, or its phone is gone: open WhatsApp on the phone"
    ),
    protobufs.UNKNOWN_LOGOUT: (Exit.BANNED, "not for a while: WhatsApp on the phone says whether it can be reviewed"),
}  # fmt: skip
"""Why a login is void, where the phone did not remove it: 403 is "locked" to WhatsApp's own program, 406 "banned"."""
PASSKEY = "the account asks for a passkey after the code, which this engine cannot give: link it with a number at Meta"
PAIRING_CODE_S = 160.0
"""After that the library ends the linking."""
PRESENCE_S = 25.0
"""So long contacts see that somebody writes."""
NO_PICTURE = ("hidden", "does not have")
QR_CODES = 3
FIRST_CODE_S, NEXT_CODE_S = 60, 20
MAX_DISCONNECTED_S = 600.0
POLL_S = 0.5
DAY_S = 86_400
MEDIA = {"image": "Image", "sticker": "Image", "video": "Video", "audio": "Audio", "document": "Document"}
FILES = frozenset(
    {"imageMessage", "videoMessage", "audioMessage", "documentMessage", "documentWithCaptionMessage", "stickerMessage"}
)
BYTES = ("MediaKey", "FileEncSHA256", "FileSHA256")
CARRIERS = frozenset({"Message", "FutureProofMessage", "DeviceSentMessage", "ProtocolMessage"})
"""The protobufs that hold a message: kinds from the future may stand in each of them."""


def _name_unknown(part: Any, document: dict[str, Any]) -> None:
    """Name the fields of a message that the library does not know yet: as JSON they are not there at all."""
    if part.DESCRIPTOR.name == "Message":
        for unknown in unknown_fields.UnknownFieldSet(part):
            document.setdefault(f"field{unknown.field_number}", {})
    for field, value in part.ListFields():
        if field.message_type is not None and field.message_type.name in CARRIERS and field.name in document:
            _name_unknown(value, document[field.name])


def _names_in(chat: Any) -> dict[str, str]:
    """How else a chat of a history is called."""
    return {name: text for name in ("name", "displayName", "pnJID", "lidJID") if (text := getattr(chat, name))}


def _plain(jid: Any) -> str:
    return f"{jid.User}@{jid.Server}"


def _put(sealed: sealed_messages.Sealed, plain: bytes, event: Any) -> dict[str, dict[str, Any]]:
    """Put the plain bytes of a sealed part in its place, or return them. Raises DecodeError, with nothing changed."""
    if sealed.use == "Event Response":
        return {sealed.field: json_format.MessageToDict(e2e.EventResponseMessage.FromString(plain))}
    if sealed.use == "Poll Vote":
        hashes = [option.hex() for option in e2e.PollVoteMessage.FromString(plain).selectedOptions]
        return {sealed.field: {"optionHashes": hashes, "withdrawn": not hashes}}
    if sealed.use == "Enc Reaction":
        reaction = e2e.ReactionMessage.FromString(plain)
        reaction.key.CopyFrom(sealed.target)
        inner = e2e.Message(reactionMessage=reaction)
    elif sealed.use == "Enc Comment":
        comment = e2e.CommentMessage(message=e2e.Message.FromString(plain), targetMessageKey=sealed.target)
        inner = e2e.Message(commentMessage=comment)
    else:
        inner = e2e.Message.FromString(plain)
    if sealed.use in sealed_messages.EDITS:
        if inner.HasField("editedMessage"):
            inner = inner.editedMessage.message
        edit = inner.protocolMessage if inner.HasField("protocolMessage") else e2e.ProtocolMessage(editedMessage=inner)
        edit.type = e2e.ProtocolMessage.Type.Value("MESSAGE_EDIT")
        edit.key.CopyFrom(sealed.target)
        inner = e2e.Message(protocolMessage=edit)
        event.IsEdit = True
    elif inner.HasField("pollAddOptionMessage"):
        inner.pollAddOptionMessage.pollCreationMessageKey.CopyFrom(sealed.target)
    event.Message.ClearField(sealed.field)
    event.Message.MergeFrom(inner)
    return {}


class NeonizeEngine:
    """One session on neonize.

    `client_name` is shown on the phone's list of devices. With `validate_number` a phone of another number than the
    session's is logged out at once.
    """

    capabilities = {"client_message_id": False, "sync_ack": False, "media_retry": False}  # noqa: RUF012 (the port's)

    def __init__(self, folder: SessionFolder, phone: str, *, client_name: str, validate_number: bool) -> None:
        self.name = f"neonize/{package.version('neonize')}"
        self._folder = folder
        self._phone = phone
        self._client_name = client_name
        self._validate_number = validate_number
        self._client: Any = None
        self._emit: Emit | None = None
        self._login = Login()
        self._codes = 0
        self._connected = False
        self._ended: Ended | None = None
        self._over = threading.Event()
        self._disconnected_since = time.monotonic()
        self._addresses: dict[str, str] = {}
        self._lids: dict[str, str] = {}
        self._away: threading.Timer | None = None
        self._history_left = MAX_HISTORY
        self.groups = NeonizeGroups(self, phone_of=self._phone_of)

    @property
    def client(self) -> Any:
        """The library's client; none before `run`."""
        return self._client

    @property
    def account(self) -> str:
        """The address that was logged in: it may lack the ninth digit that the session's number has."""
        return without_device(self._folder.login)

    @property
    def connected(self) -> bool:
        """Whether a message could be sent now."""
        return self._connected

    def run(self, login: Login, emit: Emit) -> Ended:
        """Connect once; the library connects again by itself, until it cannot."""
        self._emit, self._login = emit, login
        folder = self._folder
        folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        jid = self.jid(folder.login) if login.method == "resume" and folder.login else None
        if login.method == "resume" and jid is None:
            return Ended(Exit.LOGGED_OUT, "there is no stored login")
        if jid is not None and not library_store.has_device(folder.library, folder.login):
            return Ended(Exit.LOGGED_OUT, "its login is not in the library's store any more")  # it would abort us
        library_store.let_readers_in(folder.library)
        logging.getLogger("whatsmeow").setLevel(logging.WARNING)
        chrome = companion.DeviceProps.PlatformType.Value("CHROME")
        properties = companion.DeviceProps(os=self._client_name, platformType=chrome)
        self._client = neonize.NewClient(
            str(folder.library), jid=jid, props=properties, uuid=self._phone, new_device=jid is None
        )
        self._subscribe()
        # Looked up on the instance when the connection begins; without it the library only prints.
        setattr(self._client, "_NewClient__onLoginStatus", self._on_login_status)  # noqa: B010 (a private name)
        self._emit_event("session", {"state": "connecting"})
        threading.Thread(target=self._connect, name="whatsmeow", daemon=True).start()
        self._wait()
        self._connected = False
        return self._ended or Ended(Exit.STOPPED)

    def convert(self, kind: str, payload: bytes) -> list[EngineEvent]:
        """The contract's events in an event of the library."""
        event = EVENTS[kind].FromString(payload)
        opened = self._open(event) if kind == "Message" else {}
        document = json_format.MessageToDict(event, preserving_proto_field_name=True)
        for field, part in opened.items():
            document["Message"][field] |= part
        if kind == HISTORY:
            document["account"] = self.account
        if kind == "Message":
            _name_unknown(event.Message, document.setdefault("Message", {}))
        return convert_event(kind, document, phone_of=self._phone_of, own=self._phone)

    def _open(self, event: Any) -> dict[str, dict[str, Any]]:
        """Put what is sealed in a message in its place; what has none there is returned, by the field that it is about.

        What cannot be opened stays as it is: its message came before this device was linked, or is gone.
        """
        sealed = sealed_messages.sealed_part(event.Message)
        if sealed is None:
            return {}
        library, source = self._folder.library, event.Info.MessageSource
        chats, writers = (
            tuple(
                dict.fromkeys(name for jid in jids if jid.User for name in library_store.names_of(library, _plain(jid)))
            )
            for jids in ((source.Chat, source.RecipientAlt), (source.Sender, source.SenderAlt))
        )
        secrets = [
            sealed_messages.Secret(key, library_store.names_of(library, author))
            for key, author in library_store.secrets_of(library, sealed.target.ID, chats=chats)
        ]
        plain = sealed_messages.opened(sealed, secrets=secrets, writers=writers)
        if plain is None:
            log.info("sealed_message_not_opened", use=sealed.use, secrets=len(secrets))
            return {}
        try:
            return _put(sealed, plain, event)
        except DecodeError as error:
            log.info("sealed_message_not_read", use=sealed.use, error=describe(error))
            return {}

    def _phone_of(self, lid: str) -> str:
        """The phone of a LID, as the library has noted it; empty when it has not."""
        if lid not in self._lids:
            phone = library_store.phone_of(self._folder.library, lid)
            if not phone:
                return ""
            self._lids[lid] = phone
        return self._lids[lid]

    def resolve(self, to: str) -> str:
        """The address that WhatsApp knows a number by: Brazil's mobiles may lack the ninth digit there."""
        if "@" in to:
            return to
        if to not in self._addresses:
            try:
                (answer,) = self._client.is_on_whatsapp(f"+{to}")
            except Exception as error:
                raise EngineUnavailable(f"whether the number is on WhatsApp is not known: {describe(error)}") from error
            if not answer.IsIn:
                raise SendRefused("the number is not on WhatsApp", code=131026)
            self._addresses[to] = f"{answer.JID.User}@{answer.JID.Server}"
        return self._addresses[to]

    def contacts(self, phones: list[str]) -> list[bool]:
        """Which of these numbers are on WhatsApp, in order."""
        try:
            answers = self._client.is_on_whatsapp(*(f"+{phone}" for phone in phones))
        except Exception as error:
            raise EngineUnavailable(f"WhatsApp did not answer: {describe(error)}") from error
        registered = {str(answer.Query).strip("+") for answer in answers if answer.IsIn}
        return [phone in registered for phone in phones]

    def send(self, to: str, message: dict[str, Any]) -> Sent:
        """Send, and wait for the server's answer: at most 75 s, the library's own limit."""
        if is_channel(to) and not FILES.isdisjoint(message):
            # It needs a handle beside the message, which the binding does not pass on: nobody would see it.
            raise SendRefused("this connection cannot send files to channels", code=UNSUPPORTED)
        proto = json_format.ParseDict(message, e2e.Message())
        try:
            answer = self._client.send_message(self.jid(to), proto)
        except Exception as error:
            raise classify_error(error) from error
        return Sent(answer.ID, int(answer.Timestamp), chat=to, server_id=int(answer.ServerID))

    def react_in_channel(self, channel: str, server_id: int, emoji: str) -> Sent:
        """React to a channel's message."""
        wa_id = f"3EB0{os.urandom(9).hex().upper()}"
        try:
            self._client.newsletter_send_reaction(self.jid(channel), server_id, emoji, wa_id)
        except Exception as error:
            raise classify_error(error) from error
        return Sent(wa_id, int(time.time()), chat=channel)

    def upload(self, kind: str, data: bytes) -> dict[str, Any]:
        """Upload a file. The text of the library's error is not repeated: it has the address, with a token."""
        try:
            answer = self._client.upload(data, getattr(enums.MediaType, f"Media{MEDIA[kind]}"))
        except Exception as error:
            raise EngineUnavailable(f"WhatsApp did not take the file: {describe(error)}") from error
        encoded = {name: base64.b64encode(getattr(answer, name)).decode() for name in BYTES}
        return {
            "URL": answer.url,
            "directPath": answer.DirectPath,
            "mediaKey": encoded["MediaKey"],
            "fileEncSHA256": encoded["FileEncSHA256"],
            "fileSHA256": encoded["FileSHA256"],
            "fileLength": answer.FileLength,
        }

    def download(self, descriptor: dict[str, Any]) -> bytes:
        """Fetch a received file."""
        kind = getattr(enums.MediaType, f"Media{MEDIA[descriptor['media_type']]}")
        decoded = {
            name: base64.b64decode(descriptor.get(name) or "")
            for name in ("file_enc_sha256", "file_sha256", "media_key")
        }
        if not self._connected:
            raise EngineUnavailable("not connected")
        return bytes(
            self._client.download_media_with_path(
                descriptor["direct_path"],
                decoded["file_enc_sha256"],
                decoded["file_sha256"],
                decoded["media_key"],
                int(descriptor.get("file_length") or 0),
                kind,
                kind.to_mms(),
            )
        )

    def mark_read(self, chat: str, sender: str, ids: list[str], *, played: bool) -> None:
        """Mark messages as read or played."""
        receipt = enums.ReceiptType.PLAYED if played else enums.ReceiptType.READ
        self._client.mark_read(*ids, chat=self.jid(chat), sender=self.jid(sender or chat), receipt=receipt)

    def typing(self, chat: str, state: str) -> None:
        """Show `composing`, `recording` or `paused`. Contacts see it only of somebody who is there."""
        self._show_presence(there=state != "paused")
        states = enums.ChatPresence
        presence = states.CHAT_PRESENCE_PAUSED if state == "paused" else states.CHAT_PRESENCE_COMPOSING
        media = enums.ChatPresenceMedia
        kind = media.CHAT_PRESENCE_MEDIA_AUDIO if state == "recording" else media.CHAT_PRESENCE_MEDIA_TEXT
        self._client.send_chat_presence(self.jid(chat), presence, kind)

    def picture(self, jid: str) -> ProfilePicture | None:
        """The small picture of a contact or a group. Whoever shows it to nobody of ours has none."""
        if not self._connected:
            raise EngineUnavailable("not connected")
        wanted = protobufs.GetProfilePictureParams(Preview=True)
        try:
            found = self._client.get_profile_picture(self.jid(jid), wanted)
        except Exception as error:
            classified = classify_question_error(error)
            if isinstance(classified, QuestionRefused) or any(words in str(error) for words in NO_PICTURE):
                return None
            raise classified from error
        return ProfilePicture(found.ID, found.URL) if found.URL else None

    def channel_name(self, jid: str) -> str:
        """What a channel calls itself."""
        if not self._connected:
            raise EngineUnavailable("not connected")
        try:
            return str(self._client.get_newsletter_info(self.jid(jid)).ThreadMeta.Name.Text)
        except Exception as error:
            raise classify_question_error(error) from error

    def block(self, jid: str, *, blocked: bool) -> None:
        """Block a contact, or unblock it."""
        action = enums.BlocklistAction.BLOCK if blocked else enums.BlocklistAction.UNBLOCK
        self._client.update_blocklist(self.jid(jid), action)

    def change_profile(self, about: str | None, picture: bytes | None) -> None:
        """Change the number's own words and picture."""
        if about is not None:
            self._client.set_status_message(about)
        if picture is not None:
            self._client.set_profile_photo(picture)

    def request_again(self, chat: str, sender: str, message_id: str) -> None:
        """Not possible: the library sends nothing to the number's own phone. It asks for some by itself."""

    def _show_presence(self, *, there: bool) -> None:
        """Be there for as long as somebody writes; else the phone gets no notifications."""
        if self._away is not None:
            self._away.cancel()
        kind = enums.Presence.AVAILABLE if there else enums.Presence.UNAVAILABLE
        try:
            self._client.send_presence(kind)
        except Exception as error:  # noqa: BLE001 (no message depends on it)
            log.debug("presence_not_sent", error=describe(error))
        if there:
            self._away = threading.Timer(PRESENCE_S, self._leave)
            self._away.daemon = True
            self._away.start()

    def _leave(self) -> None:
        if self._connected:
            self._show_presence(there=False)

    def reject_call(self, caller: str, call_id: str) -> None:
        """Refuse a call."""
        self._client.reject_call(self.jid(caller), call_id)

    def logout(self) -> None:
        """Remove this device from the phone's list."""
        reason = STILL_LISTED if self._folder.login else LOGGED_OUT
        if self._connected:
            self._client.logout()
            reason = LOGGED_OUT
        self._end(Exit.LOGGED_OUT, reason)

    def stop(self) -> None:
        """Disconnect only: the library throws away what has not been handled when it is stopped."""
        if self._connected:
            self._connected = False
            self._client.disconnect()

    def _disconnect(self) -> None:
        if self._connected:
            self._connected = False
            with contextlib.suppress(Exception):
                self._client.disconnect()

    def _connect(self) -> None:
        try:
            self._client.connect(self._proxy())
        except Exception as error:  # noqa: BLE001 (the library has one kind of error)
            self._disconnect()  # its loop is over, and it would go on taking messages that nobody reads
            code, reason, lasts_s = classify_connection_error(error)
            self._end(code, reason, until=int(time.time()) + lasts_s if lasts_s else 0)
        else:
            self._end(Exit.REFUSED, "the library gave the connection up")

    def _proxy(self) -> Any:
        return neonize.ProxySettings(proxy_address=self._login.proxy) if self._login.proxy else None

    def _wait(self) -> None:
        """Return when the connection is over: ended, no code scanned in time, or disconnected for too long."""
        started = time.monotonic()
        while not self._over.wait(POLL_S):
            now = time.monotonic()
            if self._login.method != "resume" and not self._folder.login:
                if now - started > self._login.qr_timeout_s * QR_CODES:
                    self._end(Exit.NOT_SCANNED, "nobody scanned a code in time")
            elif not self._connected and now - max(self._disconnected_since, started) > MAX_DISCONNECTED_S:
                self._end(Exit.NETWORK, "WhatsApp could not be reached for ten minutes")

    def _subscribe(self) -> None:
        client = self._client
        for kind, event in SAVED_EVENTS.items():
            client.event(event)(self._saver(kind))
        if self._login.history_days:
            client.event(events.HistorySyncEv)(self._on_history)
        client.event.qr(self._on_qr)
        client.event(events.ConnectedEv)(self._on_connected)
        client.event(events.DisconnectedEv)(self._on_disconnected)
        client.event(events.PairStatusEv)(self._on_paired)
        client.event(events.TemporaryBanEv)(self._on_banned)
        client.event(events.KeepAliveTimeoutEv)(self._on_keep_alive_timeout)
        client.event(events.KeepAliveRestoredEv)(self._on_keep_alive_restored)
        client.event(events.ConnectFailureEv)(self._on_connect_failure)
        client.event(events.StreamErrorEv)(self._on_stream_error)
        client.event(events.LoggedOutEv)(self._on_logged_out)
        for event, code, reason in (
            (events.StreamReplacedEv, Exit.REPLACED, "another program uses this login"),
            (events.ClientOutdatedEv, Exit.OUTDATED, "WhatsApp refuses this version of the library"),
        ):
            client.event(event)(self._end_handler(code, reason))

    def _saver(self, kind: str) -> Any:
        def save(_client: Any, event: Any) -> None:
            self._write(kind, event.SerializePartialToString())

        return save

    def _on_history(self, _client: Any, event: Any) -> None:
        """Save the newest messages, a few with each row: the whole may have 100 MB."""
        since = int(time.time()) - self._login.history_days * DAY_S
        found = [
            (chat, item)
            for chat in event.Data.conversations
            for item in chat.messages
            if item.message.messageTimestamp >= since and item.message.HasField("message")
        ]
        found.sort(key=lambda pair: pair[1].message.messageTimestamp)
        wanted = found[max(0, len(found) - self._history_left) :]
        self._history_left -= len(wanted)
        if len(wanted) < len(found):
            log.warning("history_cut", phone=self._phone, left_out=len(found) - len(wanted))
        for start in range(0, len(wanted), HISTORY_BATCH):
            part = protobufs.HistorySync()
            part.Data.syncType = event.Data.syncType
            for chat, item in wanted[start : start + HISTORY_BATCH]:
                conversation = part.Data.conversations.add(ID=chat.ID, **_names_in(chat))
                conversation.messages.add().CopyFrom(item)
            self._write(HISTORY, part.SerializePartialToString())

    def _end_handler(self, code: Exit, reason: str) -> Any:
        def end(_client: Any, _event: Any) -> None:
            self._end(code, reason)

        return end

    def _on_qr(self, _client: Any, code: bytes) -> None:
        self._codes += 1
        lives_s = FIRST_CODE_S if self._codes == 1 else NEXT_CODE_S
        expires_at = int(time.time()) + lives_s
        if self._login.method == "code":
            if self._codes == 1:
                self._emit_event("session", {"state": "pairing"})
                threading.Thread(target=self._pair, daemon=True).start()
            return
        self._emit_event("session", {"state": "qr"})
        self._emit_event("qr", {"code": code.decode(), "n": self._codes, "expires_at": expires_at})

    def _pair(self) -> None:
        try:
            code = self._client.PairPhone(self._login.phone, True)
        except Exception as error:  # noqa: BLE001 (the library has one kind of error)
            self._end(Exit.LINK_FAILED, f"it gave no pairing code: {str(error)[:100]}")
            return
        expires_at = int(time.time() + min(self._login.qr_timeout_s * QR_CODES, PAIRING_CODE_S))
        data = {"code": code.replace("-", ""), "phone": self._login.phone, "expires_at": expires_at}
        self._emit_event("pairing_code", data)

    def _on_login_status(self, _uuid: int, status: int) -> None:
        self.note_login_status(ctypes.string_at(status).decode("utf-8", "replace") if status else "")

    def note_login_status(self, word: str) -> None:
        """End the linking for what nobody can go on from, and say why."""
        if "passkey" in word:
            self._end(Exit.LINK_FAILED, PASSKEY)
        elif word in LOGIN_ENDS:
            self._end(*LOGIN_ENDS[word])

    def _on_keep_alive_timeout(self, _client: Any, event: Any) -> None:
        """WhatsApp does not answer: what is sent now would end as an unknown outcome."""
        if self._connected:
            self._connected, self._disconnected_since = False, time.monotonic()
            reason = f"WhatsApp has not answered {int(event.ErrorCount)} times"
            self._emit_event("session", {"state": "disconnected", "reason": reason})

    def _on_keep_alive_restored(self, _client: Any, _event: Any) -> None:
        if not self._connected:
            self._connected = True
            self._emit_event("session", {"state": "connected", "jid": self._folder.login})

    def _on_logged_out(self, _client: Any, event: Any) -> None:
        """The login is void: the phone removed this device, or WhatsApp says that of the whole account."""
        self._end(*LOGOUTS.get(int(event.Reason), (Exit.LOGGED_OUT, "the phone removed this device")))

    def _on_connect_failure(self, _client: Any, event: Any) -> None:
        word = protobufs.ConnectFailureReason.Name(event.Reason).lower().replace("_", " ")
        self._end(Exit.REFUSED, f"WhatsApp refused the connection ({word})")

    def _on_stream_error(self, _client: Any, event: Any) -> None:
        log.warning("stream_error", phone=self._phone, code=str(event.Code)[:20])

    def _introduce(self) -> None:
        """Without a presence contacts see no name, and delivery receipts are not shown while the phone is off."""
        try:
            self._client.set_force_activate_delivery_receipts(True)
        except Exception as error:  # noqa: BLE001 (no message depends on it)
            log.debug("receipts_not_activated", error=describe(error))
        self._leave()

    def _on_connected(self, _client: Any, _event: Any) -> None:
        self._connected = True
        threading.Thread(target=self._introduce, name="presence", daemon=True).start()
        self._emit_event(
            "session", {"state": "connected", "jid": self._folder.login, "capabilities": self.capabilities}
        )

    def _on_disconnected(self, _client: Any, _event: Any) -> None:
        self._connected, self._disconnected_since = False, time.monotonic()
        self._emit_event("session", {"state": "disconnected", "reason": "the connection was lost; it is tried again"})

    def _on_paired(self, _client: Any, event: Any) -> None:
        if event.Status != protobufs.PairStatus.PStatus.Value("SUCCESS"):
            log.warning("pairing_failed", phone=self._phone)
            return
        jid = address_of({"user": event.ID.User, "server": event.ID.Server, "device": event.ID.Device})
        self._folder.save_login(jid)
        if self._validate_number and not is_same_phone(event.ID.User, self._phone):
            threading.Thread(target=self._refuse_number, args=(event.ID.User,), daemon=True).start()

    def _refuse_number(self, number: str) -> None:
        try:
            self._client.logout()
        except Exception as error:  # noqa: BLE001 (it is not used in any case)
            log.warning("logout_failed", phone=self._phone, error=describe(error))
        self._end(Exit.CONFLICT, f"{number} scanned the code")

    def _on_banned(self, _client: Any, event: Any) -> None:
        self._end(Exit.BANNED, "WhatsApp has banned the number for a while", until=int(time.time()) + int(event.Expire))

    def _end(self, code: Exit, reason: str, *, until: int = 0) -> None:
        if self._ended is None:
            self._ended = Ended(code, reason, until)
        self._over.set()

    def _emit_event(self, kind: str, data: dict[str, Any]) -> None:
        self._write(CONTRACT_EVENT, contract_event(kind, data))

    def _write(self, kind: str, payload: bytes) -> None:
        if self._emit is not None:
            self._emit(kind, payload)

    def jid(self, address: str) -> Any:
        """The library's form of an address."""
        user, _, server = address.partition("@")
        device = user.partition(":")[2]
        number, server = int(device) if device.isdigit() else 0, server or "s.whatsapp.net"
        unused = {"RawAgent": 0, "Integrator": 0, "IsEmpty": False}
        return protobufs.JID(User=user_of(address), Device=number, Server=server, **unused)
