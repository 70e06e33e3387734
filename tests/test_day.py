"""A session's tables without an orchestrator: on days that once refused themselves, and with dead sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from evidence.proofs import training_tables_anew
from evidence.time_machine import BESIDE_PRICE, PRICE, Outcome, cut, fit_champions, gates_passed, run_day
from tasks.calendar import as_of_instants, sessions
from tasks.day import day_of
from tasks.exports import write_zone_files
from tasks.model_store.folder import FolderStore
from tasks.run import RunContext, open_run
from tasks.settings import load_settings
from tasks.staging.stage import Staged
from tests.conftest import AS_OF, StagedArchive

OUTAGE = pd.Timestamp("2012-06-29")


@pytest.fixture(scope="module")
def run_as_of(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str | pd.Timestamp], RunContext]:
    settings = load_settings().model_copy(update={"home": tmp_path_factory.mktemp("day") / "home"})
    run = open_run(settings, origin=str(archive), as_of=f"{AS_OF:%Y-%m-%d}")
    return lambda day: replace(run, as_of=pd.Timestamp(day))


def passes_every_gate(run: RunContext, staged: list[Staged]) -> list[str]:
    """Names of the expectations that only warn; a gate that blocks raises."""
    day = day_of(run, staged)
    reports = gates_passed(run, day)
    return [result.expectation for report in reports for result in report.failed("warn")]


def test_the_day_of_the_readme_passes_every_gate(run_as_of, staged: StagedArchive) -> None:
    """On 2019-06-28 palm oil had been missing on 10.42% of its history and PCEPI on 1.10%: shares that never heal."""
    warned = passes_every_gate(run_as_of("2019-06-28"), list(staged.by_source.values()))
    assert not any("missing_fails" in name for name in warned)


def test_two_years_after_every_other_series_ended_the_price_alone_passes_every_gate(
    run_as_of, staged: StagedArchive
) -> None:
    """Only ZL goes on past the archive's end, with the bars of two years before; nothing else brings anything new."""
    yahoo = staged.by_source["yahoo"]
    bars = yahoo.observations[(yahoo.observations["series"] == "ZL=F") & (yahoo.observations["vintage"] == 1)]
    past, days = sessions("2021-12-30", AS_OF), sessions(AS_OF + pd.Timedelta(days=1))
    later = pd.DataFrame({"observation_date": past, "day": days[: len(past)]}).merge(bars, on="observation_date")
    known = as_of_instants(pd.DatetimeIndex(later["day"]))
    later = later.assign(observation_date=later["day"], available_at=known)[list(bars.columns)]
    longer = pd.concat([yahoo.observations, later], ignore_index=True).astype(yahoo.observations.dtypes)
    held = {**staged.by_source, "yahoo": replace(yahoo, observations=longer)}
    warned = passes_every_gate(run_as_of(later["observation_date"].max()), list(held.values()))
    assert warned, "what has ended is told"


def test_the_vix_falls_back_to_fred_and_the_day_says_so(run_as_of, staged: StagedArchive) -> None:
    yahoo = staged.by_source["yahoo"]
    quiet = yahoo.observations["series"].eq("^VIX") & (yahoo.observations["observation_date"] > "2023-11-15")
    held = {**staged.by_source, "yahoo": replace(yahoo, observations=yahoo.observations[~quiet])}
    day = day_of(run_as_of(AS_OF), list(held.values()))
    # the newest VIXCLS known at 18:00 Chicago of 2023-12-29 is that of the 28th: 12.47
    assert day.panel["vix_last"].iloc[-1] == 12.47 and day.panel["vix_last__age_days"].iloc[-1] == 1
    assert day.notes.stands_in == {"yahoo ^VIX": "fred VIXCLS"} and not day.notes.set_aside
    assert day.features["vix"].iloc[-1] == 12.47
    row = day.panel_summary.set_index("column").loc["vix_last"]
    assert row["fallback"] and 25 <= row["fallback_sessions"] <= 32


def test_a_row_that_a_gate_sets_aside_is_set_aside_in_the_proofs_too(run_as_of, staged: StagedArchive) -> None:
    """A close that was "known" before its day: the day goes on without it, and a healthy home is proved."""
    run, yahoo = run_as_of(OUTAGE), staged.by_source["yahoo"]
    rows = yahoo.observations
    early = (
        rows["series"].eq("ZL=F") & rows["field"].eq("close") & rows["observation_date"].eq(pd.Timestamp("2012-05-02"))
    )
    assert early.sum() == 1
    stamped = rows["available_at"].where(~early, rows["available_at"] - pd.Timedelta(days=9))
    held = {**staged.by_source, "yahoo": replace(yahoo, observations=rows.assign(available_at=stamped))}
    day = day_of(run, list(held.values()))
    assert day.panel.set_index("date")["zl_last__age_days"].loc["2012-05-02"] == 1 and day.set_aside["POST_STAGING"]
    write_zone_files(run, day.panel, day.features, day.labels)
    panel, tables = training_tables_anew(run, list(held.values()))
    pd.testing.assert_frame_equal(panel, day.panel)
    assert set(tables) == set(run.horizons.horizons)


@pytest.fixture(scope="module")
def outage(
    run_as_of, staged: StagedArchive, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[tuple[str, ...], int], Outcome]:
    """The run of OUTAGE with sources dead for so many sessions, with champions fitted on the sound day before."""
    run, store = run_as_of(OUTAGE), FolderStore(tmp_path_factory.mktemp("champions"))
    held = list(staged.by_source.values())
    fit_champions(run, day_of(run, held), store, sessions(last=OUTAGE)[-63])

    def take(dead: tuple[str, ...], length: int) -> Outcome:
        since = sessions(last=OUTAGE)[-1 - length]
        return run_day(run, cut(held, dead, since), store)

    return take


@pytest.mark.slow
def test_a_dead_source_degrades_the_forecast_by_name_and_only_the_price_stops_it(outage) -> None:
    sound = outage((), 0)
    assert sound.state == "sound" and sound.families["3m"] == "ridge", sound.degraded
    energy = outage(("eia",), 90)
    assert energy.families["3m"] == "ridge" and "eia: " in energy.degraded["3m"], energy.degraded
    both = outage(("fred", BESIDE_PRICE), 90)
    assert "vix" in both.degraded["3m"], (
        "the scale has a regression without the VIX, and the row says that it is missing"
    )
    assert "1w" not in both.degraded, "the baseline reads the price and nothing else"
    dead = outage((PRICE,), 30)
    assert "ZL=F" in dead.stopped
