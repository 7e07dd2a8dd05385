"""The dead letters: find them, see why, put them back or throw them away."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from flask import Blueprint, request, url_for
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from unoapi.errors import BrokerUnavailable, DeadLettersBusy, RequestError
from unoapi.models.dead_letters import EXPLAINED_BY_REASON, LOST_CAUSES, Bounds, DeadLetterQuery
from unoapi.models.jobs import now_ms
from unoapi.web import audit
from unoapi.web.console.access import HTMX, operator_login
from unoapi.web.console.letter_pages import forget_lines, line_of, read_lines
from unoapi.web.console.view import done, form, render
from unoapi.web.console.words import t
from unoapi.web.errors import not_found
from unoapi.web.parts import parts
from unoapi.web.schemas import query, schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask.typing import ResponseReturnValue

    from unoapi.models.dead_letters import DeadLetterWalk

routes = Blueprint("dead_letters", __name__)

ON_A_PAGE = 50
READ_S, FURTHER_S, WORK_S = 0.05, 5.0, 8.0
"""How long a page looks for what it shows at first, and how long when that was not enough; how long one request works,
or looks for single ones, before the next one goes on behind what it has seen."""
LOOKS = 2
"""After so many times as many as there are, one that was not met is gone: a part is met twice."""
AT_ONCE = 500
MAX_COUNTED = 10_000
AGES = {"": None, "1h": 3600, "1d": 86_400, "7d": 604_800}
Text = Annotated[str, StringConstraints(max_length=256, strip_whitespace=True)]


class Selection(BaseModel):
    """Which dead letters are meant; fields that are left out match all."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    id: Text = ""
    phone: Text = ""
    webhook: Text = ""
    reason: Text = ""
    queue: Text = ""
    age: Annotated[str, StringConstraints(pattern=r"^(1h|1d|7d)?$")] = ""

    @property
    def chosen(self) -> dict[str, str]:
        """The fields that say something."""
        return {name: value for name in Selection.model_fields if (value := getattr(self, name))}

    def query(self, *, older_than_s: float = 0) -> DeadLetterQuery:
        """The same for the queue; `older_than_s` is the least age beside the one that was chosen."""
        age_s = max(AGES[self.age] or 0, older_than_s)
        older_than = timedelta(seconds=age_s) if age_s else None
        fields = {name: getattr(self, name) for name in ("id", "queue", "phone", "webhook", "reason")}
        return DeadLetterQuery(**fields, older_than=older_than)


class Page(Selection):
    """A page of the selected ones. `further`: look for longer than a page does at first."""

    offset: int = Field(default=0, ge=0, le=MAX_COUNTED)
    further: bool = False


class Count(Selection):
    """How many are selected. `further` as in a page."""

    further: bool = False


class Work(Selection):
    """Something that is done with the selected ones, over several requests.

    Only what was dead at `began_ms` is touched: what is put back may die again meanwhile. The others say what was done
    so far.
    """

    began_ms: int = Field(default=0, ge=0, le=10**14)
    force: bool = False
    all: bool = False
    replayed: int = Field(default=0, ge=0, le=10**9)
    already_delivered: int = Field(default=0, ge=0, le=10**9)
    purged: int = Field(default=0, ge=0, le=10**9)
    most: int = Field(default=0, ge=0, le=10**9)
    looked: int = Field(default=0, ge=0, le=10**9)


class Look(BaseModel):
    """How many dead letters were seen so far without the one that is looked for."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    looked: int = Field(default=0, ge=0, le=10**9)


OUTCOMES = ("replayed", "already_delivered", "purged")


@routes.get("/console/dead-letters")
@operator_login
@query(Page)
@schema(described=False)
def page(query: Page) -> ResponseReturnValue:
    """Show the dead letters, the oldest first, with why each was given up."""
    context: dict[str, Any] = {"letters": [], "busy": "", "complete": True, "total": None}
    end = query.offset + ON_A_PAGE
    try:
        found = read_lines(
            query.query(), start=query.offset, count=ON_A_PAGE, within_s=FURTHER_S if query.further else READ_S
        )
    except DeadLettersBusy as error:
        context |= {"busy": f"{error}", "total": _total()}
    else:
        letters = found.lines[query.offset : end]
        context |= {"letters": letters, "complete": found.complete, "total": found.total}
        if len(letters) == ON_A_PAGE and (len(found.lines) > end or not found.complete) and end <= MAX_COUNTED:
            context["next"] = _url("page", query, offset=end)
        if not found.complete and len(letters) < ON_A_PAGE and not query.further:
            context["further"] = _url("page", query, offset=query.offset or None, further="true")
    if query.offset:
        context["previous"] = _url("page", query, offset=max(0, query.offset - ON_A_PAGE))
    return render(
        "console/dead_letters.html",
        here="dead_letters",
        query=query,
        ages=AGES,
        reasons=sorted(EXPLAINED_BY_REASON),
        meanings=_meanings(context["letters"]),
        **context,
    )


@routes.get("/console/dead-letters/<letter_id>")
@operator_login
@query(Look)
@schema(described=False)
def dead_letter(letter_id: str, query: Look) -> ResponseReturnValue:
    """Show one dead letter with all its attempts, why it died, and what to do; goes on by itself until it is found."""
    bounds = Bounds(1, WORK_S if query.looked else READ_S)
    walk = parts().dead_letters.list(DeadLetterQuery(id=letter_id), by="/console/dead-letters/<id>", bounds=bounds)
    letter = next(iter([result.dead_letter for result in walk]), None)
    looked = query.looked + walk.seen
    if letter is None and _is_gone(walk, looked):
        raise not_found(t("dead_letters.gone"))
    if letter is None:
        further = url_for("console.dead_letters.dead_letter", letter_id=letter_id, looked=max(1, looked))
        return render("console/dead_letter_search.html", here="dead_letters", further=further, looked=looked, walk=walk)
    body = getattr(letter.job, "body", "") if parts().settings.unoapi_console_bodies else ""
    return render(
        "console/dead_letter.html",
        here="dead_letters",
        letter=letter,
        line=line_of(letter),
        lost=letter.reason in LOST_CAUSES,
        body=body[:20_000],
    )


@routes.get("/console/dead-letters/purge")
@operator_login
@query(Count)
@schema(described=False)
def ask(query: Count) -> ResponseReturnValue:
    """Ask before the selected ones are thrown away, and name how many they are."""
    count, complete = parts().dead_letters.count(), True
    if not query.query().empty:
        bounds = Bounds(MAX_COUNTED, FURTHER_S if query.further else READ_S)
        walk = parts().dead_letters.list(query.query(), by="/console/dead-letters/purge", bounds=bounds)
        count, complete = sum(1 for _ in walk), walk.complete
    further = "" if complete or query.further else _url("ask", query, further="true")
    return render(
        "console/purge.html",
        here="dead_letters",
        query=query,
        count=count,
        complete=complete,
        further=further,
        now_ms=now_ms(),
    )


@routes.post("/console/dead-letters/replay")
@operator_login
@form(Work)
@schema(described=False)
def replay(form: Work) -> ResponseReturnValue:
    """Put the selected ones back; goes on by itself until all are."""
    return _work(form, "replay")


@routes.post("/console/dead-letters/replay-chosen")
@operator_login
@schema(described=False)
def replay_chosen() -> ResponseReturnValue:
    """Put back those that were ticked, at most a page of them."""
    counted: Counter[str] = Counter()
    ids = frozenset(letter_id[:256] for letter_id in request.form.getlist("ids")[:ON_A_PAGE] if letter_id)
    said = "done.none_chosen"
    if ids:
        query, bounds = DeadLetterQuery(ids=ids), Bounds(len(ids), WORK_S)
        walk = parts().dead_letters.replay(query, by="/console/dead-letters", bounds=bounds)
        counted.update(result.outcome for result in walk)
        said = "done.replayed_some" if counted["needs_force"] else "done.replayed"
    _note(counted)
    return done("dead_letters.page", said, n=counted["replayed"] + counted["already_delivered"])


@routes.post("/console/dead-letters/purge")
@operator_login
@form(Work)
@schema(described=False)
def purge(form: Work) -> ResponseReturnValue:
    """Throw the selected ones away for good, at most as many as the question named."""
    return _work(form, "purge")


def _meanings(lines: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """What there is to explain of these dead letters, each with the reasons that it explains."""
    meanings: dict[str, list[str]] = {}
    for reason, group in dict.fromkeys((line["reason"], line["group"]) for line in lines):
        meanings.setdefault(group, []).append(reason)
    return meanings


def _work(form: Work, verb: str) -> ResponseReturnValue:
    began_ms = form.began_ms or now_ms()
    if not form.chosen and not form.all:
        raise RequestError("Invalid parameter", code=100, status=400, details=t("dead_letters.choose_some"))
    left = form.most - form.purged if verb == "purge" else AT_ONCE
    query = form.query(older_than_s=0 if form.id else max(0, now_ms() - began_ms) / 1000)
    bounds = Bounds(1 if form.id else min(AT_ONCE, max(1, left)), WORK_S)
    verbs, by = parts().dead_letters, f"/console/dead-letters/{verb}"
    walk = (
        verbs.purge(query, by=by, bounds=bounds)
        if verb == "purge"
        else (verbs.replay(query, by=by, force=form.force, bounds=bounds))
    )
    counted: Counter[str] = Counter(result.outcome for result in walk)
    _note(counted)
    sums = {name: getattr(form, name) + counted[name] for name in OUTCOMES}
    left_alone = {name: counted[name] for name in ("left_alone", "needs_force") if counted[name]}
    looked = form.looked + walk.seen
    complete = walk.complete or (verb == "purge" and sums["purged"] >= form.most)
    if form.id:
        complete = bool(_done(sums) or left_alone) or _is_gone(walk, looked)
    gone = bool(form.id and complete and not (_done(sums) or left_alone))
    if complete and HTMX not in request.headers and not (left_alone or gone):
        return done("dead_letters.page", "done.purged" if verb == "purge" else "done.replayed", n=_done(sums))
    fields = {**form.chosen, **sums, "all": form.all, "began_ms": began_ms, "most": form.most, "force": form.force}
    fields |= {"looked": looked} if form.id else {}
    context: dict[str, Any] = {
        "verb": verb,
        "n": _done(sums),
        "complete": complete,
        "left": left_alone,
        "gone": gone,
        "total": walk.total,
        "fields": fields,
    }
    template = "console/_progress.html" if HTMX in request.headers else "console/progress.html"
    return render(template, here="dead_letters", **context)


def _is_gone(walk: DeadLetterWalk, looked: int) -> bool:
    """Whether a single dead letter that was not met is not there any more."""
    return walk.complete or looked >= LOOKS * (walk.total or 0)


def _done(sums: dict[str, int]) -> int:
    return sum(sums.values())


def _note(counted: Counter[str]) -> None:
    forget_lines()
    audit.note(", ".join(f"{count} {outcome}" for outcome, count in counted.items()) or "none")


def _total() -> int | None:
    """How many dead letters there are; none when RabbitMQ cannot say."""
    try:
        return parts().dead_letters.count()
    except BrokerUnavailable:
        return None


def _url(view: str, query: Selection, **more: Any) -> str:
    values: dict[str, Any] = {**query.chosen, **more}
    return url_for(f"console.dead_letters.{view}", **values)
