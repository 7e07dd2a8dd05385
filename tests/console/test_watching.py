"""The pages that are looked at: the overview, the queues, the audit, and what a webhook gets."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.console.conftest import OURS, THEIRS, token_of
from tests.console.scene import StandingQueues
from tests.support.api import MemoryApi
from tests.support.console import Browser
from tests.support.stack import OPERATOR, eventually
from unoapi.errors import BrokerUnavailable
from unoapi.models.activity import RECEIVED
from unoapi.models.audit import AuditEntry
from unoapi.models.jobs import now_ms
from unoapi.models.processes import this_process
from unoapi.models.request_bin import BIN_URL, BinnedRequest
from unoapi.models.trace import TraceEntry
from unoapi.services.process_reports import ProcessReports

if TYPE_CHECKING:
    from tests.support.fakes import MemoryProcesses

HOSTILE = "<script>alert('x')</script>"


def with_parts(api: MemoryApi, **parts: Any) -> Browser:
    return Browser(MemoryApi(replace(api.uno, **parts)), OPERATOR)


class AwayQueues:
    """RabbitMQ does not answer."""

    asked = 0

    def queues(self) -> list[Any]:
        self.asked += 1
        raise BrokerUnavailable("away")


def figures(page: str) -> dict[str, str]:
    """The figures of a page by their labels."""
    found = re.findall(r"<dt>([^<]+)</dt><dd>(?:<a [^>]+>)?([^<]+)<", page)
    return {unescape(label): value.strip() for label, value in found}


def test_the_overview_shows_what_waits_and_what_is_dead(api: MemoryApi) -> None:
    page = with_parts(api, queue_monitor=StandingQueues()).page("/console/overview")

    shown = figures(page)
    assert (shown["Waiting for a worker"], shown["Waiting for its time"], shown["Dead letters"]) == ("131", "252", "7")
    assert shown["online"] == "2"


def test_the_overview_counts_messages_and_attempts(api: MemoryApi, operator: Browser) -> None:
    step: dict[str, Any] = {"phone": OURS, "message_id": "m", "webhook": "crm"}
    for _ in range(3):
        api.uno.activity.count(OURS, RECEIVED)
    api.uno.activity.note(TraceEntry(step="delivered", duration_ms=40, status=200, **step))  # type: ignore[attr-defined]
    api.uno.activity.note(TraceEntry(step="attempt", duration_ms=9, status=500, **step))  # type: ignore[attr-defined]

    page = operator.page("/console/overview?span=day")
    charts = [json.loads(unescape(chart)) for chart in re.findall(r'data-chart="([^"]+)"', page)]

    assert figures(page)["Received"] == "3"
    assert figures(page)["Attempts that went well"] == "50.0 %"
    assert [len(chart["x"]) == len(line["values"]) for chart in charts for line in chart["series"]] == [True] * 6
    assert sum(charts[0]["series"][0]["values"]) == pytest.approx(3 / 5)  # a minute, in steps of five


def test_with_rabbitmq_away_the_pages_say_so_and_ask_it_seldom(api: MemoryApi) -> None:
    monitor = AwayQueues()
    browser = with_parts(api, queue_monitor=monitor)
    api.queues.away = True

    pages = [browser.page(path) for path in ("/console/overview", "/console/queues", "/console/queues")]

    assert "RabbitMQ does not answer" in pages[1]
    assert "not reachable" in pages[0]
    assert monitor.asked == 1


def test_a_queue_without_its_worker_is_an_alarm(api: MemoryApi) -> None:
    depths = [replace(depth, consumers=0) for depth in StandingQueues().queues()]
    monitor = StandingQueues()
    monitor.queues = lambda: depths  # type: ignore[method-assign]

    page = with_parts(api, queue_monitor=monitor).page("/console/overview")

    assert "Messages stand in outgoing, and no process takes them" in page
    assert "Messages stand in dead" not in page


def test_the_queues_show_what_comes_and_goes_a_second(api: MemoryApi) -> None:
    depths = [replace(depth, in_per_s=12.34, out_per_s=0.5) for depth in StandingQueues().queues()[:1]]
    monitor = StandingQueues()
    monitor.queues = lambda: depths  # type: ignore[method-assign]

    page = with_parts(api, queue_monitor=monitor).page("/console/queues")

    assert re.findall(r'<td class="number">([^<]+)</td>', page)[2:4] == ["12.3", "0.5"]


def test_processes_are_listed_and_one_that_fell_silent_is_named(api: MemoryApi, operator: Browser) -> None:
    processes = cast("MemoryProcesses", api.uno.processes)
    for pid, busy in ((11, 3), (12, None)):
        processes.report(this_process("worker", pid=pid, name=f"w{pid}", host=HOSTILE, places=50, busy=busy))
    processes.reported["w12"] = processes.reported["w12"].model_copy(update={"seen_ms": now_ms() - 300_000})

    page = operator.page("/console/queues")
    listed = api.get("/admin/processes").json()["data"]

    assert "3 / 50" in page
    assert "silent for 5.0 min" in page
    assert HOSTILE not in page
    assert [(one["pid"], one["silent"]) for one in listed] == [(11, False), (12, True)]


def test_a_process_reports_itself_until_it_ends(api: MemoryApi) -> None:
    reports = ProcessReports(this_process("media", places=2), api.uno.processes, busy=lambda: 1)

    reports.start()
    (process,) = eventually(api.uno.processes.all)
    reports.end()

    assert (process.kind, process.busy, process.places, process.silent) == ("media", 1, 2, False)
    assert api.uno.processes.all() == []


def test_the_audit_shows_each_login_the_changes_of_its_own_numbers(api: MemoryApi) -> None:
    operator, tenant = Browser(api, OPERATOR), Browser(api, token_of(OURS))
    operator.post(f"/console/sessions/{THEIRS}/settings", {"label": "theirs"})
    tenant.post(f"/console/sessions/{OURS}/settings", {"label": "ours"})

    everything, own = operator.page("/console/audit"), tenant.page("/console/audit")
    others = tenant.page(f"/console/audit?phone={THEIRS}")

    assert everything.count("changed settings") == 2
    assert ("logged in" in everything, "127.0.0.1" in everything) == (True, True)
    assert (own.count("changed settings"), THEIRS in own, "127.0.0.1" in own) == (1, False, False)
    assert f"/session/{THEIRS}" not in others


def test_the_audit_names_who_logged_in_and_out(api: MemoryApi) -> None:
    tenant = Browser(api, token_of(OURS))
    tenant.post("/console/logout")
    assert Browser(api).post("/console/logout").status_code == 401  # strangers write no lines

    lines = [(entry.what, entry.who, entry.phone) for entry in api.uno.audit.latest(2)]
    assert lines == [
        ("console.login.log_out", OURS, OURS),
        ("console.login.log_in", OURS, OURS),
    ]


def test_the_audit_has_older_pages(api: MemoryApi, operator: Browser) -> None:
    for number in range(60):
        api.uno.audit.add(AuditEntry(at_ms=1_000_000 + number, who="operator", what="some.thing", detail=f"<{number}>"))

    first = operator.page("/console/audit")
    older = operator.page(unescape(re.findall(r'href="([^"]+)" rel="next"', first)[0]))

    assert "&lt;59&gt;" in first
    assert "&lt;0&gt;" in older


def test_a_webhook_is_watched_for_as_long_as_somebody_wants(api: MemoryApi, tenant: Browser) -> None:
    tenant.post(f"/console/try/{OURS}/watch")
    watched = api.uno.sessions.find(OURS)
    body = json.dumps({"entry": ["<script>alert(1)</script>"]})
    api.uno.request_bin.add(
        OURS, BinnedRequest(seq=1_700_000_000_000_000, webhook="console-bin", headers={"webhook-id": "w"}, body=body)
    )
    page = tenant.page(f"/console/try/{OURS}")
    tenant.post(f"/console/try/{OURS}/unwatch")

    assert [f"{webhook.url_absolute}" for webhook in watched.webhooks] == [BIN_URL]
    assert "&lt;script&gt;alert(1)" in page
    assert api.uno.sessions.find(OURS).webhooks == ()
