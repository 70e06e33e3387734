"""The stamp of a page: command, time, code, data and machine."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import psutil

from tasks.settings import PROJECT, load_settings
from tasks.sources.archive import MANIFEST
from tasks.storage.hashes import sha256_of

DECIDES = ("evidence", "tasks", "cli", "flows", "registry", "expectations", "pyproject.toml", "constraints.txt")
"""Paths whose uncommitted changes can change a figure."""


def stamp(command: str, data: str | None = None) -> str:
    """The first lines of a page of docs/results. Call it before measuring, so that the load is that of other programs.

    Args:
        command: the command that writes the page, such as ``make bench``.
        data: the measured data; default: the recorded archive.
    """
    return (
        f"Written by `{command}` on {pd.Timestamp.now(tz='UTC'):%Y-%m-%d %H:%M} UTC, commit `{commit()}`; {_cpu()}, "
        f"{os.cpu_count() or 1} cores, {psutil.virtual_memory().total / 2**30:.0f} GB, {_system()}, Python "
        f"{platform.python_version()}; load average {os.getloadavg()[0]:.1f}; data: {data or _recorded_archive()}. "
        "Generated, never edited."
    )


def commit() -> str:
    """The commit of this checkout; marked if a file that affects a figure has uncommitted changes."""
    changed = _answer("git", "status", "--porcelain", "--", *DECIDES)
    return _answer("git", "rev-parse", "--short", "HEAD") + (" with uncommitted changes" if changed else "")


def training_files(as_of: str, snapshots: Mapping[str, str]) -> str:
    """Training files as the data of a stamp. ``snapshots``: the SHA-256 of each horizon's file."""
    return f"training files of {as_of}, " + ", ".join(f"{name} `{digest[:16]}`" for name, digest in snapshots.items())


def _recorded_archive() -> str:
    manifest = load_settings().archive / MANIFEST
    return f"recorded archive `{sha256_of(manifest)[:16]}`" if manifest.exists() else "no recorded archive"


def _cpu() -> str:
    if platform.system() == "Darwin":
        return _answer("sysctl", "-n", "machdep.cpu.brand_string")
    listed = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in listed.splitlines() if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _system() -> str:
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}"
    except OSError:
        return platform.platform(terse=True)


def _answer(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=PROJECT, capture_output=True, encoding="utf-8", check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
