"""``python -m evidence.time_machine``: the daily run on past days and with dead sources; what stops, degrades, says so.

Two questions are asked of the recorded archive. Days: the last session of each year from 2005 to 2023, with the models
that are served today fitted on that day's own rows. Outages: at three dates each source dead for 30, 90 and 400
sessions (everything of it that became known later is taken away), and pairs of sources dead for 90, with models that
were fitted on sound data a quarter before.

The run is tasks/day.py with every gate and the forecast, without Prefect and without a warehouse. Of each family only
the final fit is made (no folds, so no calibration and no promotion): what is asked is whether a run stops and what it
says, not how good it is. A result is written down when it is there, and a rerun with the same code goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from tasks.calendar import as_of_instant, sessions
from tasks.day import Day, day_of, gate_tables
from tasks.errors import CbiError
from tasks.evaluation.calibration import calibrate
from tasks.exports import training_table, write_exports
from tasks.forecasting.forecast import forecast_day, problem_of
from tasks.gates.run import GateReport, pass_gate
from tasks.gates.tables import training_tables
from tasks.model_store.folder import FolderStore
from tasks.models.catalogue import BASELINE
from tasks.models.forecaster import forecaster
from tasks.registry import load_models, load_regime_calendar, load_surface
from tasks.run import RunContext, code_version, open_run
from tasks.settings import PROJECT, load_settings
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import RECORDED
from tasks.staging.stage import Staged, stage_source
from tasks.storage.files import write_bytes, write_json
from tasks.storage.zones import Zones

PAGE = PROJECT / "docs" / "results" / "time_machine.md"
SERVED = {"1w": BASELINE, "1m": "har", "3m": "ridge", "6m": "ridge", "12m": "har_seasonal"}
"""The champion of each horizon in these runs: those of README's table, and HAR at 1m, so that it is seen too."""
YEARS = range(2005, 2024)
OUTAGE_DATES = ("2012-06-29", "2018-03-29", "2023-12-29")
OUTAGES = (30, 90, 400)
PAIRS_FOR = 90
PRICE, BESIDE_PRICE = "yahoo ZL=F", "yahoo but ZL=F"
PAIRED = (BESIDE_PRICE, "fred", "cftc", "eia", "sina", "usda_wasde", "inmet")
TRAINED_BEFORE = 63  # sessions between the training and an outage's date: as old as a champion may be


@dataclass(frozen=True)
class Case:
    """One run: its date, and which sources are dead for how many sessions before it."""

    as_of: str
    dead: tuple[str, ...] = ()
    for_sessions: int = 0

    @property
    def name(self) -> str:
        """What it is known by in the results."""
        return f"{self.as_of} {' + '.join(self.dead)} {self.for_sessions}".strip()


@dataclass(frozen=True)
class Outcome:
    """What a run came to: ``stopped`` or ``degraded`` (by horizon) say why, ``notes`` what was set aside."""

    case: Case
    stopped: str
    degraded: dict[str, str]
    families: dict[str, str]
    notes: tuple[str, ...]
    warnings: int
    seconds: float

    @property
    def state(self) -> str:
        """In one word."""
        return "stopped" if self.stopped else "degraded" if self.degraded else "sound"


def cut(staged: Sequence[Staged], dead: Sequence[str], since: pd.Timestamp) -> list[Staged]:
    """What is staged, less what became known of the dead sources after 18:00 Chicago of ``since``."""
    instant = as_of_instant(since)

    def kept(frame: pd.DataFrame, source: str) -> pd.DataFrame:
        names = {name for name in dead if name.split(" ")[0] == source}
        gone = frame["available_at"] > instant
        if names == {PRICE}:
            gone &= frame["series"] == "ZL=F"
        elif names == {BESIDE_PRICE}:
            gone &= frame["series"] != "ZL=F"
        return frame[~gone].reset_index(drop=True) if names else frame

    return [
        replace(
            part,
            observations=kept(part.observations, part.source),
            quarantine=kept(part.quarantine, part.source),
            documents=None if part.documents is None else kept(part.documents, part.source),
        )
        for part in staged
    ]


def fit_champions(run: RunContext, day: Day, store: FolderStore, trained_as_of: pd.Timestamp) -> None:
    """Fit, store and promote SERVED, and the baseline at every horizon, on what was known by ``trained_as_of``."""
    models = load_models(run.settings.registry, run.features)
    surface, levels = load_surface(run.settings.registry, run.features), tuple(run.horizons.quantiles)
    regimes = load_regime_calendar(run.settings.registry)
    for horizon, served in SERVED.items():
        sessions_ahead = run.horizons.horizons[horizon].sessions
        table = training_table(day.features, day.labels, regimes, horizon=horizon, columns=run.features.production())
        known = table[(table["target_date"] <= trained_as_of) & table["target_log_return"].notna()]
        for family in dict.fromkeys((BASELINE, served)):
            columns = list(models.columns(family, run.features, surface))
            model = forecaster(family)(problem_of(horizon, run.horizons))
            rows = known.reset_index(drop=True)
            model.fit(rows[columns], rows["target_log_return"])
            _, none = calibrate(pd.DataFrame(), levels, horizon=sessions_ahead, step=5)
            with tempfile.TemporaryDirectory(prefix="cbi-version-") as folder:
                model.save(Path(folder))
                write_json(Path(folder) / "calibration.json", none)
                metadata = {
                    "family": family,
                    "horizon": horizon,
                    "sessions": sessions_ahead,
                    "horizons": {name: h.sessions for name, h in run.horizons.horizons.items()},
                    "identity": f"{trained_as_of:%Y-%m-%d}",
                    "run": "time machine",
                    "trained_as_of": f"{trained_as_of:%Y-%m-%d}",
                    "columns": columns,
                }
                version = store.add(Path(folder), metadata, {})
            if family == served:
                store.promote(version, run="time machine")


def gates_passed(run: RunContext, day: Day) -> list[GateReport]:
    """What each gate of the day found; one that blocks raises.

    Raises:
        GateFailed: with gate, suite, column and examples.
    """
    tables = gate_tables(run, day)
    return [pass_gate(run, gate, given, set_aside=day.set_aside[gate]) for gate, given in tables.items()]


def forecast_of(run: RunContext, day: Day, store: FolderStore) -> pd.DataFrame:
    """The day's forecasts, by the champions of ``store``."""
    return forecast_day(
        day.features,
        day.panel,
        store,
        registry=run.features,
        horizons=run.horizons,
        as_of=run.as_of,
        data_snapshot="evidence",
        code_version=run.code_version,
        notes=day.notes,
    ).forecasts


def run_day(run: RunContext, staged: Sequence[Staged], store: FolderStore | None, *, exports: bool = False) -> Outcome:
    """The run of one session: every table, every gate, the forecast. ``store``: None fits the day's own champions."""
    begun, case = time.monotonic(), Case(f"{run.as_of:%Y-%m-%d}")
    reports: list[GateReport] = []
    notes: tuple[str, ...] = ()
    with tempfile.TemporaryDirectory(prefix="cbi-day-") as folder:
        try:
            day = day_of(run, staged)
            notes = tuple(f"{subject}: {told}" for subject, told in day.notes.lines())
            reports += gates_passed(run, day)
            if exports:
                write_exports(
                    Path(folder) / "exports",
                    day.features,
                    day.labels,
                    load_regime_calendar(run.settings.registry),
                    registry=run.features,
                    horizons=run.horizons,
                    as_of=run.as_of,
                    inputs="time machine",
                )
                files = training_tables(Path(folder) / "exports", run.features, run.horizons)
                reports.append(pass_gate(run, "PRE_TRAINING", files))
            if store is None:
                store = FolderStore(Path(folder) / "models")
                fit_champions(run, day, store, run.as_of)
            forecasts = forecast_of(run, day, store)
        except CbiError as error:
            return Outcome(case, f"{type(error).__name__}: {error}", {}, {}, notes, 0, time.monotonic() - begun)
    by_horizon = forecasts.set_index("horizon")
    return Outcome(
        case,
        stopped="",
        degraded={str(h): str(why) for h, why in by_horizon["degraded_reason"].items() if isinstance(why, str)},
        families={str(h): str(family) for h, family in by_horizon["family"].items()},
        notes=notes,
        warnings=sum(len(report.failed("warn")) for report in reports),
        seconds=time.monotonic() - begun,
    )


def cases(sources: Sequence[str], years: Sequence[int], dates: Sequence[str]) -> Iterator[Case]:
    """Every run: the years' last sessions, then the outages of each date, then pairs at the last date."""
    for year in years:
        yield Case(f"{sessions(last=f'{year}-12-31')[-1]:%Y-%m-%d}")
    for day in dates:
        for name in sources:
            for length in OUTAGES:
                yield Case(day, (name,), length)
    for day in dates[-1:]:
        for pair in combinations([name for name in PAIRED if name in sources], 2):
            yield Case(day, pair, PAIRS_FOR)


@dataclass(frozen=True)
class Held:
    """What every process holds: the archive staged, a run to take others from, and where the models are."""

    run: RunContext
    staged: list[Staged]
    models: Path


@cache
def held(folder: Path) -> Held:
    """Read once in each process."""
    return Held(opened(), pickle.loads((folder / "staged.pickle").read_bytes()), folder / "models")


def opened() -> RunContext:
    """A run on the recorded archive as of its last session."""
    return open_run(load_settings(), origin=RECORDED, as_of=OUTAGE_DATES[-1])


def take(folder: Path, case: Case) -> Outcome:
    """One case, in a process of the pool."""
    own = held(folder)
    run = replace(own.run, as_of=pd.Timestamp(case.as_of))
    if not case.dead:
        return replace(run_day(run, own.staged, None, exports=True), case=case)
    since = sessions(last=run.as_of)[-1 - case.for_sessions]
    store = FolderStore(own.models / case.as_of)
    return replace(run_day(run, cut(own.staged, case.dead, since), store), case=case)


def train(folder: Path, as_of: str) -> None:
    """The champions that the outages of a date are forecast with, fitted on sound data a quarter before."""
    own = held(folder)
    if not (own.models / as_of / "champions.json").exists():
        run = replace(own.run, as_of=pd.Timestamp(as_of))
        trained = sessions(last=run.as_of)[-1 - TRAINED_BEFORE]
        fit_champions(run, day_of(run, own.staged), FolderStore(own.models / as_of), trained)


def stage_archive(folder: Path) -> list[Staged]:
    """The recorded archive, landed and staged once; a second time it is read back."""
    path = folder / "staged.pickle"
    if path.exists():
        return pickle.loads(path.read_bytes())
    run, staged, zones = opened(), [], Zones(folder / "home")
    assert run.payloads is not None
    for number, (name, spec) in enumerate(run.sources.sources.items(), start=1):
        ingest_source(zones, name, spec, origin=run.payloads, as_of=run.as_of.date(), progress=lambda *step: None)
        staged.append(stage_source(zones, name, spec, as_of=run.as_of, code="time machine"))
        print(f"staged {number} of {len(run.sources.sources)}: {name}", flush=True)
    write_bytes(path, pickle.dumps(staged, protocol=5))
    return staged


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m evidence.time_machine", description=__doc__.split("\n\n")[0])
    parser.add_argument("--years", default=f"{YEARS[0]}-{YEARS[-1]}", help="such as 2005-2023 (default: %(default)s)")
    parser.add_argument("--dates", nargs="*", default=list(OUTAGE_DATES), help="dates of the outages")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--no-page", action="store_true", help="do not write docs/results/time_machine.md")
    given = parser.parse_args()
    first, _, last = given.years.partition("-")
    settings = load_settings()
    folder = settings.home / "time_machine" / code_version(settings)
    folder.mkdir(parents=True, exist_ok=True)
    staged = stage_archive(folder)
    known = [part.source for part in staged if len(part.observations) and part.source != "yahoo"]
    names = [PRICE, BESIDE_PRICE, *known]
    todo = list(cases(names, range(int(first), int(last or first) + 1), given.dates))
    path = folder / "outcomes.jsonl"
    done = {outcome.case: outcome for outcome in read_outcomes(path)}
    left = [case for case in todo if case not in done]
    print(f"{len(todo)} runs, {len(todo) - len(left)} of them done before; results in {path}", flush=True)
    begun = time.monotonic()
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(train, folder), sorted({case.as_of for case in left if case.dead})))
        futures = [pool.submit(take, folder, case) for case in left]
        for number, future in enumerate(as_completed(futures), start=1):
            outcome = future.result()
            done[outcome.case] = outcome
            with path.open("a") as handle:
                handle.write(json.dumps(asdict(outcome)) + "\n")
            print(f"{number} of {len(left)}: {outcome.case.name}: {outcome.state}", flush=True)
    minutes = (time.monotonic() - begun) / 60
    if not given.no_page:
        from evidence.time_machine_page import page

        write_bytes(PAGE, page([done[case] for case in todo], minutes=minutes, workers=given.workers).encode())
        print(f"wrote {PAGE}")
    wrong = [done[case] for case in todo if done[case].stopped and PRICE not in case.dead]
    for outcome in wrong:
        print(f"stopped without a fault of the price: {outcome.case.name}: {outcome.stopped}", file=sys.stderr)
    return int(bool(wrong))


def read_outcomes(path: Path) -> list[Outcome]:
    """The outcomes written down so far; a line that a kill cut off is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            told = json.loads(line)
        except json.JSONDecodeError:
            continue
        case = Case(told["case"]["as_of"], tuple(told["case"]["dead"]), told["case"]["for_sessions"])
        found.append(Outcome(**{**told, "case": case, "notes": tuple(told["notes"])}))
    return found


if __name__ == "__main__":
    sys.exit(main())
