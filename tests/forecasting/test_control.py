"""The control chart of a champion: planted narrow bands are found and it is replaced, once; a sound one stays.

On ZL's recorded closes: bands of past volatility around the last price, one origin a session.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.forecasting.control import (
    ControlState,
    alarms,
    control_chart,
    cumulative_sums,
    judge_champions,
    lived_under_control,
    shares,
)
from tasks.forecasting.shadow import shadow_record
from tasks.model_store.champions import Entry
from tasks.registry import ControlLimits, ControlRule, load_control_rule
from tests.conftest import Registry

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
NAMES = ["p05", "p10", "p25", "p50", "p75", "p90", "p95"]
H = 5
FIRST, LAST = pd.Timestamp("2012-01-03"), pd.Timestamp("2021-12-31")


@pytest.fixture(scope="module")
def closes(archive: Path) -> pd.Series:
    bars = pd.concat([pd.read_csv(path) for path in sorted((archive / "yahoo" / "ZL=F").glob("*.csv"))])
    dates = pd.to_datetime(bars.filter(regex="(?i)^date$").iloc[:, 0])
    close = pd.to_numeric(bars.filter(regex="(?i)^close$").iloc[:, 0], errors="coerce")
    closes = pd.Series(close.to_numpy(), index=dates).dropna()
    return closes[~closes.index.duplicated()].sort_index()


@pytest.fixture(scope="module")
def forecasts(closes: pd.Series) -> pd.DataFrame:
    """A week's forecasts of each session: the quantiles of past scaled moves, times today's volatility."""
    moves = np.log(closes).diff()
    scale = moves.ewm(alpha=0.03).std() * np.sqrt(H)
    ahead = np.log(closes.shift(-H) / closes)
    scaled = (ahead / scale)[: FIRST - pd.Timedelta(days=30)]  # type: ignore[misc]
    table = pd.DataFrame({"as_of": closes.index, "target_date": pd.Series(closes.index).shift(-H).to_numpy()})
    table["last_price"], table["actual_price"] = closes.to_numpy(), closes.shift(-H).to_numpy()
    for level, name in zip(LEVELS, NAMES, strict=True):
        table[name] = table["last_price"] * np.exp(float(scaled.quantile(level)) * scale.to_numpy())
    return table[table["as_of"].between(FIRST, LAST)].reset_index(drop=True)


@pytest.fixture(scope="module")
def rule(registry: Registry) -> ControlRule:
    return load_control_rule(registry.folder)


def narrowed(table: pd.DataFrame, width: float, since: pd.Timestamp) -> pd.DataFrame:
    """The same forecasts with bands times a width from a day on."""
    late = table["as_of"] >= since
    log = np.log(table[NAMES].div(table["last_price"], axis=0))
    return table.assign(
        **{name: np.where(late, table["last_price"] * np.exp(width * log[name]), table[name]) for name in NAMES}
    )


def of_family(table: pd.DataFrame, family: str) -> pd.DataFrame:
    return table.assign(horizon="1w", model_version=f"{family}/1w/v0001")


def trained(family: str, day: str, version: str = "v0001") -> Entry:
    named = {"horizon": "1w", "family": family, "version": version, "trained_as_of": day}
    return named | {"run": "r", "metadata": "m"}


def week(registry: Registry):
    return registry.horizons.model_copy(update={"horizons": {"1w": registry.horizons.horizons["1w"]}})


PLANTED = pd.Timestamp("2016-01-04")
HISTORY = [trained("har", "2011-12-30")]


def judged(outcomes: pd.DataFrame, base: pd.DataFrame, rule: ControlRule, registry: Registry, day: str) -> ControlState:
    found = judge_champions(HISTORY, outcomes, {"1w": base}, rule, week(registry), pd.Timestamp(day))
    return found["1w"]


def test_planted_narrow_bands_are_found_and_the_champion_is_replaced_once(
    forecasts: pd.DataFrame, rule: ControlRule, registry: Registry
) -> None:
    """Day by day as in production: what served before the day decides who serves it; no outcome comes after that."""
    champion = of_family(narrowed(forecasts, 0.5, PLANTED), "har")
    base = of_family(forecasts, "curve")
    days = pd.DatetimeIndex(forecasts["as_of"])[::3]
    days = days[days > PLANTED - pd.Timedelta(days=60)]
    published, served = champion[champion["as_of"] < days[0]], []
    for day in days[:160]:
        states = judge_champions(HISTORY, published, {"1w": base}, rule, week(registry), day)
        is_out = "1w" in alarms(states)
        served.append("curve" if is_out else "har")
        chosen = base if is_out else champion
        span = chosen["as_of"].between(day, day + pd.Timedelta(days=2))
        published = pd.concat([published, chosen[span]], ignore_index=True).drop_duplicates("as_of")
    switches = [after for before, after in pairwise(served) if before != after]
    assert switches == ["curve"], "once, and it stays"
    found = days[served.index("curve")]
    assert PLANTED + pd.Timedelta(days=7) < found < PLANTED + pd.Timedelta(days=150)
    reason = states["1w"].reason
    assert "its 80% band covered" in reason or "above the baseline's" in reason
    assert "`cbi models promote` returns it" in reason


def test_a_sound_champion_stays_for_ten_years(forecasts: pd.DataFrame, rule: ControlRule, registry: Registry) -> None:
    state = judged(of_family(forecasts, "har"), of_family(forecasts, "curve"), rule, registry, "2022-06-01")
    assert state.in_control and state.reason == ""
    assert state.outcomes == len(forecasts) and state.independent == pytest.approx(len(forecasts) / H, rel=0.01)
    covered = forecasts["actual_price"].between(forecasts["p10"], forecasts["p90"]).mean()
    assert 0.75 < covered < 0.85, "it is sound"


def test_bands_too_wide_and_a_loss_above_the_baselines_are_found_too(
    forecasts: pd.DataFrame, rule: ControlRule, registry: Registry
) -> None:
    base = of_family(forecasts, "curve")
    wide = of_family(narrowed(forecasts, 2.5, PLANTED), "har")
    assert "too wide" in judged(wide, pd.DataFrame(), rule, registry, "2022-06-01").reason
    aside = of_family(narrowed(forecasts, 1.0, PLANTED), "har")
    late = aside["as_of"] >= PLANTED
    aside.loc[late, NAMES] *= 1.015
    reason = judged(aside, base, rule, registry, "2022-06-01").reason
    assert "its loss was +" in reason and "above the baseline's on" in reason


def test_nothing_after_the_day_is_used(forecasts: pd.DataFrame, rule: ControlRule, registry: Registry) -> None:
    champion, base = of_family(narrowed(forecasts, 0.5, PLANTED), "har"), of_family(forecasts, "curve")
    state = judged(champion, base, rule, registry, "2022-06-01")
    assert state.out_since is not None
    before = state.out_since - pd.Timedelta(days=1)
    assert judged(champion, base, rule, registry, f"{before:%Y-%m-%d}").in_control
    at = judged(champion, base, rule, registry, f"{state.out_since:%Y-%m-%d}")
    assert at.out_since == state.out_since, "and its own day's close is"
    altered = champion.assign(actual_price=champion["actual_price"].where(champion["target_date"] <= before, 1.0))
    assert judged(altered, base, rule, registry, f"{before:%Y-%m-%d}") == judged(
        champion, base, rule, registry, f"{before:%Y-%m-%d}"
    )
    known_by = judge_champions(
        HISTORY, champion, {"1w": base}, rule, week(registry), pd.Timestamp("2022-06-01"), known_by=before
    )
    assert known_by["1w"].in_control, "what a first run of the day knew, the same run again knows too"


def test_a_person_or_another_family_begins_anew_and_a_training_does_not(
    forecasts: pd.DataFrame, rule: ControlRule, registry: Registry
) -> None:
    champion, base = of_family(narrowed(forecasts, 0.5, PLANTED), "har"), of_family(forecasts, "curve")
    day = pd.Timestamp("2016-12-30")

    def is_in_control(*later: Entry) -> bool:
        found = judge_champions([*HISTORY, *later], champion, {"1w": base}, rule, week(registry), day)
        return found["1w"].in_control

    assert not is_in_control()
    assert not is_in_control(trained("har", "2016-12-02", "v0002")), "the same method again"
    person = trained("har", "2011-12-30") | {"by": "person", "at": "2016-12-20T16:00:00Z"}
    assert is_in_control(person)
    assert is_in_control(trained("ridge", "2016-11-01"), trained("har", "2016-12-20", "v0002"))
    assert not is_in_control(person | {"at": "2017-01-03T16:00:00Z"}), "a choice of a later day is not known"


def test_a_baseline_has_no_chart_and_no_outcome_is_no_alarm(rule: ControlRule, registry: Registry) -> None:
    day, nothing = pd.Timestamp("2016-12-30"), pd.DataFrame()
    assert judge_champions([trained("curve", "2011-12-30")], nothing, {}, rule, week(registry), day) == {}
    assert judge_champions([], nothing, {}, rule, week(registry), day) == {}
    state = judge_champions(HISTORY, nothing, {}, rule, week(registry), day)["1w"]
    assert (state.in_control, state.outcomes, state.reason) == (True, 0, "no outcome is known yet")


def test_the_sums_by_hand() -> None:
    rule = ControlRule(miss_allowance=0.1, loss_allowance=0.02, limits={})
    sums = cumulative_sums(
        np.array([1.0, 1.0, 0.0, 0.0, 0.0]), np.array([0.12, np.nan, -0.5, 9.0, 0.02]), np.full(5, 0.5), rule
    )
    np.testing.assert_allclose(sums.narrow, [0.35, 0.70, 0.55, 0.40, 0.25])
    np.testing.assert_allclose(sums.wide, [0, 0, 0.05, 0.10, 0.15])
    np.testing.assert_allclose(sums.loss, [0.05, 0.05, 0, 1.5, 1.5], err_msg="an unknown loss adds nothing, 9 counts 3")
    origins = pd.DatetimeIndex(["2020-03-02", "2020-03-03", "2020-03-10", "2020-06-01"])
    np.testing.assert_allclose(shares(origins, 5), [0.2, 0.2, 1.0, 1.0])
    np.testing.assert_allclose(shares(origins, 21), [1 / 21, 1 / 21, 5 / 21, 1.0])


def test_a_horizon_without_limits_is_never_out(forecasts: pd.DataFrame, rule: ControlRule) -> None:
    bare = ControlRule(miss_allowance=0.1, loss_allowance=0.02, limits={"1m": ControlLimits(narrow=1, wide=1, loss=1)})
    narrow = narrowed(forecasts, 0.2, FIRST)
    chart = control_chart(narrow, pd.DataFrame(), bare, LEVELS, horizon="1w", horizon_sessions=H)
    assert (chart["out"] == "").all() and chart["narrow"].max() > 100


def test_the_record_of_a_shadow_is_on_the_origins_that_both_forecast(forecasts: pd.DataFrame) -> None:
    served, shadow = of_family(forecasts, "har"), of_family(narrowed(forecasts, 0.5, FIRST), "ridge")
    due = served[served["target_date"] < pd.Timestamp("2012-07-01")]
    unserved = shadow.drop(columns="actual_price").iloc[20:60]
    [row] = shadow_record(unserved, due, LEVELS).to_dict("records")
    both = shadow.iloc[20:60]
    assert (row["model_version"], row["origins"]) == ("ridge/1w/v0001", 40)
    assert (row["first"], row["last"]) == (both["as_of"].iloc[0], both["as_of"].iloc[-1])
    assert row["coverage_80"] == pytest.approx(both["actual_price"].between(both["p10"], both["p90"]).mean())
    assert row["coverage_80"] < row["served_coverage_80"]
    target = np.log(both["actual_price"] / both["last_price"])
    by_hand = np.mean(
        [
            np.maximum(p * (target - q), (p - 1) * (target - q))
            for p, q in zip(LEVELS, np.log(both[NAMES].div(both["last_price"], axis=0)).to_numpy().T, strict=True)
        ]
    )
    assert row["pinball_log_return"] == pytest.approx(by_hand)
    skill = 100 * (1 - row["pinball_log_return"] / row["served_pinball_log_return"])
    assert row["skill_over_served_pct"] == pytest.approx(skill)
    assert shadow_record(unserved, due.iloc[:0], LEVELS).empty


def test_a_lived_policy_returns_to_the_baseline_from_the_day_on_that_the_chart_knows(
    forecasts: pd.DataFrame, rule: ControlRule
) -> None:
    def out_of_fold(table: pd.DataFrame) -> pd.DataFrame:
        logs = {name: np.log(table[name] / table["last_price"]) for name in NAMES}
        target = np.log(table["actual_price"] / table["last_price"])
        return table.assign(date=table["as_of"], target_log_return=target, **logs).drop(columns=["as_of"])

    base, champion = out_of_fold(forecasts), out_of_fold(narrowed(forecasts, 0.5, PLANTED))
    lived = champion.assign(champion="har", served="har")
    lived.loc[lived["date"] >= "2019-01-01", ["champion", "served"]] = "ridge"
    found = lived_under_control(lived, base, rule, LEVELS, horizon="1w", horizon_sessions=H)
    chart = control_chart(
        of_family(narrowed(forecasts, 0.5, PLANTED), "har"),
        of_family(forecasts, "curve"),
        rule,
        LEVELS,
        horizon="1w",
        horizon_sessions=H,
    )
    first = chart.loc[chart["out"] != "", "target_date"].iloc[0]
    assert found["date"][found["returned"]].min() == first
    of_har = found[found["champion"] == "har"]
    assert (of_har["returned"] == (of_har["date"] >= first)).all() and (
        of_har["served"][of_har["returned"]] == "curve"
    ).all()
    base = base.set_index("date").loc[found["date"]].reset_index()
    assert (found["p10"] == base["p10"].where(found["returned"], lived["p10"])).all()
    ridge = found[found["champion"] == "ridge"]
    assert not ridge["returned"].iloc[0], "another family begins anew"
    assert ridge["returned"].iloc[-1]
