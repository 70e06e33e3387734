"""``python -m evidence.false_prices``: false prices, planted end to end, and true extremes that must be kept.

Each fault is written into the payloads of ZL=F of the recorded archive. The day is staged, gated and forecast as usual
(evidence/time_machine.py). The page shows where it was caught, what was published and the message; then the true
sessions that come out unconfirmed, and whether the largest true moves are kept.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pandas as pd

from evidence.command_line import command
from evidence.inputs import staged
from evidence.machine import stamp
from evidence.page import table, write_page
from evidence.time_machine import fit_champions, forecasts_of, opened, staged_once
from tasks.calendar import as_of_instant, sessions
from tasks.day import day_of
from tasks.errors import CbiError
from tasks.gates.confirmation import unconfirmed_closes
from tasks.model_store.folder import FolderStore
from tasks.registry import DataSources
from tasks.run import RunContext, code_version
from tasks.settings import PROJECT, load_settings
from tasks.staging.stage import Staged
from tasks.storage.zones import Zones

PAGE = PROJECT / "docs" / "results" / "false_prices.md"
DAY, BEFORE, PAST = "2023-12-29", "2023-12-28", "2023-12-20"
TRUE_CLOSE = 47.84
FIRST_YEAR = 2010
EXTREMES = (
    ("yahoo", "^VIX", "2020-03-16"),
    ("fred", "VIXCLS", "2020-03-16"),
    ("yahoo", "CL=F", "2020-04-20"),
    ("fred", "DCOILWTICO", "2020-04-20"),
    ("yahoo", "ZL=F", "2022-04-28"),
)
MOVES_OF = ("ZL=F", "CL=F", "ZS=F")
Rows = dict[str, list[str]]


@dataclass(frozen=True)
class Fault:
    """A false price: ``plant`` changes the rows of a payload (date: its fields, from the open on)."""

    name: str
    plant: Callable[[Rows], Rows]
    as_revision: bool = False


def _with(day: str, change: Callable[[list[str]], list[str]]) -> Callable[[Rows], Rows]:
    return lambda rows: {date: change(list(row)) if date == day else row for date, row in rows.items()}


def _close(value: str) -> Callable[[list[str]], list[str]]:
    return lambda row: [*row[:3], value, value, *row[5:]]


def _times(factor: float) -> Callable[[list[str]], list[str]]:
    return lambda row: [f"{float(cell) * factor:.4f}" if place < 5 else cell for place, cell in enumerate(row)]


def _late(rows: Rows) -> Rows:
    days = [f"{day:%Y-%m-%d}" for day in sessions(last=pd.Timestamp(DAY) + pd.Timedelta(days=7))]
    following = dict(pairwise(days))
    return {following.get(date, date): row for date, row in rows.items()}


def _past_close(rows: Rows) -> Rows:
    return _with(PAST, lambda row: _close(f"{float(row[3]) * 1.03:.2f}")(row))(rows)


FAULTS = (
    Fault("nothing planted", lambda rows: rows),
    Fault("only the close is wrong: 143.0", _with(DAY, _close("143.0"))),
    Fault("only the close is wrong: 76.5", _with(DAY, _close("76.5"))),
    Fault("only the close is wrong: 50.2, within the daily limit", _with(DAY, _close("50.2"))),
    Fault("the whole bar times 1.24", _with(DAY, _times(1.24))),
    Fault("the whole bar times 1.08", _with(DAY, _times(1.08))),
    Fault("the whole bar in dollars a pound", _with(DAY, _times(0.01))),
    Fault(
        "yesterday's bar served as today's", lambda rows: {**rows, **({DAY: rows[BEFORE]} if BEFORE in rows else {})}
    ),
    Fault("all dates a session late", _late),
    Fault("a past close moved by 3%, in every payload", _past_close),
    Fault("a past close moved by 3%, in a later payload", _past_close, as_revision=True),
    Fault("today's row cut to `47.8`", _with(DAY, lambda row: [*row[:3], "47.8"])),
)


def plant(origin: Path, fault: Fault) -> None:
    """Change the payloads of ZL=F under ``origin``; a revision is a separate payload, fetched that evening."""
    newest = max((origin / "yahoo" / "ZL=F").glob("*.csv"))
    for path in (origin / "yahoo" / "ZL=F").glob("*.csv"):
        head, *lines = path.read_text().splitlines()
        if not head.startswith("Date,Open,High,Low,Close"):
            continue
        rows = {date: cells.split(",") for date, _, cells in (line.partition(",") for line in lines)}
        changed = fault.plant(rows)
        if fault.as_revision:
            if path == newest:
                for at, served in (("T120000", rows), ("T233000", changed)):
                    recent = {date: row for date, row in served.items() if "2023-11-30" < date <= BEFORE}
                    _write(path.with_name(f"{DAY}{at}.000000Z.csv"), head, recent)
        elif changed != rows:
            _write(path, head, changed)


def _write(path: Path, head: str, rows: Rows) -> None:
    path.write_text("\n".join([head, *(",".join([date, *row]) for date, row in rows.items()), ""]))


def staged_with(run: RunContext, parts: Sequence[Staged], fault: Fault, folder: Path) -> list[Staged]:
    """The staged archive, with the fault in Yahoo's bars."""
    assert run.payloads
    origin = folder / "origin"
    shutil.copytree(run.payloads / "yahoo", origin / "yahoo")
    plant(origin, fault)
    alone = DataSources(sources={"yahoo": run.sources.sources["yahoo"]})
    [yahoo] = staged(Zones(folder / "home"), alone, run.as_of, origin=origin)
    return [yahoo if part.source == "yahoo" else part for part in parts]


def outcome(run: RunContext, parts: Sequence[Staged], store: FolderStore) -> tuple[str, str, str]:
    """Where the fault was caught, what was published, and the message."""
    try:
        day = day_of(run, parts)
        forecasts, _ = forecasts_of(run, day, store)
    except CbiError as error:
        return "staging: the run stops", "nothing; the last good forecast stays", str(error)
    week = forecasts.loc["1w"]
    published = f"{week['last_price']:.2f}, 1w {week['point']:.2f}"
    doubt = day.notes.unconfirmed.get("yahoo ZL=F", "")
    if doubt:
        return "confirmation", f"{published}, unconfirmed, degraded", doubt
    if week["degraded"]:
        return "staging", f"{published}, degraded", str(week["degraded_reason"])
    of_day = (day.quarantine["series"] == "ZL=F") & (day.quarantine["observation_date"] == run.as_of)
    refused = sorted(set(day.quarantine.loc[of_day, "rule"].astype(str)))
    return "nowhere", published, f"refused cells of the day: {', '.join(refused) or 'none'}"


def doubtful_sessions(run: RunContext, parts: Sequence[Staged]) -> list[tuple[str, str]]:
    """The true sessions since FIRST_YEAR whose close would be unconfirmed, and why."""
    entry = run.sources.sources["yahoo"].series["ZL=F"]
    [yahoo] = [part for part in parts if part.source == "yahoo"]
    bars = yahoo.observations[yahoo.observations["series"].isin(["ZL=F", *entry.held_against])]
    refused = yahoo.quarantine[yahoo.quarantine["series"] == "ZL=F"]
    found = []
    for day in sessions(first=f"{FIRST_YEAR}-01-01", last=run.as_of):
        since = day - pd.Timedelta(days=600)  # a year of sessions, and the 45 before it
        at = as_of_instant(day)
        known = bars[(bars["observation_date"] > since) & (bars["available_at"] <= at)]
        cells = refused[(refused["observation_date"] > since) & (refused["available_at"] <= at)]
        doubts = unconfirmed_closes(known, cells, run.sources, as_of=day)
        found += [(f"{day:%Y-%m-%d}", why) for why in doubts.values()]
    return found


def named_extremes(parts: Sequence[Staged]) -> list[tuple[str, str, str]]:
    """Each of EXTREMES and whether its close was kept."""
    of_source = {part.source: part.observations for part in parts}
    rows = []
    for source, series, day in EXTREMES:
        rows_of = of_source[source]
        rows_of = rows_of[(rows_of["series"] == series) & (rows_of["observation_date"] == day)]
        rows_of = rows_of[rows_of["field"].isin(["close", "value"])]
        rows.append((series, day, f"kept: {rows_of['value'].iloc[-1]:.2f}" if len(rows_of) else "refused"))
    return rows


def largest_moves(parts: Sequence[Staged]) -> list[tuple[object, ...]]:
    """The hundred largest moves of each series, as kept and refused."""
    [yahoo] = [part for part in parts if part.source == "yahoo"]
    closes = yahoo.observations[yahoo.observations["field"] == "close"]
    refused = yahoo.quarantine[
        (yahoo.quarantine["field"] == "close") & yahoo.quarantine["rule"].isin(["jump", "range"])
    ]
    rows: list[tuple[object, ...]] = []
    for series in MOVES_OF:
        good = closes[closes["series"] == series].assign(kept=True)
        bad = refused[refused["series"] == series].assign(kept=False)
        path = pd.concat([good, bad]).sort_values(["observation_date", "vintage"])
        path = path.drop_duplicates("observation_date", keep="last").set_index("observation_date")
        size = path["value"].diff().abs() / path["value"].shift().abs()
        largest = path.loc[size.sort_values().index[-101:].intersection(size.dropna().index)]
        lost = ", ".join(f"{day:%Y-%m-%d}" for day in largest.index[~largest["kept"]])
        rows.append((series, len(largest), largest["kept"].sum(), lost or "none", f"{size.max():.1%}"))
    return rows


def main() -> int:
    """Command line."""
    command("evidence.false_prices", __doc__, "").parse_args()
    before, settings = stamp("make false-prices"), load_settings()
    folder = settings.home / "time_machine" / code_version(settings)
    parts = staged_once(folder)
    run = replace(opened(), as_of=pd.Timestamp(DAY))
    store = FolderStore(folder / "false_prices")
    if not (folder / "false_prices" / "champions.json").exists():
        fit_champions(run, day_of(run, parts), store, sessions(last=run.as_of)[-63])
    rows = []
    for number, fault in enumerate(FAULTS, start=1):
        with tempfile.TemporaryDirectory(prefix="cbi-false-") as work:
            rows.append((fault.name, *outcome(run, staged_with(run, parts, fault, Path(work)), store)))
        print(f"{number} of {len(FAULTS)}: {', '.join(rows[-1][:3])}: {rows[-1][3][:200]}", flush=True)
    print(f"wrote {write(PAGE, before, rows, doubtful_sessions(run, parts), parts)}")
    return 0


def write(
    path: Path,
    stamp: str,
    planted: Sequence[tuple[str, str, str, str]],
    doubtful: Sequence[tuple[str, str]],
    parts: Sequence[Staged],
) -> Path:
    """docs/results/false_prices.md."""
    return write_page(
        path,
        "False prices, and true extremes",
        stamp,
        f"Each fault stands in the payloads of ZL=F of {DAY} (true close {TRUE_CLOSE}); the day is then staged, gated "
        "and forecast as every day.",
        table(("planted", "caught by", "published", "said"), planted),
        f"## True sessions since {FIRST_YEAR} that come out unconfirmed: {len(doubtful)}",
        "They are published, degraded, with the reason. At most 20 are accepted.",
        table(("session", "why"), doubtful),
        "## True extremes",
        table(("series", "session", "close"), named_extremes(parts)),
        table(("series", "largest moves", "kept", "refused", "largest"), largest_moves(parts)),
    )


if __name__ == "__main__":
    sys.exit(main())
