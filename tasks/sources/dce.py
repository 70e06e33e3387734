"""Dalian daily quotes: one English text file per day, one line per contract, double tabs, thousands separators.

Traps: the file does not contain its day, so it is taken from the requested address (or a recorded file's name); DCE
counts months from 0; lines that end in `Subtotal` or `Total` are sums; an untraded contract has 0 for open, high and
low and repeats a settlement as its close. The address is unofficial and has moved before.

Each contract is a series of its own. Which of them represents the product is decided later, not here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta

import pandas as pd

from tasks.errors import SchemaDrift, SourceDown, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals

HEADER = re.compile(rb"^\s*Contract\s*\t")
CONTRACT = re.compile(r"^[a-z]+\d{4}$")
REQUESTED_DAY = re.compile(r"year=(\d{4})&month=(\d+)&day=(\d+)")
FUTURES: dict[str, str | int] = {"dayQuotes.variety": "all", "dayQuotes.trade_type": 0}
GIVE_UP_AFTER = 2  # days without a file of quotes
TRADED = ("open", "high", "low")


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """One file per weekday; a holiday's file has no contracts and is not kept. A bad file loses only its day."""
    days = [window.start + timedelta(days=n) for n in range((window.end - window.start).days + 1)]
    lost: list[str] = []
    arrived = False
    for day in days:
        if day.weekday() >= 5:
            continue
        day_params = {"year": day.year, "month": day.month - 1, "day": day.day}
        query = "&".join(f"{name}={value}" for name, value in day_params.items())
        try:
            content = http.get(spec.endpoint, {**FUTURES, **day_params, "exportFlag": "txt"})
        except SourceDown:
            raise
        except SourceUnavailable as error:
            raise SourceUnavailable(f"{error}. {_moved(http.source)}") from None
        if not HEADER.match(content):
            lost.append(
                f"{http.source}: {day}: not the text file of quotes but '{http.quote(content)}'. {_moved(http.source)}"
            )
            if not arrived or len(lost) >= GIVE_UP_AFTER:  # a moved page serves no day at all
                break
            continue
        arrived = True
        if re.search(rb"(?m)^[a-z]+\d{4}\s*\t", content):
            yield Fetched(series=series, extension="txt", content=content, url=f"{spec.endpoint}?{query}")
    if lost:
        raise SourceUnavailable("; ".join(lost))


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """The day's registered contracts as served, without separators and without the zeros that mean no trade."""
    try:
        lines = payload.path.read_bytes().decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SchemaDrift(f"{payload.name}: not text ({error})") from None
    names = [cell.strip() for cell in re.split(r"\t+", lines[0].rstrip())] if lines else []
    missing = [name for name in ("Contract", *spec.fields.values()) if name not in names]
    if missing:
        raise SchemaDrift(f"{payload.name}: no {missing} in its columns {names[:12]}")
    day, rows = _day(payload), []
    refused: list[dict[str, object]] = []
    for number, line in enumerate(lines[1:], start=2):
        cells = [cell.strip() for cell in re.split(r"\t+", line.rstrip())]
        if cells[0] not in spec.series or not CONTRACT.match(cells[0]):
            continue
        if len(cells) != len(names):
            why = f"{payload.name}: {len(cells)} cells in row {number}, {len(names)} columns"
            refused.append(refusal(cells[0], why, row=number))
            continue
        served = dict(zip(names, cells, strict=True))
        values = {field: served[name].replace(",", "") for field, name in spec.fields.items()}
        quotes = {field: None if field in TRADED and value == "0" else value for field, value in values.items()}
        rows.append({"series": cells[0], "observation_date": day, "row": number, **quotes})
    if refused and not rows:
        raise SchemaDrift(str(refused[0]["refused"]))
    if not rows:
        raise SchemaDrift(f"{payload.name}: none of the registered contracts in its {len(lines)} lines")
    return with_refusals(pd.DataFrame(rows), refused)


def _day(payload: Payload) -> str:
    """The trading day of a file: the requested day, or the name of a recorded file."""
    requested = REQUESTED_DAY.search(payload.url)
    if requested is None:
        return payload.path.stem
    year, month, day = (int(part) for part in requested.groups())
    return date(year, month + 1, day).isoformat()


def _moved(source: str) -> str:
    return (
        f"If the page has moved, put its new address at sources.{source}.endpoint in registry/data_sources.yaml; "
        f"sina has the continuous contracts meanwhile"
    )
