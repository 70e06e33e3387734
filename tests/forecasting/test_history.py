"""Published forecasts beside their outcomes: what counts, when, and that it stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.calendar import as_of_instant, sessions
from tasks.evaluation.realised import FIGURES, RECORD_OF, phased_sharpe, realised_figures
from tasks.forecasting.history import KEY, due_outcomes, settled_closes
from tasks.quantiles import column
from tasks.registry import Horizons
from tasks.reporting.track_record import OUTCOMES, publish_due, score
from tasks.run import RunContext, open_run
from tasks.settings import Settings
from tasks.staging.stage import Staged
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.record import PUBLISHED, REPLAYS, check_record
from tasks.warehouse.tables import tables
from tests.conftest import AS_OF, StagedArchive
from tests.warehouse.conftest import rows

COST = 0.03
TRACKING = "SELECT * FROM performance.vw_forecast_performance_tracking WHERE sliced_by = 'all' ORDER BY horizon_order"


def closes(*given: tuple[str, float, str, int]) -> pd.DataFrame:
    """Observations of ZL=F: date, close, when it was known (UTC), vintage."""
    return pd.DataFrame(
        {
            "source": "yahoo",
            "series": "ZL=F",
            "field": "close",
            "observation_date": pd.to_datetime([row[0] for row in given]).astype("datetime64[us]"),
            "value": [row[1] for row in given],
            "available_at": pd.to_datetime([row[2] for row in given], utc=True).astype("datetime64[us, UTC]"),
            "vintage": [row[3] for row in given],
        }
    )


def published(as_of: str, target: str, horizon: str = "1w", **given: Any) -> pd.DataFrame:
    prices = dict(zip(("p05", "p10", "p25", "p50", "p75", "p90", "p95"), (44, 45, 47, 49, 51, 53, 54), strict=True))
    day = pd.Timestamp(as_of)
    row = {"as_of": day, "horizon": horizon, "model_version": "ridge/1w/v1", "target_date": pd.Timestamp(target)}
    row |= {"origin": "live", "last_price": 48.0, "family": "ridge", "is_baseline": False, "degraded": False}
    row |= {name: float(price) for name, price in prices.items()} | {"direction_probability": 0.6}
    row |= {"data_snapshot": "a", "created_at": as_of_instant(day) + pd.Timedelta(minutes=5)}
    return rows(PUBLISHED, row | given)


def outcomes(forecasts: pd.DataFrame, observed: pd.DataFrame, as_of: str, horizons: Horizons) -> pd.DataFrame:
    return due_outcomes(forecasts, observed, horizons, as_of=pd.Timestamp(as_of), round_trip_cost_cents_lb=COST)


@pytest.fixture(scope="module")
def horizons(registry: Any) -> Horizons:
    return registry.horizons


def test_a_forecast_is_scored_on_the_session_after_its_target_date(horizons: Horizons) -> None:
    observed = closes(("2024-01-08", 50.0, "2024-01-08 21:00", 1))
    asked = published("2023-12-29", "2024-01-08")
    assert outcomes(asked, observed, "2024-01-08", horizons).empty, "it may still be corrected"
    (row,) = outcomes(asked, observed, "2024-01-09", horizons).to_dict("records")
    assert (row["actual_price"], row["settled_on"]) == (50.0, pd.Timestamp("2024-01-09"))
    assert row["error_cents_lb"] == -1.0 and row["absolute_percentage_error"] == pytest.approx(0.02)
    assert row["no_change_error_cents_lb"] == -2.0
    assert row["no_change_absolute_percentage_error"] == pytest.approx(0.04)
    assert (row["inside_50"], row["inside_80"], row["inside_90"], row["direction_hit"]) == (True, True, True, True)
    levels = np.array(horizons.quantiles)
    loss = np.log(50 / np.array([44, 45, 47, 49, 51, 53, 54]))
    assert row["pinball_log_return"] == pytest.approx(np.maximum(levels * loss, (levels - 1) * loss).mean())
    assert row["sign_return"] == pytest.approx(50 / 48 - 1 - COST / 48)
    assert pd.isna(row["baseline_pinball_log_return"]) and not row["published_late"] and not row["superseded"]


def test_a_close_corrected_by_the_next_evening_counts_and_a_later_revision_does_not(horizons: Horizons) -> None:
    wrong = ("2024-01-08", 60.0, "2024-01-08 21:00", 1)
    corrected = ("2024-01-08", 50.0, "2024-01-09 15:00", 2)
    revised = ("2024-01-08", 55.0, "2024-01-10 15:00", 3)
    asked = published("2023-12-29", "2024-01-08")
    for day in ("2024-01-09", "2024-01-10", "2024-02-01"):
        known = closes(wrong, corrected, revised)
        known = known[known["available_at"] <= as_of_instant(day)]
        assert outcomes(asked, known, day, horizons)["actual_price"].tolist() == [50.0], day


def test_a_close_that_arrives_late_counts_from_the_evening_it_arrived(horizons: Horizons) -> None:
    late = closes(("2024-01-08", 50.0, "2024-01-11 15:00", 1), ("2024-01-08", 51.0, "2024-01-12 15:00", 2))
    asked = published("2023-12-29", "2024-01-08")
    assert outcomes(asked, late, "2024-01-10", horizons).empty
    for day in ("2024-01-11", "2024-01-12", "2024-03-01"):
        (row,) = outcomes(asked, late, day, horizons).to_dict("records")
        assert (row["actual_price"], row["settled_on"]) == (50.0, pd.Timestamp("2024-01-11"))


def test_a_target_date_without_a_close_has_no_outcome(horizons: Horizons) -> None:
    observed = closes(("2024-01-09", 50.0, "2024-01-09 21:00", 1))
    assert outcomes(published("2023-12-29", "2024-01-08"), observed, "2024-06-03", horizons).empty


@pytest.mark.parametrize(
    ("chance", "close", "hit", "sign"),
    [(0.6, 50.0, True, 1), (0.6, 47.0, False, 1), (0.4, 47.0, True, -1), (np.nan, 50.0, None, 0), (0.6, 48.0, None, 1)],
)
def test_direction_counts_where_there_was_a_view_and_a_move(
    chance: float, close: float, hit: bool | None, sign: int, horizons: Horizons
) -> None:
    observed = closes(("2024-01-08", close, "2024-01-08 21:00", 1))
    asked = published("2023-12-29", "2024-01-08", direction_probability=chance)
    (row,) = outcomes(asked, observed, "2024-01-09", horizons).to_dict("records")
    assert (None if pd.isna(row["direction_hit"]) else row["direction_hit"]) == hit
    assert row["sign_return"] == pytest.approx(sign * (close / 48 - 1) - abs(sign) * COST / 48)


def test_of_two_forecasts_of_a_session_the_one_that_readers_saw_counts(horizons: Horizons) -> None:
    observed = closes(("2024-01-08", 50.0, "2024-01-08 21:00", 1))
    first = published("2023-12-29", "2024-01-08")
    later = pd.Timestamp("2024-01-02 09:00", tz="UTC")
    second = published("2023-12-29", "2024-01-08", model_version="ridge/1w/v2", data_snapshot="b", created_at=later)
    afterwards = pd.Timestamp("2024-02-02 09:00", tz="UTC")
    third = published("2023-12-29", "2024-01-08", model_version="ridge/1w/v3", data_snapshot="c", created_at=afterwards)
    found = outcomes(pd.concat([first, second, third]), observed, "2024-02-05", horizons)
    assert found["superseded"].tolist() == [True, False, True]
    assert found["published_late"].tolist() == [False, False, True], "hindsight is no forecast"
    assert len(realised_figures(found, tuple(horizons.quantiles))) == 1
    assert realised_figures(found, tuple(horizons.quantiles))["forecasts"].tolist() == [1]


def test_of_two_forecasts_on_the_same_data_the_champions_counts(horizons: Horizons) -> None:
    observed = closes(("2024-01-08", 50.0, "2024-01-08 21:00", 1))
    later = pd.Timestamp("2024-01-02 09:00", tz="UTC")
    other = published("2023-12-29", "2024-01-08", model_version="har/1w/v2", created_at=later)
    both = pd.concat([published("2023-12-29", "2024-01-08"), other])

    def shown(forecasts: pd.DataFrame) -> list[str]:
        found = outcomes(forecasts, observed, "2024-02-05", horizons)
        return found.loc[~found["superseded"], "model_version"].tolist()

    assert shown(both.assign(is_champion=[True, False])) == ["ridge/1w/v1"]
    assert shown(both) == ["har/1w/v2"], "without a champion the newest counts"


def test_the_baseline_of_the_same_session_is_beside_it(horizons: Horizons) -> None:
    observed = closes(("2024-01-08", 50.0, "2024-01-08 21:00", 1))
    asked = published("2023-12-29", "2024-01-08")
    baseline = published(
        "2023-12-29", "2024-01-08", model_version="curve/1w/v1", family="curve", is_baseline=True, p50=48.0
    )
    found = outcomes(pd.concat([asked, baseline]), observed, "2024-01-09", horizons).set_index("model_version")
    assert found["baseline_version"].tolist() == ["curve/1w/v1"] * 2
    own = found["pinball_log_return"]["curve/1w/v1"]
    assert found["baseline_pinball_log_return"].tolist() == [own, own] != found["pinball_log_return"].tolist()


# -- on the recorded archive ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def yahoo(staged: StagedArchive) -> pd.DataFrame:
    held = staged.by_source["yahoo"]
    assert isinstance(held, Staged)
    return held.observations[held.observations["series"] == "ZL=F"]


@pytest.fixture(scope="module")
def weekly(yahoo: pd.DataFrame, horizons: Horizons) -> pd.DataFrame:
    """Forecasts on every fifth session of 2019 to 2023, from the closes of that evening and a widening band."""
    close = yahoo[yahoo["field"] == "close"].drop_duplicates("observation_date").set_index("observation_date")["value"]
    days, ahead = sessions("2019-01-02", AS_OF), sessions("2019-01-02")
    parts = []
    for name, horizon in horizons.horizons.items():
        made = pd.DataFrame({"as_of": days[::5], "target_date": ahead[np.arange(0, len(days), 5) + horizon.sessions]})
        made["last_price"] = close.reindex(made["as_of"]).to_numpy()
        drift = np.sin(np.arange(len(made)))  # a view that changes, so that every figure has something to measure
        width = 0.015 * np.sqrt(horizon.sessions)
        quantiles = {
            column(p): made["last_price"] * np.exp(width * (z + 0.3 * drift))
            for p, z in zip(horizons.quantiles, (-1.64, -1.28, -0.67, 0, 0.67, 1.28, 1.64), strict=True)
        }
        parts.append(made.assign(horizon=name, direction_probability=0.5 + 0.1 * drift, **quantiles))
    told = pd.concat(parts, ignore_index=True).dropna(subset="last_price")
    told = told.assign(
        model_version=[f"har/{name}/v1" for name in told["horizon"]],
        origin="live",
        family=np.where(told["as_of"].dt.year < 2021, "har", "ridge"),
        regime="normal",
        is_baseline=False,
        degraded=False,
        data_snapshot="x",
        created_at=pd.to_datetime(told["as_of"]).dt.tz_localize("UTC") + pd.Timedelta(hours=25),
    )
    return told.reindex(columns=list(tables()[PUBLISHED].columns))


@settings(max_examples=12)
@given(number=st.integers(0, 999))
def test_outcomes_of_a_session_do_not_depend_on_later_data(
    number: int, weekly: pd.DataFrame, yahoo: pd.DataFrame, horizons: Horizons
) -> None:
    day = sessions("2019-06-03", AS_OF)[number]
    known = yahoo[yahoo["available_at"] <= as_of_instant(day)]
    then = outcomes(weekly, known, f"{day:%Y-%m-%d}", horizons)
    afterwards = outcomes(weekly, yahoo, f"{AS_OF:%Y-%m-%d}", horizons)
    same = afterwards[afterwards["settled_on"] <= day].reset_index(drop=True)
    assert len(then) and (then["settled_on"] <= day).all() and (then["target_date"] < day).all()
    pd.testing.assert_frame_equal(then, same, check_exact=True)


def test_the_settled_close_is_the_target_of_the_labels(
    weekly: pd.DataFrame, labels: pd.DataFrame, yahoo: pd.DataFrame
) -> None:
    known = labels[labels["reachable"] & (labels["date"] >= "2019-01-02")]
    wanted = known.drop_duplicates("target_date").set_index("target_date")["target_price"]
    settled = settled_closes(yahoo, pd.DatetimeIndex(wanted.index), as_of=AS_OF).set_index("target_date")
    assert len(settled) > 900
    assert (settled["actual_price"] == wanted.reindex(settled.index)).all()


def home_of(tmp_path: Path, day: pd.Timestamp) -> RunContext:
    return open_run(Settings(home=tmp_path / "home"), origin="live", as_of=f"{day:%Y-%m-%d}")


def test_outcomes_are_published_as_they_come_due_and_never_again(
    weekly: pd.DataFrame, yahoo: pd.DataFrame, tmp_path: Path
) -> None:
    zones = Zones(tmp_path / "home")
    warehouse = DuckDbWarehouse(zones)
    warehouse.publish({PUBLISHED: weekly}, as_of=AS_OF, staging=zones.staging)
    days = sessions("2023-12-15", AS_OF)
    counts = []
    for day in days:
        known = yahoo[yahoo["available_at"] <= as_of_instant(day)]
        counts.append(publish_due(home_of(tmp_path, day), known))
        assert publish_due(home_of(tmp_path, day), known) == 0, "a rerun changes nothing"
    stored = warehouse.query(f"SELECT * FROM {OUTCOMES}")
    assert sum(counts) == len(stored) and counts[0] > 1000 and max(counts[1:]) <= 10
    # an earlier session afterwards, with a revised price: nothing new, nothing changed
    revised = yahoo.assign(value=yahoo["value"] * 1.01)
    assert publish_due(home_of(tmp_path, days[2]), revised) == 0
    assert publish_due(home_of(tmp_path, AS_OF), revised) == 0
    after = warehouse.query(f"SELECT * FROM {OUTCOMES}")
    pd.testing.assert_frame_equal(after.sort_values(KEY), stored.sort_values(KEY), check_exact=True)
    assert not [one for state in check_record(warehouse) for one in state.findings]


def test_outcomes_that_cannot_be_written_are_a_warning_and_raise_nothing(yahoo: pd.DataFrame, tmp_path: Path) -> None:
    words = score(home_of(tmp_path, AS_OF), yahoo)
    assert words.startswith("the outcomes of past forecasts are missing: nothing is published")


def test_a_replay_has_outcomes_of_its_own(weekly: pd.DataFrame, yahoo: pd.DataFrame, tmp_path: Path) -> None:
    zones = Zones(tmp_path / "home")
    warehouse = DuckDbWarehouse(zones)
    part = weekly[weekly["as_of"] < "2019-03-01"]
    replayed = part.assign(origin="replay", replay="weekly", trained_as_of=pd.Timestamp("2018-12-31"))
    warehouse.publish({PUBLISHED: part, REPLAYS: replayed}, as_of=AS_OF, staging=zones.staging)
    run = home_of(tmp_path, AS_OF)
    assert publish_due(run, yahoo, replay="weekly") == len(part) == publish_due(run, yahoo)
    counted = warehouse.query(f"SELECT origin, replay, COUNT(*) AS n FROM {OUTCOMES} GROUP BY 1, 2 ORDER BY 1")
    assert counted.to_numpy().tolist() == [["live", "", len(part)], ["replay", "weekly", len(part)]]
    figures = warehouse.query(TRACKING)
    both = figures.drop(columns=["origin", "replay"]).groupby(figures["origin"])
    left, right = (frame.reset_index(drop=True) for _, frame in both)
    pd.testing.assert_frame_equal(left, right)


def test_python_and_sql_agree_to_rounding(
    weekly: pd.DataFrame, yahoo: pd.DataFrame, horizons: Horizons, tmp_path: Path
) -> None:
    found = outcomes(weekly, yahoo, f"{AS_OF:%Y-%m-%d}", horizons).assign(created_at=pd.Timestamp("2024", tz="UTC"))
    warehouse = DuckDbWarehouse(Zones(tmp_path / "home"))
    warehouse.publish({"performance.forecast_outcomes": found}, as_of=AS_OF, staging=tmp_path / "none")
    in_sql = warehouse.query(TRACKING).set_index(RECORD_OF)
    in_python = realised_figures(found, tuple(horizons.quantiles)).set_index(RECORD_OF)
    assert set(in_sql.index) == set(in_python.index) and len(in_sql) == 5
    for name in FIGURES:
        wanted = in_python[name].astype("float64")
        np.testing.assert_allclose(
            in_sql[name].reindex(wanted.index).astype("float64"), wanted, rtol=1e-9, err_msg=name
        )
        assert wanted.notna().all() and wanted.nunique() > 1, name
    # older readers' columns are one value for all rows
    (week,) = in_sql["overall_mape_1week"].unique()
    assert week == in_sql["mape_pct"]["live", "", "1w"]
    assert in_sql["overall_sharpe_12month"].nunique() == 1
    slices = warehouse.query(
        "SELECT sliced_by, SUM(forecasts) AS n FROM performance.vw_forecast_performance_tracking GROUP BY sliced_by"
    ).set_index("sliced_by")["n"]
    assert slices.to_dict() == dict.fromkeys(("all", "family", "month", "regime"), len(found))


def test_trades_of_a_phase_do_not_overlap() -> None:
    """Every session of 30, three ahead: three phases of ten trades each."""
    rng = np.random.default_rng(1)
    returns = rng.normal(0.01, 0.05, 30)
    frame = pd.DataFrame({"session_number": range(100, 130), "sessions_ahead": 3, "sign_return": returns})
    ratios = [returns[k::3].mean() / returns[k::3].std(ddof=1) * np.sqrt(84) for k in range(3)]
    assert phased_sharpe(frame.sample(frac=1, random_state=3)) == pytest.approx(np.median(ratios))
