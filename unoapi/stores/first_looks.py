"""What many new events and deliveries need to know, in one question to Redis."""

from __future__ import annotations

import time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from unoapi.models.endpoints import Endpoint
from unoapi.models.first_look import FirstLook
from unoapi.models.jobs import DeliverWebhook, delivery_id
from unoapi.stores.blacklist import blocking_keys
from unoapi.stores.deliveries import state_keys
from unoapi.stores.sessions import look_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from unoapi.models.jobs import FanOut
    from unoapi.models.session import Session
    from unoapi.stores.deliveries import RedisDeliveries
    from unoapi.stores.redis import Command, OnAnswer, RedisClient
    from unoapi.stores.sessions import RedisSessions
    from unoapi.stores.statuses import RedisStatuses


class RedisFirstLooks:
    """Asks the other stores' questions for them: those of many jobs in a few commands."""

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
        asked_at = time.monotonic()
        known = {job.phone: self._sessions.fresh(job.phone) for job in jobs if job.stored}
        unread = [phone for phone, session in known.items() if session is None]
        questions = [_Question(job, self._statuses) for job in jobs]
        admissions = [(question, question.admission) for question in questions if question.admission]
        keys = [key for question in questions for key in question.keys]
        answers = _Answers(1 + bool(unread) + len(admissions), on_ready)
        self._redis.ask(("MGET", *keys), on_answer=answers.taker("values"))
        if unread:
            self._redis.ask(*look_commands(unread), on_answer=answers.taker("sessions"))
        for question, admission in admissions:  # each alone: a key of another kind spoils no look but its own
            self._redis.ask(admission, on_answer=answers.taker(question))
        return lambda: self._looks(questions, unread, known, answers, asked_at)

    def _looks(
        self,
        questions: list[_Question],
        unread: list[str],
        known: dict[str, Session | None],
        answers: _Answers,
        asked_at: float,
    ) -> list[FirstLook | None]:
        """What is known of each job. `known` are the sessions that were read; those that Redis gave are added."""
        sessions = answers.of("sessions")
        if sessions is not None:
            self._sessions.note(unread, sessions, asked_at=asked_at)
            known |= {phone: self._sessions.fresh(phone) for phone in unread}
        values = answers.of("values")
        if values is None:
            return [None] * len(questions)
        remaining = iter(values[0])
        return [self._look(one, list(islice(remaining, len(one.keys))), known, answers) for one in questions]

    def _look(
        self, question: _Question, values: list[Any], known: dict[str, Session | None], answers: _Answers
    ) -> FirstLook | None:
        phone, admitted = question.job.phone, True
        if question.admission:
            if (admission := answers.of(question)) is None:
                return None
            admitted = all(admission)
        session = known.get(phone) if question.job.stored else self._sessions.environment_session(phone)
        if session is None:
            return None
        state_values, blocks = values[: question.state_keys], values[question.state_keys :]
        state = self._deliveries.state_in(state_values, question.delivery_id, question.endpoint)
        return FirstLook(session, state, admitted, blocks.count(None) < len(blocks))


class _Answers:
    """The answers of a batch by what was asked, which come in the thread of the calls."""

    def __init__(self, count: int, on_ready: Callable[[], None]) -> None:
        self._answers: dict[Hashable, list[Any]] = {}
        self._missing = count
        self._on_ready: Callable[[], None] | None = on_ready

    def taker(self, of: Hashable) -> OnAnswer:
        """What takes the answer to one question."""
        return partial(self._take, of)

    def of(self, of: Hashable) -> list[Any] | None:
        """The answer to a question; none if Redis did not give it."""
        return self._answers.get(of)

    def _take(self, of: Hashable, answer: list[Any] | Exception) -> None:
        if not isinstance(answer, Exception):
            self._answers[of] = answer
        self._missing -= 1
        if not self._missing and self._on_ready is not None:
            on_ready, self._on_ready = self._on_ready, None  # a circle of who asked and this waits for the collector
            on_ready()


class _Question:
    """What is asked of one job: `keys` are its delivery's, its endpoint's, and those of the blacklist."""

    def __init__(self, job: FanOut | DeliverWebhook, statuses: RedisStatuses) -> None:
        self.job = job
        blocks: Sequence[str] = ()
        self.admission: Command | None = None
        if isinstance(job, DeliverWebhook):
            self.delivery_id, self.endpoint = job.id, job.endpoint
        else:
            (webhook_id,) = job.webhook_ids or ("",)
            self.delivery_id, self.endpoint = delivery_id(job.id, webhook_id), Endpoint(job.phone, webhook_id)
            facts = job.facts
            blocks = blocking_keys(job.phone, (webhook_id,), facts.keys)
            self.admission = statuses.admission(
                job.phone, job.message_id, status=job.kind, event_id=job.id, member=facts.member
            )
        state = state_keys(self.delivery_id, self.endpoint)
        self.keys, self.state_keys = (*state, *blocks), len(state)
