"""Argentina's monthly crush (Secretariat of Agriculture): soybeans crushed and soybean oil made, in tonnes.

One page, provisional figures. Under the heading `GRANOS OLEAGINOSOS` (its letters may be spaced) follow, in the order
of the text, a year, a month in Spanish, and fourteen figures with points between thousands: seven oilseeds crushed,
then the oil of each; soybeans are the first of both. The sections `PELLETS` and `EXPELLERS` are not read. Tables are
nested and served twice, with the same figures. Bytes are Windows-1252, whatever the page declares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.pages import texts
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals

MONTHS = (
    "ENERO", "FEBRERO", "MARZO", "ABRIL", "MAYO", "JUNIO",
    "JULIO", "AGOSTO", "SEPTIEMBRE", "OCTUBRE", "NOVIEMBRE", "DICIEMBRE",
)  # fmt: skip
SECTION, OTHERS = "GRANOSOLEAGINOSOS", ("PELLETS", "EXPELLERS")
YEAR = re.compile(r"^(19|20)\d\d$")
FIGURE = re.compile(r"^(\d{1,3}(\.\d{3})*|\d+)$")
FIGURES = 14
OIL_SHARE = (0.15, 0.25)  # of the beans: about a fifth; another share means that columns were moved

Month = tuple[str, int, list[str]]  # first day, line of the page, figures


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The page."""
    content = http.get(spec.endpoint)
    if not _months(content):
        raise SourceUnavailable(f"{http.source}: {series}: expected the months, got '{http.quote(content)}'")
    yield Fetched(series=series, extension="html", content=content, url=spec.endpoint)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Months as served, dated at their first day, without separators."""
    found = _months(payload.path.read_bytes())
    if not found:
        raise SchemaDrift(f"{payload.name}: no month under `GRANOS OLEAGINOSOS`; the source renamed it")
    (field,) = spec.fields
    rows: list[dict[str, object]] = []
    refused: list[dict[str, object]] = []
    seen: dict[str, list[str]] = {}
    for day, line, figures in found:
        if seen.get(day) == figures:
            continue
        if day in seen:
            why = "has other figures where the page repeats it"
        elif len(figures) < FIGURES:
            why = f"has {len(figures)} figures instead of {FIGURES}"
        elif not _plausible(figures):
            why = f"has {figures[0]} t of soybeans and {figures[7]} t of their oil, so these are other columns"
        else:
            why = ""
        seen.setdefault(day, figures)
        if why:
            refused.append(refusal(payload.series, f"{payload.name}: {day[:7]} {why}", row=line, observation_date=day))
            continue
        for series, entry in spec.series.items():
            value = figures[int(entry.select["place"])]
            rows.append({"series": series, "observation_date": day, "row": line, field: value})
    if not rows:
        raise SchemaDrift(str(refused[0]["refused"]))
    twice = {str(one["observation_date"]) for one in refused}
    return with_refusals(pd.DataFrame([row for row in rows if row["observation_date"] not in twice]), refused)


def _plausible(figures: list[str]) -> bool:
    beans, oil = float(figures[0]), float(figures[7])
    return beans > 0 and OIL_SHARE[0] <= oil / beans <= OIL_SHARE[1]


def _months(content: bytes) -> list[Month]:
    """Every month of the section, with at most its fourteen figures."""
    lines = texts(content.decode("cp1252", errors="replace"))
    found: list[Month] = []
    inside, year = False, ""
    for place, line in enumerate(lines):
        name = "".join(line.split()).upper()
        if name.startswith(SECTION):
            inside = True
        elif name.startswith(OTHERS):
            inside = False
        elif inside and YEAR.match(line):
            year = line
        elif inside and year and name in MONTHS:
            figures = []
            for text in lines[place + 1 : place + 1 + FIGURES]:
                if not FIGURE.match(text):
                    break
                figures.append(text.replace(".", ""))
            found.append((f"{year}-{MONTHS.index(name) + 1:02d}-01", place + 1, figures))
    return found
