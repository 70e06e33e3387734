"""The daily run end to end on the recorded archive."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cli.app import main
from flows.training import gate_training
from tasks.calendar import as_of_instant, sessions
from tasks.errors import GateFailed, SourceUnavailable, StaleSource
from tasks.exports import check_exports
from tasks.forecasting.forecast import forecast_day
from tasks.model_store.folder import FolderStore
from tasks.outcome import DayResult
from tasks.registry import load_models
from tasks.reporting.day_tables import gate_table
from tasks.run import open_run
from tasks.settings import PROJECT, load_settings
from tasks.storage.files import read_json
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tests.conftest import EARLY, FEW, FinishedRun, Registry, tables_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("daily")]
LEVELS = ["p05", "p10", "p25", "p50", "p75", "p90", "p95"]


def archive_without(archive: Path, *left_out: str, to: Path) -> Path:
    """The archive again, less some `source` or `source/series` folders; its files are links to the same bytes."""
    for series in archive.glob("*/*"):
        name = f"{series.parent.name}/{series.name}"
        if series.is_dir() and name not in left_out and series.parent.name not in left_out:
            (to / series.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copytree(series, to / name, copy_function=os.link)
    return to


def test_five_horizons_are_published_with_ordered_quantiles_around_the_real_price(first_run: FinishedRun) -> None:
    published = DuckDbWarehouse(Zones(first_run.home)).query("SELECT * FROM api.vw_latest_forecast")
    assert list(published["horizon"]) == ["1w", "1m", "3m", "6m", "12m"]
    assert (np.diff(published[LEVELS].to_numpy(dtype=float), axis=1) > 0).all()
    # ZL closed at 52.09 on 2011-12-30 (yahoo/ZL=F)
    assert published["last_price"].astype(float).round(2).unique().tolist() == [52.09]
    widths = (published["p90"] - published["p10"]).to_numpy(dtype=float)
    assert (np.diff(widths) > 0).all(), "a longer horizon is less certain"
    ahead = [list(sessions(first=EARLY)).index(pd.Timestamp(day)) for day in published["target_date"]]
    assert ahead == [5, 21, 63, 126, 252]
    shown = published["direction_probability"]
    assert shown.dropna().between(0, 1).all() and (shown.isna() == published["direction_reason"].notna()).all()
    assert shown.isna().all(), "two years show of no chance that it beats a coin"
    assert published["direction_reason"].str.contains("no view of the direction|a coin|not measured").all()
    assert (published["is_baseline"] == (published["family"] == "curve")).all()


def test_the_centre_and_each_contract_are_published_and_said(first_run: FinishedRun) -> None:
    """30 December 2011: January 2012 goes off on the 13th; March is the next one."""
    warehouse = DuckDbWarehouse(Zones(first_run.home))
    published = warehouse.query("SELECT * FROM api.vw_latest_forecast").set_index("horizon")
    assert (published["centre_source"] == "curve").all() and published["contract"].unique().tolist() == ["ZLF12"]
    assert published["curve_centre"]["1w"] == published["last_price"]["1w"], "no roll within a week"
    assert published["curve_centre"]["12m"] > published["last_price"]["12m"], "the curve rose"
    curve = warehouse.query("SELECT * FROM api.vw_curve")
    assert curve["contract"].unique().tolist()[:2] == ["ZLF12", "ZLH12"]
    now = curve.drop_duplicates("contract").set_index("contract")
    assert round(float(now["last_price"]["ZLF12"]), 2) == 52.09 and now["days_to_last_trading_day"]["ZLF12"] == 14
    assert (np.diff(curve[LEVELS].to_numpy(dtype=float), axis=1) > 0).all()
    first, leaning = first_run.summary.price_notes
    assert "(ZLF12). From 2012-01-17 on" in first and "March 2012 (ZLH12), which cost" in first
    assert leaning.startswith("The curve rises (contango)")


def the_rule_decides(summary: DayResult, folder: Path, registry: Registry) -> None:
    """Every family of the daily budget was measured, and whoever serves meets the rule; the others have reasons."""
    board = summary.leaderboard
    assert set(board["family"]) == {*load_models(folder, registry.features).budgets["daily"].families, "ensemble"}
    served = summary.forecasts.set_index("horizon")["family"]
    assert set(served.index) == set(board["horizon"]) == set(registry.horizons.horizons)
    for horizon, part in board.groupby("horizon"):
        assert part.loc[part["champion"], "family"].tolist() == [served[horizon]]
        rivals = part[part["family"] != "curve"]
        assert rivals["refusal"].str.contains("curve is served").all(), "two years prove nothing of any family"
        assert (
            rivals["pinball_log_return"].min() < part.loc[~part.index.isin(rivals.index), "pinball_log_return"].item()
        )
    assert set(served) == {"curve"}


def test_the_baseline_serves_while_no_family_meets_the_rule_though_some_have_lost_less(
    first_run: FinishedRun, registry: Registry
) -> None:
    the_rule_decides(first_run.summary, first_run.registry, registry)


@pytest.mark.more
def test_on_the_whole_registry_every_family_is_trained_and_the_best_serves(
    run_daily: Callable[..., DayResult], first_run: FinishedRun, registry: Registry, tmp_path: Path
) -> None:
    """From payloads to published forecasts in an empty home; of fits only the few families' are there."""
    home = tmp_path / "home"
    held = set(Path(shutil.copytree(Zones(first_run.home).fits, Zones(home).fits)).glob("*/done.json"))
    stamps = {path: path.stat().st_mtime_ns for path in held}
    summary = run_daily(home, first_run.archive, CBI_REGISTRY=str(PROJECT / "registry"))
    assert summary.trained
    the_rule_decides(summary, PROJECT / "registry", registry)
    published = DuckDbWarehouse(Zones(home)).query("SELECT * FROM api.vw_latest_forecast").set_index("horizon")
    pd.testing.assert_series_equal(published["family"], summary.forecasts.set_index("horizon")["family"])
    assert (np.diff(published[LEVELS].to_numpy(dtype=float), axis=1) > 0).all()
    assert {path: path.stat().st_mtime_ns for path in held} == stamps, "a fit has one name under every budget"
    families = set(load_models(PROJECT / "registry", registry.features).budgets["daily"].families)
    made = {path: read_json(path) for path in set(Zones(home).fits.glob("*/done.json")) - held}
    assert {fit["family"] for fit in made.values()} == families - set(FEW)
    assert len(made) * len(FEW) == len(held) * (len(families) - len(FEW)), "as many folds of each"


def forecast_again(run: FinishedRun, registry: Registry, features: pd.DataFrame, store: FolderStore) -> pd.DataFrame:
    """What the run would have published of these features."""
    return forecast_day(
        features,
        pd.read_parquet(run.home / "panel" / "panel.parquet"),
        store,
        registry=registry.features,
        horizons=registry.horizons,
        as_of=pd.Timestamp(EARLY),
        data_snapshot="test",
        code_version="test",
    ).forecasts.set_index("horizon")


def test_a_champion_that_has_no_forecast_gives_way_to_the_baseline_and_says_what_is_missing(
    first_run: FinishedRun, copied_home: Path, registry: Registry
) -> None:
    store = FolderStore(Zones(copied_home).models)
    for family, horizon in (("ridge", "1m"), ("har", "3m"), ("lightgbm", "6m")):
        store.promote(store.versions(family, horizon)[-1], run="by hand")
    features = pd.read_parquet(first_run.home / "features" / "features.parquet")
    before = forecast_again(first_run, registry, features, store)
    assert not before["degraded"].any() and not before["is_baseline"].all()
    features.loc[features.index[-1], [name for name in features if name != "date" and name[:3] != "zl_"]] = np.nan
    after = forecast_again(first_run, registry, features, store)
    assert after[LEVELS].notna().all(axis=None)
    assert after["family"].to_dict() == {"1w": "curve", "1m": "curve", "3m": "har", "6m": "lightgbm", "12m": "curve"}
    assert after["degraded"].to_dict() == dict(zip(after.index, [False, True, True, True, False], strict=True))
    assert "ridge/1m/v0001 cannot serve: no forecast without" in after.loc["1m", "degraded_reason"], "its drivers"
    assert "inputs are missing (vix, " in after.loc["3m", "degraded_reason"], "HAR has a regression without the VIX"
    features.loc[features.index[-1], [name for name in features if name[:3] == "zl_"]] = np.nan
    with pytest.raises(StaleSource, match="no forecast without zl_ewma_volatility_99_pct;"):
        forecast_again(first_run, registry, features, store)


def test_a_damaged_model_that_does_not_serve_costs_no_forecast(
    first_run: FinishedRun, copied_home: Path, registry: Registry
) -> None:
    store = FolderStore(Zones(copied_home).models)
    served = first_run.summary.forecasts.set_index("horizon")["family"]
    for horizon in served.index[served != "lightgbm"]:
        next(store.versions("lightgbm", horizon)[-1].folder.glob("*.txt")).write_text("damaged")
    features = pd.read_parquet(copied_home / "features" / "features.parquet")
    pd.testing.assert_series_equal(
        forecast_again(first_run, registry, features, store)["point"],
        first_run.summary.forecasts.set_index("horizon")["point"],
        check_exact=True,
    )


def test_drivers_are_of_what_is_served_and_add_up_to_its_move(first_run: FinishedRun) -> None:
    explained, forecasts = first_run.summary.explainers, first_run.summary.forecasts.set_index("horizon")
    assert explained["served"].all() and not (first_run.summary.alerts["kind"] == "explanation").any()
    for horizon, part in explained.groupby("horizon"):
        row = forecasts.loc[horizon]
        assert set(part["model_version"]) == {row["model_version"]}
        assert part["shap_cents_lb"].sum() == pytest.approx(row["point"] - row["last_price"], abs=1e-9)
    assert set(explained["horizon"]) == set(forecasts.index)


def test_nothing_known_after_the_session_is_in_any_zone(first_run: FinishedRun, registry: Registry) -> None:
    instant, day = as_of_instant(EARLY), pd.Timestamp(EARLY)
    staged = sorted(first_run.home.glob("staging/*/observations.parquet"))
    assert len(staged) == len(registry.sources.sources)
    for path in staged:
        held = pd.read_parquet(path)
        assert (held["available_at"] <= instant).all()
        assert (held["observation_date"] <= day).all()
    for path in [*first_run.home.glob("panel/*.parquet"), *first_run.home.glob("features/*.parquet")]:
        assert pd.read_parquet(path)["date"].max() == day
    labels = pd.read_parquet(first_run.home / "labels" / "labels.parquet")
    known = labels.dropna(subset=["target_log_return"])
    assert known["target_date"].max() <= day
    shown = DuckDbWarehouse(Zones(first_run.home)).query("SELECT max(available_at) AS a FROM staging.observations")
    assert pd.Timestamp(shown["a"].iloc[0]) <= instant


def test_ten_exports_and_their_manifest(first_run: FinishedRun) -> None:
    folder = first_run.home / "exports"
    manifest = check_exports(folder)
    assert len(manifest["files"]) == 10  # type: ignore[arg-type]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*manifest["files"], "manifest.json"])  # type: ignore[misc]


def test_a_second_run_changes_no_row_and_fits_nothing(
    run_daily: Callable[..., DayResult], first_run: FinishedRun, copied_home: Path
) -> None:
    before, counts = tables_of(copied_home), DuckDbWarehouse(Zones(copied_home)).row_counts()
    models = {path: path.stat().st_mtime_ns for path in (copied_home / "models").rglob("*")}
    again = run_daily(copied_home, first_run.archive)
    assert not again.trained
    assert again.changed_rows == 0
    assert DuckDbWarehouse(Zones(copied_home)).row_counts() == counts
    assert {path: path.stat().st_mtime_ns for path in (copied_home / "models").rglob("*")} == models
    for name, frame in tables_of(copied_home).items():
        pd.testing.assert_frame_equal(frame, before[name], obj=name)


def test_features_are_published_by_subject_and_with_their_universe(first_run: FinishedRun, registry: Registry) -> None:
    counts = DuckDbWarehouse(Zones(first_run.home)).row_counts()
    for subject in ("correlations", "moving_averages", "regimes", "sentiment"):
        assert counts[f"features.zl_{subject}"] == counts["features.zl_daily_v1"] > 2500
    assert counts["features.master_feature_universe"] == len(registry.features.features)


@pytest.mark.more
def test_an_earlier_session_is_a_replay_that_leaves_the_current_files_and_uses_no_later_model(
    run_daily: Callable[..., DayResult], first_run: FinishedRun, copied_home: Path
) -> None:
    exports, training = check_exports(copied_home / "exports"), tables_of(copied_home)
    replay = run_daily(copied_home, first_run.archive, "2009-12-30")
    assert check_exports(copied_home / "exports") == exports
    after = tables_of(copied_home)
    for name in ("features.zl_daily_v1", "training.zl_training_prod_allhistory_12m"):
        pd.testing.assert_frame_equal(after[name], training[name], obj=name)
    versions = {version.name: version for h in ("1w", "12m") for version in _versions(copied_home, h)}
    used = replay.forecasts.set_index("horizon")["model_version"]
    assert all(versions[used[h]].trained_as_of == pd.Timestamp("2009-12-30") for h in ("1w", "12m"))
    latest = DuckDbWarehouse(Zones(copied_home)).query("SELECT DISTINCT as_of FROM api.vw_latest_forecast")
    assert [f"{day:%Y-%m-%d}" for day in pd.to_datetime(latest["as_of"])] == [EARLY]
    # before the first scored fold nothing is measured, and the baseline is served without a claim
    assert replay.forecasts["is_baseline"].all()
    assert replay.forecasts["confidence"].isna().all()


def _versions(home: Path, horizon: str) -> list:
    store = FolderStore(home / "models")
    return store.of_horizon(horizon)


@pytest.fixture(scope="module")
def degraded(
    run_daily: Callable[..., DayResult], first_run: FinishedRun, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, DayResult]:
    """The first run's home, and a run on it to which the CFTC's positions did not come."""
    folder = tmp_path_factory.mktemp("degraded")
    home = Path(shutil.copytree(first_run.home, folder / "home"))
    return home, run_daily(home, archive_without(first_run.archive, "cftc", to=folder / "origin"))


@pytest.mark.more
def test_a_source_that_fails_degrades_the_run_visibly_and_what_is_held_of_it_serves(
    first_run: FinishedRun, degraded: tuple[Path, DayResult]
) -> None:
    home, summary = degraded
    status = {came.source: came.status for came in summary.ingested}
    assert {name for name, told in status.items() if told == "failed"} == {"cftc", "cftc_disagg"}
    assert "cftc" in set(summary.alerts.query("kind == 'source'")["subject"])
    pd.testing.assert_series_equal(summary.forecasts["p10"], first_run.summary.forecasts["p10"])
    stored = DuckDbWarehouse(Zones(home)).query("SELECT message FROM ops.ingest_runs WHERE status = 'failed'")
    assert "no payload in" in stored["message"].iloc[0]


def test_without_the_zl_price_the_run_stops_before_anything_is_published(
    run_daily: Callable[..., DayResult], first_run: FinishedRun, tmp_path: Path
) -> None:
    origin = tmp_path / "origin"  # what else is missing there ends no run
    shutil.copytree(first_run.archive / "freight", origin / "freight")
    with pytest.raises(SourceUnavailable, match=r"ZL=F did not arrive, and it is critical: no payload in"):
        run_daily(tmp_path / "home", origin)
    assert not (tmp_path / "home" / "warehouse").exists()
    assert not (tmp_path / "home" / "exports").exists()


@pytest.mark.more
def test_a_swapped_unit_is_refused_at_the_gate_and_earlier_outputs_stay(
    run_daily: Callable[..., DayResult], first_run: FinishedRun, copied_home: Path, tmp_path: Path
) -> None:
    """A later ZL payload in USD/lb instead of cents/lb adds nothing; a registry that expects USD/lb stops the run."""
    registry = Path(shutil.copytree(PROJECT / "registry", tmp_path / "registry"))
    sources = registry / "data_sources.yaml"
    sources.write_text(
        re.sub(r'("ZL=F":.*?)range: \[5, 150\]', r"\1range: [0.05, 1.5]", sources.read_text(), flags=re.DOTALL)
    )
    before, pointer = tables_of(copied_home), (copied_home / "warehouse/published/CURRENT").read_text()
    with pytest.raises(GateFailed, match=r"(?s)POST_STAGING.*critical_refused_share.*ZL=F.*1\.0"):
        run_daily(copied_home, first_run.archive, CBI_REGISTRY=str(registry))
    assert (copied_home / "warehouse/published/CURRENT").read_text() == pointer
    for name, frame in tables_of(copied_home).items():
        pd.testing.assert_frame_equal(frame, before[name], obj=name)
    check_exports(copied_home / "exports")


@pytest.mark.more
def test_a_gate_names_itself_the_column_the_count_and_examples(
    run_daily: Callable[..., DayResult], first_run: FinishedRun, copied_home: Path, tmp_path: Path
) -> None:
    """A planted expectation that the real closes break."""
    expectations = Path(shutil.copytree(PROJECT / "expectations", tmp_path / "expectations"))
    suite = expectations / "assembly" / "panel.json"
    planted = (
        '{"type": "expect_column_values_to_be_between", "kwargs": {"column": "zl_close", "max_value": 60}, '
        '"meta": {"on_fail": "block", "reason": "planted by the test"}},'
    )
    suite.write_text(suite.read_text().replace('"expectations": [', '"expectations": [' + planted, 1))
    with pytest.raises(GateFailed) as stopped:
        run_daily(copied_home, first_run.archive, CBI_EXPECTATIONS=str(expectations))
    close = pd.read_parquet(copied_home / "panel" / "panel.parquet")["zl_close"]
    message = str(stopped.value)
    assert "POST_ASSEMBLY" in message
    assert "zl_close" in message
    assert f"{int((close > 60).sum())} of " in message
    assert message.count('"zl_close":') == 3, "three example rows"


@pytest.mark.more
def test_a_page_that_cannot_be_written_is_told_as_such_and_the_forecasts_are_published(
    prefect_server: None,
    first_run: FinishedRun,
    copied_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.rmtree(copied_home / "reports")
    (copied_home / "reports").write_text("no folder")
    monkeypatch.setenv("CBI_HOME", str(copied_home))
    monkeypatch.setenv("CBI_REGISTRY", str(first_run.registry))
    assert main(["daily", "--origin", str(first_run.archive), "--as-of", EARLY]) == 1
    told = capsys.readouterr().err
    assert f"ReportFailed: the forecasts of {EARLY} are published" in told and "reports" in told
    assert "Nothing was published" not in told


@pytest.mark.more
def test_a_tampered_training_file_is_written_again_by_the_day_and_stops_a_training(
    run_daily: Callable[..., DayResult], first_run: FinishedRun, copied_home: Path
) -> None:
    path = copied_home / "exports" / "zl_training_prod_allhistory_1m.parquet"
    sound = path.read_bytes()
    tampered = pd.read_parquet(path).assign(zl_rsi_14d=lambda table: table["zl_rsi_14d"] + 1)
    tampered.to_parquet(path, index=False)
    summary = run_daily(copied_home, first_run.archive)
    pd.testing.assert_series_equal(summary.forecasts["p10"], first_run.summary.forecasts["p10"])
    assert path.read_bytes() == sound
    tampered.to_parquet(path, index=False)
    settings = load_settings().model_copy(update={"home": copied_home, "registry": first_run.registry})
    run = open_run(settings, origin=str(first_run.archive), as_of=EARLY)
    with pytest.raises(GateFailed, match=r"(?s)PRE_TRAINING.*altered after it was exported.*prod_allhistory_1m"):
        gate_training(run)


def test_all_five_gates_are_told_with_counts(first_run: FinishedRun) -> None:
    told = gate_table(first_run.summary)
    assert list(told["gate"]) == ["POST_COLLECTION", "POST_STAGING", "POST_FEATURES", "POST_ASSEMBLY", "PRE_TRAINING"]
    assert told["met"].str.fullmatch(r"\d+ of \d+").all()
    stored = DuckDbWarehouse(Zones(first_run.home)).query("SELECT DISTINCT gate FROM ops.gate_results")
    assert set(stored["gate"]) == set(told["gate"])


def test_the_chart_is_a_picture_and_the_tables_are_readable(first_run: FinishedRun) -> None:
    from rich.console import Console

    from tasks.reporting.terminal import print_result

    assert first_run.summary.pages.fan_chart.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    console = Console(width=100, record=True, file=io.StringIO())
    print_result(first_run.summary, console)
    told = console.export_text()
    for words in (
        "52.09 cents/lb",
        "80% band",
        "P(higher)",
        "skill over the better naive",
        "drivers, cents/lb",
        "impossible_ohlc",
        "POST_ASSEMBLY",
    ):
        assert words in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["daily", "--origin", "/no/such/folder"], "OriginError: origin /no/such/folder is not a folder"),
        (["daily", "--as-of", "soon", "--origin", "/tmp"], "OriginError: --as-of 'soon' is not a date"),
        (["daily", "--as-of", "1999-01-04"], "OriginError: --as-of 1999-01-04: sessions run from 2000-01-03 to "),
        (["daily", "--as-of", "2101-01-03"], "OriginError: --as-of 2101-01-03: sessions run from 2000-01-03 to "),
        (
            ["ingest", "yaho", "--as-of", "2020-01-02"],
            "RegistryError: unknown source `yaho`; known: ",
        ),
    ],
)
def test_a_bad_argument_is_one_clear_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CBI_HOME", str(tmp_path / "home"))
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.out + said.err


def test_a_bad_argument_ends_the_command_with_1_and_no_stack_trace(tmp_path: Path) -> None:
    environment = {**os.environ, "CBI_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "cli", "daily", "--origin", "/no/such/folder"]
    ended = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 1
    assert "OriginError: origin /no/such/folder is not a folder" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_home_full_of_data_does_not_make_up_for_todays_missing_price(
    run_daily: Callable[..., DayResult], first_run: FinishedRun, copied_home: Path, tmp_path: Path
) -> None:
    origin = archive_without(first_run.archive, "yahoo/ZL=F", to=tmp_path / "origin")
    before = (copied_home / "warehouse/published/CURRENT").read_text()
    with pytest.raises(SourceUnavailable, match=r"ZL=F did not arrive, and it is critical"):
        run_daily(copied_home, origin)
    assert (copied_home / "warehouse/published/CURRENT").read_text() == before


@pytest.mark.more
def test_an_alert_that_no_longer_holds_is_withdrawn(
    run_daily: Callable[..., DayResult], first_run: FinishedRun, degraded: tuple[Path, DayResult], tmp_path: Path
) -> None:
    home = Path(shutil.copytree(degraded[0], tmp_path / "home"))
    failed = "SELECT subject FROM ops.alerts WHERE kind = 'source' ORDER BY subject"
    assert list(DuckDbWarehouse(Zones(home)).query(failed)["subject"]) == ["cftc", "cftc_disagg"]
    run_daily(home, first_run.archive)
    assert DuckDbWarehouse(Zones(home)).query(failed).empty
