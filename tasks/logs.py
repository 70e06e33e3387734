"""Structured logs: a JSON line a record in CBI_HOME/logs/<flow>-<date>.jsonl, with run, source and as-of, no secrets.

A line is one append to a file that only its owner reads, so that processes that run beside each other never mix theirs.
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
"""Older pieces of one flow and day, beside the one that is written to."""
DAYS_KEPT = 60
FORMATTER = logging.Formatter()

RunFields = Callable[[logging.LogRecord], Mapping[str, str]]

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 a mapping that nobody changes


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Every record inside says ``fields``: the source that is worked on, for example."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


class RedactSecrets(logging.Filter):
    """Takes secrets out of a record: its message, and the stack trace of its error. It lets every record pass.

    Signs that a terminal would obey are written as their escapes, for a source may have sent them.
    """

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: D102
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # what does not fit its own format may hold a key as well as what does
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
    """Appends each record to the file of its flow and day. ``run_fields`` tells flow, run and as-of of a record."""

    def __init__(self, folder: Path, run_fields: RunFields) -> None:
        super().__init__(logging.INFO)
        self.folder = folder
        self._run_fields = run_fields
        self.addFilter(REDACT)

    def emit(self, record: logging.LogRecord) -> None:
        """One line. A disk that is full costs the line, not the run."""
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
    """Add a line in one write; a file grown over ``MAX_BYTES`` is first set aside as ``.1``, ``.1`` as ``.2``, …"""
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
        with suppress(FileNotFoundError):  # another process was quicker
            piece(number).replace(piece(number + 1))


def keep_logs(zones: Zones, run_fields: RunFields, loggers: tuple[str, ...]) -> None:
    """Write what ``loggers`` say under ``zones``, and take secrets out of what any handler shows. Repeat at will."""
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
