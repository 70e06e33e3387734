"""Coverage as a table and a picture: a category without values is seen, and drawn apart from a little."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tasks.outcome import DayResult
from tasks.reporting.charts import coverage_chart
from tasks.reporting.day_tables import coverage_table, share_text

DAY = pd.Timestamp("2011-12-30")


@pytest.fixture
def coverage() -> pd.DataFrame:
    years = list(range(2000, 2012))
    part = {"year": years, "sessions": 250}
    first = pd.Series([pd.Timestamp("2000-03-15"), pd.NaT, pd.Timestamp("2005-01-03")]).dt.as_unit("us")
    frames = [
        pd.DataFrame(part | {"category": name, "features": count, "share": shares, "first_date": day})
        for (name, count, shares), day in zip(
            [("price", 19, [0.5] * 5 + [1.0] * 7), ("freight", 3, [0.0] * 12), ("energy", 9, [0.0] * 5 + [0.004] * 7)],
            first,
            strict=True,
        )
    ]
    return pd.concat(frames, ignore_index=True)


def summary_of(coverage: pd.DataFrame) -> DayResult:
    given = dict.fromkeys(field.name for field in fields(DayResult))
    return DayResult(**(given | {"coverage": coverage, "as_of": DAY}))


def test_the_table_has_a_row_a_category_and_tells_nothing_from_little(coverage):
    table = coverage_table(summary_of(coverage))
    assert list(table.columns) == ["category", "features", "first", "2000-04", "2005-09", "2010-11"]
    assert [list(row) for row in table.itertuples(index=False)] == [
        ["price", 19, "2000-03-15", "50%", "100%", "100%"],
        ["freight", 3, "none", "0%", "0%", "0%"],
        ["energy", 9, "2005-01-03", "0%", "<1%", "<1%"],
    ]


@pytest.mark.parametrize(
    ("share", "told"), [(0, "0%"), (0.0001, "<1%"), (0.5, "50%"), (0.9999, ">99%"), (1, "100%"), (0.99, "99%")]
)
def test_only_nothing_is_0_and_only_everything_is_100(share, told):
    assert share_text(share) == told


def test_the_picture_is_the_same_twice_and_another_when_a_category_is_missing(coverage, tmp_path):
    drawn = [coverage_chart(tmp_path / f"{n}.png", coverage, as_of=DAY).read_bytes() for n in range(2)]
    assert drawn[0] == drawn[1]
    held = coverage.assign(share=coverage["share"].where(coverage["category"] != "freight", 0.001))
    assert coverage_chart(tmp_path / "held.png", held, as_of=DAY).read_bytes() != drawn[0]


def test_a_missing_category_has_no_color_and_one_with_values_has(coverage, tmp_path):
    missing = color_share(coverage_chart(tmp_path / "all.png", coverage[coverage["category"] == "freight"], as_of=DAY))
    known = color_share(coverage_chart(tmp_path / "one.png", coverage[coverage["category"] == "price"], as_of=DAY))
    assert known > 2 * missing > 0, "the legend has color in both"


def color_share(path: Path) -> float:
    """The share of pixels that are neither white nor gray."""
    pixels = Image.open(path).convert("RGB").getdata()
    return sum(max(pixel) - min(pixel) >= 8 for pixel in pixels) / len(pixels)
