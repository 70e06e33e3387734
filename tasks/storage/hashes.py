"""Hashes of files, values and code: the identity of inputs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tasks.storage.regular import open_file


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes.

    Raises:
        OSError: it is not a regular file, or cannot be read.
    """
    with open_file(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def fingerprint(*parts: Any) -> str:
    """A short stable hash of JSON-able values: the identity of a run's inputs."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def code_fingerprint(*places: Path) -> str:
    """Hash of source files and folders that decide a result: a change of code or rules is a change of inputs."""
    files = [file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*")))]
    kept = [file for file in files if file.is_file() and "__pycache__" not in file.parts]
    return fingerprint([(file.name, sha256_of(file)) for file in kept])
