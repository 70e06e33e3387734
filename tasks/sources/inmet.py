"""INMET, Brazil's weather service: hourly automatic stations in yearly zips, and the conventional stations of BDMEP.

Both parse to one daily schema. A day of an automatic station is the 24 readings stamped 00 to 23 UTC of its date;
INMET stamps the end of the hour measured, so it reaches from 23:00 UTC of the evening before to 23:00 UTC. A field
with fewer than 20 of them is missing that day: a partial sum would pass for a dry day. A conventional station has two
rows a day, dated as served: at 12 UTC rain (of the 24 h before) and minimum; at 00 UTC the maximum, which is that
date's own, not that of the day before (measured against the automatic station next to it, tests/sources/test_inmet.py).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, Window
from tasks.sources.zipped import open_zip, require_zip

YEARLY = "dadoshistoricos-"
HOURS_NEEDED = 20  # of 24
METADATA_LINES = 8
MISSING = ["-9999"]  # until 2018; an empty field since
# fields of BDMEP, in the words of its files; those of the hourly files are in the registry
BDMEP = {"precipitation_mm": "Precipitacao", "temperature_max_c": "TempMaxima", "temperature_min_c": "TempMinima"}
MAX_MEMBER_BYTES, MAX_TOTAL_BYTES = 64 * 2**20, 2 * 2**30  # a year of one station is 1 MB, of all 560 half a GB


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """The zip of each year of the window that belongs to this feed; years without a feed go with the newest one."""
    newest = max(feed for feed in spec.feeds if feed.startswith(YEARLY))
    for year in range(window.start.year, window.end.year + 1):
        folder = f"{YEARLY}{year}"
        if series != (folder if folder in spec.feeds else newest):
            continue
        if window.start > spec.first_date and year < window.end.year - 1:
            continue  # a closed year that is held; corrections come in the year after
        url = spec.endpoint.format(year=year)
        yield Fetched(series=folder, extension="zip", content=require_zip(http.download(url), url), url=url)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Daily rain, maximum and minimum of each registered station; ``row`` is the day's first line in the zip."""
    served = readings(payload, spec)
    days = served.groupby(["series", served["moment"].dt.strftime("%Y-%m-%d").rename("observation_date")], sort=False)
    needed = served["series"].str.startswith("bdmep.").map({True: 1, False: HOURS_NEEDED})
    enough = days[list(spec.fields)].count().ge(needed.groupby(days.ngroup()).first().to_numpy(), axis=0)
    daily = days.agg(
        row=("row", "first"),
        precipitation_mm=("precipitation_mm", "sum"),
        temperature_max_c=("temperature_max_c", "max"),
        temperature_min_c=("temperature_min_c", "min"),
    )
    daily["precipitation_mm"] = daily["precipitation_mm"].round(1)  # tenths are measured; their sum is no more exact
    return daily.where(enough.assign(row=True)[list(daily.columns)]).astype({"row": "int64"}).reset_index()


def readings(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """What the registered stations measured: ``series, moment`` (UTC, naive), ``row`` and the fields, -9999 as missing.

    Equal repeats of a reading count once; of contradicting ones none can be preferred, and the moment is missing.

    Raises:
        SchemaDrift: not a sound zip of INMET's files, or one that would unpack to more than is reasonable.
    """
    parts, lines = [], 0
    with open_zip(payload, max_bytes=MAX_TOTAL_BYTES) as archive:
        for member in _members(payload, archive):
            with archive.open(member) as handle:
                series = _station(payload, member, handle.read(2048))
            if series in spec.series:
                part = _table(payload, member, archive.read(member), spec)
                parts.append(part.assign(series=series, row=part["row"] + lines))
                lines += int(part["row"].iloc[-1])
    if not parts:
        raise SchemaDrift(f"{payload.name}: no registered station in it; expected {', '.join(spec.series)}")
    served = pd.concat(parts, ignore_index=True)
    served = served.drop_duplicates(["series", "moment", *spec.fields])
    return served[~served.duplicated(["series", "moment"], keep=False)]


def _members(payload: Payload, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The CSV members."""
    members = [member for member in archive.infolist() if member.filename.lower().endswith(".csv")]
    largest = max((member.file_size for member in members), default=0)
    if largest > MAX_MEMBER_BYTES:
        raise SchemaDrift(f"{payload.name}: a member of {largest} bytes, more than the {MAX_MEMBER_BYTES} allowed")
    return members


def _station(payload: Payload, member: zipfile.ZipInfo, head: bytes) -> str:
    """The series of a member: the station's code, or `bdmep.` and its name."""
    lines = _text(head).splitlines()
    if len(lines) > 1 and lines[0].startswith("Estacao;Data;Hora;"):
        return f"bdmep.{lines[1].split(';')[0].replace(' ', '')}"
    code = next((line.split(";")[1] for line in lines[:METADATA_LINES] if line.startswith("CODIGO (WMO):;")), None)
    if code is None:
        raise SchemaDrift(f"{payload.name}: {member.filename}: no line `CODIGO (WMO):` at its beginning")
    return code.strip()


def _table(payload: Payload, member: zipfile.ZipInfo, content: bytes, spec: SourceSpec) -> pd.DataFrame:
    """One member's readings: ``moment``, ``row`` (its line) and the fields."""
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
    if moment.isna().any():
        where = int(moment.isna().to_numpy().argmax())
        raise SchemaDrift(
            f"{payload.name}: {member.filename}: line {where + above + 2}: no date and hour in "
            f"{served[date].iloc[where]!r}, {served[hour].iloc[where]!r}"
        )
    values = {field: _numbers(served[name]) for field, name in wanted.items()}
    return pd.DataFrame({"moment": moment, "row": served.index + above + 2} | values)


def _numbers(column: pd.Series) -> pd.Series:
    """As numbers; where one cell is none, pandas has left the others as text with their comma."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    return pd.to_numeric(column.astype("string").str.replace(",", "."), errors="coerce").astype("float64")


def _hour(text: object) -> float | None:
    """0 to 23 from `07:00`, `0700 UTC`, `700` and `0`."""
    digits = str(text).removesuffix(" UTC").replace(":", "")
    return int(digits) // 100 if digits.isdigit() and int(digits) <= 2300 else None


def _text(content: bytes) -> str:
    """Latin-1, but for the odd file that somebody saved again as UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")
