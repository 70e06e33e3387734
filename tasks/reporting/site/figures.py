"""Numbers as the pages show them: each carries its exact value, and the view, column and row that it comes from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd
from markupsafe import Markup, escape

MISSING = "not known"
FORMS: dict[str, Callable[[float], str]] = {
    "price": lambda value: f"{value:,.2f}",
    "change": lambda value: f"{value:+,.2f}",
    "pct": lambda value: f"{value:.1f}%",
    "pct_change": lambda value: f"{value:+.1f}%",
    "pct_fine": lambda value: f"{value:+.2f}%",
    "share": lambda value: f"{100 * value:.0f}%",
    "number": lambda value: f"{value:,.0f}",
    "plain": lambda value: f"{value:.0f}",
    "fine": lambda value: f"{value:.3f}",
    "decimal": lambda value: f"{value:.2f}",
    "usd": lambda value: f"-${-value:,.0f}" if value < 0 else f"${value:,.0f}",
    "short": lambda value: f"{value:,.4g}",
}
"""How a value is written, by name. A page names the form; the test of the site writes the warehouse's value with it."""


@dataclass(frozen=True)
class Row:
    """One row of a view, with the columns that tell it from the others."""

    view: str
    key: tuple[str, ...]
    values: Mapping[str, Any]

    def __getitem__(self, column: str) -> Any:
        """The value as a plain Python value; None where it is missing."""
        return plain(self.values[column])

    def has(self, column: str) -> bool:
        """Whether the row has a value there."""
        return self[column] is not None

    def n(self, column: str, form: str = "price", missing: str = MISSING) -> Markup:
        """The number as HTML: its text, exact value, view, column and row."""
        value = self[column]
        if value is None:
            return Markup('<span class="missing">{}</span>').format(missing)
        return Markup('<data value="{}" data-form="{}" data-view="{}" data-column="{}" data-key="{}">{}</data>').format(
            repr(float(value)), form, self.view, column, self._key(), FORMS[form](float(value))
        )

    def t(self, column: str, missing: str = MISSING) -> Markup:
        """The text, date or time of a column as HTML; every text is escaped."""
        value = self[column]
        return Markup('<span class="missing">{}</span>').format(missing) if value is None else escape(written(value))

    def text(self, column: str, form: str) -> str:
        """The number as plain text, for a label that cannot have markup."""
        value = self[column]
        return MISSING if value is None else FORMS[form](float(value))

    def _key(self) -> str:
        return json.dumps({name: written(self[name]) for name in self.key if self[name] is not None})


def plain(value: Any) -> Any:
    """A cell as a Python value; None for every kind of missing."""
    if value is None or value is pd.NA or value is pd.NaT or value != value:  # NaN differs from itself
        return None
    return value.item() if hasattr(value, "item") and not isinstance(value, pd.Timestamp) else value


def written(value: Any) -> str:
    """A date, time or text as a page shows it."""
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}" if value.tzinfo is None else f"{value:%Y-%m-%d %H:%M} UTC"
    return f"{value:%Y-%m-%d}" if hasattr(value, "strftime") else str(value)


def rows_of(view: str, frame: pd.DataFrame, *key: str) -> list[Row]:
    """The rows of a frame that was read from a view."""
    return [Row(view, key, values) for values in cast("list[dict[str, Any]]", frame.to_dict("records"))]


def first_row(view: str, frame: pd.DataFrame, *key: str) -> Row | None:
    """The first row, or None where there is none."""
    return next(iter(rows_of(view, frame.head(1), *key)), None)


def grouped(rows: list[Row], column: str) -> Iterator[tuple[Any, list[Row]]]:
    """The rows by the value of a column, in the order in which the values appear."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row[column], []).append(row)
    yield from found.items()
