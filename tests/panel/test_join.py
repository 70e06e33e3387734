"""The point-in-time join: against a brute-force reading of the same words, and on the real archive."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.calendar import as_of_instant, as_of_instants, sessions
from tasks.errors import RegistryError
from tasks.panel.join import AGE, as_known_at, build_panel, value_columns
from tasks.panel.published import unpublished_values
from tasks.registry import Fallback, Join, JoinSpec

LAST = pd.Timestamp("2000-02-29")
DAYS = sessions(last=LAST)
SPEC = JoinSpec(joins=(Join(source="s", max_age_days=6, columns={"x": "A.value", "y": "B.value"}),))


def observations(rows: list[tuple[str, pd.Timestamp, float, pd.Timestamp, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["series", "observation_date", "value", "available_at", "vintage"])
    return frame.assign(source="s", field="value").astype(
        {"observation_date": "datetime64[us]", "available_at": "datetime64[us, UTC]", "vintage": "int32"}
        | dict.fromkeys(["source", "series", "field"], "category")
    )


@st.composite
def histories(draw) -> pd.DataFrame:
    """Releases with random delays, and revisions that come days or weeks later."""
    rows = []
    for series in ("A", "B"):
        for day in draw(st.lists(st.sampled_from(list(DAYS)), max_size=12, unique=True)):
            at = day.tz_localize("UTC") + pd.Timedelta(hours=draw(st.integers(9, 24 * 12)))
            for vintage in range(1, draw(st.integers(1, 3)) + 1):
                rows.append((series, day, draw(st.integers(1, 10**6)) / 7, at, vintage))
                at += pd.Timedelta(hours=draw(st.integers(0, 24 * 20)))
    return observations(draw(st.permutations(rows)))


def by_hand(held: pd.DataFrame, series: str, day: pd.Timestamp) -> tuple[float, float]:
    """Value and age in days: of what was published by 18:00, the newest date, and of that the newest vintage."""
    cutoff = as_of_instant(day)
    rows = [row for row in held.itertuples() if row.series == series and row.available_at <= cutoff]
    if not rows:
        return np.nan, np.nan
    newest = max(row.observation_date for row in rows)
    row = max((row for row in rows if row.observation_date == newest), key=lambda row: (row.available_at, row.vintage))
    age = (day - newest).days
    return (row.value if age <= 6 else np.nan), age


@settings(max_examples=30, deadline=None)
@given(histories())
def test_the_panel_is_what_the_words_say_and_nothing_known_later_is_used(held):
    panel = build_panel(held, SPEC, as_of=LAST)
    assert list(panel["date"]) == list(DAYS)
    for row in panel.itertuples():
        for column, series in (("x", "A"), ("y", "B")):
            value, age = by_hand(held, series, row.date)
            np.testing.assert_equal(getattr(row, column), value)
            np.testing.assert_equal(panel.at[row.Index, column + AGE], age)


@settings(max_examples=40, deadline=None)
@given(histories(), st.sampled_from(list(DAYS)))
def test_as_known_at_and_the_panel_agree(held, day):
    known = as_known_at(held, as_of_instant(day))
    assert (known["available_at"] <= as_of_instant(day)).all()
    assert not known.duplicated(["series", "observation_date"]).any()
    last = build_panel(held, SPEC, as_of=LAST).set_index("date").loc[day]
    for column, series in (("x", "A"), ("y", "B")):
        part = known[known["series"] == series].sort_values("observation_date")
        young = len(part) and (day - part["observation_date"].iloc[-1]).days <= 6
        np.testing.assert_equal(last[column], part["value"].iloc[-1] if young else np.nan)


@settings(max_examples=30, deadline=None)
@given(histories(), st.sampled_from(list(DAYS)))
def test_a_row_never_depends_on_what_comes_after_it(held, day):
    full = build_panel(held, SPEC, as_of=LAST)
    cut = build_panel(held[held["available_at"] <= as_of_instant(day)], SPEC, as_of=day)
    pd.testing.assert_frame_equal(full[full["date"] <= day], cut, check_exact=True)


@settings(max_examples=30, deadline=None)
@given(histories(), st.sampled_from(list(DAYS)), st.floats(-1e6, 1e6), st.integers(-30, 30))
def test_whatever_is_published_later_could_be_anything_else(held, day, value, days):
    """Other values, other dates, later vintages of values already known: rows to that day stay as they were."""
    later = held["available_at"] > as_of_instant(day)
    other = held.assign(
        value=held["value"].where(~later, value),
        observation_date=held["observation_date"].where(~later, held["observation_date"] + pd.Timedelta(days=days)),
    )
    revised = held.assign(
        value=value, vintage=(held["vintage"] + 9).astype("int32"), available_at=as_of_instant(DAYS[-1])
    )
    full = build_panel(held, SPEC, as_of=LAST)
    for changed in (other, pd.concat([held, revised]).astype({"series": "category"})):
        again = build_panel(changed, SPEC, as_of=LAST)
        past = full["date"] <= (day if changed is other else DAYS[-2])
        pd.testing.assert_frame_equal(full[past], again[past], check_exact=True)


@settings(max_examples=10, deadline=None)
@given(histories())
def test_what_is_announced_ahead_waits_for_its_own_date(held):
    """Values published up to 40 days before the date they hold from."""
    ahead = held.assign(available_at=held["available_at"] - pd.Timedelta(days=40))
    waits = SPEC.joins[0].model_copy(update={"in_force": True, "max_age_days": 400})
    panel = build_panel(ahead, SPEC.model_copy(update={"joins": (waits,)}), as_of=LAST)
    for row in panel.itertuples():
        known = ahead[(ahead["series"] == "A") & (ahead["available_at"] <= row.as_of_instant)]
        known = known[known["observation_date"] <= row.date]
        if known.empty:
            assert np.isnan(row.x)
            continue
        newest = known[known["observation_date"] == known["observation_date"].max()]
        assert row.x == newest.sort_values(["available_at", "vintage"])["value"].iloc[-1]
        assert panel.at[row.Index, "x" + AGE] >= 0


@settings(max_examples=15, deadline=None)
@given(histories(), st.data())
def test_an_honest_panel_shows_what_was_published_and_one_value_shown_before_its_release_is_found(held, data):
    panel = build_panel(held, SPEC, as_of=LAST)
    assert all(not found.values for found in unpublished_values(panel, SPEC, held).values())
    shown = panel.index[panel["x"].notna()]
    if not len(shown):
        return
    row = panel.loc[data.draw(st.sampled_from(list(shown)))]
    late = held.copy()
    late.loc[held["value"] == row["x"], "available_at"] = row["as_of_instant"] + pd.Timedelta(microseconds=1)
    found = unpublished_values(panel, SPEC, late)["x"]
    assert found.values and " shows " in found.example


def test_a_late_revision_of_an_old_value_never_replaces_a_newer_value():
    at = [as_of_instant(day) for day in DAYS]
    held = observations([("A", DAYS[0], 1.0, at[0], 1), ("A", DAYS[1], 2.0, at[1], 1), ("A", DAYS[0], 9.0, at[3], 2)])
    assert build_panel(held, SPEC, as_of=LAST)["x"].tolist()[:4] == [1, 2, 2, 2]


def test_a_value_is_used_from_its_very_instant_and_not_a_microsecond_before():
    instant = as_of_instant(DAYS[1])
    for shift, expected in ((0, 1.0), (1, np.nan)):
        held = observations([("A", DAYS[0], 1.0, instant + pd.Timedelta(microseconds=shift), 1)])
        np.testing.assert_equal(build_panel(held, SPEC, as_of=LAST)["x"].iloc[1], expected)


def test_an_old_value_is_missing_after_its_age_limit_and_its_age_grows_on():
    held = observations([("A", DAYS[0], 1.0, as_of_instant(DAYS[0]), 1)])
    panel = build_panel(held, SPEC, as_of=LAST)
    age = (panel["date"] - DAYS[0]).dt.days
    assert panel["x"].notna().tolist() == (age <= 6).tolist()
    assert panel["x" + AGE].tolist() == age.tolist()
    assert panel["y"].isna().all() and panel["y" + AGE].isna().all()


def test_other_units_of_time_are_refused():
    held = observations([("A", DAYS[0], 1.0, as_of_instant(DAYS[0]), 1)])
    with pytest.raises(RegistryError, match="microsecond"):
        build_panel(held.astype({"observation_date": "datetime64[ns]"}), SPEC, as_of=LAST)


def test_the_real_panel_has_every_session_and_every_declared_column(panel, registry):
    declared = [column for join in registry.joins.joins for column in join.columns]
    assert list(panel["date"]) == list(sessions(last="2023-12-29"))
    assert value_columns(panel) == declared
    assert (panel["as_of_instant"] == as_of_instants(pd.DatetimeIndex(panel["date"]))).all()
    assert (panel[[c for c in panel if c.endswith(AGE)]].min().dropna() >= 0).all()
    for join in registry.joins.joins:
        for column in join.columns:
            ages = panel.loc[panel[column].notna(), column + AGE]
            assert ages.empty or ages.max() <= join.max_age_days, column


def test_a_session_without_a_bar_has_no_close_but_the_last_known_price(panel):
    row = panel.set_index("date").loc["2016-01-04":]
    empty = row[row["zl_close"].isna()]
    assert 1 <= len(empty) <= 4
    assert empty["zl_last"].notna().all() and (empty["zl_last" + AGE] >= 1).all()


@pytest.mark.parametrize(
    ("day", "column", "value"),
    [("2022-04-28", "zl_close", 90.60), ("2020-03-16", "vix_last", 82.69), ("2020-04-20", "cl_last", -37.63)],
)
def test_true_extremes_reach_the_panel(panel, day, column, value):
    assert panel.set_index("date").at[pd.Timestamp(day), column] == pytest.approx(value, abs=0.005)


def test_friday_sees_the_tuesday_report_and_thursday_the_one_before(panel):
    rows = panel.set_index("date")["cot_zl_open_interest" + AGE]
    assert rows[pd.Timestamp("2022-04-28")] == 9  # Tuesday the 19th
    assert rows[pd.Timestamp("2022-04-29")] == 3  # Tuesday the 26th, published 15:30 New York


def test_a_fallback_is_shown_only_where_the_column_has_no_value_and_as_it_was_known():
    """A stops after its third day; B, published a day later, stands in up to its own age limit."""
    at = [as_of_instant(day) for day in DAYS]
    held = observations(
        [("A", DAYS[n], 10.0 + n, at[n], 1) for n in range(3)]
        + [("B", DAYS[n], 20.0 + n, at[n + 1] - pd.Timedelta(hours=9), 1) for n in range(12)]
    )
    other = Fallback(source="s", target="B.value", max_age_days=4)
    spec = JoinSpec(joins=(Join(source="s", max_age_days=0, columns={"x": "A.value"}, fallbacks={"x": other}),))
    panel = build_panel(held, spec, as_of=LAST)
    assert panel["x"].tolist()[:6] == [10, 11, 12, 22, 23, 24], "A while it lasts, then B as published by then"
    assert panel["x" + AGE].tolist()[:4] == [0, 0, 0, 1]
    assert np.isnan(panel["x"].iloc[-1]), "B is too old as well by the end"
    assert unpublished_values(panel, spec, held)["x"].values == 0
    alone = build_panel(held, SPEC, as_of=LAST)
    assert alone.loc[alone["x"].isna(), "x"].isna().all()
