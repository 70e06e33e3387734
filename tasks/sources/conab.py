"""Conab's surveys of the Brazilian crop: every estimate of a crop year, from the first in October to the twelfth.

One file, Latin-1, `;`, a point in decimals, written anew at each survey, with a line per crop year, state, product and
survey (`id_levantamento`). It does not say when a survey came out: number 1 is October's, 12 the September's after it,
and each counts as known at the end of its month. Number 99 is a final figure without a date: it is left out. Brazil's
figure is the sum of its states; a survey with a figure that is no number, or a state twice, has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals
from tasks.sources.records import whole_csv

PRODUCT = "SOJA"
COLUMNS = ("ano_agricola", "uf", "produto", "id_levantamento")
YEAR = re.compile(r"^\d{4}/\d{2}$")
SURVEYS = range(1, 13)
BRAZIL = "brazil"
FIRST_MONTH = 10  # October: the first survey of a crop year


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The whole file."""
    content = http.get(spec.endpoint)
    if not content.partition(b"\n")[0].startswith(b"ano_agricola;"):
        raise SourceUnavailable(f"{http.source}: {series}: expected the surveys, got '{http.quote(content)}'")
    yield Fetched(series=series, extension="txt", content=content, url=spec.endpoint)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """One row per registered region, crop year and survey, dated at the crop year's first day."""
    served = whole_csv(payload, sep=";", dtype="str", keep_default_na=False, encoding="latin-1")
    served.columns = [str(name).strip() for name in served.columns]
    missing = [name for name in (*COLUMNS, *spec.fields.values()) if name not in served.columns]
    if missing:
        raise SchemaDrift(f"{payload.name}: no column {missing}; the source renamed it, or this is another table")
    text = served[[*COLUMNS, *spec.fields.values()]].fillna("").apply(lambda column: column.str.strip())
    number = pd.to_numeric(text["id_levantamento"], errors="coerce")
    rows = text[(text["produto"] == PRODUCT) & text["ano_agricola"].str.match(YEAR) & number.isin(SURVEYS)]
    if rows.empty:
        raise SchemaDrift(f"{payload.name}: no survey of {PRODUCT} by crop year; the source renamed it")
    found: list[dict[str, object]] = []
    refused: list[dict[str, object]] = []
    for (year, survey), part in rows.groupby(["ano_agricola", number[rows.index].astype(int)], sort=True):
        begins, first = f"{year[:4]}-{FIRST_MONTH}-01", int(part.index[0]) + 2
        values = {field: pd.to_numeric(part[name], errors="coerce") for field, name in spec.fields.items()}
        twice = part.loc[part["uf"].duplicated(), "uf"].tolist()
        wrong = [field for field, numbers in values.items() if numbers.isna().any()]
        if twice or wrong:
            why = f"{twice[0]} is in it twice" if twice else f"{wrong[0]} of a state is no number"
            text_of = f"{payload.name}: survey {survey} of {year}: {why}"
            refused.append(refusal(payload.series, text_of, row=first, observation_date=begins))
            continue
        shared = {"observation_date": begins, "row": first, "released_at": _known(int(year[:4]), int(survey))}
        for series in spec.series:
            state = series.upper()
            own = part["uf"] == state if series != BRAZIL else pd.Series(True, index=part.index)
            if own.any():
                figures = {field: float(numbers[own].sum()) for field, numbers in values.items()}
                found.append({"series": series, **shared, **figures})
    if refused and not found:
        raise SchemaDrift(str(refused[0]["refused"]))
    return with_refusals(pd.DataFrame(found), refused)


def _known(first_year: int, survey: int) -> pd.Timestamp:
    """18:00 in Brasilia on the last day of the survey's month."""
    month = pd.Period(year=first_year, month=FIRST_MONTH, freq="M") + survey - 1
    return (month.end_time.normalize() + pd.Timedelta(hours=18)).tz_localize("America/Sao_Paulo").tz_convert("UTC")
