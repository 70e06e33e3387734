"""Where and when a run was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

from tasks.settings import PROJECT

DECIDES = ("evidence", "tasks", "cli", "flows", "registry", "expectations", "pyproject.toml", "constraints.txt")
"""Paths whose uncommitted changes can change a figure."""


@dataclass(frozen=True)
class Machine:
    """The header of the report."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    commit: str
    date: str
    load: str


def stamp(command: str) -> str:
    """The first line of a page of docs/results: what wrote it, when, from which code, on which machine."""
    here = this_machine()
    return (
        f"Written by `{command}` on {here.date}, commit `{here.commit}`; {here.cpu}, {here.cores} cores, "
        f"{here.memory_gb:.0f} GB, {here.system}, Python {here.python}; load average {here.load}."
    )


def this_machine() -> Machine:
    """Read it off; call it before anything is measured, so that the load is the others'."""
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        memory_gb=psutil.virtual_memory().total / 2**30,
        system=_system(),
        python=platform.python_version(),
        commit=commit(),
        date=f"{pd.Timestamp.now(tz='UTC'):%Y-%m-%d %H:%M} UTC",
        load=f"{os.getloadavg()[0]:.1f}",
    )


def _cpu() -> str:
    if platform.system() == "Darwin":
        return _said("sysctl", "-n", "machdep.cpu.brand_string")
    listed = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in listed.splitlines() if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _system() -> str:
    if platform.system() != "Linux":
        return platform.platform(terse=True)
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}"
    except OSError:
        return platform.platform(terse=True)


def commit() -> str:
    """The commit of this checkout; said to have changes where a file that decides a figure differs from it."""
    changed = _said("git", "status", "--porcelain", "--", *DECIDES)
    return _said("git", "rev-parse", "--short", "HEAD") + (" with uncommitted changes" if changed else "")


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=PROJECT, capture_output=True, encoding="utf-8", check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
