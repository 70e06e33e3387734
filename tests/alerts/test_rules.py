"""Each rule fires on a planted case, and stays silent on the case beside it."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

from tasks.alerts import rules
from tasks.calendar import sessions
from tasks.registry import load_alerts
from tasks.run import code_version
from tasks.settings import PROJECT, load_settings

RULES = load_alerts(PROJECT / "registry")
LIMITS = RULES.limits
DAYS = sessions()[sessions() <= pd.Timestamp("2023-12-29")][-120:]
TODAY, YESTERDAY = DAYS[-1], DAYS[-2]


def forecast(day: pd.Timestamp = TODAY, **changed) -> dict:
    row = {
        "as_of": day,
        "horizon": "1w",
        "last_price": 50.0,
        "point": 50.0,
        "p05": 45.0,
        "p95": 55.0,
        "direction_probability": np.nan,
        "roll_date": pd.Timestamp("2024-01-16"),
        "contract": "ZLF24",
        "family": "curve",
        "model_version": "curve/1w/v0001",
        "degraded": False,
    }
    return {**row, **changed}


def frame(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(list(rows) or [forecast()]).iloc[: len(rows)]


def history(days: int, wobble: float = 0.002) -> pd.DataFrame:
    """A forecast whose distance from the price goes up and down by ``wobble`` from session to session."""
    rows = [forecast(day, point=50.0 * np.exp(wobble * (at % 2))) for at, day in enumerate(DAYS[-days - 1 : -1])]
    return frame(*rows)


def test_a_forecast_that_moves_more_than_ever_is_a_jump_and_a_usual_move_is_none() -> None:
    past = history(80)
    (row,) = rules.forecast_jumps(past, frame(forecast(point=52.0)), LIMITS).to_dict("records")
    assert (row["kind"], row["subject"]) == ("jump", "1w") and "of 79 earlier moves were within 0.2%" in row["message"]
    assert rules.forecast_jumps(past, frame(forecast(point=50.0)), LIMITS).empty


def test_a_market_that_takes_the_forecast_along_is_no_jump() -> None:
    past = history(80)
    now = past.iloc[-1]["point"] * 1.1
    assert rules.forecast_jumps(past, frame(forecast(last_price=55.0, point=now)), LIMITS).empty


def test_without_the_stated_history_or_the_session_before_no_jump_is_judged() -> None:
    far = frame(forecast(point=60.0))
    assert rules.forecast_jumps(history(LIMITS.jump_least_history), far, LIMITS).empty
    assert len(rules.forecast_jumps(history(LIMITS.jump_least_history + 1), far, LIMITS)) == 1
    assert rules.forecast_jumps(history(80).iloc[:-1], far, LIMITS).empty, "no forecast of the session before"
    assert rules.forecast_jumps(pd.DataFrame(), far, LIMITS).empty


@pytest.mark.parametrize(
    ("chances", "fires"), [((0.6, 0.4), True), ((0.6, 0.48), False), ((0.6, np.nan), False), ((0.6, 0.7), False)]
)
def test_horizons_disagree_only_beyond_the_margin_on_both_sides(chances, fires) -> None:
    pair = zip(("1m", "3m"), chances, strict=True)
    found = rules.disagreeing_horizons(frame(*[forecast(horizon=h, direction_probability=p) for h, p in pair]), LIMITS)
    assert len(found) == fires
    assert not fires or found["message"].iloc[0].startswith("up: 1m (60%); down: 3m (40%)")


def test_a_price_beyond_the_band_of_yesterday_is_told_with_both() -> None:
    past = frame(forecast(YESTERDAY, p05=47.0, p95=49.0))
    (row,) = rules.beyond_band(past, frame(forecast()), TODAY).to_dict("records")
    assert row["message"].startswith("50.00 cents/lb is above the 90% band of 47.00 to 49.00")
    assert rules.beyond_band(frame(forecast(YESTERDAY)), frame(forecast()), TODAY).empty
    assert rules.beyond_band(frame(forecast(DAYS[-3], p95=49.0)), frame(forecast()), TODAY).empty, "not of yesterday"


def decision(day: pd.Timestamp, chance: float, **changed) -> dict:
    return {"as_of": day, "need": "a", "month": "all", "chance_over_budget": chance, "need_version": "x", **changed}


@pytest.mark.parametrize(
    ("before", "now", "fires"),
    [
        (decision(YESTERDAY, 0.2), decision(TODAY, 0.31), True),
        (decision(YESTERDAY, 0.2), decision(TODAY, 0.25), False),
        (decision(YESTERDAY, 0.2), decision(TODAY, 0.9, need_version="y"), False),
        (decision(YESTERDAY, np.nan), decision(TODAY, 0.9), False),
        (decision(DAYS[-4], 0.1), decision(TODAY, 0.9), False),
    ],
)
def test_a_rise_of_the_chance_to_exceed_the_budget(before, now, fires) -> None:
    found = rules.budget_chance(frame(before), frame(now), TODAY, LIMITS)
    assert len(found) == fires


def test_a_roll_is_announced_some_sessions_ahead_and_not_after_it() -> None:
    at = int(sessions().searchsorted(TODAY))
    due = {n: frame(forecast(roll_date=sessions()[at + n])) for n in (0, 1, LIMITS.roll_sessions + 1)}
    assert {n: len(rules.roll_ahead(rows, TODAY, LIMITS)) for n, rows in due.items()} == {0: 0, 1: 1, 6: 0}


def test_another_family_is_a_replacement_and_a_new_version_or_a_degraded_forecast_is_none() -> None:
    past = frame(forecast(YESTERDAY))
    other = {"family": "ridge", "model_version": "ridge/1w/v0002"}
    (row,) = rules.champions_replaced(past, frame(forecast(**other)), TODAY).to_dict("records")
    assert row["message"] == "ridge/1w/v0002 serves; it was curve/1w/v0001"
    assert rules.champions_replaced(past, frame(forecast(model_version="curve/1w/v0002")), TODAY).empty
    assert rules.champions_replaced(past, frame(forecast(**other, degraded=True)), TODAY).empty


def test_a_model_past_its_age_and_a_full_disk() -> None:
    trained = {"1w": TODAY - pd.Timedelta(days=46), "1m": TODAY - pd.Timedelta(days=45)}
    assert list(rules.old_models(trained, TODAY, LIMITS)["subject"]) == ["1w"]
    assert len(rules.low_disk(4.9e9, LIMITS)) == 1 and rules.low_disk(5.1e9, LIMITS).empty


def test_every_alert_gets_the_severity_of_its_kind_and_an_unknown_kind_the_default() -> None:
    found = rules.with_levels(rules.rows_of([("disk", "x", "y"), ("roll", "x", "y"), ("new", "x", "y")]), RULES)
    assert list(found["level"]) == ["critical", "info", "warning"]


def test_a_changed_limit_is_no_other_code_version_of_a_forecast(tmp_path) -> None:
    folder = shutil.copytree(PROJECT / "registry", tmp_path / "registry")
    settings = load_settings().model_copy(update={"registry": folder})
    before = code_version(settings)
    path = folder / "alerts.yaml"
    path.write_text(path.read_text().replace("roll_sessions: 5", "roll_sessions: 9"))
    assert code_version(settings) == before


def test_on_the_first_day_of_a_home_no_rule_fails_and_none_that_compares_fires() -> None:
    nothing, today = pd.DataFrame(), frame(forecast())
    assert rules.forecast_jumps(nothing, today, LIMITS).empty
    assert rules.beyond_band(nothing, today, TODAY).empty
    assert rules.champions_replaced(nothing, today, TODAY).empty
    assert rules.budget_chance(nothing, frame(decision(TODAY, 0.9)), TODAY, LIMITS).empty
    assert rules.budget_chance(nothing, nothing, TODAY, LIMITS).empty
