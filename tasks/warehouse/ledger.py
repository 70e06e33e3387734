"""The bytes that BigQuery billed to this machine in this calendar month, and the limits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd

from tasks.errors import WarehouseError
from tasks.settings import Settings
from tasks.storage.files import private_folder
from tasks.storage.zones import Zones

GB = 10**9


class Ledger:
    """One line per job in ``warehouse/billed/<project>-<month>.jsonl``; months are UTC's, as on the bill."""

    def __init__(self, zones: Zones, project: str, settings: Settings) -> None:
        self._folder = zones.warehouse / "billed"
        self._project = project
        self._month_limit_bytes = int(settings.month_limit_gb * GB)
        self.query_limit_bytes = int(settings.query_limit_gb * GB)

    def _path(self) -> Path:
        return self._folder / f"{self._project}-{pd.Timestamp.now(tz='UTC'):%Y-%m}.jsonl"

    def billed_bytes(self) -> int:
        """The billed bytes of this month on this machine. A line that a kill cut off is not counted."""
        if not self._path().exists():
            return 0
        total = 0
        for line in self._path().read_text(encoding="utf-8").splitlines():
            try:
                total += int(json.loads(line)["bytes"])
            except (ValueError, KeyError):
                continue
        return total

    def allow(self, expected_bytes: int, purpose: str) -> None:
        """Check a job against the limits.

        Raises:
            WarehouseError: it would exceed the limit of one query or of the month.
        """
        if expected_bytes > self.query_limit_bytes:
            raise WarehouseError(
                f"this {purpose} would read {expected_bytes / GB:.2f} GB, more than CBI_QUERY_LIMIT_GB "
                f"({self.query_limit_bytes / GB:g}); name fewer columns or dates, or raise the limit"
            )
        billed = self.billed_bytes()
        if billed + expected_bytes > self._month_limit_bytes:
            raise WarehouseError(
                f"this month {billed / GB:.2f} GB were billed from this machine, and this {purpose} would add "
                f"{expected_bytes / GB:.2f}: more than CBI_MONTH_LIMIT_GB ({self._month_limit_bytes / GB:g}). "
                f"{self._path()} lists the jobs; raise the limit if they are as expected"
            )

    def note(self, job: str, billed_bytes: int, purpose: str) -> None:
        """Record a job. The line is written in one call, so that two processes do not mix theirs."""
        private_folder(self._folder)
        entry = {"at": f"{pd.Timestamp.now(tz='UTC'):%Y-%m-%dT%H:%M:%SZ}", "job": job, "bytes": billed_bytes}
        line = json.dumps({**entry, "purpose": purpose}) + "\n"
        handle = os.open(self._path(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
