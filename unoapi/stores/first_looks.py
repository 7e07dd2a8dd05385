"""What many new events and deliveries need to know, in one question to Redis."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from unoapi.errors import StoreUnavailable
from unoapi.models.endpoints import Endpoint
from unoapi.models.first_look import FirstLook
from unoapi.models.jobs import DeliverWebhook, delivery_id
from unoapi.stores.blacklist import blocking_keys
from unoapi.stores.deliveries import state_keys
from unoapi.stores.sessions import look_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unoapi.models.jobs import FanOut
    from unoapi.models.session import Session
    from unoapi.stores.deliveries import RedisDeliveries
    from unoapi.stores.redis import Command, RedisClient
    from unoapi.stores.sessions import RedisSessions
    from unoapi.stores.statuses import RedisStatuses


class RedisFirstLooks:
    """Asks the other stores' questions for them. Those of many jobs travel together, and each is answered alone."""

    def __init__(
        self, redis: RedisClient, *, sessions: RedisSessions, deliveries: RedisDeliveries, statuses: RedisStatuses
    ) -> None:
        self._redis = redis
        self._sessions = sessions
        self._deliveries = deliveries
        self._statuses = statuses

    def begin(
        self, jobs: Sequence[FanOut | DeliverWebhook], on_ready: Callable[[], None]
    ) -> Callable[[], list[FirstLook | None]]:
        """Ask about jobs that have one webhook each. The result can be called after `on_ready` was, in any thread.

        It gives what is known of each job; none where the job has to ask for itself. Raises StoreUnavailable, and what
        the content of a job may raise.
        """
        known = {job.phone: self._sessions.fresh(job.phone) for job in jobs if job.stored}
        unread = {phone for phone, session in known.items() if session is None}
        questions = []
        for job in jobs:
            questions.append(_Question(job, self._statuses, with_session=job.phone in unread))
            unread.discard(job.phone)
        answers = _Answers(len(questions), on_ready)
        for number, question in enumerate(questions):
            self._redis.ask(*question.commands, on_answer=partial(answers.set, number))
        return lambda: [
            self._look(question, answer, known) for question, answer in zip(questions, answers.all, strict=True)
        ]

    def _look(
        self, question: _Question, answer: list[Any] | Exception, known: dict[str, Session | None]
    ) -> FirstLook | None:
        """What is known of one job. `known` are the sessions that were read; what this answer says is added."""
        if isinstance(answer, Exception):
            return None
        values, *others = answer
        phone = question.job.phone
        if question.with_session:
            *others, text_and_marker, indexed = others
            self._sessions.note(phone, (text_and_marker, indexed))
            known[phone] = self._sessions.fresh(phone)
        session = known.get(phone) if question.job.stored else self._sessions.environment_session(phone)
        if session is None:
            return None
        state_values, blocks = values[: question.state_keys], values[question.state_keys :]
        state = self._deliveries.state_in(state_values, question.delivery_id, question.endpoint)
        return FirstLook(session, state, all(others), any(block is not None for block in blocks))


class _Answers:
    """The answers of a batch, which come in the thread of the calls."""

    def __init__(self, count: int, on_ready: Callable[[], None]) -> None:
        self.all: list[list[Any] | Exception] = [StoreUnavailable("no answer")] * count
        self._missing = count
        self._on_ready = on_ready

    def set(self, number: int, answer: list[Any] | Exception) -> None:
        self.all[number] = answer
        self._missing -= 1
        if not self._missing:
            self._on_ready()


class _Question:
    """The commands of one job."""

    def __init__(self, job: FanOut | DeliverWebhook, statuses: RedisStatuses, *, with_session: bool) -> None:
        self.job = job
        self.with_session = with_session
        blocks: tuple[str, ...] = ()
        admission: Command | None = None
        if isinstance(job, DeliverWebhook):
            self.delivery_id, self.endpoint = job.id, job.endpoint
        else:
            (webhook_id,) = job.webhook_ids or ("",)
            self.delivery_id, self.endpoint = delivery_id(job.id, webhook_id), Endpoint(job.phone, webhook_id)
            counterparty = job.content.counterparty(job.phone)
            blocks = tuple(blocking_keys(job.phone, [webhook_id], counterparty.keys))
            member = next(iter(counterparty.names), "") if counterparty.chat else ""
            admission = statuses.admission(job.phone, job.message_id, status=job.kind, event_id=job.id, member=member)
        keys = state_keys(self.delivery_id, self.endpoint)
        self.state_keys = len(keys)
        self.commands: tuple[Command, ...] = (
            ("MGET", *keys, *blocks),
            *([admission] if admission else []),
            *(look_commands(job.phone) if with_session else ()),
        )
