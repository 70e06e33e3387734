"""The buyer's purchases: one file of lines under CBI_HOME, to which lines are added and none is changed.

A line is one version of one purchase. An edit adds a version, a removal adds a version without content; what counts is
the newest version of each id. So the file says what was known when, and a backup of it is never replaced by less.

Invariants: the file is written whole and renamed under a lock, so that a kill leaves the old file or the new one.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from tasks import clock
from tasks.decision.needs import unit_per_cent_lb
from tasks.errors import PurchaseError
from tasks.registry import require_month
from tasks.storage.files import write_bytes
from tasks.storage.hashes import fingerprint
from tasks.storage.locks import exclusive
from tasks.storage.regular import open_file
from tasks.storage.zones import Zones

FORMAT = 1
LOCK = "purchases"
UNITS = ("cents/lb", "USD/short ton", "USD/tonne")
"""Units of a price. One in euros would need the rate of its day: write it in dollars."""


@dataclass(frozen=True)
class Purchase:
    """Pounds bought on a date at an all-in price, for some months, the same weight for each.

    ``row``: of an imported one, the identity of its line in the file.
    """

    need: str
    date: str
    pounds: float
    price_cents_lb: float
    months: tuple[str, ...]
    id: int = 0
    version: int = 1
    row: str | None = None


def purchase(
    *,
    need: str,
    date: str,
    pounds: str | float,
    price: str | float,
    months: str,
    unit: str,
    needs: Iterable[str],
    today: pd.Timestamp,
) -> Purchase:
    """A purchase from words, checked.

    Args:
        months: one or more, as ``2024-02`` or ``2024-02;2024-03``. needs: known ones. today: later dates are refused.

    Raises:
        PurchaseError: with every reason in one line.
    """
    problems: list[str] = []
    known = sorted(needs)
    if need not in known:
        problems.append(f"need {need!r} is not in registry/decision.yaml ({', '.join(known)})")
    day = pd.to_datetime(date, format="%Y-%m-%d", errors="coerce")
    if pd.isna(day) or f"{day:%Y-%m-%d}" != date:
        problems.append(f"date {date!r} is not a date; write it as 2024-01-05")
    elif day > today:
        problems.append(f"date {date} is in the future (today is {today:%Y-%m-%d})")
    weight, cents = _positive("pounds", pounds, problems), _positive("price", price, problems)
    if unit not in UNITS:
        problems.append(f"unit {unit!r} is not one of: {', '.join(UNITS)}")
    covered = [part.strip() for part in months.replace(",", ";").split(";") if part.strip()]
    if not covered:
        problems.append("no month is named; write it as 2024-02, several as 2024-02;2024-03")
    for month in covered:
        try:
            require_month(month)
        except ValueError as error:
            problems.append(str(error))
            continue
        if not pd.isna(day) and month < f"{day:%Y-%m}":
            problems.append(f"month {month} was over on {date}")
    problems += [f"month {month} is named twice" for month, count in Counter(covered).items() if count > 1]
    if problems:
        raise PurchaseError("; ".join(problems))
    factor = unit_per_cent_lb(unit, math.nan)
    return Purchase(need, date, weight, cents / factor, tuple(sorted(covered)))


def _positive(name: str, value: str | float, problems: list[str]) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0) or "_" in str(value):
        problems.append(f"{name} {str(value)!r} is not a number above zero; write it as 600000 or 47.85")
        return math.nan
    return number


class Ledger:
    """The purchases of a home."""

    def __init__(self, zones: Zones) -> None:
        self._zones = zones
        self.path = ledger_path(zones)

    def lines(self) -> list[dict[str, Any]]:
        """Every version of every purchase, in the order in which they were written.

        Raises:
            PurchaseError: a line is not readable; the message names it.
        """
        try:
            with open_file(self.path) as handle:
                text = handle.read().decode("utf-8")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise PurchaseError(f"{self.path} is not readable: {error}. Restore it from a backup") from error
        found = []
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                entry = json.loads(line)
                if entry["format"] != FORMAT:
                    raise ValueError(f"format {entry['format']}")
                if not entry["removed"]:
                    _purchase(entry)
                found.append(entry)
            except (ValueError, KeyError, TypeError) as error:
                raise PurchaseError(
                    f"{self.path} line {number} is damaged ({error}); correct it, or restore the file from a backup"
                ) from error
        return found

    def purchases(self) -> list[Purchase]:
        """The newest version of each purchase that was not removed, by id."""
        return [_purchase(entry) for _, entry in sorted(_newest(self.lines()).items()) if not entry["removed"]]

    def add(self, new: Purchase) -> Purchase:
        """Add a purchase. The same one added twice is two purchases."""
        return self.add_all([new])[0]

    def add_all(self, new: Sequence[Purchase]) -> list[Purchase]:
        """Add purchases, all or none. An imported one whose row was ever imported is left out."""
        with exclusive(self._zones, LOCK):
            lines = self.lines()
            rows = {entry.get("row") for entry in lines} - {None}
            newest = max((int(entry["id"]) for entry in lines), default=0)
            wanted = [one for one in new if one.row is None or one.row not in rows]
            added = [replace(one, id=newest + place, version=1) for place, one in enumerate(wanted, start=1)]
            if added:
                self._write([*lines, *map(_entry, added)])
        return added

    def edit(self, number: int, changed: Mapping[str, Any]) -> Purchase:
        """Add a version of a purchase. ``changed``: fields of ``Purchase`` with their new values.

        Raises:
            PurchaseError: there is no such purchase.
        """
        with exclusive(self._zones, LOCK):
            lines = self.lines()
            old = self._current(lines, number)
            new = replace(old, **changed)
            if new == old:
                return old
            new = replace(new, version=old.version + 1)
            self._write([*lines, _entry(new)])
        return new

    def remove(self, number: int) -> Purchase:
        """Remove a purchase: its lines stay, and no longer count.

        Raises:
            PurchaseError: there is no such purchase.
        """
        with exclusive(self._zones, LOCK):
            lines = self.lines()
            old = self._current(lines, number)
            self._write([*lines, _entry(replace(old, version=old.version + 1)) | {"removed": True}])
        return old

    def get(self, number: int) -> Purchase:
        """The newest version of a purchase.

        Raises:
            PurchaseError: there is no such purchase.
        """
        return self._current(self.lines(), number)

    def _current(self, lines: list[dict[str, Any]], number: int) -> Purchase:
        entry = _newest(lines).get(number)
        if entry is None or entry["removed"]:
            gone = "was removed" if entry else "is not in the ledger"
            raise PurchaseError(f"purchase {number} {gone}; `cbi purchases list` shows what is there")
        return _purchase(entry)

    def _write(self, lines: list[dict[str, Any]]) -> None:
        content = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
        write_bytes(self.path, content.encode())


def ledger_path(zones: Zones) -> Path:
    """The file of the ledger."""
    return zones.home / "purchases" / "ledger.jsonl"


def row_identities(rows: Sequence[Purchase]) -> list[Purchase]:
    """Rows of a file with their identities: the content, and the how-many-eth equal row it is."""
    seen: Counter[str] = Counter()
    out = []
    for one in rows:
        content = fingerprint(one.need, one.date, one.pounds, one.price_cents_lb, list(one.months))
        seen[content] += 1
        out.append(replace(one, row=f"{content}-{seen[content]}"))
    return out


def pounds_by_month(purchases: Iterable[Purchase]) -> dict[str, dict[str, float]]:
    """By need and month, the pounds bought."""
    found: dict[str, dict[str, float]] = {}
    for one in purchases:
        months = found.setdefault(one.need, {})
        for month in one.months:
            months[month] = months.get(month, 0.0) + one.pounds / len(one.months)
    return found


def _newest(lines: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {int(entry["id"]): entry for entry in lines}


def _entry(one: Purchase) -> dict[str, Any]:
    written = f"{clock.now().floor('s'):%Y-%m-%dT%H:%M:%SZ}"
    return {"format": FORMAT, "removed": False, "written": written, **vars(one), "months": list(one.months)}


def _purchase(entry: Mapping[str, Any]) -> Purchase:
    one = Purchase(
        need=str(entry["need"]),
        date=str(entry["date"]),
        pounds=float(entry["pounds"]),
        price_cents_lb=float(entry["price_cents_lb"]),
        months=tuple(str(month) for month in entry["months"]),
        id=int(entry["id"]),
        version=int(entry["version"]),
        row=entry.get("row"),
    )
    if not (one.pounds > 0 and one.price_cents_lb > 0 and one.months):
        raise ValueError("pounds, price or months are missing")
    return one
