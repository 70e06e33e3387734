"""The first-Mac checklist: every finding of the doctor with versions, as a file that a person reads and sends back."""

from __future__ import annotations

import platform
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tasks.errors import SecretFound
from tasks.operations.doctor import Examination
from tasks.operations.findings import NOT_TRIED
from tasks.operations.machine import Machine
from tasks.operations.support_bundle import versions
from tasks.secrets import redact, spelled_in
from tasks.storage.files import write_private

NEVER_ON_A_MAC = (
    "CBI was never run on a Mac before it was shipped: launchd, the keychain, Full Disk Access, `pmset`, sleep and "
    "`caffeinate` were tried with stand-ins on Linux. This file is how that changes. Read it, then send it to whoever "
    "gave you CBI."
)
BY_HAND = (
    "`make demo` ended with a forecast, after how many minutes?",
    "`cbi setup` asked for each key, and the keychain has them (Keychain Access, search for cbi)?",
    "`make install-mac` ended without an error, and `make status` shows server and worker?",
    "Log out and in: does `make status` show both again?",
    "Unplug the drive of CBI_HOME for ten minutes and plug it in: do both start by themselves?",
    "Let the Mac sleep over the daily run: did it wake, and did the run end (`cbi doctor`, line `last run`)?",
    "`cbi site --open`: do all pages look right in Safari?",
    "A notification arrived (`cbi brief --mail`)?",
)


def write_report(path: Path, examination: Examination, machine: Machine) -> Path:
    """Write the report, for its owner only.

    Raises:
        SecretFound: a key was still in it. Nothing was written.
    """
    text = without_names(redact(report_text(examination, machine)), machine)
    if spelled_in(text.encode()):
        raise SecretFound("the report would have contained a key; nothing was written")
    return write_private(path, text.encode())


def report_text(examination: Examination, machine: Machine) -> str:
    """The report as Markdown: findings, what a person ticks off, versions."""
    packages = versions()["packages"]
    listed = packages if isinstance(packages, dict) else {}
    findings = [f"| {one.check} | {one.state} | {cell(one.text)} | {cell(one.next)} |" for one in examination.findings]
    untried = [one.check for one in examination.findings if one.state == NOT_TRIED]
    return "\n".join(
        [
            "# CBI: first-Mac checklist",
            NEVER_ON_A_MAC,
            "",
            f"Written {machine.now():%Y-%m-%d %H:%M %z}. {examination.summary}. "
            f"Not tried here: {', '.join(untried) or 'nothing'}.",
            "",
            "| check | state | found | next |",
            "|---|---|---|---|",
            *findings,
            "",
            "## By hand",
            "Write yes, no or what you saw behind each line.",
            *(f"- [ ] {question}" for question in BY_HAND),
            "",
            "## Versions",
            f"- CBI {product_version()}",
            f"- system: {platform.platform()}, {platform.machine()}; macOS {platform.mac_ver()[0] or 'no'}",
            f"- Python: {platform.python_version()} ({platform.python_implementation()})",
            *(f"- {name} {number}" for name, number in listed.items()),
            "",
        ]
    )


def product_version() -> str:
    """The version of CBI."""
    try:
        return version("cbi")
    except PackageNotFoundError:
        return "not installed as a package"


def cell(text: str) -> str:
    """A text as a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def without_names(text: str, machine: Machine) -> str:
    """The text without the person's folder and the machine's name."""
    hidden = text.replace(str(machine.user_folder), "~")
    host = socket.gethostname()
    return hidden.replace(host, "(this machine)") if len(host) > 3 else hidden
