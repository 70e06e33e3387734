"""``python -m evidence.time_machine``: the daily run on past days and with dead sources: what stops or degrades.

It runs two experiments on the recorded archive. Days: the last session of each year from 2005 to 2023, with today's
published models fitted on that day's own rows. Outages: at three dates each source dead for 30, 90 and 400 sessions
(all of its later values are removed), and pairs of sources dead for 90, with models that were fitted on sound data a
quarter before.

The run is tasks/day.py with every gate and the forecast, without Prefect and without a warehouse. Of each family only
the final fit is done (no folds, so no calibration and no promotion): the question is whether a run stops and what it
reports, not how good it is. Each result is stored at once, and a rerun with the same code continues.
"""

from __future__ import annotations

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

from evidence.command_line import command
from evidence.inputs import staged
from evidence.machine import stamp
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
from tasks.sources.payloads import RECORDED
from tasks.staging.stage import Staged
from tasks.storage.files import write_bytes, write_json
from tasks.storage.zones import Zones

PAGE = PROJECT / "docs" / "results" / "time_machine.md"
SERVED = {"1w": BASELINE, "1m": "har", "3m": "ridge", "6m": "ridge", "12m": "har_seasonal"}
"""The champion of each horizon in these runs: those of README's table, and HAR at 1m, so that it is covered too."""
YEARS = range(2005, 2024)
OUTAGE_DATES = ("2012-06-29", "2018-03-29", "2023-12-29")
OUTAGES = (30, 90, 400)
PAIRS_FOR = 90
PRICE, BESIDE_PRICE = "yahoo ZL=F", "yahoo but ZL=F"
PAIRED = (BESIDE_PRICE, "fred", "cftc", "eia", "sina", "usda_wasde", "inmet")
TRAINED_BEFORE = 63  # sessions between the training and an outage's date: the maximum age of a champion


@dataclass(frozen=True)
class Case:
    """One run: its date, and which sources are dead for how many sessions before it."""

    as_of: str
    dead: tuple[str, ...] = ()
    for_sessions: int = 0

    @property
    def name(self) -> str:
        """Its name in the results."""
        return f"{self.as_of} {' + '.join(self.dead)} {self.for_sessions}".strip()


@dataclass(frozen=True)
class Outcome:
    """The result of a run: ``stopped`` or ``degraded`` (by horizon) give the reason, ``notes`` what was set aside."""

    case: Case
    stopped: str
    degraded: dict[str, str]
    families: dict[str, str]
    notes: tuple[str, ...]
    warnings: int

    @property
    def state(self) -> str:
        """In one word."""
        return "stopped" if self.stopped else "degraded" if self.degraded else "sound"


def cut(parts: Sequence[Staged], dead: Sequence[str], since: pd.Timestamp) -> list[Staged]:
    """The stage without values of the dead sources that became known after 18:00 Chicago of ``since``."""
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
        for part in parts
    ]


def fit_champions(run: RunContext, day: Day, store: FolderStore, trained_as_of: pd.Timestamp) -> None:
    """Fit, store and promote SERVED, and the baseline at every horizon, on data known by ``trained_as_of``."""
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
    """The report of each gate of the day. A blocking gate raises.

    Raises:
        GateFailed: with gate, suite, column and examples.
    """
    tables = gate_tables(run, day)
    return [pass_gate(run, gate, given, set_aside=day.set_aside[gate]) for gate, given in tables.items()]


def forecasts_of(run: RunContext, day: Day, store: FolderStore | None) -> tuple[pd.DataFrame, list[GateReport]]:
    """The day's forecasts, one row per horizon, after every gate has passed; and the reports of the gates.

    Args:
        store: its champions forecast. None: fit the day's own, and check PRE_TRAINING too.

    Raises:
        CbiError: a gate, or the forecast, stops the run.
    """
    reports = gates_passed(run, day)
    with tempfile.TemporaryDirectory(prefix="cbi-day-") as folder:
        if store is None:
            exports, store = Path(folder) / "exports", FolderStore(Path(folder) / "models")
            write_exports(
                exports,
                day.features,
                day.labels,
                load_regime_calendar(run.settings.registry),
                registry=run.features,
                horizons=run.horizons,
                as_of=run.as_of,
                inputs="time machine",
            )
            files = training_tables(exports, run.features, run.horizons, served=day.features)
            reports.append(pass_gate(run, "PRE_TRAINING", files))
            fit_champions(run, day, store, run.as_of)
        forecasts = forecast_day(
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
    return forecasts.set_index("horizon"), reports


def run_day(run: RunContext, parts: Sequence[Staged], store: FolderStore | None) -> Outcome:
    """The run of one session: every table, every gate, the forecast. ``store``: see forecasts_of."""
    case = Case(f"{run.as_of:%Y-%m-%d}")
    notes: tuple[str, ...] = ()
    try:
        day = day_of(run, parts)
        notes = tuple(f"{subject}: {message}" for subject, message in day.notes.lines())
        forecasts, reports = forecasts_of(run, day, store)
    except CbiError as error:
        return Outcome(case, f"{type(error).__name__}: {error}", {}, {}, notes, 0)
    return Outcome(
        case,
        stopped="",
        degraded={str(h): str(why) for h, why in forecasts["degraded_reason"].items() if isinstance(why, str)},
        families={str(h): str(family) for h, family in forecasts["family"].items()},
        notes=notes,
        warnings=sum(len(report.failed("warn")) for report in reports),
    )


def cases(sources: Sequence[str], years: Sequence[int]) -> Iterator[Case]:
    """Every run: the years' last sessions, then the outages of each date, then pairs at the last date."""
    for year in years:
        yield Case(f"{sessions(last=f'{year}-12-31')[-1]:%Y-%m-%d}")
    for day in OUTAGE_DATES:
        for name in sources:
            for length in OUTAGES:
                yield Case(day, (name,), length)
    for pair in combinations([name for name in PAIRED if name in sources], 2):
        yield Case(OUTAGE_DATES[-1], pair, PAIRS_FOR)


@cache
def shared(folder: Path) -> tuple[RunContext, list[Staged]]:
    """A base run and the staged archive, read once per process."""
    return opened(), pickle.loads((folder / "staged.pickle").read_bytes())


def opened() -> RunContext:
    """A run on the recorded archive as of its last session."""
    return open_run(load_settings(), origin=RECORDED, as_of=OUTAGE_DATES[-1])


def take(folder: Path, case: Case) -> Outcome:
    """Run one case, in a process of the pool."""
    own, parts = shared(folder)
    run = replace(own, as_of=pd.Timestamp(case.as_of))
    if not case.dead:
        return replace(run_day(run, parts, None), case=case)
    since = sessions(last=run.as_of)[-1 - case.for_sessions]
    store = FolderStore(folder / "models" / case.as_of)
    return replace(run_day(run, cut(parts, case.dead, since), store), case=case)


def train(folder: Path, as_of: str) -> None:
    """Fit the champions for the outages of a date, on sound data a quarter before."""
    own, parts = shared(folder)
    models = folder / "models" / as_of
    if not (models / "champions.json").exists():
        run = replace(own, as_of=pd.Timestamp(as_of))
        fit_champions(run, day_of(run, parts), FolderStore(models), sessions(last=run.as_of)[-1 - TRAINED_BEFORE])


def staged_once(folder: Path) -> list[Staged]:
    """The recorded archive, landed and staged once, later read."""
    path = folder / "staged.pickle"
    if not path.exists():
        run, parts = opened(), []
        for part in staged(Zones(folder / "home"), run.sources, run.as_of, origin=run.payloads):
            parts.append(part)
            print(f"staged {len(parts)} of {len(run.sources.sources)}: {part.source}", flush=True)
        write_bytes(path, pickle.dumps(parts, protocol=5))
    return shared(folder)[1]


def main() -> int:
    """Command line."""
    parser = command("evidence.time_machine", __doc__, "", "--years 2022-2023 --workers 1")
    parser.add_argument("--years", default=f"{YEARS[0]}-{YEARS[-1]}", help="such as 2005-2023 (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    before = stamp("make time-machine")
    first, _, last = given.years.partition("-")
    settings = load_settings()
    folder = settings.home / "time_machine" / code_version(settings)
    folder.mkdir(parents=True, exist_ok=True)
    known = [part.source for part in staged_once(folder) if len(part.observations) and part.source != "yahoo"]
    todo = list(cases([PRICE, BESIDE_PRICE, *known], range(int(first), int(last or first) + 1)))
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
    from evidence.time_machine_page import write

    minutes = (time.monotonic() - begun) / 60
    print(f"wrote {write(PAGE, before, [done[case] for case in todo], minutes=minutes, workers=given.workers)}")
    wrong = [done[case] for case in todo if done[case].stopped and PRICE not in case.dead]
    for outcome in wrong:
        print(f"stopped without a fault of the price: {outcome.case.name}: {outcome.stopped}", file=sys.stderr)
    return int(bool(wrong))


def read_outcomes(path: Path) -> list[Outcome]:
    """The outcomes stored so far; a line that a kill cut off is ignored."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            read = json.loads(line)
        except json.JSONDecodeError:
            continue
        case = Case(read["case"]["as_of"], tuple(read["case"]["dead"]), read["case"]["for_sessions"])
        found.append(Outcome(**{**read, "case": case, "notes": tuple(read["notes"])}))
    return found


if __name__ == "__main__":
    sys.exit(main())
