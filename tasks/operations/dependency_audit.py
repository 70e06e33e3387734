"""``make audit-dependencies``: checks every pinned package against PyPI's list of known vulnerabilities.

Exits with 1 if a pinned version is known to be vulnerable. If no service answers, or a service without vulnerability
data (a mirror), nothing was checked: that is printed, with exit 0, so that offline work can continue.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tasks.settings import PROJECT

# A version known to be vulnerable since 2021: a service that does not list it has no vulnerability data.
CANARY = "jinja2==2.11.2"
TIMEOUT_S = 3


def ask(requirements: Path) -> list[dict[str, Any]] | None:
    """pip-audit's findings, one mapping per package; None if no service could be reached."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        quiet = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", str(TIMEOUT_S)]
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), *quiet]
        full_command = [*command, "--format", "json", "--output", str(found)]
        subprocess.run(full_command, capture_output=True, check=False)  # exit 1: findings or a lost connection
        if not found.exists() or not found.stat().st_size:
            return None
        return list(json.loads(found.read_text(encoding="utf-8"))["dependencies"])


def audit() -> int:
    """Command line."""
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder) / "canary.txt"
        canary.write_text(CANARY + "\n", encoding="utf-8")
        known = ask(canary)
    if not known or not known[0].get("vulns"):
        print(
            f"dependencies: not checked: no service here lists the vulnerabilities of {CANARY}. "
            "Run `make audit-dependencies` where https://pypi.org answers",
            file=sys.stderr,
        )
        return 0
    found = ask(PROJECT / "constraints.txt")
    if found is None:
        print("dependencies: not checked: the service stopped answering", file=sys.stderr)
        return 0
    bad = [one for one in found if one.get("vulns")]
    skipped = [one for one in found if "skip_reason" in one]
    for one in bad:
        ids = ", ".join(f"{vuln['id']} (fixed in {', '.join(vuln['fix_versions']) or '-'})" for vuln in one["vulns"])
        print(f"{one['name']} {one['version']}: {ids}", file=sys.stderr)
    print(f"dependencies: {len(found) - len(skipped)} checked, {len(skipped)} unknown to PyPI, {len(bad)} vulnerable")
    return int(bool(bad))
