"""The report's sentences follow the figures: turn a figure and the sentence turns."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evidence.bake_off_findings import aspiration_table, findings, leaderboard_table, slice_table
from evidence.bake_off_report import shared_origins
from tasks.registry import Aspirations, load_quality_gates
from tasks.settings import PROJECT

HOPED: Aspirations = load_quality_gates(PROJECT / "registry").aspirations


def row(horizon: str, family: str, **figures: Any) -> dict[str, Any]:
    return {
        "horizon": horizon,
        "family": family,
        "better_naive": "no_change",
        "champion": False,
        "origins": 700,
        "first_origin": "2010-01-04",
        "last_origin": "2023-12-15",
        "pinball_log_return": 0.02,
        "skill_pct": 1.0,
        "skill_pct_low": 0.5,
        "skill_pct_high": 1.5,
        "coverage_80": 0.8,
        "mape_pct": 4.0,
        "sharpe": 0.2,
        "direction_hit_rate": 0.5,
        "calibration_error": 0.02,
        **figures,
    }


def board(**ensemble_at_a_month: Any) -> pd.DataFrame:
    return pd.DataFrame(
        [
            row("1w", "ensemble"),
            row("1w", "no_change", skill_pct=0.0, skill_pct_low=0.0, champion=True, pinball_log_return=0.03),
            row("1m", "ensemble", **ensemble_at_a_month),
            row("1m", "ridge", skill_pct=2.0, champion=True, pinball_log_return=0.01),
            row("1m", "tcn", skill_pct=-3.0, skill_pct_low=-5.0, origins=200, pinball_log_return=0.001),
        ]
    )


def told(**ensemble_at_a_month: Any) -> str:
    return "\n".join(findings(board(**ensemble_at_a_month), HOPED, promotes=True))


def test_whether_the_ensemble_is_below_the_naive_is_said_as_measured() -> None:
    reached = told()
    assert "below the better naive's at 2 of 2 horizons (1w, 1m)" in reached and "Not reached" not in reached
    missed = told(skill_pct=-0.4, skill_pct_low=-1.0)
    assert "below the better naive's at 1 of 2 horizons (1w)" in missed
    assert "Not reached at 1m: the ensemble's skill over no_change is -0.40%" in missed
    assert "ridge (+2.00%) lost less" in missed
    uncertain = told(skill_pct_low=-0.1)
    assert "lies above zero at 1 of 2 horizons (1w)" in uncertain


def test_coverage_outside_its_bounds_is_named_with_its_figure() -> None:
    assert "held between 77% and 83% of the outcomes at 2 of 2 horizons (1w, 1m)." in told(coverage_80=0.83)
    assert "at 1 of 2 horizons (1w), not at 1m (76.4%)" in told(coverage_80=0.764)


def test_aspirations_and_nets_and_promotions_are_told() -> None:
    text = told(mape_pct=5.1, sharpe=1.2)
    assert "MAPE below 5.0%: met by the ensemble at 1 of 2 horizons (1w); by others at 1w (1), 1m (2)." in text
    assert "Sharpe above 1.00: met by the ensemble at 1 of 2 horizons (1m); by no other family." in text
    assert "Of 1 nets and horizons 0 lose less" in text
    assert "Promoted: ridge at 1m; no_change, because nothing else met the gates, at 1w." in text
    assert "ridge at 1m (+2.00%)" in text  # the net's loss is lower, of fewer and other origins
    quick = findings(board(), HOPED, promotes=False)
    assert quick[-1] == "This budget has too few folds to promote anything."
    table = "\n".join(aspiration_table(board(mape_pct=5.1), HOPED))
    assert "| 1m | ensemble | 5.1%: not met | 0.20: not met | 50.0%: not met | 0.020: met |" in table
    assert "| 1m | ridge (promoted) | 4.0%: met" in table


def test_what_is_not_measured_is_told_as_none() -> None:
    lines = leaderboard_table(board(sharpe=None, skill_pct_low=None, skill_pct_high=None).query("horizon == '1m'"))
    [line] = [line for line in lines if line.startswith("| ensemble ")]
    assert "| +1.00 over no_change |" in line and "| none | 4.00 |" in line
    slices = pd.DataFrame([row("1w", "ensemble", slice="2020"), row("1m", "ensemble", slice="2021")])
    assert slice_table(slices, ["1w", "1m"], name="year")[2:4] == [
        "| 2020 | +1.0 (+0.5 to +1.5), 80% | none |",
        "| 2021 | none | +1.0 (+0.5 to +1.5), 80% |",
    ]


def test_families_with_other_origins_are_compared_on_those_that_all_have() -> None:
    days = pd.date_range("2020-01-06", periods=6, freq="7D")
    long = pd.DataFrame({"date": days, "scored": True, "p50": 0.0}).assign(scored=days > days[0])
    late = pd.DataFrame({"date": days[3:], "scored": True, "p50": [0.0, None, 0.0]})
    never = long.assign(scored=False)
    shared = shared_origins({"no_change": long, "tcn": late, "warming": never})
    assert {family: list(oof["date"]) for family, oof in shared.items()} == {
        "no_change": [days[3], days[5]],
        "tcn": [days[3], days[5]],
    }


def test_slices_stand_in_order_of_time() -> None:
    slices = pd.DataFrame(
        [row("1w", "ensemble", slice="a_boom", first_origin="2021-01-04"), row("1w", "ensemble", slice="crash")]
    )
    assert [line.split(" | ")[0] for line in slice_table(slices, ["1w"], name="regime")[2:4]] == ["| crash", "| a_boom"]
