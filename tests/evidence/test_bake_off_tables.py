"""The tables of the bake-off's page follow the figures."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evidence.bake_off_report import shared_origins
from evidence.bake_off_tables import aspiration_table, leaderboard_table, slice_table, summary_table
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


def line(text: str, *first: str) -> list[str]:
    """The cells of the row that begins so."""
    [found] = [one for one in text.splitlines() if one.startswith(f"| {' | '.join(first)} | ")]
    return found.strip("| ").split(" | ")


def test_the_summary_has_the_ensemble_beside_the_better_naive_and_who_is_ahead() -> None:
    text = summary_table(board(skill_pct=-0.4, skill_pct_low=-1.0, skill_pct_high=0.2, coverage_80=0.764))
    assert line(text, "1w") == [
        *("1w", "no_change", "+1.00 (+0.50 to +1.50) over no_change", "80.0%", "none"),
        *("0 / 0 / 0", "ensemble +1.00"),
    ]
    assert line(text, "1m") == [
        *("1m", "ridge", "-0.40 (-1.00 to +0.20) over no_change", "76.4%", "ridge +2.00"),
        *("1 / 0 / 0", "ridge +2.00"),  # the net's loss is lower, of fewer and other origins
    ]
    assert "wanted 77% to 83%" in text


def test_nets_ahead_of_the_naive_are_counted_and_those_ahead_for_certain() -> None:
    nets = [row("1w", "tcn"), row("1w", "tft", skill_pct_low=-0.1), row("1w", "dense", skill_pct=-1.0)]
    text = summary_table(pd.DataFrame([*nets, row("1w", "ensemble", skill_pct=None)]))
    assert line(text, "1w")[2:6] == ["none", "none", "tcn +1.00, tft +1.00", "3 / 2 / 1"]


def test_aspirations_are_met_or_not_by_the_ensemble_and_by_what_is_promoted() -> None:
    text = aspiration_table(board(mape_pct=5.1, sharpe=1.2), HOPED)
    assert "| horizon | family | MAPE below 5.0% | Sharpe above 1.00 |" in text
    assert "| 1m | ensemble | 5.1%: not met | 1.20: met | 50.0%: not met | 0.020: met |" in text
    assert "| 1m | ridge (promoted) | 4.0%: met" in text
    assert line(text, "1m", "families beside the ensemble that meet it")[2:] == ["2", "0", "0", "2"]


def test_what_is_not_measured_is_none() -> None:
    month = board(sharpe=None, skill_pct_low=None, skill_pct_high=None).query("horizon == '1m'")
    cells = line(leaderboard_table(month), "ensemble")
    assert "+1.00 over no_change" in cells and cells[11:13] == ["none", "4.00"]
    slices = pd.DataFrame([row("1w", "ensemble", slice="2020"), row("1m", "ensemble", slice="2021")])
    assert slice_table(slices, ["1w", "1m"], name="year").splitlines()[2:4] == [
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
    rows = slice_table(slices, ["1w"], name="regime").splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| crash", "| a_boom"]
