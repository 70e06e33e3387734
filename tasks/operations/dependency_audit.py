"""``make audit-dependencies``: every pinned package against the list of known vulnerabilities that PyPI serves.

Ends with 1 when a pinned version is known to be vulnerable. Where no service answers, or one that knows
of no vulnerability (a mirror), nothing is known: that is said, and ends with 0, so that work offline goes on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tasks.settings import PROJECT

# A version known to be vulnerable since 2021: a service that does not know of it knows nothing.
CANARY = "jinja2==2.11.2"
TIMEOUT_S = 3


def ask(requirements: Path) -> list[dict[str, Any]] | None:
    """pip-audit's findings, a mapping a package; None where it could not ask."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        quiet = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", str(TIMEOUT_S)]
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), *quiet]
        asked = [*command, "--format", "json", "--output", str(found)]
        subprocess.run(asked, capture_output=True, check=False)  # it ends with 1 for findings and for a dead line alike
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
            f"dependencies: could not be asked: no service here knows of the vulnerabilities of {CANARY}. "
            "Nothing was checked; run `make audit-dependencies` where https://pypi.org answers",
            file=sys.stderr,
        )
        return 0
    found = ask(PROJECT / "constraints.txt")
    if found is None:
        print("dependencies: could not be asked: the service broke off. Nothing was checked", file=sys.stderr)
        return 0
    bad = [one for one in found if one.get("vulns")]
    skipped = [one for one in found if "skip_reason" in one]
    for one in bad:
        ids = ", ".join(f"{vuln['id']} (mended in {', '.join(vuln['fix_versions']) or '-'})" for vuln in one["vulns"])
        print(f"{one['name']} {one['version']}: {ids}", file=sys.stderr)
    print(f"dependencies: {len(found) - len(skipped)} checked, {len(skipped)} unknown to PyPI, {len(bad)} vulnerable")
    return int(bool(bad))
