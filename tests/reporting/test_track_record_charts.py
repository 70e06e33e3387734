"""Rolling figures of the track record, and the picture of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.calendar import sessions
from tasks.reporting.track_record_charts import rolling_record, track_record_figure, window_sessions


@pytest.fixture
def outcomes() -> pd.DataFrame:
    """Every fifth session of three years, 21 ahead; the baseline is missing in one of four."""
    rng = np.random.default_rng(7)
    days = sessions("2015-01-02")
    at = np.arange(0, 756, 5)
    price = 30 * np.exp(rng.normal(0, 0.02, len(at)).cumsum())
    levels = dict(
        zip(("p05", "p10", "p25", "p50", "p75", "p90", "p95"), (-0.2, -0.15, -0.07, 0, 0.07, 0.15, 0.2), strict=True)
    )
    frame = pd.DataFrame({name: price * np.exp(level) for name, level in levels.items()})
    return frame.assign(
        as_of=days[at],
        target_date=days[at + 21],
        session_number=at + 100,
        sessions_ahead=21,
        actual_price=price * np.exp(rng.normal(0, 0.1, len(at))),
        inside_50=rng.random(len(at)) < 0.5,
        inside_80=rng.random(len(at)) < 0.8,
        inside_90=rng.random(len(at)) < 0.9,
        absolute_percentage_error=rng.random(len(at)),
        no_change_absolute_percentage_error=rng.random(len(at)),
        pinball_log_return=rng.random(len(at)),
        baseline_pinball_log_return=np.where(at % 20 == 0, np.nan, rng.random(len(at))),
    )


def test_a_window_is_a_year_or_four_horizons() -> None:
    assert [window_sessions(ahead) for ahead in (5, 63, 126, 252)] == [252, 252, 504, 1008]


def test_rolling_figures_are_those_of_the_window(outcomes: pd.DataFrame) -> None:
    rolled = rolling_record(outcomes.sample(frac=1, random_state=1))
    assert rolled.index.tolist() == outcomes["target_date"].tolist()
    whole = outcomes["session_number"] - 100 >= 251
    assert rolled["coverage_80"].notna().tolist() == whole.tolist()
    for place in np.flatnonzero(whole)[::17]:
        number = outcomes["session_number"].iloc[place]
        part = outcomes[outcomes["session_number"].between(number - 251, number)]
        row = rolled.iloc[place]
        assert row["coverage_80"] == pytest.approx(part["inside_80"].mean())
        own, plain = part["absolute_percentage_error"].sum(), part["no_change_absolute_percentage_error"].sum()
        assert row["mape_skill_pct"] == pytest.approx(100 * (1 - own / plain))
        compared = part.dropna(subset="baseline_pinball_log_return")
        ratio = compared["pinball_log_return"].mean() / compared["baseline_pinball_log_return"].mean()
        assert row["pinball_skill_pct"] == pytest.approx(100 * (1 - ratio))


def test_the_picture_is_the_same_for_the_same_outcomes(outcomes: pd.DataFrame, tmp_path: Path) -> None:
    without = outcomes.assign(baseline_pinball_log_return=np.nan)
    for given in (outcomes, without):
        one, two = (
            track_record_figure(tmp_path / name, given, horizon="1m", source="a test").read_bytes()
            for name in ("one.png", "two.png")
        )
        assert one == two and one.startswith(b"\x89PNG") and len(one) > 20_000
