"""The state of everything that runs every day, from zones, warehouse and store. No source is contacted.

A check is ok, not yet (nothing to check yet), warning or failing. Unknown values stay missing.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from cronsim import CronSim

from tasks import clock
from tasks.calendar import sessions
from tasks.errors import CbiError
from tasks.gates.states import count_states
from tasks.gates.stored import recorded_session
from tasks.model_store.open import open_store
from tasks.operations.backup import NONE, age_days, state_path
from tasks.registry import DataSources, Schedule, ended_tables
from tasks.reporting.day_tables import source_table
from tasks.run import RunContext, open_run
from tasks.settings import Settings
from tasks.sources.ingest import why_disabled
from tasks.sources.pauses import pauses
from tasks.sources.payloads import LIVE, has_live_data, last_fetched
from tasks.staging.gather import gather
from tasks.staging.stage import Staged, nothing_staged, read_staged, staged_paths
from tasks.staging.summary import summarise_series
from tasks.storage.files import in_shell, read_json
from tasks.storage.zones import Zones
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.protocol import Warehouse
from tasks.warehouse.record import check_record

OK, NOT_YET, WARNING, FAILING = "ok", "not yet", "warning", "failing"
EXIT_CODES = {OK: 0, NOT_YET: 0, WARNING: 1, FAILING: 2}
FREE_WARNING_GB, FREE_FAILING_GB = 5.0, 1.0
"""A first daily run writes about 0.4 GB, a full bake-off a few more."""
CHAMPION_WARNING_DAYS = 21
"""The bake-off is weekly: three in a row are missing."""
PUBLISHED_WARNING_SESSIONS = 1
FINDINGS_SHOWN = 3
BACKUP_WARNING_DAYS = 5
"""A long weekend is normal."""
GB = 10**9

# For each session and horizon, the forecast that readers see (views/40_api.sql), if its target date has passed.
FORECASTS = """
SELECT as_of, horizon, target_date, p10, p90 FROM forecasts.zl_forecasts_daily
WHERE target_date <= DATE '{as_of}'
QUALIFY ROW_NUMBER() OVER (PARTITION BY as_of, horizon ORDER BY created_at DESC, is_baseline, model_version DESC) = 1
"""
CLOSES = """
SELECT observation_date AS target_date, value AS outcome FROM staging.observations
WHERE source = 'yahoo' AND series = 'ZL=F' AND field = 'close' AND observation_date <= DATE '{as_of}'
QUALIFY ROW_NUMBER() OVER (PARTITION BY observation_date ORDER BY vintage DESC) = 1
"""


@dataclass(frozen=True)
class Health:
    """``checks``: check, state, told. ``sources``, ``gates`` and ``champions``: one row each.

    ``dated`` says why it is as of this session.
    """

    as_of: pd.Timestamp
    dated: str
    checks: pd.DataFrame
    sources: pd.DataFrame
    gates: pd.DataFrame
    champions: pd.DataFrame

    @property
    def state(self) -> str:
        """The worst of all checks."""
        return max(self.checks["state"], key=lambda state: (EXIT_CODES[state], state == NOT_YET))

    @property
    def exit_code(self) -> int:
        """0: ok. 1: warnings. 2: something fails."""
        return EXIT_CODES[self.state]

    def to_json(self) -> dict[str, Any]:
        """Plain values: missing is null."""
        parts = {name: getattr(self, name) for name in ("checks", "sources", "gates", "champions")}
        dated = {"as_of": f"{self.as_of:%Y-%m-%d}", "dated": self.dated}
        return (
            dated
            | {"state": self.state, "exit_code": self.exit_code}
            | {name: part.astype(object).where(part.notna(), None).to_dict("records") for name, part in parts.items()}
        )


def run_here(settings: Settings, as_of: str | None) -> tuple[RunContext, str]:
    """The run that health is of, and why it is as of that session.

    That is the requested session; else the session of the recorded payloads, if the newest run here read those; else
    the last finished session.
    """
    if as_of is not None:
        return open_run(settings, origin=LIVE, as_of=as_of), "as requested"
    if recorded := recorded_session(Zones(settings.home)):
        dated = "the session of the recorded payloads here; --as-of selects another"
        return open_run(settings, origin=LIVE, as_of=f"{recorded:%Y-%m-%d}"), dated
    return open_run(settings, origin=LIVE, as_of=None), "the last finished session"


def take_health(run: RunContext, *, now: datetime | None = None, dated: str = "") -> Health:
    """Run all checks. If something cannot be read, its check fails; no error is raised."""
    now = now or clock.now().to_pydatetime()
    warehouse = _HealthQueries(run)
    sources = source_health(run.zones, run.sources, as_of=run.as_of)
    sources = sources.assign(
        last_success=sources["source"].map(warehouse.successes()).fillna("never"),
        next_run=[_next_run(run.sources.source(name).schedule, now) for name in sources["source"]],
        quarantined=sources["source"].map(warehouse.quarantine()).fillna("not yet"),
    )
    gates, champions = warehouse.gates(), _champions(run, warehouse)
    started = _anything_started(run, warehouse, sources, champions)
    checks = [
        warehouse.reachable(),
        _published(run, warehouse),
        _of_sources(sources, started=started),
        _of_pauses(run.zones),
        _of_tables(run, started=started),
        _of_gates(gates),
        _of_champions(run, champions),
        warehouse.record(),
        _disk(run.zones),
        _privacy(run.zones),
        _backup(run, published=warehouse.published),
    ]
    return Health(run.as_of, dated, pd.DataFrame(checks, columns=["check", "state", "told"]), sources, gates, champions)


class _HealthQueries:
    """The warehouse for health: the first failed query is reported once, and later answers stay missing."""

    def __init__(self, run: RunContext) -> None:
        self._as_of = f"{run.as_of:%Y-%m-%d}"
        self._name = run.settings.warehouse
        self.failure = ""
        self.published = False
        self._warehouse: Warehouse | None = None
        try:
            self._warehouse = open_warehouse(run.settings)
            self.published = self._warehouse.is_published()
        except CbiError as error:
            self.failure = str(error)

    def ask(self, sql: str) -> pd.DataFrame:
        """The rows, or none."""
        if self.failure or not self.published or self._warehouse is None:
            return pd.DataFrame()
        try:
            return self._warehouse.query(sql.format(as_of=self._as_of))
        except CbiError as error:
            self.failure = str(error)
            return pd.DataFrame()

    def reachable(self) -> tuple[str, str, str]:
        """Whether it answered every query."""
        if self.failure:
            return "warehouse", FAILING, self.failure
        if not self.published:
            return "warehouse", NOT_YET, f"{self._name}: nothing is published; `make demo` or `make daily` publishes"
        return "warehouse", OK, f"{self._name} answers"

    def record(self) -> tuple[str, str, str]:
        """Whether every published forecast is as it was published (tasks/warehouse/record.py)."""
        if self._warehouse is None or self.failure or not self.published:
            return "record", NOT_YET, "nothing is published"
        try:
            states = check_record(self._warehouse)
        except CbiError as error:
            return "record", FAILING, str(error)
        found = [f"{one.what}: {one.message}" for state in states for one in state.findings]
        if found:
            more = f"; and {len(found) - FINDINGS_SHOWN} more" if len(found) > FINDINGS_SHOWN else ""
            listed = "; ".join(found[:FINDINGS_SHOWN])
            return "record", FAILING, f"{listed}{more}. `cbi verify record` lists all; see docs/runbook.md#record"
        if not states:
            return "record", NOT_YET, "the next publish begins it"
        links = sum(state.links for state in states)
        return "record", OK, f"{links} links in {len(states)} chains; every forecast is as it was published"

    def successes(self) -> dict[str, str]:
        """By source: time of the last complete fetch."""
        rows = self.ask(
            "SELECT source, MAX(created_at) AS at FROM ops.ingest_runs "
            "WHERE status = 'ok' AND as_of <= DATE '{as_of}' GROUP BY source"
        )
        return {row["source"]: f"{pd.Timestamp(row['at']):%Y-%m-%d %H:%M}" for row in rows.to_dict("records")}

    def quarantine(self) -> dict[str, str]:
        """By source: cells refused at the newest session, and the change from the session before."""
        rows = self.ask(
            "SELECT as_of, source, quarantined AS cells FROM ops.ingest_runs WHERE as_of <= DATE '{as_of}' "
            "QUALIFY ROW_NUMBER() OVER (PARTITION BY as_of, source ORDER BY created_at DESC) = 1 ORDER BY as_of"
        )
        counts = {}
        for source, part in rows.groupby("source") if len(rows) else ():
            newest = int(part["cells"].iloc[-1])
            change = f" ({newest - int(part['cells'].iloc[-2]):+,})" if len(part) > 1 else ""
            counts[str(source)] = f"{newest:,}{change}"
        return counts

    def gates(self) -> pd.DataFrame:
        """The counts of each gate in the newest published run."""
        rows = self.ask(
            "SELECT * FROM ops.gate_results WHERE as_of <= DATE '{as_of}' "
            "QUALIFY DENSE_RANK() OVER (ORDER BY as_of DESC, created_at DESC) = 1"
        )
        if rows.empty:
            return pd.DataFrame(columns=["gate", "expectations", "as_of"])
        return count_states(rows).assign(as_of=f"{pd.Timestamp(rows['as_of'].max()):%Y-%m-%d}")

    def coverage(self) -> pd.DataFrame:
        """By horizon: forecasts whose target date has passed and has a close, and the share of them inside p10..p90."""
        forecasts, closes = self.ask(FORECASTS), self.ask(CLOSES)
        if forecasts.empty or closes.empty:
            return pd.DataFrame(columns=["horizon", "judged", "covered"])
        joined = forecasts.assign(target_date=pd.to_datetime(forecasts["target_date"])).merge(
            closes.assign(target_date=pd.to_datetime(closes["target_date"])), on="target_date"
        )
        joined["covered"] = joined["outcome"].between(joined["p10"], joined["p90"]).astype("float64")
        return joined.groupby("horizon").agg(judged=("covered", "size"), covered=("covered", "mean")).reset_index()


def source_health(zones: Zones, sources: DataSources, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """One row per source: ``source, priority, state, observations, series, first, last, age_days, last_fetch``.

    ``state`` is ok, stale (with the number of series), nothing stored, disabled with the missing key, or paused with
    its date and reason. It begins with ``critical`` if a series that every forecast needs is stale or missing. If a
    file of the source cannot be read it is ``damaged``, with the file, and its counts are missing.
    """
    staged: list[Staged] = []
    try:
        paused = pauses(zones)
    except CbiError:  # the check of pauses says it
        paused = {}
    fetched: dict[str, pd.Timestamp | None] = {}
    damaged: dict[str, str] = {}
    for name in sources.sources:
        try:
            fetched[name] = last_fetched(zones, name)
            if (whole := read_staged(zones, name)) is not None:
                staged.append(whole)
        except CbiError as error:
            damaged[name] = str(error)
        except (KeyError, TypeError, ValueError) as error:  # altered JSON or parquet
            damaged[name] = f"{zones.raw / name} or {zones.staging / name}: {type(error).__name__}: {error}"
    series = summarise_series(sources, *gather(staged or [nothing_staged()], as_of=as_of), as_of=as_of)
    table = source_table(series, sources.sources).set_index("source").to_dict("index")
    lost = series[series["critical"] & ~(series["age_days"] <= series["stale_limit_days"])]
    rows = []
    for name, spec in sources.sources.items():
        row, fetch = table[name], fetched.get(name)
        state = f"stale: {row['stale']} series" if row["stale"] else "ok" if row["last"] != "none" else "nothing stored"
        if disabled := why_disabled(spec):
            state = f"disabled: {disabled}; {state}"
        if name in paused:
            state = f"{paused[name].line}; {state}"
        if name in set(lost["source"]):
            state = f"critical: {', '.join(lost.loc[lost['source'] == name, 'series'])}; {state}"
        if name in damaged:
            state = f"damaged: {damaged[name]}"
        rows.append(
            {
                "source": name,
                "priority": spec.priority,
                "state": state,
                **{key: None if name in damaged else row[key] for key in ("observations", "series", "first", "last")},
                "age_days": None if row["last"] == "none" else (as_of - pd.Timestamp(row["last"])).days,
                "last_fetch": f"{fetch:%Y-%m-%d}" if fetch else None if name in damaged else "never",
            }
        )
    return pd.DataFrame(rows).astype({"age_days": "Int64"})


def _next_run(schedule: Schedule, now: datetime) -> str:
    """The next run of its deployment, in the time zone of its schedule."""
    due = next(CronSim(schedule.cron, now.astimezone(ZoneInfo(schedule.timezone))))
    return f"{due:%Y-%m-%d %H:%M %Z}"


def _champions(run: RunContext, warehouse: _HealthQueries) -> pd.DataFrame:
    """One row per horizon: its champion, the days since its training, and the coverage of published forecasts."""
    store, coverage = open_store(run.settings), warehouse.coverage().set_index("horizon")
    rows = []
    for horizon in run.horizons.horizons:
        champion_text, age = "not yet", None
        try:
            if champion := store.champion(horizon, run.as_of):
                champion_text, age = champion.name, (run.as_of - champion.trained_as_of).days
        except CbiError as error:
            champion_text = f"lost: {error}"
        judged = int(coverage["judged"].get(horizon, 0))
        share = f"{coverage['covered'][horizon]:.0%} of {judged}" if judged else "not yet"
        rows.append({"horizon": horizon, "champion": champion_text, "age_days": age, "realised_coverage_80": share})
    return pd.DataFrame(rows).astype({"age_days": "Int64"})


def _published(run: RunContext, warehouse: _HealthQueries) -> tuple[str, str, str]:
    rows = warehouse.ask("SELECT MAX(as_of) AS as_of FROM forecasts.zl_forecasts_daily WHERE as_of <= DATE '{as_of}'")
    if rows.empty or pd.isna(rows["as_of"].iloc[0]):
        return "forecast", NOT_YET, "no forecast is published"
    newest = pd.Timestamp(rows["as_of"].iloc[0])
    late = sum(newest < session <= run.as_of for session in sessions(last=run.as_of))
    text = f"newest of {newest:%Y-%m-%d}, {late} sessions before {run.as_of:%Y-%m-%d}"
    return "forecast", WARNING if late > PUBLISHED_WARNING_SESSIONS else OK, text


def _anything_started(
    run: RunContext, warehouse: _HealthQueries, sources: pd.DataFrame, champions: pd.DataFrame
) -> bool:
    """Whether there was a run: something is landed, staged, trained or published, or is unreadable."""
    if warehouse.published or warehouse.failure or staged_paths(run.zones, run.sources.sources):
        return True
    return bool((sources["last_fetch"] != "never").any() or (champions["champion"] != "not yet").any())


def _of_sources(sources: pd.DataFrame, *, started: bool) -> tuple[str, str, str]:
    if not started:
        return "sources", NOT_YET, "nothing has run yet: start with `make demo` or `make daily`"
    critical = sources[sources["state"].str.startswith(("critical", "damaged"))]
    if len(critical):
        text = "; ".join(f"{row['source']}: {row['state']}" for row in critical.to_dict("records"))
        return "sources", FAILING, f"{text}. See docs/runbook.md#stale-source" if "critical: " in text else text
    # a disabled or paused source is not a problem; its row shows it
    enabled = sources[~sources["state"].str.startswith(("disabled", "paused"))]
    worse = enabled[enabled["state"] != "ok"]
    if len(worse):
        return "sources", WARNING, "; ".join(f"{row['source']}: {row['state']}" for row in worse.to_dict("records"))
    return "sources", OK, f"{len(enabled)} enabled, all ok"


def _of_pauses(zones: Zones) -> tuple[str, str, str]:
    """Sources that a person has paused: no problem, but nothing new comes of them."""
    try:
        paused = pauses(zones)
    except CbiError as error:
        return "pauses", FAILING, str(error)
    return "pauses", OK, "; ".join(f"{name}: {one.line}" for name, one in paused.items()) or "no source is paused"


def _of_tables(run: RunContext, *, started: bool) -> tuple[str, str, str]:
    """Manually kept tables that end before the session: values from them are missing."""
    ended = ended_tables(run.settings.registry, run.sources, run.as_of.date())
    text = "; ".join(f"{name}: {why}" for name, why in ended.items())
    if ended:
        return "tables", WARNING if started else NOT_YET, text
    return "tables", OK, f"all reach {run.as_of:%Y-%m-%d}"


def _of_gates(gates: pd.DataFrame) -> tuple[str, str, str]:
    if gates.empty:
        return "gates", NOT_YET, "no gate result is published"
    counts = ", ".join(f"{name} {int(gates[name].sum())}" for name in ("blocked", "quarantined", "warned", "waived"))
    when = f"{counts} of {int(gates['expectations'].sum())} expectations as of {gates['as_of'].iloc[0]}"
    if gates["blocked"].sum():
        return "gates", FAILING, when
    return "gates", WARNING if gates[["quarantined", "warned", "waived"]].to_numpy().sum() else OK, when


def _of_champions(run: RunContext, champions: pd.DataFrame) -> tuple[str, str, str]:
    lost = champions[champions["champion"].str.startswith("lost: ")]
    if len(lost):
        return "champions", FAILING, "; ".join(lost["champion"])
    absent = champions.loc[champions["age_days"].isna(), "horizon"]
    if len(absent):
        return "champions", NOT_YET, f"none at {', '.join(absent)}; `make train` or the next daily run trains"
    oldest = int(champions["age_days"].max())
    return (
        "champions",
        WARNING if oldest > CHAMPION_WARNING_DAYS else OK,
        f"the oldest was trained {oldest} days before {run.as_of:%Y-%m-%d}",
    )


def _disk(zones: Zones) -> tuple[str, str, str]:
    there: Path = next(folder for folder in (zones.home, *zones.home.parents) if folder.exists())
    free = shutil.disk_usage(there).free / GB
    state = FAILING if free < FREE_FAILING_GB else WARNING if free < FREE_WARNING_GB else OK
    remedy = "" if state == OK else ": make room; `cbi audit` lists what each folder has in it"
    return "disk", state, f"{free:.1f} GB free at {there}{remedy}"


def _backup(run: RunContext, *, published: bool) -> tuple[str, str, str]:
    """Whether data that cannot be rebuilt is in a second place, and since when. The place is not contacted."""
    place, state = run.settings.backup, read_json(state_path(run.zones)) or {}
    if place is None:
        if has_live_data(run.zones, run.sources):
            text = "nothing is backed up: set CBI_BACKUP to a folder on another disk, or gs://BUCKET/PREFIX"
            return "backup", WARNING, f"{text} (`none`: you keep copies yourself). See docs/running.md#backup"
        return "backup", OK, "none; nothing here was fetched live"
    if place == NONE:
        return "backup", OK, "none, as CBI_BACKUP says"
    whole = state.get("at") if state.get("place") == place else None
    age = f"{age_days(state):.1f} days ago, as of {state['as_of']}" if whole else "never"
    if state.get("failed"):
        return "backup", WARNING, f"{place}: {state['failed']}. Last written: {age}"
    if not whole:
        return "backup", WARNING if published else OK, f"{place}: nothing is backed up yet; the next daily run does"
    late = age_days(state) > BACKUP_WARNING_DAYS
    return "backup", WARNING if late else OK, f"{place}: last written {age}"


def private_paths(zones: Zones) -> list[Path]:
    """Private paths: Prefect's database, logs, the bill, support bundles, and the checkout's .env."""
    return [zones.home / "prefect", zones.logs, zones.warehouse / "billed", zones.home / "support", Path(".env")]


def _privacy(zones: Zones) -> tuple[str, str, str]:
    """Private files that others may read, and folders of the home that they may write to."""
    read = [path for path in private_paths(zones) if path.exists() and path.stat().st_mode & 0o077]
    folders = [zones.home, *sorted(zones.home.iterdir())] if zones.home.is_dir() else []
    written = [path for path in folders if path.is_dir() and path.stat().st_mode & 0o002 and path not in read]
    findings = []
    if read:
        remedy = "; ".join(f"chmod {'700' if path.is_dir() else '600'} {in_shell(path)}" for path in read)
        findings.append(f"others may read {', '.join(map(str, read))}: {remedy}")
    if written:
        findings.append(
            f"others may write to {', '.join(map(str, written))}: chmod -R o-w {in_shell(zones.home)}; "
            "set `umask 022` or stricter before a run"
        )
    if findings:
        return "permissions", WARNING, ". ".join(findings)
    return "permissions", OK, "only the owner can read what is private"
