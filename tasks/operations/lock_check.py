"""``make lock-check``: constraints.txt must resolve to wheels for every supported Python and system."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tasks.settings import PROJECT

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = {"macOS 14 arm64": "aarch64-apple-darwin", "Linux x86-64": "x86_64-unknown-linux-gnu"}


def pinned(lines: str) -> set[str]:
    """The ``name==version`` of each line, without its markers."""
    return {line.split()[0] for line in lines.splitlines() if line and not line.startswith("#")}


def resolve(python: str, system: str, *, extras: bool) -> tuple[set[str], str]:
    """The packages that uv would install there, wheels only, and uv's message if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "resolved.txt"
        command = [
            *(str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet"),
            *("--python-platform", system, "--python-version", python, "--only-binary", ":all:"),
            *(["--all-extras"] if extras else []),
            *("--constraint", "constraints.txt", "--no-annotate", "--no-header", "pyproject.toml"),
            *("--output-file", str(out)),
        ]
        environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}
        done = subprocess.run(
            command, cwd=PROJECT, env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        return (pinned(out.read_text(encoding="utf-8")), "") if not done.returncode else (set(), done.stderr.strip())


def check() -> int:
    """Returns 1 if something does not resolve to a wheel, or resolves to an unpinned version."""
    known = pinned((PROJECT / "constraints.txt").read_text(encoding="utf-8"))
    failed = False
    for python in PYTHONS:
        for name, system in SYSTEMS.items():
            for what, extras in (("base", False), ("every extra", True)):
                found, why = resolve(python, system, extras=extras)
                loose = sorted(found - known)
                outcome = why or (f"not pinned: {', '.join(loose)} (run `make lock`)" if loose else "")
                failed |= bool(outcome)
                print(f"Python {python}, {name}, {what}: {outcome or f'{len(found)} wheels, every one pinned'}")
    return int(failed)
