"""Compare what other programs rely on between an older commit and this checkout.

    python -m tests.compatibility.contracts COMMIT

The processes of both are started by their own Procfile on throw-away servers and asked from outside, so that it does
not matter where their modules are. Prints each difference and ends with 1 when there is one. Descriptions and summaries
may differ.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.processes import PYTHON, forget_surroundings, log_tail, procfile, running
from tests.support.constants import OPERATOR, ROOT
from tests.support.harness import checkout, end_on_signals, throw_away_servers
from tests.support.stack import eventually
from unoapi.devenv.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unoapi.devenv.servers import PrivateServers

PROSE = {"description", "summary"}
SETTINGS = (
    "import json; from unoapi.settings import Settings; "
    "print(json.dumps(Settings.model_json_schema()['properties'], default=str))"
)
TASKS = (
    "import json; from tasks.app import app; app.loader.import_default_modules(); "
    "print(json.dumps(sorted(map(str, app.tasks))))"
)
MENDED = {"ignoreYourselfMessages": False}
"""Options of a session whose default older documents showed wrongly: what it is, and always was, without an option."""
WIDE = "400"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compatibility.contracts", description=__doc__)
    parser.add_argument("commit", help="the older commit")
    commit = parser.parse_args().commit
    end_on_signals()
    forget_surroundings()
    with (
        tempfile.TemporaryDirectory(prefix="unoapi-contracts-") as folder,
        throw_away_servers(Path(folder) / "servers") as servers,
    ):
        before = contracts(checkout(commit, Path(folder) / "before"), servers, Path(folder), vhost="before")
        now = contracts(ROOT, servers, Path(folder), vhost="now")
    for name, lines in now.items():
        differences = list(difflib.unified_diff(before[name], lines, commit, "now", lineterm="", n=2))
        verdict = "DIFFERENT" if differences else "the same"
        sys.stdout.write("\n".join([f"{name}: {len(lines)} lines, {verdict}", *differences, ""]))
    return 0 if before == now else 1


def contracts(root: Path, servers: PrivateServers, folder: Path, *, vhost: str) -> dict[str, list[str]]:
    """What a checkout shows to other programs: for each kind its lines."""
    port, metrics_port = free_port(), free_port()
    environment = {
        "AMQP_URL": servers.rabbit.add_vhost(vhost),
        "REDIS_URL": servers.redis_url,
        "UNOAPI_AUTH_TOKEN": OPERATOR,
        "UNOAPI_HOST": "127.0.0.1",
        "PORT": str(port),
        "UNOAPI_METRICS_PORT": str(metrics_port),
        "BASE_STORE": str(folder / "data"),
        "COLUMNS": WIDE,
        "TMPDIR": str(folder),
    }
    commands = [["sh", "-c", f"exec {procfile(name, root)}"] for name in ("web", "worker")]
    with running(*commands, environment=environment, folder=folder, checkout=root):
        try:
            openapi = eventually(lambda: _get(port, "/docs/openapi.json"), within_s=60, every_s=0.5, what="the API")
            eventually(lambda: "unoapi_deliveries" in _get(metrics_port, "/metrics"), within_s=60, every_s=0.5)
            metrics = _get(metrics_port, "/metrics")
        except AssertionError:
            sys.stderr.write("\n".join(["The last lines of the processes:", *log_tail(folder), ""]))
            raise
    processes = [line.partition(":")[0] for line in (root / "Procfile").read_text("utf-8").splitlines()]
    return {
        "processes": processes,
        "settings": _lines(json.loads(_output(root, environment, "-c", SETTINGS))),
        "openapi": _lines(_mended(json.loads(openapi))),
        "topology": _output(root, environment, "-m", "unoapi.cli", "topology").splitlines(),
        "tasks": _lines(json.loads(_output(root, environment, "-c", TASKS).splitlines()[-1])),
        "metrics": sorted({f"{family.type} {family.name}" for family in text_string_to_metric_families(metrics)}),
    }


def _get(port: int, path: str) -> str:
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    try:
        answer = requests.get(f"http://127.0.0.1:{port}{path}", headers=headers, timeout=10)
    except requests.RequestException:
        return ""
    return answer.text if answer.ok else ""


def _output(root: Path, environment: Mapping[str, str], *arguments: str) -> str:
    return subprocess.run(
        [PYTHON[0], *arguments], cwd=root, env={**os.environ, **environment, "PYTHONPATH": str(root)},
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip


def _lines(document: Any) -> list[str]:
    return json.dumps(_without_prose(document), indent=1, sort_keys=True).splitlines()


def _mended(document: Any) -> Any:
    properties = document["components"]["schemas"]["Session"]["properties"]
    for name, default in MENDED.items():
        properties[name]["default"] = default
    return document


def _without_prose(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_prose(item) for key, item in value.items() if not (key in PROSE and isinstance(item, str))
        }
    return [_without_prose(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
