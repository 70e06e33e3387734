"""Structured logs: one JSON line per record in CBI_HOME/logs/<flow>-<date>.jsonl, with run, source, as_of, no secrets.

Each line is one append, so parallel processes never mix their lines. Only the owner can read the files.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

from tasks.command_line import visible
from tasks.secrets import redact
from tasks.storage.files import private_folder
from tasks.storage.zones import Zones

MAX_BYTES = 10 * 2**20
PIECES_KEPT = 5
"""How many older pieces per flow and day are kept beside the current file."""
DAYS_KEPT = 60
FORMATTER = logging.Formatter()

RunFields = Callable[[logging.LogRecord], Mapping[str, str]]

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 never mutated


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Add ``fields`` to every record inside: the current source, for example."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


class RedactSecrets(logging.Filter):
    """Removes secrets from a record's message and stack trace. Every record passes the filter.

    Control characters are escaped, because the text may come from a source.
    """

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: D102
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a badly formatted record may contain a key too
            message = f"{record.msg} {record.args}"
        if (clean := visible(redact(message))) != message:
            record.msg, record.args = clean, None
        if record.exc_info and not record.exc_text:
            record.exc_text = FORMATTER.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = visible(redact(record.exc_text))
        return True


REDACT = RedactSecrets()


class JsonLines(logging.Handler):
    """Appends each record to the file of its flow and day. ``run_fields`` gives flow, run and as_of of a record."""

    def __init__(self, folder: Path, run_fields: RunFields) -> None:
        super().__init__(logging.INFO)
        self.folder = folder
        self._run_fields = run_fields
        self.addFilter(REDACT)

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line. A full disk loses the line but does not stop the run."""
        try:
            now = datetime.fromtimestamp(record.created, UTC)
            run = self._run_fields(record)
            entry = {
                "at": now.isoformat(timespec="milliseconds"),
                "level": record.levelname,
                "logger": record.name,
                "message": record.getMessage(),
                **run,
                **_about.get(),
                **({"error": record.exc_text} if record.exc_text else {}),
                "process": record.process,
            }
            name = re.sub(r"[^A-Za-z0-9_-]+", "-", run.get("flow") or "command")
            line = redact(json.dumps(entry, default=str, ensure_ascii=False)) + "\n"
            append(self.folder / f"{name}-{now:%Y-%m-%d}.jsonl", line)
        except Exception:
            self.handleError(record)


def append(path: Path, line: str) -> None:
    """Add a line in one write. A file above ``MAX_BYTES`` is first renamed to ``.1``, ``.1`` to ``.2``, …"""
    with suppress(FileNotFoundError):
        if path.stat().st_size + len(line) > MAX_BYTES:
            _set_aside(path)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def _set_aside(path: Path) -> None:
    def piece(number: int) -> Path:
        return path.with_name(f"{path.stem}.{number}.jsonl") if number else path

    for number in range(PIECES_KEPT - 1, -1, -1):
        with suppress(FileNotFoundError):  # another process renamed it first
            piece(number).replace(piece(number + 1))


def keep_logs(zones: Zones, run_fields: RunFields, loggers: tuple[str, ...]) -> None:
    """Write the records of ``loggers`` under ``zones`` and redact secrets in all handlers. May be called repeatedly."""
    folder = private_folder(zones.logs)
    for old in folder.glob("*.jsonl"):
        with suppress(FileNotFoundError):
            if old.stat().st_mtime < time.time() - DAYS_KEPT * 86_400:
                old.unlink()
    for name in loggers:
        logger = logging.getLogger(name)
        json_handlers = [handler for handler in logger.handlers if isinstance(handler, JsonLines)]
        for elsewhere in (handler for handler in json_handlers if handler.folder != folder):
            logger.removeHandler(elsewhere)
        if not any(handler.folder == folder for handler in json_handlers):
            logger.addHandler(JsonLines(folder, run_fields))
    everyone = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    for handler in {handler for logger in everyone for handler in logger.handlers}:
        if REDACT not in handler.filters:
            handler.addFilter(REDACT)
