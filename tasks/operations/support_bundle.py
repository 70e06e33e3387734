"""``cbi support``: the information that a helper needs, without secrets, in CBI_HOME/support/cbi-support-<time>.tar.gz.

Versions, settings, the registry's hashes, health, audit, the last logs and gate results. No data, no models, no
payloads.
"""

from __future__ import annotations

import io
import json
import os
import platform
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from tasks.errors import SecretFound
from tasks.operations.audit import KEEP, summarise, take_inventory
from tasks.operations.health import take_health
from tasks.operations.services import DATABASE, PASSWORD, WEBHOOK
from tasks.run import RunContext
from tasks.secrets import find_secret, redact, redact_values, spelled_in
from tasks.settings import PROJECT
from tasks.storage.files import private_folder, write_atomically
from tasks.storage.hashes import code_fingerprint, sha256_of
from tasks.warehouse.open import open_warehouse

LOG_FILES, LOG_TAIL_BYTES = 12, 200_000


def write_bundle(run: RunContext, folder: Path) -> Path:
    """Collect, redact, check again, and write a file that only its owner can read.

    A part that cannot be collected becomes a line with the reason.

    Raises:
        SecretFound: a key was still in it. Nothing was written.
    """

    names = [name for spec in run.sources.sources.values() for name in (*spec.secrets, *spec.optional_secrets)]
    for name in (*names, PASSWORD, DATABASE, WEBHOOK):
        find_secret(name)  # redacted from here on, also the keychain's
    parts: dict[str, Callable[[RunContext], object]] = {
        "versions.json": _versions,
        "settings.json": _settings,
        "registry.json": _registry,
        "health.json": _health,
        "audit.json": _audit,
        "gates.json": _gates,
    }
    members = {name: _part(make, run) for name, make in parts.items()} | _logs(run.zones.logs)
    for name, content in members.items():
        if spelled_in(content):
            raise SecretFound(f"{name} would have contained a key; nothing was written. Report which part")
    path = private_folder(folder) / f"cbi-support-{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.tar.gz"

    def pack(temporary: Path) -> None:
        temporary.touch(mode=0o600)
        with tarfile.open(temporary, "w:gz") as bundle:
            for name, content in members.items():
                entry = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
                entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
                bundle.addfile(entry, io.BytesIO(content))

    return write_atomically(path, pack)


def _part(make: Callable[[RunContext], object], run: RunContext) -> bytes:
    try:
        value = make(run)
    except Exception as error:  # a bundle is usually needed for a broken home
        value = {"not available": f"{type(error).__name__}: {error}"}
    return redact(json.dumps(redact_values(value), indent=1, default=str)).encode()


def _versions(run: RunContext) -> Mapping[str, object]:
    return {"code": run.code_version, **versions()}


def versions() -> Mapping[str, object]:
    """Python, the machine, and every installed package with its version."""
    packages = {found.metadata["Name"]: found.version for found in distributions()}
    return {
        "python": sys.version,
        "machine": platform.platform(),
        "processors": os.cpu_count(),
        "packages": dict(sorted(packages.items(), key=lambda item: str(item[0]).lower())),
    }


def _settings(run: RunContext) -> Mapping[str, object]:
    """Every setting; for keys only whether they are set."""
    names = {name for spec in run.sources.sources.values() for name in (*spec.secrets, *spec.optional_secrets)}
    return {
        "settings": {name: str(value) for name, value in run.settings.model_dump().items()},
        "keys": {name: "set" if find_secret(name) else "not set" for name in sorted(names)},
        "checkout": str(PROJECT),
    }


def _registry(run: RunContext) -> Mapping[str, str]:
    files = {path.name: sha256_of(path) for path in sorted(run.settings.registry.glob("*")) if path.is_file()}
    return {"all": code_fingerprint(run.settings.registry), **files}


def _health(run: RunContext) -> Mapping[str, Any]:
    return take_health(run).to_json()


def _audit(run: RunContext) -> Mapping[str, Any]:
    inventory = take_inventory(run)
    wanting = inventory[inventory["advice"] != KEEP].astype(object)
    return {
        "zones": summarise(inventory).to_dict("records"),
        "to do": wanting.where(wanting.notna(), None).to_dict("records"),
    }


def _gates(run: RunContext) -> object:
    rows = open_warehouse(run.settings).query(
        "SELECT * FROM ops.gate_results WHERE as_of = (SELECT MAX(as_of) FROM ops.gate_results)"
    )
    return rows.astype(object).where(rows.notna(), None).to_dict("records")


def _logs(folder: Path) -> dict[str, bytes]:
    """The ends of the newest log files."""
    newest = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)[-LOG_FILES:]
    members = {}
    for path in newest:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            whole = handle.read().decode(errors="replace")
        members[f"logs/{path.name}"] = redact(whole).encode()
    return members
