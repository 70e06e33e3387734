"""INMET, Brazil's weather service: hourly automatic stations in yearly zips, and the conventional stations of BDMEP.

Both parse to one daily schema. A day of an automatic station is the 24 readings stamped 00 to 23 UTC of its date.
INMET stamps the end of each hour, so the day is from 23:00 UTC of the evening before to 23:00 UTC. A field with fewer
than 20 readings is missing that day: a partial sum would look like a dry day. A conventional station has two rows per
day, dated as served: at 12 UTC rain (of the 24 h before) and minimum; at 00 UTC the maximum of that same date, not of
the day before (checked against the automatic station next to it, tests/sources/test_inmet.py).
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift, SourceDown, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window, refusal, with_refusals
from tasks.sources.zipped import DAMAGE, open_zip, require_zip

YEARLY = "dadoshistoricos-"
HOURS_NEEDED = 20  # of 24
METADATA_LINES = 8
MISSING = ["-9999"]  # until 2018; an empty field since
# the column names of BDMEP; those of the hourly files are in the registry
BDMEP = {"precipitation_mm": "Precipitacao", "temperature_max_c": "TempMaxima", "temperature_min_c": "TempMinima"}
MAX_MEMBER_BYTES, MAX_TOTAL_BYTES = 64 * 2**20, 2 * 2**30  # one station-year is 1 MB, all 560 stations half a GB


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The zip of each year of the window that belongs to this feed; years without a feed belong to the newest one.

    If a year is not available, the others are fetched first and then it is reported.
    """
    newest = max(feed for feed in spec.feeds if feed.startswith(YEARLY))
    lost: list[str] = []
    for year in range(window.start.year, window.end.year + 1):
        folder = f"{YEARLY}{year}"
        if series != (folder if folder in spec.feeds else newest):
            continue
        if window.start > spec.first_date and year < window.end.year - 1:
            continue  # a past year is stored already; corrections are published only in the year after
        url = spec.endpoint.format(year=year)
        try:
            yield Fetched(series=folder, extension="zip", content=require_zip(http.download(url), url), url=url)
        except SourceDown:
            raise
        except SourceUnavailable as error:
            lost.append(str(error))
    if lost:
        raise SourceUnavailable("; ".join(lost))


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Daily rain, maximum and minimum of each registered station; ``row`` is the day's first line in the zip.

    An unreadable file loses only its station. A station without a file was out of order that year.
    """
    served, refused = _readings(payload, spec)
    days = served.groupby(["series", served["moment"].dt.strftime("%Y-%m-%d").rename("observation_date")], sort=False)
    needed = served["series"].str.startswith("bdmep.").map({True: 1, False: HOURS_NEEDED})
    enough = days[list(spec.fields)].count().ge(needed.groupby(days.ngroup()).first().to_numpy(), axis=0)
    daily = days.agg(
        row=("row", "first"),
        precipitation_mm=("precipitation_mm", "sum"),
        temperature_max_c=("temperature_max_c", "max"),
        temperature_min_c=("temperature_min_c", "min"),
    )
    daily["precipitation_mm"] = daily["precipitation_mm"].round(1)  # tenths are measured; a sum is not more exact
    rows = daily.where(enough.assign(row=True)[list(daily.columns)]).astype({"row": "int64"}).reset_index()
    return with_refusals(rows, refused)


def readings(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """The readings of the registered stations: ``series, moment`` (UTC, naive), ``row`` and fields, -9999 as missing.

    Equal repeats of a reading count once; contradicting repeats are all dropped.

    Raises:
        SchemaDrift: a damaged zip, no readable station in it, or a zip that would unpack beyond the limit.
    """
    return _readings(payload, spec)[0]


def _readings(payload: Payload, spec: SourceSpec) -> tuple[pd.DataFrame, list[dict[str, object]]]:
    """The readings, and the refusals of stations and lines that cannot be read.

    Other members (of other stations, of the packing system, empty ones) are ignored.
    """
    parts: list[pd.DataFrame] = []
    refused: list[dict[str, object]] = []
    lines = 0
    with open_zip(payload, max_bytes=MAX_TOTAL_BYTES) as archive:
        for member in archive.infolist():
            if not member.filename.lower().endswith(".csv"):
                continue
            series = _registered(member, archive, spec)
            if series is None:
                continue
            try:
                part, odd = _table(payload, member, _content(payload, member, archive), spec)
            except (SchemaDrift, ValueError, IndexError, *DAMAGE) as error:
                reason = (
                    str(error)
                    if isinstance(error, SchemaDrift)
                    else f"{payload.name}: {member.filename}: not a table of INMET ({error})"
                )
                refused.append(refusal(series, reason, whole=True))
                continue
            refused += [refusal(series, why, row=line + lines) for line, why in odd]
            if len(part):
                parts.append(part.assign(series=series, row=part["row"] + lines))
                lines += int(part["row"].iloc[-1])
    if not parts:
        nothing = f"{payload.name}: no registered station in it; expected {', '.join(spec.series)}"
        raise SchemaDrift(str(refused[0]["refused"]) if refused else nothing)
    served = pd.concat(parts, ignore_index=True)
    served = served.drop_duplicates(["series", "moment", *spec.fields])
    return served[~served.duplicated(["series", "moment"], keep=False)], refused


def _registered(member: zipfile.ZipInfo, archive: zipfile.ZipFile, spec: SourceSpec) -> str | None:
    """The registered series of a member, by its first lines or else by its name; None if it is not registered.

    INMET's file names `INMET_region_state_code_place_dates.CSV` identify an unreadable file.
    """
    try:
        with archive.open(member) as handle:
            series = _station(handle.read(2048))
    except DAMAGE:
        series = None
    if series is None:
        words = set(re.split(r"[^A-Z0-9]+", member.filename.rpartition("/")[2].upper()))
        hidden = member.filename.startswith("__MACOSX/") or member.filename.rpartition("/")[2].startswith("._")
        series = None if hidden else next((name for name in spec.series if name in words), None)
    return series if series in spec.series else None


def _content(payload: Payload, member: zipfile.ZipInfo, archive: zipfile.ZipFile) -> bytes:
    if member.file_size > MAX_MEMBER_BYTES:
        raise SchemaDrift(
            f"{payload.name}: {member.filename}: a member of {member.file_size} bytes, more than the "
            f"{MAX_MEMBER_BYTES} allowed"
        )
    return archive.read(member)


def _station(head: bytes) -> str | None:
    """The series of a member: the station's code, or `bdmep.` and its name; None if it has neither."""
    lines = _text(head).splitlines()
    if len(lines) > 1 and lines[0].startswith("Estacao;Data;Hora;"):
        return f"bdmep.{lines[1].split(';')[0].replace(' ', '')}"
    code = next((line.split(";")[1] for line in lines[:METADATA_LINES] if line.startswith("CODIGO (WMO):;")), None)
    return None if code is None else code.strip()


def _table(
    payload: Payload, member: zipfile.ZipInfo, content: bytes, spec: SourceSpec
) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """One member's readings: ``moment``, ``row`` (its line) and the fields; and its lines without a date and hour."""
    text = _text(content)
    conventional = text.startswith("Estacao;")
    above = 0 if conventional else METADATA_LINES
    header = text.split("\n", above + 1)[above].strip().split(";")
    wanted = BDMEP if conventional else spec.fields
    date, hour = header[1:3] if conventional else header[:2]
    missing = [name for name in wanted.values() if name not in header]
    if missing or not (date.upper().startswith("DATA") and hour.upper().startswith("HORA")):
        raise SchemaDrift(f"{payload.name}: {member.filename}: columns {header[:5]}, expected date, hour and {missing}")
    served = pd.read_csv(
        io.StringIO(text),
        sep=";",
        decimal="." if conventional else ",",
        skiprows=above,
        usecols=[date, hour, *wanted.values()],
        dtype={date: str, hour: str},
        na_values=MISSING,
    )
    dates = pd.to_datetime(
        served[date].str.replace("/", "-"), format="%d-%m-%Y" if conventional else "%Y-%m-%d", errors="coerce"
    )
    hours = served[hour].map({name: _hour(name) for name in served[hour].unique()})
    moment = dates + pd.to_timedelta(hours.astype("float64"), unit="h")
    undated = moment.isna().to_numpy()
    odd = [
        (
            int(at) + above + 2,
            f"{payload.name}: {member.filename}: line {at + above + 2}: no date and hour in "
            f"{served[date].iloc[at]!r}, {served[hour].iloc[at]!r}",
        )
        for at in undated.nonzero()[0]
    ]
    if odd and undated.all():
        raise SchemaDrift(odd[0][1])
    values = {field: _numbers(served[name]) for field, name in wanted.items()}
    return pd.DataFrame({"moment": moment, "row": served.index + above + 2} | values)[~undated], odd


def _numbers(column: pd.Series) -> pd.Series:
    """As numbers: with one bad cell, pandas leaves the whole column as text with decimal commas."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    return pd.to_numeric(column.astype("string").str.replace(",", "."), errors="coerce").astype("float64")


def _hour(text: object) -> float | None:
    """0 to 23 from `07:00`, `0700 UTC`, `700` and `0`."""
    digits = str(text).removesuffix(" UTC").replace(":", "")
    return int(digits) // 100 if digits.isdigit() and int(digits) <= 2300 else None


def _text(content: bytes) -> str:
    """Latin-1, except for the rare file that was saved again as UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")
