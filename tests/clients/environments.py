"""Real clients in interpreters of their own: each with its locked packages, made once and kept beside the checkout."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.stack import ROOT

HERE = Path(__file__).parent
SAVED = ROOT / ".run" / "clients"
PREPARE_S = 180
CALL_S = 120


def python_of(client: str) -> Path:
    """The interpreter that has this client; made at the first call from its lock."""
    lock = HERE / "requirements" / f"{client}.txt"
    folder = SAVED / client
    made = folder / "made-from"
    SAVED.mkdir(parents=True, exist_ok=True)
    with (SAVED / f"{client}.lock").open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        if not made.exists() or made.read_text() != lock.read_text():
            shutil.rmtree(folder, ignore_errors=True)
            run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
            own_pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
            quick = ("-q", "--disable-pip-version-check", "--no-compile")  # most of it is never imported
            run([*own_pip, "install", *quick, "--require-hashes", "-r", str(lock)])
            made.write_text(lock.read_text())
    return folder / "bin" / "python"


def node_folder() -> Path:
    """The folder with the clients of Node; made at the first call from their lock."""
    locked = HERE / "requirements" / "node"
    folder = SAVED / "node"
    made = folder / "made-from"
    lock = (locked / "package-lock.json").read_text()
    SAVED.mkdir(parents=True, exist_ok=True)
    with (SAVED / "node.lock").open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        if not made.exists() or made.read_text() != lock:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(locked, folder)
            run(["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], folder=folder)
            made.write_text(lock)
    return folder


def call_node(program: str, *arguments: str) -> dict[str, Any]:
    """Run a program of Node with all its clients and read the JSON object that it prints."""
    folder = node_folder()
    shutil.copy(HERE / "programs" / program, folder)  # Node looks for packages beside the program
    done = subprocess.run(
        ["node", program, *arguments], cwd=folder, capture_output=True, text=True, timeout=CALL_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{program}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def run(command: list[str], *, folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PREPARE_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout[-1000:]} {done.stderr[-2000:]}")


def call(client: str, program: str, *arguments: str, folder: Path, stdin: str = "") -> dict[str, Any]:
    """Run a program of the client and read the JSON object that it prints last."""
    done = subprocess.run(
        [str(python_of(client)), str(HERE / "programs" / program), *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=CALL_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"{client} {program}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
