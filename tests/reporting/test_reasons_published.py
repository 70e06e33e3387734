"""Reasons that their table would refuse, or that cannot be drawn, cost the forecast nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.outcome import DayResult
from tasks.reporting.explanation_charts import beeswarm, beeswarm_points, waterfall, waterfall_steps
from tasks.reporting.publication import OF_REASONS, with_sound_reasons
from tasks.warehouse.daily_tables import reason_tables

AS_OF = pd.Timestamp("2024-01-02")


def drivers(**given: object) -> pd.DataFrame:
    rows = [
        ("curve_expected_move_21d", "curve", 0.6),
        ("boho_usd_gal", "energy", -0.4),
        ("cot_net", "positioning", 1.1),
    ]
    base = {"as_of": AS_OF, "horizon": "1m", "width_cents_lb": np.nan, "feature_value": 1.0, "family": "ridge"}
    return pd.DataFrame(
        [
            {
                **base,
                "feature": f,
                "group": g,
                "shap_cents_lb": c,
                "served": True,
                "model_version": "ridge/1m/v0001",
                **given,
            }
            for f, g, c in rows
        ]
    )


def result(**given: pd.DataFrame) -> DayResult:
    nothing = pd.DataFrame()
    frames = dict.fromkeys(
        ("forecasts", "contracts", "explainers", "leaderboard", "series", "quarantine", "gates", "coverage"), nothing
    )
    alerts = pd.DataFrame(columns=["kind", "subject", "level", "message"])
    values = frames | {"alerts": alerts, "as_of": AS_OF, "origin": "recorded", "data_snapshot": "s", "ingested": []}
    return DayResult(**(values | {"trained": False} | given))


def test_sound_reasons_stay_as_they_are() -> None:
    sound = result(explainers=drivers())
    assert with_sound_reasons(sound) is sound
    assert set(reason_tables(sound)) == set(OF_REASONS.values())


@pytest.mark.parametrize("how", ["a key twice", "no key", "a text for a number", "an unknown column"])
def test_reasons_that_their_table_would_refuse_are_left_out_with_a_warning(how: str) -> None:
    table = drivers()
    broken = {
        "a key twice": pd.concat([table, table]),
        "no key": table.assign(feature=None),
        "a text for a number": table.assign(shap_cents_lb="much"),
        "an unknown column": table.assign(surprise=1),
    }[how]
    scenarios = pd.DataFrame([{"as_of": AS_OF, "scenario": "vix_spike", "horizon": "1m", "note": "not known yet"}])
    found = with_sound_reasons(result(explainers=broken, scenarios=scenarios))
    assert found.explainers.empty and len(found.scenarios) == 1
    (alert,) = found.alerts.to_dict("records")
    assert alert["kind"] == "explanation" and "forecasts.zl_explainers_daily" in alert["message"]


def test_a_waterfall_ends_at_the_forecast(tmp_path: Path) -> None:
    steps = waterfall_steps(45.3, 46.6, drivers()).set_index("step")
    assert steps.index.tolist() == ["last price", "positioning", "curve", "energy", "forecast"]
    assert steps.loc["positioning", ["start", "end"]].tolist() == pytest.approx([45.3, 46.4])
    assert steps.loc["energy", "end"] == pytest.approx(46.6) == steps.loc["forecast", "end"]
    forecasts = pd.DataFrame([{"as_of": AS_OF, "horizon": "1m", "last_price": 45.3, "point": 46.6}])
    sentences = pd.DataFrame([{"horizon": "1m", "centre_sentence": "1 month: 46.60, up 1.30 from today's 45.30"}])
    picture = waterfall(tmp_path / "w.png", forecasts, drivers(), sentences)
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 5000


def test_a_beeswarm_has_the_largest_features_first_and_needs_three(tmp_path: Path) -> None:
    days = pd.bdate_range("2023-06-01", periods=30)
    waves = {"a": 3.0, "b": 1.0, "c": 2.0}
    history = pd.DataFrame(
        [
            {
                "horizon": "1m",
                "date": day,
                "feature": name,
                "shap_cents_lb": size * np.sin(n),
                "feature_value": float(n),
            }
            for name, size in waves.items()
            for n, day in enumerate(days, 1)
        ]
    )
    points = beeswarm_points(history)
    assert list(dict.fromkeys(points["feature"])) == ["a", "c", "b"] and points["rank"].between(0, 1).all()
    assert points.groupby("feature")["place"].apply(lambda places: places.abs().max()).max() <= 8
    forecasts = pd.DataFrame([{"as_of": AS_OF, "horizon": "1m"}])
    path = beeswarm(tmp_path / "b.png", forecasts, history)
    assert path is not None and path.read_bytes().startswith(b"\x89PNG")
    assert beeswarm(tmp_path / "c.png", forecasts, history[history["feature"] != "c"]) is None
    assert beeswarm(tmp_path / "d.png", forecasts, pd.DataFrame()) is None


def test_a_result_without_reasons_publishes_empty_tables() -> None:
    assert all(frame.empty for frame in reason_tables(replace(result(), scenarios=pd.DataFrame())).values())
