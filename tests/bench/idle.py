"""What `make run` takes when nothing happens: everything on one host, RabbitMQ and Redis included."""

import shutil
import time
from collections import defaultdict
from collections.abc import Iterable

import psutil

from tests.bench.measure import Figures
from tests.bench.processes import LOG, PYTHON, running
from tests.bench.stage import Stage
from tests.support.constants import ROOT
from tests.support.stack import eventually
from unoapi.devenv.ports import free_port

SERVERS = {"beam.smp": "rabbitmq_mb", "redis-server": "redis_mb"}
WITHOUT_EXTRAS = """
import sys

class Missing:
    def find_spec(self, name, *more):
        if name in {"cffi", "opentelemetry"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
"""
"""redis-py and billiard load them wherever they are: here for the tests, and nowhere `make run` installs."""
HELPERS = ("epmd", "erl_child_setup", "inet_gethost")
"""Of RabbitMQ's."""


def idle(stage: Stage) -> Figures:
    """The memory of all processes in MB, each shared page counted once: PSS, and its parts."""
    folder = stage.folder / "idle"
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "Procfile", folder)
    (folder / "sitecustomize.py").write_text(WITHOUT_EXTRAS)
    command = [*PYTHON, "unoapi.devenv.run", f"{folder}"]
    settings = {"PORT": f"{free_port()}", "FLOWER_PORT": f"{free_port()}"}
    with running(command, environment=settings, folder=folder, checkout=folder) as [program]:
        eventually(lambda: "trace <id>" in (folder / LOG).read_text(), what="the welcome", within_s=120, every_s=0.5)
        time.sleep(stage.sizes.idle_s)
        parts = pss_mb([program, *program.children(recursive=True)])
    return {"mb": sum(parts.values()), **parts}


def pss_mb(processes: Iterable[psutil.Process]) -> Figures:
    """The proportional set size of processes by what they are, in MB."""
    parts: defaultdict[str, float] = defaultdict(float)
    for process in processes:
        try:
            name, memory = process.name(), process.memory_full_info()
        except psutil.Error:  # it has ended
            continue
        parts[SERVERS.get(name, "rabbitmq_mb" if name in HELPERS else "ours_mb")] += memory.pss / 1e6
    return dict(parts)
