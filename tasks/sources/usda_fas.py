"""USDA FAS export sales: soybeans (801), cake and meal (901) and soybean oil (902), week by week, in thousand tonnes.

Live payloads are JSON, one row per country and week, in tonnes, requested by marketing year (`marketYear` is the year
in which it ends). The rows do not name the year, so the stored document does. A week belongs to the marketing year in
which it ends; the old year's closing rows in the first week of a new year are left out. `all` is the sum over
countries. It is missing in a week without a row for a country whose last row in that year had shipments or open sales;
China without a row is missing too, because the API does not say that it omits zeros. Recorded payloads are the weekly
XML summary, totals only. During an outage the answer has status 200 and an `<ERROR>` element.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from html import unescape
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from tasks.errors import NothingNew, SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.secrets import redact
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals

KEY = "FAS_API_KEY"
FIRST_MONTH = {"801": 9, "901": 10, "902": 10}  # of the marketing year
CHINA = 5700
TONNES = 1  # unitId
ERROR = re.compile(r"<ERROR\b[^>]*>([^<]*[^<\s][^<]*)</ERROR>")
SUMMARY = "All numbers are in the Thousands"
SUMMARY_FIELDS = {
    "weekly_exports": "WeeklyExports",
    "accumulated_exports": "AccumulatedExports",
    "outstanding_sales": "OutstandingSales",
    "gross_new_sales": "NewSales",
    "net_sales": "NetSales",
    "total_commitment": "TotalCommitment",
    "next_year_outstanding_sales": "NextMKTYearOutstandingSales",
    "next_year_net_sales": "NextMKTYearNetSales",
}


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """Every marketing year of the window as one document; years before the first one with rows may be empty."""
    code = series.rpartition(".")[2]
    header = "API_KEY" if "/OpenData/" in spec.endpoint else "X-Api-Key"
    years: list[dict[str, Any]] = []
    requested = range(_market_year(code, window.start), _market_year(code, window.end) + 1)
    for year in requested:
        url = f"{spec.endpoint}/exports/commodityCode/{code}/allCountries/marketYear/{year}"
        try:
            body = http.get(url, headers={header: http.secret(KEY) or ""})
        except SourceUnavailable:  # keep the years before it: the next window continues there
            yield from _landed(series, code, years, spec, http)
            raise
        try:
            rows = json.loads(body)
        except ValueError:
            rows = None
        if not isinstance(rows, list):
            shown = http.quote(_outage(body) or body)
            yield from _landed(series, code, years, spec, http)
            raise SourceUnavailable(f"{http.source}: {series} {year}: expected the JSON array, got '{shown}'")
        if not rows and years and year != requested[-1]:
            raise SourceUnavailable(f"{http.source}: {series} {year}: no rows, though the year before has some")
        if rows:
            years.append({"marketYear": year, "rows": rows})
    if not years:
        raise NothingNew(f"{http.source}: {series}: no rows for marketing years {requested[0]} to {requested[-1]}")
    yield from _landed(series, code, years, spec, http)


def _landed(series: str, code: str, years: list[dict[str, Any]], spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The marketing years so far as one document; nothing if there are none."""
    if years:
        content = redact(json.dumps({"commodityCode": int(code), "years": years}), http.secrets).encode()
        url = f"{spec.endpoint}/exports/commodityCode/{code}/allCountries"
        yield Fetched(series=series, extension="json", content=content, url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Weeks dated at the Thursday on which they end, in thousand tonnes."""
    content = payload.path.read_bytes()
    if outage := _outage(content):
        raise SchemaDrift(f"{payload.name}: an outage of the service, not data: {outage}")
    rows = _of_summary(payload, content, spec) if payload.path.suffix == ".xml" else _of_api(payload, content, spec)
    ours = rows["series"].isin(spec.series)
    if "refused" in rows:
        ours |= rows["refused"].notna()
    return rows[ours].reset_index(drop=True)


def _outage(content: bytes) -> str:
    """The text of an `<ERROR>` element; empty if there is none."""
    found = ERROR.search(content[:100_000].decode(errors="replace"))
    return unescape(found.group(1)).strip() if found else ""


def _market_year(code: str, day: date) -> int:
    return day.year + (day.month >= FIRST_MONTH[code])


def _of_api(payload: Payload, content: bytes, spec: SourceSpec) -> pd.DataFrame:
    try:
        document = json.loads(content)
        code = str(document["commodityCode"])
        frames = [pd.DataFrame(year["rows"]).assign(marketYear=int(year["marketYear"])) for year in document["years"]]
        served = pd.concat(frames, ignore_index=True)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SchemaDrift(f"{payload.name}: not marketing years with rows ({type(error).__name__})") from None
    needed = ("commodityCode", "countryCode", "weekEndingDate", "unitId", *spec.fields.values())
    missing = [name for name in needed if name not in served.columns]
    if missing or code not in FIRST_MONTH:
        raise SchemaDrift(f"{payload.name}: no {missing} in the rows of commodity {code}")
    if set(served["commodityCode"].astype(str)) != {code} or set(served["unitId"].astype(str)) != {str(TONNES)}:
        raise SchemaDrift(f"{payload.name}: rows of another commodity than {code}, or not in tonnes (unitId {TONNES})")
    tonnes = served[list(spec.fields.values())].apply(pd.to_numeric, errors="coerce")
    values = (tonnes / 1000).set_axis(list(spec.fields), axis=1)
    day = served["weekEndingDate"].astype(str).str.slice(0, 10)
    ends = pd.to_datetime(day, format="%Y-%m-%d", errors="coerce")
    refused = [
        refusal(
            payload.series,
            f"{payload.name}: row {at + 1}: a weekEndingDate that is not a date: {day[at]!r}",
            row=at + 1,
        )
        for at in ends.index[ends.isna()]
    ]
    if ends.isna().all():
        raise SchemaDrift(str(refused[0]["refused"]))
    rows = values.assign(observation_date=day, country=served["countryCode"].astype(str), row=served.index + 1)
    own = ends.dt.year + (ends.dt.month >= FIRST_MONTH[code]) == served["marketYear"]
    rows, year = rows[own], served["marketYear"][own]
    china = rows[rows["country"] == str(CHINA)].assign(series=f"{code}.china")
    total = pd.concat([_totals(part, list(spec.fields)) for _, part in rows.groupby(year)] or [rows])
    found = pd.concat([total.assign(series=f"{code}.all"), china], ignore_index=True)
    return with_refusals(found[["series", "observation_date", "row", *spec.fields]], refused)


def _totals(rows: pd.DataFrame, fields: list[str]) -> pd.DataFrame:
    """The sum over countries per week of one marketing year; missing in a week without a country or a value."""
    found: list[dict[str, object]] = []
    known: set[str] = set()  # countries with shipments or open sales
    for day, week in rows.groupby("observation_date"):
        whole = known <= set(week["country"]) and week["country"].is_unique
        sums = week[fields].sum(skipna=False).round(6)
        totals = {field: sums[field] if whole else None for field in fields}
        found.append({"observation_date": day, "row": week["row"].iat[0], **totals})
        traded = (week[["accumulated_exports", "outstanding_sales"]] != 0).any(axis=1)
        known = known - set(week["country"]) | set(week.loc[traded, "country"])
    return pd.DataFrame(found)


def _of_summary(payload: Payload, content: bytes, spec: SourceSpec) -> pd.DataFrame:
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise SchemaDrift(f"{payload.name}: declares entities: no report does, and they may unpack to any size")
    try:
        report = ElementTree.fromstring(content)  # noqa: S314 safe without entities
    except ElementTree.ParseError as error:
        raise SchemaDrift(f"{payload.name}: not XML ({error})") from None
    if SUMMARY not in report.get("ReportTitle", ""):
        raise SchemaDrift(f"{payload.name}: no report whose title says `{SUMMARY}`")
    needed = ("PeriodEndingDate", *SUMMARY_FIELDS.values())
    found = []
    for number, line in enumerate(report.iterfind(".//{*}Details"), start=1):
        code = line.get("CommodityCode", "")
        missing = [name for name in needed if name not in line.attrib]
        if missing:
            raise SchemaDrift(f"{payload.name}: no {missing} in line {number}")
        if code in FIRST_MONTH:
            ended = pd.to_datetime(line.get("PeriodEndingDate", ""), format="%m/%d/%Y", errors="coerce")
            values = {field: line.get(name) for field, name in SUMMARY_FIELDS.items()}
            day = None if pd.isna(ended) else f"{ended:%Y-%m-%d}"
            found.append({"series": f"{code}.all", "observation_date": day, "row": number, **values})
    absent = sorted(set(FIRST_MONTH) - {str(line["series"]).partition(".")[0] for line in found})
    if absent:
        raise SchemaDrift(f"{payload.name}: no line of commodity {', '.join(absent)}")
    return pd.DataFrame(found)
