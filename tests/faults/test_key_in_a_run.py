"""A source that refuses, and echoes our key as it does: a real run, then every byte that it left is searched for it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest

from tasks.settings import PROJECT
from tests.conftest import LocalServer
from tests.world.server import point_at

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.more]
KEY = "pl4nted/k3y+of=0urs"  # pragma: allowlist secret
SPELLED = (KEY, quote(KEY, safe=""), b64encode(f"{KEY}:".encode()).decode().rstrip("="))
SOURCES = ("eia", "usda_fas")  # the one has its key in the address, the other in a header


def held_in(folder: Path) -> list[str]:
    """Files under a folder that hold a spelling of the key, packed ones unpacked."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        contents = [path.read_bytes()]
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as bundle:
                contents = [bundle.extractfile(member).read() for member in bundle if member.isfile()]  # type: ignore[union-attr]
        if any(form.encode() in content for content in contents for form in SPELLED):
            found.append(str(path.relative_to(folder)))
    return found


def test_no_key_is_in_what_a_run_leaves_of_a_source_that_echoes_it(server: LocalServer, tmp_path: Path) -> None:
    def echo(request: Any) -> tuple[int, bytes, dict[str, str]]:
        told = f"refused: {SPELLED[0]} {SPELLED[1]} {SPELLED[2]} {request.path} {request.query}"
        return 403, told.encode(), {"X-Asked-With": KEY, "Content-Type": "text/plain"}

    server.by_request = echo
    registry = Path(shutil.copytree(PROJECT / "registry", tmp_path / "registry"))
    point_at(server.url, registry, pd.Timestamp("2024-01-02", tz="UTC"))
    home = tmp_path / "home"
    keys = dict.fromkeys(("EIA_API_KEY", "FAS_API_KEY"), KEY)
    environment = {**os.environ, **keys, "CBI_HOME": str(home), "CBI_REGISTRY": str(registry)}
    printed = b""
    for command in (*(["ingest", source] for source in SOURCES), ["support"]):
        done = subprocess.run(
            [sys.executable, "-m", "cli", *command], cwd=PROJECT, env=environment, capture_output=True, check=False
        )
        assert done.returncode == (0 if command == ["support"] else 1), done.stderr[-2000:]
        printed += done.stdout + done.stderr
    assert {request.path.split("/")[1] for request in server.requests} == set(SOURCES), "each was asked"
    assert b"refused" in printed and not any(form.encode() in printed for form in SPELLED)
    with sqlite3.connect(home / "prefect" / "prefect.db") as database:
        runs = database.execute("SELECT COUNT(*) FROM flow_run").fetchone()[0]
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert runs == len(SOURCES), "the database knows the runs"
    assert held_in(home) == []
    assert list(home.rglob("*.tar.gz")), "there is a bundle, and it was looked through"
