"""``python -m evidence.cost_of_a_day``: the cost of daily, health and audit after 30, 300 and 1,500 live days.

The homes are built, not run. For each earlier session the payloads that a live run would have landed are cut from the
recorded archive (Yahoo and FRED's daily series per session, CFTC per week), and the warehouse has the rows of as many
sessions. Then two live days run against the world of tests/world; the second one is measured.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from evidence.command_line import command
from evidence.machine import stamp
from evidence.page import table, write_page
from evidence.processes import run
from tasks.calendar import sessions
from tasks.registry import DataSources, SourceSpec, load_sources
from tasks.settings import PROJECT, load_settings
from tasks.storage.zones import Zones
from tests.world.days import Home, instant_of
from tests.world.dialects import RECORDED, text
from tests.world.published import Published, published, trained_home, unpacked
from tests.world.server import World, point_at, served

LAST = "2023-12-29"
BUILT = ("yahoo", "fred", "cftc")
SHOWN = {
    "what": "{}",
    "days": "{:,}",
    "payloads": "{:,}",
    "seconds": "{:.1f}",
    "cpu_s": "{:.1f}",
    "peak_mb": "{:.0f}",
    "status": "{}",
}
PAGE = PROJECT / "docs" / "results" / "cost_of_a_day.md"


def build_home(home: Path, days: int, world: Published, sources: DataSources, trained: Path) -> int:
    """Build a home as after ``days`` live days, without the last two. Returns the number of payloads landed."""
    ends = list(sessions(last=LAST))[-days - 2 : -2]
    landed = 0
    for source in BUILT:
        spec = sources.source(source)
        for series in spec.fetched:
            for end, content, requested_from, newest in _payloads(world, source, series, spec, ends):
                landed += _land(home, source, series, spec, end, content, requested_from, newest)
    shutil.copytree(trained / "models", home / "models")
    shutil.copytree(trained / "warehouse", home / "warehouse")
    _fill_warehouse(home / "warehouse" / "cbi.duckdb", ends)
    return landed


def _payloads(
    world: Published, source: str, series: str, spec: SourceSpec, ends: list[pd.Timestamp]
) -> Iterator[tuple[pd.Timestamp, bytes, str, str]]:
    """The payloads of a series: all of it on the first day, later the requested window if it has new values."""
    whole = world.at(source, series, instant_of(ends[-1]))
    if source == "yahoo":
        whole = whole[whole["close"].notna()] if "close" in whole else whole.iloc[:0]
    if whole.empty:
        return
    due = world.first_published(source, series).reindex(whole.index)
    lines, before, first = _lines(source, series, whole, spec), b"", True
    dates = whole.index.to_numpy()
    for end in ends:
        stop = int((due <= instant_of(end)).sum())
        if not stop:
            continue
        start = 0
        if not first:
            since = pd.Timestamp(dates[stop - 1]) - pd.Timedelta(days=max(spec.refetch_days, 7))
            start = int(dates.searchsorted(since.to_datetime64()))
        content = _content(source, series, lines[start:stop])
        if content != before:
            requested_from = spec.first_date if first else pd.Timestamp(dates[start]).date()
            yield end, content, str(requested_from), str(pd.Timestamp(dates[stop - 1]).date())
        before, first = content, False


def _lines(source: str, series: str, whole: pd.DataFrame, spec: SourceSpec) -> list[str]:
    """One line per date, in the source's format."""
    if source == "yahoo":
        names = ["open", "high", "low", "close", "adj_close", "volume"]
        rows = whole.reindex(columns=names).to_numpy()
        return [
            f"{day:%Y-%m-%d}," + ",".join("" if pd.isna(cell) else text(cell) for cell in row)
            for day, row in zip(whole.index, rows, strict=True)
        ]
    if source == "fred":
        return [f"{day:%Y-%m-%d},{text(value)}" for day, value in whole["value"].items()]
    code = series.split(".")[-1]
    return [
        json.dumps(
            {"cftc_contract_market_code": code, "report_date_as_yyyy_mm_dd": f"{day:%Y-%m-%d}T00:00:00.000"}
            | {name: text(row[field]) for field, name in spec.fields.items() if pd.notna(row.get(field))}
        )
        for day, row in whole.iterrows()
    ]


def _content(source: str, series: str, lines: list[str]) -> bytes:
    if source == "cftc":
        return f"[{', '.join(lines)}]".encode()
    head = "Date,Open,High,Low,Close,Adj Close,Volume" if source == "yahoo" else f"observation_date,{series}"
    return ("\n".join([head, *lines]) + "\n").encode()


def _land(
    home: Path,
    source: str,
    series: str,
    spec: SourceSpec,
    end: pd.Timestamp,
    content: bytes,
    requested_from: str,
    newest: str,
) -> int:
    """One payload and its sidecar, as ``tasks.sources.payloads.land`` writes them."""
    at = instant_of(end) + pd.Timedelta(minutes=1)
    folder = home / "raw" / source / series
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{at:%Y-%m-%dT%H%M%S.%fZ}.{'json' if source == 'cftc' else 'csv'}"
    (folder / name).write_bytes(content)
    sidecar = {
        "source": source,
        "series": series,
        "file": name,
        "url": f"{spec.endpoint}?{series}",
        "fetched_at": at.isoformat(),
        "day_known_only": False,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "newest": newest,
        "asked_from": requested_from,
    }
    (folder / f"{name}.sidecar.json").write_text(json.dumps(sidecar, indent=1, sort_keys=True))
    return 1


def _fill_warehouse(file: Path, ends: list[pd.Timestamp]) -> None:
    """Fill tables that have rows per session: repeat the rows of the session that was run."""
    with duckdb.connect(str(file)) as connection:
        connection.register("days", pd.DataFrame({"day": [end.date() for end in ends]}))
        tables = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_columns() JOIN duckdb_tables() "
            "USING (database_name, schema_name, table_name) WHERE column_name = 'as_of' AND NOT duckdb_tables.internal"
        ).fetchall()
        # copies have no record; the first day adopts them, as in a home of an older version
        connection.execute("DELETE FROM forecasts.record_chain")
        for schema, table in tables:
            name = f'"{schema}"."{table}"'
            connection.execute(
                f"INSERT INTO {name} SELECT stored.* REPLACE (days.day AS as_of) FROM {name} AS stored, days "
                f"WHERE stored.as_of = (SELECT MAX(as_of) FROM {name}) AND days.day > stored.as_of"
            )


def measure(days: int, work: Path, trained: Path, recorded: Published, sources: DataSources) -> list[dict[str, Any]]:
    """The cost of a day, health and audit after so many days; the other columns describe the home."""
    shutil.rmtree(work, ignore_errors=True)
    home, registry = work / "home", work / "registry"
    payloads = build_home(home, days, recorded, sources, trained)
    shutil.copytree(PROJECT / "registry", registry)
    d1, d2 = sessions(last=LAST)[-2:]
    world = World(recorded, sources, instant_of(d1))
    rows: list[dict[str, Any]] = []
    with served(world) as url:
        point_at(url, registry, world.now)
        live = Home(home, registry, world)
        for what, now, words in (
            ("day that reads everything again", d1, ["-m", "cli", "daily"]),
            ("warm day", d2, ["-m", "cli", "daily"]),
            ("health", d2, ["-m", "cli", "health"]),
            ("audit", d2, ["-m", "cli", "audit"]),
            ("import prefect", d2, ["-c", "import prefect"]),
        ):
            world.now = instant_of(now)
            python = [sys.executable, *words]
            done = run(python, environment=live.environment(world.now), sampled=True, check=False)
            rows.append({"days": days, "payloads": payloads, "what": what, **asdict(done)})
    return rows


def write(path: Path, stamp: str, rows: list[dict[str, Any]]) -> Path:
    """docs/results/cost_of_a_day.md."""
    return write_page(
        path,
        "What a day costs after 30, 300 and 1,500 days",
        stamp,
        "What the homes are is described in evidence/cost_of_a_day.py. `cpu s` is the processor time of the command "
        "and its children: the machine's other work does not count in it. MB is their memory together, sampled.",
        table(
            ("what", "days before", "payloads before", "s", "cpu s", "MB", "exit"),
            [[form.format(row[name]) for name, form in SHOWN.items()] for row in sorted(rows, key=_order)],
        ),
    )


def _order(row: dict[str, Any]) -> tuple[str, int]:
    return row["what"], row["days"]


def main() -> int:
    """Command line."""
    parser = command("evidence.cost_of_a_day", __doc__, "", "--days 30")
    parser.add_argument("--days", type=int, nargs="+", default=[30, 300, 1500])
    given, before = parser.parse_args(), stamp("make cost-of-a-day")
    work, sources = load_settings().home / "cost", load_sources(PROJECT / "registry")
    archive = unpacked(work)
    trained = trained_home(work, archive, sessions(last="2023-09-01")[-1])
    recorded = published(Zones(work / "recorded"), archive, sources, RECORDED)
    rows: list[dict[str, Any]] = []
    for days in given.days:
        rows += measure(days, work / f"after-{days}", trained, recorded, sources)
        write(PAGE, before, rows)
        print(pd.DataFrame(rows[-5:]).drop(columns=["out", "log"]).to_string(index=False), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
