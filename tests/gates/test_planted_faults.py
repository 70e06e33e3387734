"""Twelve faults, each planted into a real table or payload: the right gate catches it, and its message names it.

The real function of the stage runs on the fault. That what was published before is untouched when a gate stops a run is
shown end to end in tests/flows/test_daily.py.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.errors import GateFailed
from tasks.exports import write_exports
from tasks.features import soy_complex
from tasks.features.build import build_features
from tasks.features.coverage import summarise_starts
from tasks.gates.parity import metric_parity, metrics_unread
from tasks.gates.quarantine import without_failing_columns, without_failing_features, without_failing_rows
from tasks.gates.run import GateReport, run_gate
from tasks.gates.tables import assembly_tables, feature_tables, staging_tables, training_tables
from tasks.panel.derived import with_derived
from tasks.panel.join import AGE, build_panel
from tasks.panel.summary import summarise_panel
from tasks.settings import PROJECT
from tasks.sources.payloads import Payload
from tasks.staging.stage import stage_payloads
from tasks.staging.summary import summarise_series
from tasks.storage.files import read_json, write_json, write_parquet
from tasks.storage.hashes import sha256_of
from tests.conftest import AS_OF, Registry, StagedArchive

EXPECTATIONS = PROJECT / "expectations"
# Enough of the archive for every gate, and little enough to be quick.
HELD = ("ZL=F", "ZS=F", "ZM=F", "ZC=F", "CL=F", "^VIX", "VIXCLS", "6dca-aqww.007601")
CUT = pd.Timestamp("2004-12-31")  # the last session of the training files tampered with here


@pytest.fixture(scope="module")
def held(staged: StagedArchive) -> pd.DataFrame:
    found = staged.observations[staged.observations["series"].isin(HELD)]
    return found.reset_index(drop=True)


@pytest.fixture(scope="module")
def observed(staged: StagedArchive, registry: Registry, documents: pd.DataFrame) -> pd.DataFrame:
    """Everything that the panel is made of."""
    return with_derived(staged.observations, registry.derived, as_of=AS_OF, documents=documents)


@pytest.fixture(scope="module")
def summary(panel: pd.DataFrame, registry: Registry, observed: pd.DataFrame) -> pd.DataFrame:
    return summarise_panel(panel, registry.joins, observed, registry.sources)


@pytest.fixture(scope="module")
def refusals(staged: StagedArchive) -> pd.DataFrame:
    return staged.quarantine[staged.quarantine["series"].isin(HELD)].reset_index(drop=True)


@pytest.fixture(scope="module")
def features(panel: pd.DataFrame, registry: Registry) -> pd.DataFrame:
    """The real ones: this folder's conftest has smaller tables of that name."""
    return build_features(panel, registry.features)


@pytest.fixture(scope="module")
def exported(
    features: pd.DataFrame, labels: pd.DataFrame, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "exports"
    short = labels[labels["date"] <= CUT]
    unknown = short["target_date"] > CUT
    targets = ["target_log_return", "target_price"]
    write_exports(
        folder,
        features[features["date"] <= CUT].reset_index(drop=True),
        short.assign(**{name: short[name].mask(unknown) for name in targets}),
        registry.regimes,
        registry=registry.features,
        horizons=registry.horizons,
        as_of=CUT,
        inputs="tests",
    )
    write_parquet(folder.parent / "features.parquet", features[features["date"] <= CUT].reset_index(drop=True))
    return folder


@pytest.fixture
def exports(exported: Path, tmp_path: Path) -> Path:
    shutil.copy(exported.parent / "features.parquet", tmp_path)
    return Path(shutil.copytree(exported, tmp_path / "exports"))


def refused(report: GateReport) -> str:
    with pytest.raises(GateFailed) as caught:
        report.require()
    return str(caught.value)


def at_staging(registry: Registry, observations: pd.DataFrame, quarantine: pd.DataFrame) -> GateReport:
    """What the daily run does between staging and the panel."""
    observations, quarantine, aside = without_failing_rows(
        observations, quarantine, registry.sources, expectations=EXPECTATIONS
    )
    series = summarise_series(registry.sources, observations, quarantine, as_of=AS_OF)
    tables = staging_tables(observations, quarantine, series, registry.sources, as_of=AS_OF, expectations=EXPECTATIONS)
    return run_gate("POST_STAGING", tables, expectations=EXPECTATIONS, set_aside=aside)


def at_assembly(registry: Registry, panel: pd.DataFrame, labels: pd.DataFrame, summary: pd.DataFrame) -> GateReport:
    found = without_failing_columns(panel, summary, expectations=EXPECTATIONS)
    tables = assembly_tables(found.table, found.summary, labels)
    return run_gate("POST_ASSEMBLY", tables, expectations=EXPECTATIONS, set_aside=found.results)


def at_features(registry: Registry, features: pd.DataFrame, panel: pd.DataFrame, summary: pd.DataFrame) -> GateReport:
    starts = summarise_starts(features, registry.features, registry.sources, summary)
    found = without_failing_features(features, starts, expectations=EXPECTATIONS)
    tables = feature_tables(found.table, panel, found.summary, registry.features)
    return run_gate("POST_FEATURES", tables, expectations=EXPECTATIONS, set_aside=found.results)


def before_training(registry: Registry, folder: Path, realised: pd.DataFrame | None = None) -> GateReport:
    """With the features that are served beside the folder of the training files."""
    path = folder.parent / "features.parquet"
    served = pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=["date"])
    tables = training_tables(folder, registry.features, registry.horizons, served=served, realised=realised)
    return run_gate("PRE_TRAINING", tables, expectations=EXPECTATIONS)


def rewrite(folder: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame], *, listed: bool = True) -> None:
    """Change a training file, and the manifest with it unless the change is to show there."""
    path = folder / name
    table = change(pd.read_parquet(path))
    write_parquet(path, table)
    if listed:
        manifest = read_json(folder / "manifest.json")
        manifest["files"][name] |= {
            "sha256": sha256_of(path),
            "rows": len(table),
            "columns": table.shape[1],
            "targets": int(table["target_log_return"].notna().sum()),
        }
        write_json(folder / "manifest.json", manifest)


def test_sound_tables_pass_all_gates(
    registry: Registry,
    refusals: pd.DataFrame,
    held: pd.DataFrame,
    panel: pd.DataFrame,
    features: pd.DataFrame,
    labels: pd.DataFrame,
    summary: pd.DataFrame,
    exported: Path,
) -> None:
    """What the faults below are planted into is sound: each is caught for itself."""
    at_staging(registry, held, refusals).require()
    at_assembly(registry, panel, labels, summary).require()
    at_features(registry, features, panel, summary).require()
    report = before_training(registry, exported)
    report.require()
    assert {result.suite for result in report.results} == {f"training.{name}" for name in TRAINING_TABLES}


TRAINING_TABLES = ("exports", "training_columns", "training_rows", "feature_parity", "metric_parity")


def test_a_swapped_unit_is_caught_at_post_staging(
    registry: Registry, held: pd.DataFrame, archive: Path, tmp_path: Path
) -> None:
    """The ZL payload in USD/lb instead of cents/lb."""
    served = pd.read_csv(archive / "yahoo" / "ZL=F" / "2026-07-14.csv")
    prices = ["Open", "High", "Low", "Close", "Adj Close"]
    path = tmp_path / "swapped.csv"
    served.assign(**{name: pd.to_numeric(served[name], errors="coerce") / 100 for name in prices}).to_csv(
        path, index=False
    )
    fetched = pd.Timestamp("2026-07-14", tz="UTC")
    payload = Payload("yahoo", "ZL=F", path, sha256_of(path), path.stat().st_size, "", fetched, True)
    through = pd.Timestamp(f"{AS_OF:%Y-%m-%d}", tz="UTC") + pd.Timedelta(days=1)
    accepted, cells = stage_payloads("yahoo", registry.sources.source("yahoo"), [payload], through=through)
    rest = held[held["series"] != "ZL=F"]
    together = pd.concat([rest, accepted], ignore_index=True).astype({"series": "category", "source": "category"})
    message = refused(at_staging(registry, together, cells))
    assert message.startswith("POST_STAGING")
    assert re.search(
        r'`critical_refused_share`: 1 of [\d,]+ fail .*\n.*"series": "ZL=F", "critical_refused_share": 1\.0', message
    )


def test_a_newest_close_that_cannot_be_true_stops_the_run_and_an_older_one_does_not(
    registry: Registry, held: pd.DataFrame, refusals: pd.DataFrame
) -> None:
    """Of the newest bar only the volume was accepted; the close was served and refused."""
    day = (held["series"] == "ZL=F") & (held["observation_date"] == AS_OF)
    prices = held[day & held["field"].isin(["open", "high", "low", "close", "adj_close"])]
    reason = "a jump that nothing confirms: moved +24.0%, limit 19.0%"
    cells = prices.drop(columns=["vintage"]).assign(vintage=0, rule="jump", reason=reason, payload="p", row=1)
    together = pd.concat([refusals, cells[refusals.columns]], ignore_index=True)
    together = together.astype(refusals.dtypes.loc[["available_at", "fetched_at"]].to_dict())
    message = refused(at_staging(registry, held.drop(prices.index), together))
    assert "`critical_newest_refused`: 1 of" in message and f"47.84 of {AS_OF:%Y-%m-%d}: {reason}" in message
    at_staging(registry, held, together).require()


def test_one_source_in_another_unit_is_caught_beside_the_other(
    registry: Registry, refusals: pd.DataFrame, held: pd.DataFrame
) -> None:
    """WTI in another unit within its range: a barrel of 42 gallons for one of 35 imperial ones."""
    wti = held["series"] == "CL=F"
    crude = held[wti].assign(field="value", series="DCOILWTICO", source="fred")
    wrong = held.assign(value=held["value"].where(~wti, held["value"] * 42 / 35))
    both = pd.concat([wrong, crude[held.loc[wti, "field"].eq("close").to_numpy()]], ignore_index=True)
    report = at_staging(registry, both, refusals)
    report.require()
    (aside,) = report.failed("quarantine")
    assert aside.expectation.startswith("expect_sources_to_agree") and aside.columns[0] == "yahoo CL=F close"
    assert aside.examples[0]["relative_gap"] == 0.2
    kept, quarantine, _ = without_failing_rows(both, refusals, registry.sources, expectations=EXPECTATIONS)
    recent = kept[kept["series"] == "CL=F"]["observation_date"].max()
    assert AS_OF - pd.Timedelta(days=120) < recent < AS_OF - pd.Timedelta(days=80), "a quarter of it is set aside"
    assert set(quarantine["rule"].astype(str).str.partition("[")[0]) >= {"gate:expect_sources_to_agree"}


def test_a_shifted_label_is_caught_at_post_assembly(
    registry: Registry, panel: pd.DataFrame, labels: pd.DataFrame, summary: pd.DataFrame
) -> None:
    """The 1m target taken one session late, consistent with itself in every other way."""
    here = labels["horizon"] == "1m"
    late = labels.loc[here, "target_price"].shift(-1)
    late = late.where(labels.loc[here, "reachable"])
    shifted = labels.assign(target_price=late.reindex(labels.index).where(here, labels["target_price"]))
    shifted["target_log_return"] = np.log(shifted["target_price"] / shifted["last_price"])
    shifted["reachable"] = shifted["target_log_return"].notna()
    message = refused(at_assembly(registry, panel, shifted, summary))
    assert "expect_target_at_its_date" in message
    assert '"horizon": "1m"' in message
    assert '"price_on_target_date"' in message


def test_a_label_counted_in_calendar_days_is_caught_at_post_assembly(
    registry: Registry, panel: pd.DataFrame, labels: pd.DataFrame, summary: pd.DataFrame
) -> None:
    dated = labels.assign(target_date=labels["date"] + pd.to_timedelta(labels["sessions_ahead"], unit="D"))
    assert "expect_target_date_exact" in refused(at_assembly(registry, panel, dated, summary))


def test_a_forward_filled_target_is_told_at_post_assembly_and_no_forecast_is_stopped(
    registry: Registry, panel: pd.DataFrame, labels: pd.DataFrame, summary: pd.DataFrame
) -> None:
    filled = labels.assign(target_price=labels.groupby("horizon")["target_price"].ffill())
    filled["target_log_return"] = np.log(filled["target_price"] / filled["last_price"])
    filled["reachable"] = filled["target_log_return"].notna()
    report = at_assembly(registry, panel, filled, summary)
    assert "expect_no_repeated_target" in [result.expectation for result in report.failed("warn")]


def test_a_forward_filled_target_is_caught_before_training(registry: Registry, exports: Path) -> None:
    name = "zl_training_prod_allhistory_3m.parquet"

    def filled(table: pd.DataFrame) -> pd.DataFrame:
        targets, tail = table[["target_price", "target_log_return"]], table.index >= len(table) - 63
        return table.assign(**targets.ffill().where(np.broadcast_to(tail[:, None], targets.shape), targets))

    rewrite(exports, name, filled)
    message = refused(before_training(registry, exports))
    assert "expect_targets_known_but_last" in message
    assert "63 of " in message
    assert '"surface": "prod"' in message and '"horizon": "3m"' in message
    assert "known, which cannot be" in message


def test_a_duplicated_session_is_caught_at_post_assembly(
    registry: Registry, panel: pd.DataFrame, labels: pd.DataFrame, summary: pd.DataFrame
) -> None:
    doubled = pd.concat([panel, panel[panel["date"] == "2010-06-15"]]).sort_values("date", kind="stable")
    message = refused(at_assembly(registry, doubled.reset_index(drop=True), labels, summary))
    assert "column `date`: 1 of 6,044 fail expect_column_strictly_increasing" in message
    assert '"date": "2010-06-15"' in message


@pytest.mark.parametrize("name", ["zl_rsi_14d", "wasde_us_soybeans_yield_revision_pct", "regime_stability_63d"])
def test_a_feature_that_rests_for_five_years_is_told_at_post_features(
    registry: Registry, features: pd.DataFrame, panel: pd.DataFrame, summary: pd.DataFrame, name: str
) -> None:
    """A failed join or a filled zero. A rate or a tariff can truly rest so long: nothing is stopped."""
    filled = features.assign(**{name: features[name].where(features[name].isna(), 0.5)})
    report = at_features(registry, filled, panel, summary)
    report.require()
    (told,) = [result for result in report.failed("warn") if result.expectation == "expect_columns_not_constant"]
    assert told.columns == (name,) and told.examples[0]["value"] == 0.5


def test_a_half_on_two_thirds_of_five_years_is_told_at_post_features(
    registry: Registry, features: pd.DataFrame, panel: pd.DataFrame, summary: pd.DataFrame
) -> None:
    """What the old system had: 0.5 wherever nothing was known."""
    filled = features["date"].between("2017-01-01", "2022-06-01")
    half = features.assign(oil_share=features["oil_share"].mask(filled, 0.5))
    report = at_features(registry, half, panel, summary)
    (told,) = [result for result in report.failed("warn") if result.expectation == "expect_no_placeholder"]
    assert told.columns == ("oil_share",) and told.examples[0]["value"] == 0.5


def test_a_future_stamped_value_is_caught_at_post_staging(
    registry: Registry, refusals: pd.DataFrame, held: pd.DataFrame
) -> None:
    """One VIX value known before its own session, and one after the session of the run."""
    places = held.index[(held["series"] == "^VIX") & (held["field"] == "close")]
    stamped = held.copy()
    stamped.loc[places[100], "available_at"] -= pd.Timedelta(days=2)
    stamped.loc[places[-1], "available_at"] += pd.Timedelta(days=2)
    report = at_staging(registry, stamped, refusals)
    aside = {result.expectation.partition("[")[0]: result for result in report.failed("quarantine")}
    assert aside["expect_column_not_above_column"].unexpected_count == 1
    assert aside["expect_known_after_the_day"].examples[0]["series"] == "^VIX"
    message = refused(report)
    assert re.search(r'column `last_available_at`: 1 of .*\n.*"series": "\^VIX"', message)


def test_a_stale_source_is_caught_at_post_staging(
    registry: Registry, refusals: pd.DataFrame, held: pd.DataFrame
) -> None:
    cut = AS_OF - pd.Timedelta(days=12)
    stale = held[~held["series"].isin(["ZL=F", "^VIX"]) | (held["observation_date"] <= cut)].reset_index(drop=True)
    report = at_staging(registry, stale, refusals)
    message = refused(report)
    assert re.search(r'column `age_days`: 1 of 1 fail .*\n.*"series": "ZL=F", "age_days": 14\.0', message)
    warned = [result for result in report.failed("warn") if result.column_name == "age_days"]
    assert [row["series"] for row in warned[0].examples] == ["^VIX"], "what went bad, and nothing never recorded"
    never = [result for result in report.failed("warn") if result.column_name == "never_recorded"]
    assert never and never[0].unexpected_count > 100


def test_a_column_that_the_join_loses_is_told_and_the_price_lost_stops_the_run(
    registry: Registry, observed: pd.DataFrame, panel: pd.DataFrame, labels: pd.DataFrame
) -> None:
    def lost(column: str) -> GateReport:
        without = panel.assign(**{column: np.nan})
        told = summarise_panel(without, registry.joins, observed, registry.sources)
        return at_assembly(registry, without, labels, told)

    report = lost("zm_last")
    report.require()
    assert "zm_last" in {row["column"] for result in report.failed("warn") for row in result.examples}
    assert '"column": "zl_last"' in refused(lost("zl_last"))


@pytest.mark.parametrize(
    ("column", "break_it"),
    [
        ("gdp", lambda p: p.loc[50, "gdp"] * 0 + 12.5),
        ("vix_last", lambda p: np.inf),
    ],
)
def test_a_secondary_column_that_shows_what_nobody_published_is_set_aside(
    registry: Registry, observed: pd.DataFrame, panel: pd.DataFrame, labels: pd.DataFrame, column: str, break_it
) -> None:
    broken = panel.copy()
    broken.loc[5000, column] = break_it(panel)
    told = summarise_panel(broken, registry.joins, observed, registry.sources)
    found = without_failing_columns(broken, told, expectations=EXPECTATIONS)
    assert found.table[column].isna().all() and set(found.reasons) == {column}
    assert found.table.drop(columns=column).equals(broken.drop(columns=column)), "the rest is as it was"
    at_assembly(registry, broken, labels, told).require()


def test_the_same_in_the_price_stops_the_run(
    registry: Registry, observed: pd.DataFrame, panel: pd.DataFrame, labels: pd.DataFrame
) -> None:
    """Tomorrow's close shown today: look-ahead in what every label is made of."""
    early = panel.assign(zl_close=panel["zl_close"].shift(-1), **{"zl_close" + AGE: panel["zl_close" + AGE].shift(-1)})
    told = summarise_panel(early, registry.joins, observed, registry.sources)
    message = refused(at_assembly(registry, early, labels, told))
    assert '"column": "zl_close", "look_ahead": true' in message


def test_a_reordered_column_is_caught_before_training(registry: Registry, exports: Path) -> None:
    name = "zl_training_full_allhistory_12m.parquet"
    rewrite(exports, name, lambda table: table[[table.columns[0], *table.columns[[2, 1]], *table.columns[3:]]])
    message = refused(before_training(registry, exports))
    first, second = list(registry.features.features)[:2]
    assert "training.training_columns, column `column, served`: 2 of" in message
    assert f'"column": "{second}", "served": "{first}"' in message


def test_a_reordered_column_is_caught_at_post_features(
    registry: Registry, features: pd.DataFrame, panel: pd.DataFrame, summary: pd.DataFrame
) -> None:
    message = refused(at_features(registry, features[["date", *features.columns[:0:-1]]], panel, summary))
    assert "features.feature_columns" in message and "swaps their meaning" in message


def test_a_negative_price_is_set_aside_at_post_staging_and_the_run_goes_on(
    registry: Registry, refusals: pd.DataFrame, held: pd.DataFrame
) -> None:
    day = pd.Timestamp("2015-03-17")
    price = (held["series"] == "ZS=F") & (held["field"] == "close") & (held["observation_date"] == day)
    negative = held.assign(value=held["value"].where(~price, -held["value"]))
    kept, quarantine, _ = without_failing_rows(negative, refusals, registry.sources, expectations=EXPECTATIONS)
    assert len(kept) == len(held) - int(price.sum())
    added = quarantine[quarantine["rule"] == "gate:expect_prices_positive"]
    assert list(added["observation_date"].unique()) == [day]
    assert list(added["series"].unique()) == ["ZS=F"]
    assert (added["value"] < 0).all()
    assert added["reason"].iloc[0].startswith("A price at or below zero")
    assert list(quarantine.columns) == list(refusals.columns)
    again, once, nothing = without_failing_rows(kept, quarantine, registry.sources, expectations=EXPECTATIONS)
    assert nothing == () and len(again) == len(kept) and len(once) == len(quarantine)
    report = at_staging(registry, negative, refusals)
    report.require()
    assert [(result.expectation, result.unexpected_count) for result in report.failed("quarantine")] == [
        ("expect_prices_positive", int(price.sum()))
    ]
    seen_by_panel = build_panel(kept, registry.joins, as_of=pd.Timestamp("2015-03-31")).set_index("date")
    assert (seen_by_panel["zs_last"].dropna() > 0).all()
    assert seen_by_panel.at[day, "zs_last"] == seen_by_panel.at[pd.Timestamp("2015-03-16"), "zs_last"]


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (lambda oil, meal, beans: 0.11 * oil + 0.02 * meal - beans / 100, "expect_board_crush_exact"),
        (lambda oil, meal, beans: 11 * oil + 0.022 * meal - beans, "expect_board_crush_exact"),
    ],
    ids=["0.02 for 0.022", "cents among dollars"],
)
def test_a_broken_crush_unit_is_caught_at_post_features(
    broken: Callable[..., pd.Series],
    expected: str,
    registry: Registry,
    features: pd.DataFrame,
    panel: pd.DataFrame,
    summary: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(soy_complex, "board_crush_usd_bu", broken)
    message = refused(at_features(registry, features.assign(**soy_complex.features(panel)), panel, summary))
    assert expected in message
    assert "features.board_crush" in message and '"board_crush_usd_bu"' in message and '"expected"' in message


def test_a_tampered_export_is_caught_before_training(registry: Registry, exports: Path) -> None:
    name = "zl_training_full_allhistory_1w.parquet"
    rewrite(exports, name, lambda table: table.assign(zl_rsi_14d=table["zl_rsi_14d"] * 1.001), listed=False)
    message = refused(before_training(registry, exports))
    assert "1 of 10 fail expect_column_pair_values_to_be_equal" in message
    assert "altered after it was exported" in message
    assert name in message


@pytest.mark.parametrize("how", ["missing", "damaged", "stray"])
def test_a_file_that_is_missing_damaged_or_none_of_the_ten_is_named(
    how: str, registry: Registry, exports: Path
) -> None:
    name = "zl_training_prod_allhistory_6m.parquet"
    if how == "missing":
        (exports / name).unlink()
    elif how == "damaged":
        (exports / name).write_bytes((exports / name).read_bytes()[:1000])
    else:
        shutil.copy(exports / name, exports / "zl_training_prod_allhistory_9m.parquet")
    message = refused(before_training(registry, exports))
    column = {"missing": "found", "damaged": "readable", "stray": "expected"}[how]
    assert f"column `{column}`: 1 of" in message
    assert ("9m.parquet" if how == "stray" else name) in message


def test_other_features_than_those_served_are_caught_before_training(registry: Registry, exports: Path) -> None:
    """One value of one feature, and the manifest is right about the file."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        known = table.index[table["zl_return_5d"].notna()][7]
        return table.assign(zl_return_5d=table["zl_return_5d"].where(table.index != known, 0.5))

    rewrite(exports, "zl_training_prod_allhistory_3m.parquet", change)
    message = refused(before_training(registry, exports))
    assert "training.feature_parity, column `verdict`: 1 of" in message
    assert '"file": "zl_training_prod_allhistory_3m.parquet", "column": "zl_return_5d"' in message
    assert re.search(
        r'"verdict": "1 sessions differ; on 2000-\d\d-\d\d -?0\.\d+ is served, and the file has 0\.5"', message
    )


def test_a_feature_table_of_another_session_is_caught_before_training(registry: Registry, exports: Path) -> None:
    path = exports.parent / "features.parquet"
    write_parquet(path, pd.read_parquet(path).iloc[:-1])
    report = before_training(registry, exports)
    (found,) = [result for result in report.failed("block") if result.suite == "training.feature_parity"]
    assert found.unexpected_count == found.element_count > 1000, "every feature lacks that session"


def test_figures_that_python_and_sql_do_not_agree_on_are_caught_before_training(
    registry: Registry, exported: Path
) -> None:
    row = {"origin": "live", "replay": "", "horizon": "1w", "mape_pct": 2.81, "sharpe": 0.4}
    in_python = pd.DataFrame([row, row | {"horizon": "1m"}])
    before_training(registry, exported, metric_parity(in_python, in_python, ["mape_pct", "sharpe"])).require()
    in_sql = in_python.assign(mape_pct=[2.81, 2.8101])
    message = refused(before_training(registry, exported, metric_parity(in_python, in_sql, ["mape_pct", "sharpe"])))
    assert "training.metric_parity, column `verdict`: 1 of 4 fail" in message
    assert '"horizon": "1m", "verdict": "mape_pct: Python has 2.81, SQL 2.8101 (live )"' in message
    one_sided = metric_parity(in_python, in_python.head(1), ["mape_pct", "sharpe"])
    assert "2 of 4 fail" in refused(before_training(registry, exported, one_sided)), "a row that only one has"
    assert "the warehouse is on fire" in refused(
        before_training(registry, exported, metrics_unread("the warehouse is on fire"))
    )


def test_a_lost_row_a_foreign_weight_and_a_copied_feature_are_caught_before_training(
    registry: Registry, exports: Path
) -> None:
    first, second = registry.features.production()[:2]

    def broken(table: pd.DataFrame) -> pd.DataFrame:
        table = table.assign(**{second: table[first]}, training_weight=table["training_weight"] * 20)
        return table.drop(index=500)

    rewrite(exports, "zl_training_prod_allhistory_1m.parquet", broken)
    message = refused(before_training(registry, exports))
    assert re.search(r"1 of 10 fail expect_column_pair_values_to_be_equal.*\. One row for every CBOT session", message)
    assert "column `training_weight`" in message
    (told,) = [
        result for result in before_training(registry, exports).failed("warn") if result.column_name == "same_as"
    ]
    assert told.examples[0]["same_as"] == first


def test_no_training_files_at_all_are_named_not_an_exception(registry: Registry, tmp_path: Path) -> None:
    message = refused(before_training(registry, tmp_path / "none"))
    assert "column `found`: 10 of 10" in message
    assert json.dumps("zl_training_prod_allhistory_1w.parquet")[1:-1] in message


def test_a_feature_known_before_its_inputs_is_set_aside_at_post_features(
    registry: Registry, features: pd.DataFrame, panel: pd.DataFrame, summary: pd.DataFrame
) -> None:
    """Filled back to a session at which the panel knows nothing of palm oil."""
    name = "cpo_return_5d"
    place = int(features[name].notna().argmax())
    filled = features.assign(**{name: features[name].bfill(limit=60)})
    report = at_features(registry, filled, panel, summary)
    report.require()
    (aside,) = report.failed("quarantine")
    assert aside.examples[0]["column"] == name and "has seen the future" in aside.reason
    starts = summarise_starts(filled, registry.features, registry.sources, summary)
    found = without_failing_features(filled, starts, expectations=EXPECTATIONS)
    assert found.table[name].isna().all() and set(found.reasons) == {name} and place > 60


def test_a_feature_of_critical_series_without_a_value_is_caught_at_post_features(
    registry: Registry, features: pd.DataFrame, panel: pd.DataFrame, summary: pd.DataFrame
) -> None:
    message = refused(at_features(registry, features.assign(zl_rsi_14d=np.nan), panel, summary))
    assert '"column": "zl_rsi_14d", "missing": true, "critical": true' in message


def test_absent_sources_are_a_warning_however_many(
    registry: Registry, features: pd.DataFrame, panel: pd.DataFrame, summary: pd.DataFrame
) -> None:
    """They are told, the models that read them are degraded, and the run goes on: the price is there."""
    many = [
        name
        for name, entry in registry.features.features.items()
        if {source.partition(" ")[0] for source in entry.sources} & {"cftc", "usda_wasde", "eia"}
    ]
    report = at_features(registry, features.assign(**dict.fromkeys(many, np.nan)), panel, summary)
    report.require()
    (told,) = [result for result in report.failed("warn") if result.column_name == "missing"]
    assert told.unexpected_count == len(many) > 0.2 * len(registry.features.features)


@pytest.mark.parametrize("day", ["2003-12-31", "2010-06-30", "2019-06-28"])
def test_a_replay_of_an_early_session_passes_post_features(
    registry: Registry, features: pd.DataFrame, panel: pd.DataFrame, summary: pd.DataFrame, day: str
) -> None:
    """What has not begun by then is not missing, and what rests at one value until then is no placeholder."""
    early = features[features["date"] <= day].reset_index(drop=True)
    known = panel[panel["date"] <= day].reset_index(drop=True)
    begun = summary.assign(first_known=summary["first_known"].where(summary["first_known"] <= pd.Timestamp(day)))
    report = at_features(registry, early, known, begun)
    report.require()
    assert report.failed("quarantine") == []
    assert early.drop(columns="date").isna().all().sum() > 0, "some have not begun"
    assert "missing" not in [result.column_name for result in report.failed("warn")]
