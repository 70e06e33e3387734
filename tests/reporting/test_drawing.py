"""How charts look: one palette for pages and pictures, and a fan that is the same picture twice."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tasks.reporting.charts import fan_chart
from tasks.reporting.drawing import COLORS, LIGHT, TOKEN, as_picture, fan
from tasks.settings import PROJECT

CSS = PROJECT / "tasks" / "reporting" / "site" / "static" / "site.css"
QUANTILES = {"p05": 40.0, "p10": 42.0, "p25": 45.0, "p50": 48.0, "p75": 51.0, "p90": 56.0, "p95": 60.0}


@pytest.fixture
def forecasts() -> pd.DataFrame:
    rows = [
        {"horizon": horizon, "target_date": pd.Timestamp(day), **QUANTILES}
        for horizon, day in (("1w", "2024-01-08"), ("12m", "2024-12-31"))
    ]
    shared = {"as_of": pd.Timestamp("2023-12-29"), "last_price": 47.84, "family": "curve", "contract": "ZLF24"}
    return pd.DataFrame(rows).assign(**shared)


@pytest.fixture
def prices() -> pd.DataFrame:
    days = pd.bdate_range("2020-01-02", "2023-12-29")
    return pd.DataFrame({"date": days, "zl_close": [40 + number % 7 for number in range(len(days))]})


def test_pictures_have_the_light_colors_of_the_site() -> None:
    root = CSS.read_text(encoding="utf-8").partition("}")[0]
    shown = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", root))
    assert set(LIGHT) == set(COLORS)
    assert {name: shown[name] for name in LIGHT} == LIGHT


def test_no_stand_in_color_is_left_in_a_picture(forecasts: pd.DataFrame, prices: pd.DataFrame) -> None:
    given = prices.rename(columns={"zl_close": "close_cents_lb"})
    picture = as_picture(fan(given, forecasts, pd.DataFrame()), "A finding", ["as of 2023-12-29"])
    assert not TOKEN.search(picture)
    assert json.loads(picture)["title"] == {"text": "A finding", "subtitle": ["as of 2023-12-29"]}


def test_a_fan_is_the_same_bytes_twice_and_changes_with_the_forecast(
    forecasts: pd.DataFrame, prices: pd.DataFrame, tmp_path: Path
) -> None:
    first, again, other = (
        fan_chart(tmp_path / f"{name}.png", prices, frame, pd.DataFrame(), origin="recorded").read_bytes()
        for name, frame in (("a", forecasts), ("b", forecasts), ("c", forecasts.assign(p95=70.0)))
    )
    assert first == again != other
    assert Image.open(tmp_path / "a.png").width > 1000
    assert len(first) < 100_000, "a chart that Prefect keeps per day is small"
