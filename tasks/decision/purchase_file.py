"""Purchases from a CSV file: every bad row is an error with its line, and then nothing is imported.

All or nothing, because a file of which a part was taken is hard to correct: the corrected file would be read again, and
nobody sees which rows are new. A file that was imported before adds nothing; a file that grew adds its new rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tasks.decision.ledger import Ledger, Purchase, purchase, row_identities
from tasks.errors import PurchaseError

COLUMNS = ("date", "pounds", "price", "months")
OPTIONAL = ("need", "unit")


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    rows: int
    added: tuple[Purchase, ...]


def import_file(ledger: Ledger, path: Path, *, needs: Iterable[str], need: str | None, today: pd.Timestamp) -> Imported:
    """Add the rows of a CSV file: ``date, pounds, price, months``, and where wanted ``need`` and ``unit``.

    Args:
        need: of rows without one. needs: known ones.

    Raises:
        PurchaseError: the file or some rows are invalid, with one line for each; nothing was imported.
    """
    rows, known = _rows(path), tuple(needs)
    good: list[Purchase] = []
    bad: list[str] = []
    for number, row in rows:
        if None in row or None in row.values():
            bad.append(f"line {number}: it does not have as many cells as the head")
            continue
        cells = {name: value.strip() for name, value in row.items()}
        try:
            good.append(
                purchase(
                    need=cells.get("need") or need or (known[0] if len(known) == 1 else ""),
                    date=cells["date"],
                    pounds=cells["pounds"],
                    price=cells["price"],
                    months=cells["months"],
                    unit=cells.get("unit") or "cents/lb",
                    needs=known,
                    today=today,
                )
            )
        except PurchaseError as error:
            bad.append(f"line {number}: {error}")
    if bad:
        raise _refused(path, bad, len(rows))
    return Imported(len(rows), tuple(ledger.add_all(row_identities(good))))


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows with the numbers of their lines; empty lines are passed over."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PurchaseError(f"{path} cannot be read: {error}. Save it as a CSV file in UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = [name.strip() for name in reader.fieldnames or ()]
    missing, strange = [c for c in COLUMNS if c not in names], [n for n in names if n not in (*COLUMNS, *OPTIONAL)]
    if missing or strange or len(set(names)) < len(names):
        wrong = f"no column {', '.join(missing)}" if missing else f"columns {', '.join(strange or names)}"
        raise PurchaseError(
            f"{path} line 1: {wrong}. The head is {','.join(COLUMNS)}, and where wanted {', '.join(OPTIONAL)}"
        )
    reader.fieldnames = names
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise PurchaseError(f"{path} line {reader.line_num}: {error}") from None


def _refused(path: Path, bad: list[str], rows: int) -> PurchaseError:
    error = PurchaseError(
        f"{path}: {len(bad)} of {rows} rows are invalid, and nothing was imported. Correct them and import it again"
    )
    for line in bad:
        error.add_note(line)
    return error
