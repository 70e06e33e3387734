"""What changed since the session before: exact, by part, and honest where it cannot be said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.forecasting.attribution import Reasons
from tasks.forecasting.changes import PARTS, Version, changes_of
from tests.forecasting.market import Market

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
BEFORE, NOW = pd.Timestamp("2014-12-29"), pd.Timestamp("2014-12-30")
WIDTH = 0.1
"""What each version of the market's store adds to the log width."""


def day_of(family: str, market: Market, folder: Path) -> tuple[pd.Series, pd.Series, Version]:
    """The published forecasts of both sessions, and the version behind them."""
    store = market.served_by(family, folder)
    yesterday, today = (market.whole_day(store, day) for day in (BEFORE, NOW))
    before, now = market.explained(today).reasons["1m"]
    return yesterday.forecasts.iloc[0], today.forecasts.iloc[0], Version(f"{family}/1m/v0001", before, now, WIDTH)


def split(
    yesterday: pd.Series | None, today: pd.Series, new: Version, old: Version | None, market: Market
) -> pd.DataFrame:
    return changes_of(today, yesterday, new, old, market.registry.features, levels=LEVELS, session_before=BEFORE)


def sums(table: pd.DataFrame, column: str = "centre_cents_lb") -> pd.Series:
    return table.groupby("part")[column].sum()


@pytest.mark.parametrize("family", ["ridge", "lightgbm", "curve"])
def test_the_parts_add_up_to_both_moves_and_name_their_series(family: str, market: Market, tmp_path: Path) -> None:
    yesterday, today, version = day_of(family, market, tmp_path / "store")
    table = split(yesterday, today, version, version, market)
    move = today["point"] - yesterday["point"]
    widened = (today["p90"] - today["p10"]) - (yesterday["p90"] - yesterday["p10"])
    assert abs(move) > 0.01 and table["centre_cents_lb"].sum() == pytest.approx(move, abs=1e-9)
    assert table["width_cents_lb"].sum() == pytest.approx(widened, abs=1e-9)
    by_part = sums(table)
    assert set(by_part.index) == set(PARTS) and by_part[["revision", "model", "calibration"]].abs().max() < 1e-9
    step = today["last_price"] - yesterday["last_price"]
    assert by_part["price"] == pytest.approx(step * yesterday["point"] / yesterday["last_price"])
    named = table.loc[table["part"] == "data", "subject"]
    if family == "ridge":
        assert named.str.contains("yahoo ZL=F").any() and named.is_unique
        assert abs(by_part["data"]) > 1e-4, "no new data moved it: nothing is tested"
    assert table["note"].isna().all() and (table["since"] == BEFORE).all()


def test_another_model_and_a_wider_calibration_are_parts_of_their_own(market: Market, tmp_path: Path) -> None:
    """Trees yesterday, the ridge today: what it says differently on today's inputs is the model's part."""
    yesterday, _, old = day_of("lightgbm", market, tmp_path / "trees")
    _, today, new = day_of("ridge", market, tmp_path / "ridge")
    narrow = replace(old, log_width=0.0)
    before = np.array(old.before.quantiles) if old.before else np.array([])
    around = before[3] + (before - before[3])
    narrower = yesterday["last_price"] * np.exp(around[[1, 5]])
    published = yesterday.copy()
    published[["p10", "p90"]] = narrower
    table = split(published, today, new, narrow, market)
    model = today["last_price"] * (np.exp(new.now.quantiles[3]) - np.exp(old.now.quantiles[3]))
    assert sums(table)["model"] == pytest.approx(model) and abs(model) > 0.01
    assert table.loc[table["part"] == "model", "subject"].tolist() == ["ridge/1m/v0001"]
    low, high = (today["last_price"] * np.exp(new.now.quantiles[i]) for i in (1, 5))
    widened = (today["p90"] - today["p10"]) - (high - low)
    assert sums(table, "width_cents_lb")["calibration"] == pytest.approx(widened) and widened > 0.1
    assert sums(table)["calibration"] == pytest.approx(0.0, abs=1e-9), "a width moves no centre"


def test_inputs_corrected_since_yesterday_are_a_revision(market: Market, tmp_path: Path) -> None:
    yesterday, today, version = day_of("ridge", market, tmp_path / "store")
    other = yesterday.copy()
    other["point"] += 0.3
    table = split(other, today, version, version, market)
    assert sums(table)["revision"] == pytest.approx(-0.3)
    assert table["centre_cents_lb"].sum() == pytest.approx(today["point"] - other["point"])


def test_without_a_forecast_of_yesterday_it_says_so(market: Market, tmp_path: Path) -> None:
    yesterday, today, version = day_of("ridge", market, tmp_path / "store")
    (row,) = split(None, today, version, version, market).to_dict("records")
    assert row["part"] == "unknown" and np.isnan(row["centre_cents_lb"])
    assert row["note"] == "no forecast of 2014-12-29 is published, the session before"
    (row,) = split(yesterday, today, version, None, market).to_dict("records")
    assert row["note"] == "ridge/1m/v0001 of 2014-12-29 cannot forecast again"


def test_large_parts_that_cancel_are_not_blown_up() -> None:
    """+1.00 and -0.99 of a step of 0.30: a proportion would say +30 and -29.7."""
    from tasks.forecasting.changes import _in_cents

    assert _in_cents({"a": 1.0, "b": -0.99}, 0.3) == {"base": 0.3}
    assert _in_cents({"a": 2.0, "b": 1.0}, 0.3) == pytest.approx({"a": 0.2, "b": 0.1})
    assert _in_cents({}, 0.0) == {} and _in_cents({}, 0.2) == {"base": 0.2}
    assert Reasons("2014-12-29", [], {}, {}).centre == {}
