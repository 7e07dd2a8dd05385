"""Promise 10: what Redis needs for a message, with the defaults, measured as Redis counts it."""

from __future__ import annotations

import os
import secrets
import threading
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.support.fakes import CONTACT, PHONE, make_send
from tests.support.stack import eventually
from unoapi.models.claims import Turn
from unoapi.models.jobs import now_ms
from unoapi.models.message_log import LoggedMessage
from unoapi.models.receipts import Receipt, StatusUpdate
from unoapi.models.trace import Step, TraceEntry
from unoapi.stores.connections import RedisConnections
from unoapi.stores.deliveries import RedisDeliveries
from unoapi.stores.message_ids import RedisMessageIds
from unoapi.stores.message_log import RedisMessageLog
from unoapi.stores.send_claims import RedisSendClaims
from unoapi.stores.send_order import RedisSendOrder
from unoapi.stores.statuses import RedisStatuses
from unoapi.stores.traces import RedisTraces

if TYPE_CHECKING:
    import redis

    from unoapi.stores.redis import RedisClient

MESSAGES = int(os.environ.get("MEASURED_MESSAGES", "1000"))
"""The long form is 10,000."""
DAY_S = 86_400
CHAT = f"{CONTACT}@s.whatsapp.net"
SENT_B, RECEIVED_B = 2048, 1024
LISTED = 10
"""So short a list of the latest messages is full before it counts: a number's has a bound of its own."""
SPARE = 0.05
"""Of that, for longer numbers, names and tables: a message of the tests needs less."""


class Stores:
    """The memories that every message passes, with the times of the defaults."""

    def __init__(self, client: RedisClient) -> None:
        self.client = client
        self.traces = RedisTraces(client, ttl_s=7 * DAY_S)
        self.deliveries = RedisDeliveries(client, self.traces, done_ttl_s=3 * DAY_S)
        self.sends = RedisSendClaims(client, ttl_s=3 * DAY_S)
        self.ids = RedisMessageIds(client, ttl_s=30 * DAY_S)
        self.statuses = RedisStatuses(client, ttl_s=7 * DAY_S)
        self.connections = RedisConnections(client, ttl_s=30 * DAY_S)
        self.order = RedisSendOrder(client)
        self.log = RedisMessageLog(client, most=LISTED, ttl_s=7 * DAY_S)

    def deliver(self, message_id: str, kind: str) -> None:
        """The event of a message to one webhook."""
        delivery_id = f"{uuid.uuid4()}"
        entry = TraceEntry(
            step="delivered", phone=PHONE, message_id=message_id, kind=kind, webhook="default", delivery_id=delivery_id,
            attempt=1, status=200, duration_ms=128,
        )  # fmt: skip
        self.deliveries.finish(delivery_id, entry)

    def send(self, provider: str) -> None:
        """One message with its three statuses."""
        message_id, theirs = f"wamid.{secrets.token_hex(16).upper()}", f"3EB0{secrets.token_hex(9).upper()}"
        job = make_send(id=message_id, message_id=message_id)
        accepted = TraceEntry(step="accepted", phone=PHONE, message_id=message_id, kind="text")
        self.order.join(job, accepted_at_us=time.time_ns() // 1000, prepared=False)()
        self.traces.add(accepted)
        self.log.add(LoggedMessage.of(job, "text"))
        self.sends.claim(job, turn=Turn(time.time_ns() // 1000))
        sent = ("sent",) if provider == "forwarder" else ()
        self.sends.settle(job, Receipt(recipient=CONTACT, statuses=tuple(StatusUpdate(status="sent") for _ in sent)))
        self.order.leave(job)
        self.traces.add(TraceEntry(step="sent", phone=PHONE, message_id=message_id))
        if provider == "whatsmeow":
            self.connections.expect(PHONE, message_id, within_s=600)
            self.connections.settle(PHONE, message_id)
            self.ids.remember_ours(PHONE, theirs=theirs, ours=message_id)
            self.connections.remember_key(PHONE, message_id, chat=CHAT, from_me=True, theirs=theirs)
        else:
            self.ids.remember(PHONE, theirs=f"wamid.{secrets.token_urlsafe(38)}", ours=message_id)
        for status in ("sent", "delivered", "read"):
            self.statuses.admit(PHONE, message_id, status=status, event_id=f"{uuid.uuid4()}")
            self.deliver(message_id, status)

    def receive(self, provider: str) -> None:
        """One message of a contact."""
        message_id = f"3EB0{secrets.token_hex(9).upper()}"
        step: Step = "received" if provider == "whatsmeow" else "accepted"
        self.traces.add(TraceEntry(step=step, phone=PHONE, message_id=message_id, kind="message"))
        self.log.add(LoggedMessage(now_ms(), PHONE, "received", CONTACT, "text", message_id))
        if provider == "whatsmeow":
            self.connections.remember_key(PHONE, message_id, chat=CHAT, participant=CHAT)
        self.deliver(message_id, "message")


@pytest.mark.timeout(120 + MESSAGES // 10)
@pytest.mark.parametrize("provider", ["whatsmeow", "forwarder"])
@pytest.mark.parametrize(("direction", "most"), [("sent", SENT_B), ("received", RECEIVED_B)])
def test_a_message_needs_little_memory(
    redis_client: RedisClient, raw_redis: redis.Redis, provider: str, direction: str, most: int
) -> None:
    stores = Stores(redis_client)
    run = stores.send if direction == "sent" else stores.receive
    for _ in range(2 * LISTED):
        run(provider)

    used, keys = _settled(raw_redis)
    for number in range(MESSAGES):
        run(provider)
        if number % 100 == 0:
            _caught_up(redis_client)
    more, all_keys = _settled(raw_redis)

    bytes_per_message, keys_per_message = (more - used) / MESSAGES, (all_keys - keys) / MESSAGES
    assert keys_per_message >= (8 if direction == "sent" else 3 if provider == "whatsmeow" else 2), "all is written"
    assert bytes_per_message <= (1 - SPARE) * most, f"{bytes_per_message:.0f} bytes, {keys_per_message:.1f} keys"


def _caught_up(client: RedisClient) -> None:
    """Wait until what was posted is written: more than some thousands are dropped."""
    written = threading.Event()
    client.post(("PING",), on_results=lambda _: written.set())
    written.wait(10)


def _settled(raw_redis: redis.Redis) -> tuple[int, int]:
    """Used memory and keys, when everything posted is written and the tables are not being resized."""
    last = [-1]

    def still() -> bool:
        for key in raw_redis.scan_iter("unoapi-send-state:*", count=1000):
            raw_redis.delete(key)  # it would be gone after 70 seconds
        for key in raw_redis.scan_iter("unoapi-messages*"):
            raw_redis.ltrim(key, 0, LISTED - 1)  # each sixteenth message does
        before, last[0] = last[0], int(raw_redis.info("memory")["used_memory"])
        return abs(last[0] - before) < 2_000

    eventually(still, every_s=0.3)
    return last[0], int(raw_redis.dbsize())
