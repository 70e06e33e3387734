"""``python -m tests.world``: consecutive live days, against the recorded origin. Writes docs/results/world.md.

Champions are trained once, on the recorded origin; every live day uses them, so that a difference of a forecast is one
of its inputs. The page is written anew after every day.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from evidence.machine import stamp
from tasks.calendar import sessions
from tasks.registry import load_sources
from tasks.settings import PROJECT, load_settings
from tasks.storage.files import read_parquet, write_bytes
from tasks.storage.zones import Zones
from tests.world.days import (
    Day,
    Home,
    Recorded,
    WorldFailed,
    differences,
    instant_of,
    known_at_another_time,
    open_at,
    served_too_early,
)
from tests.world.dialects import RECORDED
from tests.world.published import published, stage, trained_home, unpacked
from tests.world.server import Trouble, World, point_at, served

FIRST = "2023-09-05"
OFFLINE_AFTER, OFFLINE_SESSIONS = 20, 21
KILLS = {5: (9.0,), 11: (14.0,), 17: (20.0,), 26: (12.0,), 40: (17.0,)}
"""Of some days, the seconds after which the first run is killed; the second one goes through."""
SERVED = (*RECORDED, "federal_register", "usda_wasde", "inmet", "usda_ers", "policy_events")
"""Sources that the world serves from the archive. Keys are set for none but EIA's."""
NOT_SERVED = ("inmet/bdmep.CURITIBA", "inmet/A807")
WHY = {
    "before the first date asked for": "The registry asks a source from its `first_date` on; the recorded file begins "
    "earlier.",
    "recorded in a form that is not asked live": "The archive has the series from another file (BDMEP, one station's "
    "export, adjusted closes without prices), which no live adapter asks for.",
    "vintage of a workbook": "A WASDE workbook fetched today counts as known today, because it may be a re-issue. The "
    "recorded file is named by its release day. The month's CSV, which carries the release, was never recorded for "
    "2021 on.",
    "volume 0 for none": "yfinance prints 0 where the chart has no volume. The recorded closes have none.",
    "known at another time": "The same value, known since another time: of a WASDE workbook see above; of a bar "
    "that was revised before the world began only the archive has the first vintage.",
    "value": "Both know a value, and they differ: the live home has the vintage that was served when it first asked. A "
    "revision counts from its fetch, which is after 18:00, not from the day it was made.",
}
FORECASTS = ["point", "p05", "p10", "p25", "p50", "p75", "p90", "p95"]


def troubles(days: list[pd.Timestamp]) -> tuple[Trouble, ...]:
    """An outage of a week, a day of refusals, a slow day and a changed header, as far as there are days for them."""
    at = [f"{day:%Y-%m-%d}" for day in days]
    planned = [
        ("fred", 7, 11, "outage"),
        ("yahoo", 13, 13, "limit"),
        ("cftc", 15, 15, "slow"),
        ("fred", 16, 16, "header"),
        ("eia", 25, 25, "limit"),
    ]
    return tuple(
        Trouble(source, at[first], at[min(last, len(at) - 1)], kind)
        for source, first, last, kind in planned
        if first < len(at)
    )


@dataclass
class Compared:
    """A live day beside the recorded origin."""

    day: Day
    cells: int
    kinds: dict[str, int] = field(default_factory=dict)
    panel_cells: int = 0
    panel_differs: dict[str, int] = field(default_factory=dict)
    forecast_gap_cents: float | None = None
    apart_panel_cells: int | None = None
    """Panel cells that differ once the observations that differ are the live home's on both sides."""
    apart_gap_cents: float | None = None


def plan(first: str, count: int) -> list[pd.Timestamp]:
    """The sessions of ``count`` live days, with 30 days offline among them."""
    days = list(sessions(first=first))[: count + OFFLINE_SESSIONS]
    return days[:OFFLINE_AFTER] + days[OFFLINE_AFTER + OFFLINE_SESSIONS :] if count > OFFLINE_AFTER else days[:count]


def explained(differ: pd.DataFrame, live: Home) -> pd.Series:
    """``kind``, or why a live fetch cannot know what the recorded origin does; docs/results/world.md says why each."""
    kind, source = differ["kind"].copy(), differ["source"]
    zero = (source == "yahoo") & (differ["field"] == "volume") & (differ["value_live"] == 0)
    kind[zero & (kind == "early")] = "volume 0 for none"
    first = source.map({name: pd.Timestamp(spec.first_date) for name, spec in live.world.sources.sources.items()})
    kind[(kind == "missing") & (differ["observation_date"] < first)] = "before the first date asked for"
    unserved = (source + "/" + differ["series"]).isin(NOT_SERVED) | (differ["field"] == "adj_close")
    kind[(kind == "missing") & unserved] = "recorded in a form that is not asked live"
    kind[(source == "usda_wasde") & kind.isin(["missing", "value"])] = "vintage of a workbook"
    return kind


def compare(live: Home, recorded: Recorded, day: Day, *, since: pd.Timestamp, forecasts: bool) -> Compared:
    """What the live home knows after a day, and what the recorded origin knows."""
    known, wanted = (part.observations(day.session) for part in (live, recorded))
    known, wanted = (
        part[part["source"].isin(SERVED) & (part["observation_date"] >= since)] for part in (known, wanted)
    )
    differ = differences(known, wanted)
    differ["kind"] = explained(differ, live)
    found = Compared(day, len(wanted), (differ["source"] + ": " + differ["kind"]).value_counts().to_dict())
    differ.to_csv(live.home.parent / f"{day.session:%Y-%m-%d}-differences.csv", index=False)
    if forecasts:
        published = live.forecasts(day.session).sort_values("horizon", ignore_index=True)
        held = read_parquet(live.home / "panel" / "panel.parquet")
        panel, expected = recorded.day(day.session)
        columns, cells = panel_differs(held, panel)
        found.panel_cells, found.panel_differs = cells, columns
        found.forecast_gap_cents = forecast_gap(published, expected)
        if since.year < 2000:
            other = known_at_another_time(known, wanted)
            for source, count in other["source"].value_counts().items():
                found.kinds[f"{source}: known at another time"] = int(count)
            apart = recorded.with_what_differs(pd.concat([differ, other]), live.staged(day.session))
            panel, expected = apart.day(day.session)
            columns, _ = panel_differs(held, panel)
            found.apart_panel_cells, found.apart_gap_cents = sum(columns.values()), forecast_gap(published, expected)
            print(f"{day.session:%Y-%m-%d} but for these observations: {columns}, {found.apart_gap_cents}", flush=True)
    return found


def panel_differs(held: pd.DataFrame, panel: pd.DataFrame) -> tuple[dict[str, int], int]:
    """How many of the last 60 sessions' cells differ, by column, and of how many."""
    held = held.iloc[-len(panel) :].reset_index(drop=True)
    recent = slice(-60, None)
    numbers = [name for name in panel.select_dtypes("number") if name in held]
    a, b = (frame[numbers].iloc[recent].to_numpy(dtype="float64") for frame in (held, panel))
    unlike = ~((np.abs(a - b) <= 1e-6 * np.abs(b) + 1e-9) | (np.isnan(a) & np.isnan(b)))
    columns = pd.Series(unlike.sum(axis=0), index=numbers)
    return columns[columns > 0].astype(int).to_dict(), int(a.size)


def forecast_gap(published: pd.DataFrame, expected: pd.DataFrame) -> float:
    """The largest difference of a published number and its expected one, cents/lb."""
    return float(np.abs(published[FORECASTS] - expected[FORECASTS]).to_numpy().max())


def never_early(found: Compared, served: list[str]) -> None:
    """Raises: WorldFailed: the live home knew, or was served, what nobody had published yet."""
    early = [f"{kind} {count}" for kind, count in found.kinds.items() if kind.endswith("early")]
    if early or served:
        raise WorldFailed(f"{found.day.session:%Y-%m-%d}: known before it was published: {[*early, *served][:5]}")


def page(done: list[Compared], first: Compared | None, *, planned: int, seconds: float, notes: list[str]) -> str:
    """docs/results/world.md."""
    days = [one.day for one in done]
    lines = [
        "# A world to run in",
        "",
        stamp("make world"),
        "",
        "One loopback server answers as every live source does, "
        "from the recorded archive, as of a simulated day. `CBI_NOW` sets the clock of each daily run, which is a "
        "process of its own. What is compared is described in tests/world/days.py.",
        "",
        f"- Days: {len(done)} of {planned}, {days[0].session:%Y-%m-%d} to {days[-1].session:%Y-%m-%d}, "
        f"{sum(one.killed for one in days)} kills, in {seconds / 60:.0f} minutes",
        f"- A day after the first: {np.median([one.seconds for one in days[1:] or days]):.0f} s (median), "
        f"{max(one.memory_mb for one in days):.0f} MB at most",
        f"- Days that ended with an error: {sum(one.code != 0 for one in days)}",
        *(f"- {note}" for note in notes),
        "",
        "| session | exit | s | killed | cells compared | observations that differ | panel cells that differ | "
        "largest gap of a forecast, cents/lb |",
        "|---|---:|---:|---:|---:|---|---|---:|",
    ]
    for one in done:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(one.kinds.items())) or "none"
        gap = "" if one.forecast_gap_cents is None else f"{one.forecast_gap_cents:.4f}"
        wide = "" if not one.panel_cells else f"{sum(one.panel_differs.values())} of {one.panel_cells:,}"
        lines.append(
            f"| {one.day.session:%Y-%m-%d} | {one.day.code} | {one.day.seconds:.0f} | {one.day.killed} | "
            f"{one.cells:,} | {kinds} | {wide} | {gap} |"
        )
    lines += [
        "",
        "With the observations that differ taken from the live home on both sides, and all others from the recorded "
        "origin, what is made of them:",
        "",
        "| session | panel cells that differ, of the last 60 sessions | largest gap of a forecast, cents/lb |",
        "|---|---:|---:|",
        *(
            f"| {one.day.session:%Y-%m-%d} | {one.apart_panel_cells} | {one.apart_gap_cents:.4f} |"
            for one in done
            if one.apart_gap_cents is not None
        ),
    ]
    lines += ["", "## What a live home cannot know, and why that is right", "| difference | why |", "|---|---|"]
    lines += [f"| {kind} | {why} |" for kind, why in WHY.items()]
    lines += [
        "",
        "A value that the live home knows and the recorded origin does not (`early`) fails the world. So does a "
        "payload with a value that the archive had not published when it was fetched.",
        "",
    ]
    if first:
        asked = first.day.asked
        lines += ["## The first live day of a fresh home", "", "| source | requests |", "|---|---:|"]
        lines += [f"| {source} | {count} |" for source, count in sorted(asked.items(), key=lambda pair: -pair[1])]
        lines += [f"| together | {sum(asked.values())} |"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.world", description=__doc__)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--first", default=FIRST)
    parser.add_argument("--work", type=Path, default=None, help="folder of the homes (default: CBI_HOME/world)")
    parser.add_argument("--forecasts-every", type=int, default=3, help="days between two comparisons of the forecasts")
    parser.add_argument("--minutes", type=float, default=1e9, help="end after so many minutes")
    parser.add_argument("--page", type=Path, default=PROJECT / "docs" / "results" / "world.md")
    given = parser.parse_args()
    work = given.work or load_settings().home / "world"
    archive, started = unpacked(work), time.monotonic()
    sources = load_sources(PROJECT / "registry")
    days = plan(given.first, given.days)
    models = trained_home(work, archive, sessions(last=days[0] - pd.Timedelta(days=1))[-1]) / "models"
    reference = Zones(work / "recorded")
    world = World(published(reference, archive, sources, RECORDED), sources, instant_of(days[0]), troubles(days))
    staged = [stage(reference, archive, sources, name) for name in SERVED]
    shutil.rmtree(work / "live", ignore_errors=True)
    registry = work / "live" / "registry"
    shutil.copytree(PROJECT / "registry", registry)
    shutil.copytree(models, work / "live" / "home" / "models")
    recorded = Recorded(open_at(reference.home, PROJECT / "registry"), staged, models)
    done: list[Compared] = []
    with served(world) as url:
        point_at(url, registry, world.now)
        live = Home(work / "live" / "home", registry, world)
        for number, session in enumerate(days):
            day = live.live(session, kills=KILLS.get(number, ()))
            if world.unrouted:
                raise WorldFailed(f"asked, and nobody knows the way: {sorted(set(world.unrouted))[:5]}")
            whole = number in (0, len(days) - 1)
            found = compare(
                live,
                recorded,
                day,
                since=pd.Timestamp("1900-01-01") if whole else session - pd.Timedelta(days=90),
                forecasts=day.code == 0 and (number % given.forecasts_every == 0 or whole),
            )
            done.append(found)
            print(f"{session:%Y-%m-%d} exit {day.code} {day.seconds:.0f} s {found.kinds}", flush=True)
            text = page(done, done[0], planned=len(days), seconds=time.monotonic() - started, notes=[])
            write_bytes(given.page, text.encode())
            never_early(found, served_too_early(live.run(session), world.published, since=instant_of(session)))
            if time.monotonic() - started > 60 * given.minutes:
                break
    return int(any(one.day.code for one in done))


if __name__ == "__main__":
    sys.exit(main())
