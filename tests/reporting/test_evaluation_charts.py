"""The pictures of the bake-off are drawn from frames alone, the same twice, and titled with what they show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vl_convert

from tasks.evaluation.comparison import leaderboard
from tasks.quantiles import column
from tasks.reporting.evaluation_charts import (
    direction_figure,
    forecast_and_outcome_figure,
    group_importance_figure,
    leaderboard_figure,
    reliability_figure,
)

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
Z = np.array([-1.6449, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.6449])


def simulated(width: float) -> pd.DataFrame:
    dates = pd.date_range("2010-01-04", periods=120, freq="7D")
    target = np.random.default_rng(3).normal(0, 0.05, 120)
    return pd.DataFrame(
        {
            "date": dates,
            "target_date": dates + pd.Timedelta(days=7),
            "target_log_return": target,
            "last_price": 50.0,
            "fold": dates.year,
            "scored": True,
            "direction_probability": 0.6,
            **{column(p): width * 0.05 * z for p, z in zip(LEVELS, Z, strict=True)},
        }
    )


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every title of every figure as it is drawn."""
    found: list[str] = []
    draw = vl_convert.vegalite_to_png

    def spy(specification: str, **options: float) -> bytes:
        chart = json.loads(specification)
        panels = [panel for way in ("hconcat", "vconcat") for panel in chart.get(way, [])]
        found.extend(part["title"]["text"] for part in (chart, *panels))
        return draw(specification, **options)

    monkeypatch.setattr(vl_convert, "vegalite_to_png", spy)
    return found


def test_the_figures_say_what_was_measured_and_are_the_same_twice(tmp_path: Path, titles: list[str]) -> None:
    oofs = {"1w": simulated(1.0), "1m": simulated(0.5)}
    board = leaderboard(
        {"no_change": simulated(2.5), "har": simulated(1.0), "drift": simulated(40.0)},
        LEVELS,
        sessions=5,
        step=5,
        round_trip_cost_cents_lb=0.03,
    )
    written = []
    for run in ("one", "two"):
        folder = tmp_path / run
        folder.mkdir()
        made = (
            reliability_figure(folder / "reliability.png", oofs, LEVELS, {"1w": 5, "1m": 21}, step=5),
            forecast_and_outcome_figure(folder / "outcome.png", oofs, LEVELS),
            leaderboard_figure(folder / "leaderboard.png", {"1w": board, "1m": board}),
        )
        written.append([path.read_bytes() for path in made])
    assert written[0] == written[1]
    assert all(picture.startswith(b"\x89PNG") for picture in written[0])
    half = oofs["1m"]
    held = ((half["target_log_return"] >= half["p10"]) & (half["target_log_return"] <= half["p90"])).mean()
    assert f"1m ahead: the 80% band covered {held:.0%} of 120 outcomes" in titles
    assert "1w: 120 independent outcomes" in titles and "1m: 29 independent outcomes" in titles
    gap = max(abs((half["target_log_return"] <= half[column(p)]).mean() - p) for p in LEVELS)
    assert any(title.startswith(f"Quantiles were accurate to within {100 * gap:.0f} points") for title in titles)
    sure = 2 * int((board["skill_pct_low"] > 0).sum())
    assert any(f"lies above zero in {sure} of 6 cases" in title for title in titles)


def test_a_group_counts_where_it_is_above_zero_by_two_standard_errors(tmp_path: Path, titles: list[str]) -> None:
    rows = [
        (horizon, family, group, increase, 0.5, 4)
        for horizon in ("1w", "1m")
        for family in ("ridge", "lightgbm")
        for group, increase in (("curve", 2.0), ("weather", 0.4), ("volatility", 9.0))
    ]
    names = ["horizon", "family", "group", "increase_pct", "spread_pct", "folds"]
    # a family that was not measured leaves objects, as the tables of several families put together do
    importance = pd.DataFrame(rows, columns=names).astype({"folds": "object", "spread_pct": "object"})
    picture = group_importance_figure(tmp_path / "groups.png", importance)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert any(title.endswith("in 8 of 12 cases") for title in titles) and {"1w", "1m"} <= set(titles)


def test_chances_are_drawn_by_horizon(tmp_path: Path, titles: list[str]) -> None:
    chance = np.linspace(0.3, 0.7, 50)
    view = pd.DataFrame({"chance": chance, "higher": (np.arange(50) % 2).astype(float)})
    picture = direction_figure(tmp_path / "direction.png", {"1m": view}, {"1m": 21}, step=5)
    assert picture.read_bytes().startswith(b"\x89PNG") and "1m: 50 origins with a view" in titles
