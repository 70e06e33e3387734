"""The US soybean table of a WASDE report as plain text, as USDA issued it before there were CSV files and workbooks.

Fixed width: labels to the left of the header's first colon, numbers to its right. Three marketing years; the last one
has two columns, last month's projection and this month's. Labels wrap ("Area" over "Planted", "Yield per harvested"
over "acre"). A unit has its own line and applies until the next one. `*` marks intentions and trends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from tasks.errors import SchemaDrift
from tasks.sources.payloads import Payload

TITLE = "u.s. soybeans and products supply and use (domestic measure)"
DATED = re.compile(r"^WASDE-\d+\s+-?\s*([A-Z][a-z]+ \d{1,2}, \d{4})\s*$", re.MULTILINE)
YEAR = re.compile(r"\b(\d{4})/(?:\d\d)?(\d\d)\b")
FOOTNOTES = re.compile(r"(\s*\d+/)+$")
NUMBER = re.compile(r"^(?:-?[\d,]*\.?\d+|NA|--)$")
MORNINGS = range(1995, 2013)  # years of the 08:30 release; in no other year was it after 15:00


@dataclass(frozen=True)
class Balance:
    """``numbers`` has commodity, above, label, market_year, value, unit and row (line and column), as printed."""

    released_at: pd.Timestamp
    numbers: pd.DataFrame


def us_balance(payload: Payload, content: bytes) -> Balance:
    """The numbers of the US soybean table, this month's projections only.

    Raises:
        SchemaDrift: no date of issue, no such table, or a row without a number for every column.
    """
    text = content.decode("latin-1").replace("\r\n", "\n")
    dated = DATED.search(text)
    try:
        issued = pd.to_datetime(dated.group(1), format="%B %d, %Y") if dated else None
    except ValueError:
        issued = None
    if issued is None:
        raise SchemaDrift(f"{payload.name}: no line `WASDE-number month day, year` that says when it was issued")
    lines = text.split("\n")
    start = next((at for at, line in enumerate(lines) if FOOTNOTES.sub("", line.strip()).lower() == TITLE), None)
    rules = [at for at in range(start or 0, len(lines)) if lines[at].startswith("=====")][:3]
    if start is None or len(rules) < 3:
        raise SchemaDrift(f"{payload.name}: no complete table `{TITLE}`")
    edge, years = _header(payload, lines[rules[0] + 1 : rules[1]], issued)
    found = _rows(payload, lines, range(rules[1] + 1, rules[2]), edge, years)
    half_past_eight = pd.Timedelta(hours=8, minutes=30)
    moment = issued + (half_past_eight if issued.year in MORNINGS else pd.Timedelta(hours=15))
    return Balance(moment.tz_localize("America/New_York").tz_convert("UTC"), pd.DataFrame(found))


def _header(payload: Payload, lines: list[str], issued: pd.Timestamp) -> tuple[int, list[str]]:
    """Where labels end, and the marketing years in order. Raises if the columns are not as expected."""
    edges = {line.find(":") for line in lines}
    years = sorted({f"{begun}/{ended}" for line in lines for begun, ended in YEAR.findall(line)})
    begun = [int(year[:4]) for year in years]
    months = re.findall(r"[A-Z][a-z]+", lines[-1].rpartition(":")[2]) if lines else []
    in_order = len(edges) == 1 and begun == [*range(begun[0], begun[0] + 3)] if begun else False
    if not in_order or len(months) != 2 or not issued.month_name().startswith(months[1].rstrip(".")[:3]):
        raise SchemaDrift(
            f"{payload.name}: the table's columns are {years} and months {months}, expected three marketing years, "
            f"the last for the month before {issued:%B} and for {issued:%B}"
        )
    return edges.pop(), years


def _rows(payload: Payload, lines: list[str], body: range, edge: int, years: list[str]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    commodity, above, unit = "", "", ""
    for at in body:
        label = FOOTNOTES.sub("", lines[at][:edge].strip()).lower()
        printed = lines[at][edge + 1 :].strip()
        tokens = [token for token in printed.split() if set(token) != {"*"}]
        if not tokens or not any(character.isdigit() for character in printed):
            unit = printed or unit
            if label.startswith("soybean"):
                commodity = label.rstrip(": ")
            above = label or above
        elif label and all(NUMBER.match(token) for token in tokens):  # prices are ranges over two lines and not needed
            if len(tokens) != len(years) + 1:
                raise SchemaDrift(f"{payload.name}: line {at + 1} has {len(tokens)} numbers: {lines[at].strip()!r}")
            for year, token in zip(years, (*tokens[: len(years) - 1], tokens[-1]), strict=True):
                value = None if token in ("NA", "--") else token.replace(",", "")
                number = {"commodity": commodity, "above": above, "label": label, "market_year": year}
                found.append(number | {"value": value, "unit": unit, "row": (at + 1) * 10 + years.index(year)})
    return found
