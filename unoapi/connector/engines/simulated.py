"""The simulated engine: a WhatsApp library without WhatsApp, for tests, demonstrations and measurements.

What it "receives" is read from `events.jsonl` in its folder, what it "sends" is appended to `sent.jsonl`. A line of the
first is an event of the contract (`{"type", "data"}`), or an instruction: `{"do": "scan"}`, `{"do": "drop"}`,
`{"do": "back"}`, `{"do": "silent"}` (no keep-alive is answered), `{"do": "end", "code": 20}`, `{"do": "crash"}`.
`{"do": "lids"}` names people as WhatsApp does today, by LIDs with their phones beside them;
`{"do": "unreadable_first"}` lets each message come unreadable first and then again. Some numbers behave as the
sandbox's do.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from unoapi.connector.engines.base import (
    CONTRACT_EVENT,
    Ended,
    EngineEvent,
    Exit,
    Login,
    ProfilePicture,
    Sent,
    contract_event,
)
from unoapi.connector.engines.simulated_groups import SimulatedGroups
from unoapi.errors import EngineUnavailable, NewChatsRefused, SendRefused
from unoapi.models.phones import LID, is_group, to_jid, user_of

if TYPE_CHECKING:
    from pathlib import Path

    from unoapi.connector.engines.base import Emit

POLL_S, LONGEST_POLL_S, POLL_RATIO = 0.02, 1.0, 20
"""How often the file is looked at. A look is late by at most so small a part of the time since the last line: many
sessions in which nothing happens cost little."""
CODES = 3
DELIVERED_S, READ_S = 0.1, 0.2
NOT_ON_WHATSAPP, UNSTEADY, UNCLEAR, DEADLY = "15550000001", "15550000005", "15550000007", "15550000010"
ECHO = "15550000008"
"""Answers each text with the same text."""
NEW_CHATS_REFUSED = "15550000463"
"""Whoever writes to a number that begins so is told that nobody new may be written to."""
PICTURE = b"\x89PNG\r\n\x1a\n twin"
MODES = frozenset({"lids", "unreadable_first"})
PARTIES = ("chat", "sender", "participant", "from", "by")
PERSONS_LISTS = ("added", "removed", "promoted", "demoted")


def lid_of(phone: str) -> str:
    """The LID of a simulated person: digits that are nobody's phone."""
    return f"{int(hashlib.sha256(phone.encode()).hexdigest(), 16) % 10**14:014}@lid"


def _party(jid: str) -> dict[str, Any]:
    """The chat of an address, as engines report it."""
    if is_group(jid):
        return {"jid": jid, "kind": "group"}
    return {"jid": jid, "kind": "user", **({"lid": jid} if jid.endswith(f"@{LID}") else {"phone": user_of(jid)})}


class SimulatedEngine:
    """One session on a simulated phone."""

    name = "twin/1"
    capabilities = {"client_message_id": False, "sync_ack": True, "media_retry": False}  # noqa: RUF012 (the port's)

    def __init__(self, folder: Path, phone: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._events = folder / "events.jsonl"
        self._offset = folder / "events.offset"
        self._read_to = 0
        self._sent = folder / "sent.jsonl"
        self._phone = phone
        self._connected = False
        self._failures: dict[str, int] = {}
        self._scanned = threading.Event()
        self._stopped = threading.Event()
        self._wake_up = threading.Event()
        self._ended: Ended | None = None
        self._receipts: list[tuple[float, dict[str, Any]]] = []
        self._lock = threading.Lock()
        self._modes: set[str] = set()
        self._pictures = folder / "pictures.json"
        self._reported: list[tuple[str, dict[str, Any]]] = []
        self.groups = SimulatedGroups(
            folder / "groups.json", phone, lambda change: self._reported.append(("group", change))
        )

    @property
    def account(self) -> str:
        """The session's own number."""
        return to_jid(self._phone)

    @property
    def connected(self) -> bool:
        """Whether a message could be sent now."""
        return self._connected

    def run(self, login: Login, emit: Emit) -> Ended:
        """Log in, then emit what the file says until an instruction ends it."""
        _emit_event(emit, "session", {"state": "connecting"})
        if login.method != "resume" and not self._log_in(login, emit):
            return self._ended or Ended(Exit.NOT_SCANNED, "nobody scanned a code")
        self._connected = True
        account = {"jid": f"{self._phone}:1@s.whatsapp.net", "push_name": "Twin", "capabilities": self.capabilities}
        _emit_event(emit, "session", {"state": "connected", **account})
        busy_at = time.monotonic()
        while not self._stopped.is_set() and self._ended is None:
            if self._read(emit):
                busy_at = time.monotonic()
            else:
                poll_s = min(max(POLL_S, (time.monotonic() - busy_at) / POLL_RATIO), LONGEST_POLL_S)
                self._wake_up.wait(min(poll_s, self._next_receipt_s()))
                self._wake_up.clear()
            self._emit_receipts(emit)
            self._emit_reported(emit)
        self._connected = False
        return self._ended or Ended(Exit.STOPPED)

    def convert(self, kind: str, payload: bytes) -> list[EngineEvent]:
        """Everything is in the contract's words already."""
        raise NotImplementedError(f"{kind}: {len(payload)} bytes")

    def resolve(self, to: str) -> str:
        """An address for every number but one."""
        if to == NOT_ON_WHATSAPP:
            raise SendRefused("the number is not on WhatsApp", code=131026)
        return to_jid(to)

    def contacts(self, phones: list[str]) -> list[bool]:
        """Every number but one is on WhatsApp."""
        return [phone != NOT_ON_WHATSAPP for phone in phones]

    def send(self, to: str, message: dict[str, Any]) -> Sent:
        """Record the message in `sent.jsonl`; some numbers fail."""
        number = to.partition("@")[0]
        if number == UNSTEADY:
            self._failures[number] = self._failures.get(number, 0) + 1
            if self._failures[number] % 3:
                raise EngineUnavailable("the simulated connection is gone for a moment")
        if not self._connected:
            raise EngineUnavailable("not connected")
        if number.startswith(NEW_CHATS_REFUSED):
            self._record({"refused": number})
            raise NewChatsRefused("WhatsApp lets this number write to nobody new for a while (463)")
        wa_id = f"3EB0{os.urandom(9).hex().upper()}"
        with self._sent.open("a") as file:
            file.write(json.dumps({"id": wa_id, "to": to, "message": message, "at": time.time()}) + "\n")
        if number == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == UNCLEAR:
            raise ConnectionError("the simulated connection broke before the answer")
        chat = self._named(_party(to))
        with self._lock:
            is_first = not self._receipts
            for after_s, status in ((DELIVERED_S, "delivered"), (READ_S, "read")):
                at = time.time()
                receipt = {"status": status, "ids": [wa_id], "chat": chat, "timestamp": int(at + after_s)}
                self._receipts.append((at + after_s, receipt))
            if number == ECHO and (body := _text_of(message)):
                self._reported.append(("message", _answer(wa_id, chat, body)))
        if is_first or self._reported:
            self._wake_up.set()
        return Sent(wa_id, int(time.time()), chat=to)

    def react_in_channel(self, channel: str, server_id: int, emoji: str) -> Sent:
        """Record it in `sent.jsonl`."""
        self._record({"reacted": emoji, "channel": channel, "server_id": server_id})
        return Sent(f"3EB0{os.urandom(9).hex().upper()}", int(time.time()), chat=channel)

    def upload(self, kind: str, data: bytes) -> dict[str, Any]:
        """Pretend to upload."""
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        return {"URL": f"https://twin.test/{kind}", "fileSHA256": digest, "fileLength": len(data)}

    def download(self, descriptor: dict[str, Any]) -> bytes:
        """The same small file each time; none when the descriptor says so."""
        if descriptor.get("direct_path") == "/gone":
            raise OSError("the simulated file is gone")
        return PICTURE

    def mark_read(self, chat: str, sender: str, ids: list[str], *, played: bool) -> None:
        """Record it in `sent.jsonl`."""
        self._record({"read": ids, "chat": chat, "sender": sender, "played": played})

    def typing(self, chat: str, state: str) -> None:
        """Record it in `sent.jsonl`."""
        self._record({"typing": state, "chat": chat})

    def reject_call(self, caller: str, call_id: str) -> None:
        """Record it in `sent.jsonl`."""
        self._record({"rejected": call_id, "caller": caller})

    def picture(self, jid: str) -> ProfilePicture | None:
        """The address of the picture that `pictures.json` has for this jid."""
        known = json.loads(self._pictures.read_text()) if self._pictures.exists() else {}
        return (
            ProfilePicture(hashlib.sha256(known[jid].encode()).hexdigest()[:16], known[jid]) if jid in known else None
        )

    def channel_name(self, jid: str) -> str:
        """A name for every channel."""
        return f"Channel {user_of(jid)}"

    def block(self, jid: str, *, blocked: bool) -> None:
        """Record it in `sent.jsonl`."""
        self._record({"blocked": blocked, "contact": jid})

    def change_profile(self, about: str | None, picture: bytes | None) -> None:
        """Record it in `sent.jsonl`."""
        self._record({"about": about, "picture": len(picture or b"")})

    def request_again(self, chat: str, sender: str, message_id: str) -> None:
        """Record it in `sent.jsonl`."""
        self._record({"requested": message_id, "chat": chat, "sender": sender})

    def logout(self) -> None:
        """Leave the phone's list of devices."""
        self._ended = Ended(Exit.LOGGED_OUT, "logged out")
        self._wake_up.set()

    def stop(self) -> None:
        """Disconnect."""
        self._connected = False
        self._stopped.set()
        self._wake_up.set()

    def _log_in(self, login: Login, emit: Emit) -> bool:
        expires_at = int(time.time() + login.qr_timeout_s)
        if login.method == "code":
            _emit_event(emit, "session", {"state": "pairing"})
            _emit_event(emit, "pairing_code", {"code": "TWIN1234", "phone": login.phone, "expires_at": expires_at})
            return self._wait_scanned(login.qr_timeout_s, emit)
        for number in range(1, CODES + 1):
            _emit_event(emit, "session", {"state": "qr"})
            code = f"https://wa.me/settings/linked_devices#twin-{number}-{os.urandom(8).hex()}"
            expires_at = int(time.time() + login.qr_timeout_s)
            _emit_event(emit, "qr", {"code": code, "n": number, "of": CODES, "expires_at": expires_at})
            if self._wait_scanned(login.qr_timeout_s, emit):
                return True
            if self._stopped.is_set() or self._ended is not None:
                return False
        return False

    def _wait_scanned(self, seconds: float, emit: Emit) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._stopped.is_set() and self._ended is None:
            if not self._read(emit):
                time.sleep(POLL_S)
            if self._scanned.is_set():
                return True
        return False

    def _read(self, emit: Emit) -> bool:
        """Take one line of the file; it is not read again once its event is on the disk."""
        try:
            if self._events.stat().st_size <= self._read_to:
                return False
            offset = int(self._offset.read_text() or 0) if self._offset.exists() else 0
            with self._events.open("rb") as file:
                file.seek(offset)
                line = file.readline()
        except FileNotFoundError:
            return False
        if not line.endswith(b"\n"):
            return False
        self._carry_out(json.loads(line), emit)
        self._read_to = offset + len(line)
        self._offset.write_text(str(self._read_to))
        return True

    def _carry_out(self, line: dict[str, Any], emit: Emit) -> None:
        do = line.get("do")
        if do is None:
            self._emit_line(line, emit)
        elif do in MODES:
            self._modes.add(do)
        elif do == "scan":
            self._scanned.set()
        elif do in ("drop", "silent", "back"):
            self._connected = do == "back"
            reason = {"reason": "WhatsApp has not answered 3 times"} if do == "silent" else {}
            _emit_event(emit, "session", {"state": "connected" if self._connected else "disconnected", **reason})
        elif do == "end":
            self._ended = Ended(Exit(line["code"]), line.get("reason", ""), line.get("until", 0))
        elif do == "crash":
            os.kill(os.getpid(), signal.SIGKILL)

    def _emit_line(self, line: dict[str, Any], emit: Emit) -> None:
        if not self._modes or not isinstance(line.get("data"), dict):
            emit(CONTRACT_EVENT, json.dumps(line).encode())
            return
        data = {name: self._named(part) if name in PARTIES else part for name, part in line["data"].items()}
        data |= {name: [self._named(part) for part in data[name]] for name in PERSONS_LISTS if name in data}
        if line["type"] == "message" and "unreadable_first" in self._modes:
            shared = {name: data[name] for name in ("id", "chat", "sender", "timestamp_ms") if name in data}
            _emit_event(emit, "undecryptable", shared)
            data["retry_count"] = 1
        emit(CONTRACT_EVENT, json.dumps({"type": line["type"], "data": data}).encode())

    def _named(self, party: Any) -> Any:
        """A person by LID, with the phone beside it, where the engine speaks so."""
        if "lids" not in self._modes or not isinstance(party, dict) or not party.get("phone"):
            return party
        lid = lid_of(str(party["phone"]))
        return {**party, "jid": lid, "lid": lid}

    def _emit_reported(self, emit: Emit) -> None:
        """What changed in groups, and what contacts answer."""
        while self._reported:
            kind, data = self._reported.pop(0)
            self._emit_line({"type": kind, "data": data}, emit)

    def _next_receipt_s(self) -> float:
        """In how many seconds the next receipt is due."""
        with self._lock:
            due = min((at for at, _ in self._receipts), default=math.inf)
        return max(0.0, due - time.time())

    def _emit_receipts(self, emit: Emit) -> None:
        now = time.time()
        with self._lock:
            due = [receipt for at, receipt in self._receipts if at <= now]
            self._receipts = [(at, receipt) for at, receipt in self._receipts if at > now]
        for receipt in due:
            _emit_event(emit, "receipt", receipt)

    def _record(self, what: dict[str, Any]) -> None:
        with self._sent.open("a") as file:
            file.write(json.dumps(what) + "\n")


def _text_of(message: dict[str, Any]) -> str:
    return str(message.get("conversation") or message.get("extendedTextMessage", {}).get("text") or "")


def _answer(wa_id: str, chat: dict[str, Any], body: str) -> dict[str, Any]:
    at_ms, content = time.time_ns() // 1_000_000, {"kind": "text", "body": body}
    return {"id": f"{wa_id}A", "chat": chat, "sender": chat, "timestamp_ms": at_ms, "content": content}


def _emit_event(emit: Emit, kind: str, data: dict[str, Any]) -> None:
    emit(CONTRACT_EVENT, contract_event(kind, data))
