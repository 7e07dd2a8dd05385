"""The Redis client: the commands of all threads travel in shared pipelines.

Redis is never needed for a message to survive. A call ends within 200 ms; after trouble with the connection Redis is
skipped for a few seconds, so that its absence costs each message almost nothing. What is wrong with one caller's
commands, or slow about their answer, is that caller's alone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE
from redis.retry import Retry
from redis.sentinel import Sentinel

from unoapi.errors import CommandRefused, StoreRefusesWrites, StoreUnavailable, describe, safe_traceback
from unoapi.errors.connections import why_not_connected
from unoapi.settings import SentinelAddress
from unoapi.stores.batching import Batcher, BatchFuture
from unoapi.telemetry.logging import get_logger
from unoapi.telemetry.metrics import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

log = get_logger(__name__)

REDIS_ERRORS = (redis.RedisError, OSError)
"""What the library raises when Redis is away, refuses or breaks off."""
UNREACHABLE = (redis.ConnectionError, redis.TimeoutError, OSError)
"""Trouble with the connection, after which Redis is skipped."""
PACKABLE = (str, int, float, bytes)
CALL_TIMEOUT_S = 0.2
POST_TIMEOUT_S = 1.0
"""Nobody waits for what is posted: a Redis that is busy for a moment still gets it."""
SKIP_S = 3.0
PATIENT_S = 5.0
PING_S = 10.0
SILENT_S = 30.0
"""A channel on which nothing is published is asked for a sign of life so often, and given up after this time."""
CALL_LINGER_S = 0.001
POST_LINGER_S = 0.02
REFUSAL_LOG_S = 60.0
DELETE_IF_OWN = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
"""A script: delete a key that still has the value which its owner wrote."""

REFUSALS = {
    "OOM": "its memory is full (maxmemory): give it more, or shorten UNOAPI_TRACE_TTL and DATA_TTL",
    "READONLY": "it is a read-only replica: REDIS_URL must lead to the primary",
    "MISCONF": "it cannot save to its disk: look at its log, and make room there",
    "NOREPLICAS": "it has too few replicas (min-replicas-to-write)",
}
"""Why a Redis that answers takes no writes, by the first word of its error."""
BINARY = frozenset({"GETRANGE"})
"""Commands whose answers are bytes."""
UNENCODABLE = "backslashreplace"
"""What becomes of text that is none in UTF-8."""
WRONG_COMMAND = frozenset({"ERR", "WRONGTYPE"})
"""The first words of errors that the same command has again."""

HELLO = ("HELLO", 3)
"""Asks for the protocol that knows messages nobody asked for, and says which role the server has."""

Command = tuple[str | float | bytes, ...]
OnResults = Callable[[list[Any]], None]
OnAnswer = Callable[[list[Any] | Exception], None]


@dataclass(frozen=True, slots=True)
class _CommandGroup:
    """The commands of one caller, whose results belong together. `awaited`: whether it goes with the calls."""

    commands: Sequence[Command]
    awaited: bool = False
    on_results: OnResults | None = None
    on_lost: Callable[[], None] | None = None
    on_answer: OnAnswer | None = None


class _Packer:
    """Writes commands for Redis as hiredis does, which refuses what is no UTF-8."""

    def pack(self, name: str, *arguments: str | float | bytes) -> list[bytes]:
        """The bytes of a command, whose name may be several words."""
        command = (*name.split(), *arguments)
        try:
            return [hiredis.pack_command(command)]  # type: ignore[arg-type]  # its stub knows tuples of one
        except UnicodeEncodeError:
            return [hiredis.pack_command(tuple(_encoded(argument) for argument in command))]  # type: ignore[arg-type]


def _encoded(argument: str | float | bytes) -> str | float | bytes:
    return argument.encode("utf-8", UNENCODABLE) if isinstance(argument, str) else argument


def connect(url: str, *, timeout_s: float, verify: bool = True) -> redis.Redis:
    """A client, which connects at its first use: with Sentinels to the primary that they name at that moment.

    `verify`: whether certificates are checked. Each answer may take `timeout_s`.
    """
    bounds: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
    }
    # Half a surrogate pair is valid in JSON and in no UTF-8: neither to write nor to read it may raise, because the
    # commands and answers of other callers are in the same pipeline.
    options = {**bounds, "decode_responses": True, "encoding_errors": UNENCODABLE, "command_packer": _Packer()}
    tls = {} if verify or not url.startswith("rediss") else {"ssl_cert_reqs": "none"}
    address = SentinelAddress.of(url)
    if address is None:
        return redis.Redis.from_url(url, **tls, **options)
    if address.tls:
        tls["ssl"] = True  # type: ignore[assignment]
    sentinel_options = {**bounds, **tls, **address.sentinel_login}
    sentinel: Any = Sentinel(address.sentinels, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(address.service, db=address.database, **tls, **address.login, **options)
    return client


class RedisClient:
    """Runs commands. Made once per process; its threads start with the first use, so after a fork.

    Commands whose results are awaited (`call`) and commands that nobody waits for (`post`) go separate ways: the second
    kind gathers for longer, and so costs less.
    """

    def __init__(self, url: str, *, verify: bool = True) -> None:
        self._url = url
        self._verify = verify
        self._call_client = self._client(CALL_TIMEOUT_S * 0.9)
        self._post_client = self._client(POST_TIMEOUT_S)
        self._skip_until = 0.0
        self._refusal_logged = -REFUSAL_LOG_S
        self._slow_logged = -SKIP_S
        self._calls: Batcher[_CommandGroup, list[Any]] | None = None
        self._posts: Batcher[_CommandGroup, list[Any]] | None = None
        self._lock = threading.Lock()
        self._pid = 0
        self.is_closed = False
        self._gathered = threading.local()

    def call(self, *commands: Command) -> list[Any]:
        """The results of the commands, in order.

        Raises StoreUnavailable within 200 ms, StoreRefusesWrites when Redis answers so, and TypeError for an argument
        that is neither text nor a number.
        """
        return self.begin(*commands)()

    def ask(self, *commands: Command, on_answer: OnAnswer) -> None:
        """Begin what `call` does, for who does not wait at all. `on_answer` gets the results, or the error, once.

        It is called in the thread of all calls, so it must not be slow. Raises StoreUnavailable when Redis is skipped.
        """
        self._submit(_CommandGroup(commands, awaited=True, on_answer=on_answer))

    def begin(self, *commands: Command) -> Callable[[], list[Any]]:
        """Begin what `call` does, for who has other work meanwhile. Calling the result waits, returns and raises as it.

        Raises StoreUnavailable when Redis is skipped.
        """
        future = self._submit(_CommandGroup(commands, awaited=True))

        def result() -> list[Any]:
            try:
                return future.result(CALL_TIMEOUT_S)
            except TimeoutError as error:
                # No reason to skip Redis: if it is silent, the socket says so; it may be busy with one large answer.
                self._note_slow()
                raise StoreUnavailable("Redis did not answer within 200 ms") from error

        return result

    def post(
        self, *commands: Command, on_results: OnResults | None = None, on_lost: Callable[[], None] | None = None
    ) -> None:
        """Run the commands within milliseconds, without waiting for them. Never raises; what cannot be sent is logged.

        `on_results` gets the results, if there are any, in the thread that runs all other commands, too: it must seldom
        be slow. `on_lost` is called when the commands were perhaps not carried out, and to repeat them may help.
        """
        gathered: list[Command] | None = getattr(self._gathered, "commands", None)
        try:
            if gathered is not None and on_results is None and on_lost is None:
                _ensure_packable(commands)
                gathered += commands
            else:
                self._submit(_CommandGroup(commands, on_results=on_results, on_lost=on_lost))
        except StoreUnavailable:
            if on_lost is not None:
                on_lost()
        except TypeError as error:
            log.error("not_written", error=describe(error), traceback=safe_traceback(error))

    @contextmanager
    def posting_together(self) -> Iterator[None]:
        """Post what this thread posts meanwhile at the end, as one: who has much to post hands it over once."""
        commands = self._gathered.commands = list[Command]()
        try:
            yield
        finally:
            self._gathered.commands = None
            if commands:
                self.post(*commands)

    def subscribe(self, channel: str) -> Iterator[str]:
        """The messages of a channel as they are published, on a connection of its own, without end.

        Raises StoreUnavailable when Redis is away, or silent though it was asked for a sign of life: a connection that
        a network has forgotten says nothing of it.
        """
        try:
            with (
                self._client(PATIENT_S) as client,
                client.pubsub() as subscription,
            ):
                subscription.subscribe(channel)
                heard_at = time.monotonic()
                while time.monotonic() - heard_at < SILENT_S:
                    message = subscription.get_message(timeout=PING_S)
                    if message is None:
                        subscription.ping()
                        continue
                    heard_at = time.monotonic()  # whatever it is, also the answer to a ping
                    if message["type"] == "message":
                        yield str(message["data"])
                raise StoreUnavailable(f"Redis has been silent for {SILENT_S:g} s")
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis is not reachable ({type(error).__name__})") from error

    def changed_keys(self, *prefixes: str) -> Iterator[list[str] | None]:
        """The keys with these prefixes that anybody changed, at each turn those since the turn before; none is all.

        What was changed before a turn began is in it; the first one only begins. On a connection of its own, without
        end. Raises StoreUnavailable when Redis is away, or does not tell: as a replica it says nothing of the data that
        it takes over as a whole.
        """
        try:
            with self._client(PATIENT_S) as client:
                connection: Any = client.connection_pool.get_connection()
                changed: list[list[str] | None] = []
                parser = connection._parser  # noqa: SLF001 (the library's own cache has no other way, either)
                parser.set_invalidation_push_handler(lambda message: changed.append(message[1]))
                named = [word for prefix in prefixes for word in ("PREFIX", prefix)]
                for command in (HELLO, ("CLIENT", "TRACKING", "ON", "BCAST", *named)):
                    connection.send_command(*command)
                    connection.read_response()
                yield None
                while True:
                    connection.send_command(*HELLO)
                    if connection.read_response().get("role") == "replica":
                        raise StoreUnavailable("Redis does not tell of changes (it is a replica)")
                    messages = list(changed)
                    changed.clear()
                    yield None if None in messages else [key for keys in messages for key in keys or ()]
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis does not tell of changes ({type(error).__name__})") from error

    @property
    def is_skipped(self) -> bool:
        """Whether Redis did not answer a moment ago, so that it is not asked now."""
        return time.monotonic() < self._skip_until

    def stop_skipping(self) -> None:
        """Let the next call reach Redis, though it did not answer a moment ago."""
        self._skip_until = 0.0

    def trouble(self) -> str:
        """Why Redis does not answer, in words for a person; empty when it does. Waits for up to 5 seconds."""
        try:
            with self._client(PATIENT_S) as client:
                client.ping()
        except redis.AuthenticationError:
            return "refuses the login; check the password in REDIS_URL"
        except redis.ResponseError as error:
            said = "".join(char for char in f"{error}"[:100] if char.isprintable())
            return f"answers with an error ({said}); check REDIS_URL"
        except REDIS_ERRORS as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                return (
                    "its certificate is not trusted: set UNOAPI_REDIS_TLS_VERIFY=false if the platform signs its own, "
                    "or SSL_CERT_FILE to the file of your authority"
                )
            why = why_not_connected(error)
            return f"does not answer ({type(error).__name__}); check REDIS_URL{': ' if why else ''}{why}"
        return ""

    def info_now(self) -> dict[str, Any]:
        """What Redis says of itself; empty when it does not answer, or may not say. Waits for up to 5 seconds."""
        try:
            with self._client(PATIENT_S) as client:
                return dict(client.info())
        except REDIS_ERRORS:
            return {}

    def close(self) -> None:
        """Run what is waiting and stop."""
        self.is_closed = True
        with self._lock:
            batchers = (self._calls, self._posts)
            self._calls = self._posts = None
        for batcher in batchers:
            if batcher is not None and self._pid == os.getpid():
                batcher.close()
        self._call_client.close()
        self._post_client.close()

    def _client(self, timeout_s: float) -> redis.Redis:
        return connect(self._url, timeout_s=timeout_s, verify=self._verify)

    def _submit(self, group: _CommandGroup) -> BatchFuture[list[Any]]:
        if self.is_skipped:
            raise StoreUnavailable("Redis did not answer a moment ago and is skipped for some seconds")
        _ensure_packable(group.commands)
        try:
            calls, posts = self._started()
            return (calls if group.awaited else posts).submit(group)
        except BufferError as error:
            raise StoreUnavailable("too much is waiting for Redis") from error

    def _started(self) -> tuple[Batcher[_CommandGroup, list[Any]], Batcher[_CommandGroup, list[Any]]]:
        calls, posts = self._calls, self._posts
        if calls is not None and posts is not None and self._pid == os.getpid():
            return calls, posts
        with self._lock:
            if self._calls is None or self._posts is None or self._pid != os.getpid():
                if self._pid:
                    for client in (self._call_client, self._post_client):
                        client.connection_pool.reset()  # a parent's sockets are not ours
                self._pid = os.getpid()
                self._calls = Batcher(partial(self._run, self._call_client), name="redis calls", linger_s=CALL_LINGER_S)
                self._posts = Batcher(partial(self._run, self._post_client), name="redis posts", linger_s=POST_LINGER_S)
            return self._calls, self._posts

    def _note_slow(self) -> None:
        """Log now and then that somebody went on without an answer."""
        if time.monotonic() >= self._slow_logged + SKIP_S:
            self._slow_logged = time.monotonic()
            log.warning("redis_slow", over_ms=int(CALL_TIMEOUT_S * 1000), hint="see its load, and that of this machine")

    def _skip(self, why: str) -> None:
        if time.monotonic() >= self._skip_until:
            log.warning("redis_skipped", seconds=SKIP_S, why=why)
            metrics().skipped_redis()
        self._skip_until = time.monotonic() + SKIP_S

    def _run(self, client: redis.Redis, batch: Sequence[_CommandGroup]) -> list[list[Any] | Exception]:
        results = self._results_of(client, batch)
        for group, result in zip(batch, results, strict=True):
            if group.on_answer is not None:
                _call_back(partial(group.on_answer, result))
            elif not isinstance(result, Exception):
                if group.on_results is not None:
                    _call_back(partial(group.on_results, result))
            elif group.on_lost is not None and not isinstance(result, CommandRefused):
                _call_back(group.on_lost)
        return results

    def _results_of(self, client: redis.Redis, batch: Sequence[_CommandGroup]) -> list[list[Any] | Exception]:
        if self.is_skipped:
            return [StoreUnavailable("Redis is skipped for some seconds")] * len(batch)
        try:
            answers = _answers_of(client, batch)
        except UNREACHABLE as error:
            self._skip(type(error).__name__)
            return [StoreUnavailable(f"Redis is not reachable ({type(error).__name__})")] * len(batch)
        except Exception as error:  # noqa: BLE001 (a bug; nobody knows which commands Redis has carried out)
            log.error("redis_batch_failed", error=describe(error), traceback=safe_traceback(error))
            return [StoreUnavailable(f"Redis: {type(error).__name__}")] * len(batch)
        results: list[list[Any] | Exception] = []
        remaining = iter(answers)
        for group in batch:
            own = list(islice(remaining, len(group.commands)))
            wrong = next((answer for answer in own if isinstance(answer, Exception)), None)
            results.append(own if wrong is None else self._refused(wrong))
        return results

    def _refused(self, error: Exception) -> StoreUnavailable:
        """The error that a caller gets for one that Redis answered, which is logged now and then."""
        why, is_wrong = refusal_of(error), _code(error) in WRONG_COMMAND
        if (why or is_wrong) and time.monotonic() >= self._refusal_logged + REFUSAL_LOG_S:
            self._refusal_logged = time.monotonic()
            if why:
                log.error("redis_refuses_writes", hint=why)
            else:
                log.error("redis_refuses_command", code=_code(error), hint="a key holds what another program wrote")
        if is_wrong:
            return CommandRefused(f"Redis: {_code(error)}")
        return StoreRefusesWrites(f"Redis refuses writes: {why}") if why else StoreUnavailable(f"Redis: {_code(error)}")


def _answers_of(client: redis.Redis, batch: Sequence[_CommandGroup]) -> list[Any]:
    """What Redis answers to each command of a batch, errors among it. Raises what the library does.

    Its pipelines do the same, and take twice as long. What nobody asks for is left as Redis says it.
    """
    connection: Any = client.connection_pool.get_connection()
    answers = []
    try:
        connection.send_packed_command(connection.pack_commands([one for group in batch for one in group.commands]))
        for group in batch:
            read = client.parse_response if group.awaited or group.on_results else _unread
            for command in group.commands:
                options = {NEVER_DECODE: True} if command[0] in BINARY else {}
                try:
                    answers.append(read(connection, command[0], **options))
                except redis.ResponseError as error:
                    answers.append(error)
    except BaseException:
        connection.disconnect()  # nobody knows which answers are still to come
        raise
    finally:
        client.connection_pool.release(connection)
    return answers


def _unread(connection: Any, _: Any, **_options: Any) -> Any:
    """An answer that nobody asks for, as Redis says it. Raises what the library does."""
    return connection.read_response()


def score_pairs(answer: Any) -> list[tuple[str, float]]:
    """The members and scores of an answer WITHSCORES: pairs or a flat list, as the protocol has it."""
    pairs = answer if answer and isinstance(answer[0], (list, tuple)) else zip(answer[::2], answer[1::2], strict=True)
    return [(f"{member}", float(score)) for member, score in pairs]


def refusal_of(error: Exception) -> str:
    """Why Redis takes no writes, if that is what an error says; else empty."""
    return REFUSALS.get(_code(error), "")


def _code(error: Exception) -> str:
    """The first word of an error that Redis answered."""
    return str(getattr(error, "status_code", None) or f"{error}".partition(" ")[0])[:20]


def _ensure_packable(commands: Sequence[Command]) -> None:
    """Raise TypeError for an argument that the library would refuse, in the middle of the commands of others.

    It takes no numbers of other classes, as those of an enumeration.
    """
    for command in commands:
        for argument in command:
            if type(argument) not in PACKABLE and not isinstance(argument, (str, bytes)):
                raise TypeError(f"{command[0]!s:.20} has an argument of the type {type(argument).__name__}")


def _call_back(callback: Callable[[], None]) -> None:
    """A bug in a callback must not reach the commands of others."""
    try:
        callback()
    except Exception as error:  # noqa: BLE001 (see above)
        log.error("callback_failed", error=describe(error), traceback=safe_traceback(error))
