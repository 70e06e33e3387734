"""Each expectation of our own passes a sound frame and names what is at fault in a broken one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.calendar import as_of_instants, sessions
from tasks.gates.run import GateResult, run_gate

Break = Callable[[pd.DataFrame], pd.DataFrame]
DAYS = sessions("2020-01-02", "2020-03-31")
N = len(DAYS)


def ask(folder: Path, frame: pd.DataFrame, kind: str, kwargs: dict[str, Any]) -> GateResult:
    meta = {"on_fail": "block", "reason": "so that the test has one"}
    suite = {"name": "test", "table": "table", "expectations": [{"type": kind, "kwargs": kwargs, "meta": meta}]}
    (folder / "features").mkdir(exist_ok=True)
    (folder / "features" / "table.json").write_text(json.dumps(suite))
    (result,) = run_gate("POST_FEATURES", {"table": frame}, expectations=folder).results
    return result


def put(column: str, place: Any, value: Any) -> Break:
    def broken(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        frame.loc[place, column] = value
        return frame

    return broken


WAVE = np.sin(np.arange(N, dtype="float64"))
FEATURES = pd.DataFrame({"date": DAYS, "a": WAVE, "b": np.where(np.arange(N) < 9, np.nan, WAVE), "rain_flag": 0.0})
FEATURES.loc[5, "rain_flag"] = 1.0
COLUMNS = pd.DataFrame({"column": ["a", "b", "rain_flag"], "constant": [False, False, True]})
POSITIONS = pd.DataFrame(
    {
        "series": "zl",
        "observation_date": DAYS,
        "open_interest": 100.0,
        **{f"{who}_{side}": 30.0 for who in ("noncommercial", "commercial") for side in ("long", "short")},
        **{"noncommercial_spread": 15.0, "nonreportable_long": 25.0, "nonreportable_short": 25.0},
    }
)
SERIES = pd.DataFrame(
    {"series": ["zl", "zs"], "critical": [True, False], "observations": [9, 0], "age": [1, 99], "limit": [5, 5]}
)
INSTANTS = pd.DataFrame({"series": "zl", "day": DAYS, "at": as_of_instants(DAYS)})
PANEL = pd.DataFrame({"date": DAYS, "as_of_instant": as_of_instants(DAYS), "zl": WAVE, "zl__age_days": 0.0})
PRICE = 30 + WAVE
LABELS = pd.DataFrame(
    {
        "horizon": "1w",
        "date": DAYS,
        "target_date": sessions("2020-01-02")[5 : 5 + N],
        "target_log_return": np.append(np.log(PRICE[5:] / PRICE[:-5]), [np.nan] * 5),
        "target_price": np.append(PRICE[5:], [np.nan] * 5),
        "last_price": PRICE,
        "sessions_ahead": 5,
        "reachable": np.arange(N) < N - 5,
    }
)
CELLS = pd.concat(
    [
        pd.DataFrame(
            {
                "source": source,
                "series": series,
                "observation_date": DAYS,
                "field": "close",
                "vintage": 1,
                "value": 30.0,
            }
        )
        for source, series in (("a", "ZL=F"), ("b", "CL=F"))
    ],
    ignore_index=True,
)
PRICES = pd.DataFrame({"oil": [30.0] * 5, "meal": 400.0, "beans": 1000.0})
LONGS = ("expect_longs_equal_open_interest", {"tolerance": 1})
SHORTS = ("expect_shorts_equal_open_interest", {"tolerance": 1})
STALE = ("expect_column_not_above_column", {"column": "age", "limit": "limit", "where": {"critical": True}})
EXACT = ("expect_target_exact", {"tolerance": 1e-12})
PLACEHOLDER = ("expect_no_placeholder", {"max_share": 0.6, "last": 40, "ignore": ["*_flag"]})

CASES: dict[str, tuple[pd.DataFrame, tuple[str, dict[str, Any]], Break, int, dict[str, Any]]] = {
    "a column of text": (
        FEATURES,
        ("expect_column_dtypes", {"dtypes": {"date": "datetime64[us]"}, "others": "float64"}),
        lambda f: f.assign(a=f["a"].astype(str)),
        1,
        {"column": "a", "expected": "float64", "found": "str"},
    ),
    "an infinite value": (
        FEATURES,
        ("expect_no_infinite_values", {}),
        put("b", [20, 21], [np.inf, -np.inf]),
        2,
        {"column": "b", "date": "2020-01-31", "b": "inf"},
    ),
    "a critical series too old": (
        SERIES,
        STALE,
        put("age", 0, 6),
        1,
        {"series": "zl", "age": 6, "limit": 5},
    ),
    "a value known before its date": (
        INSTANTS,
        ("expect_column_not_above_column", {"column": "day", "limit": "at"}),
        lambda f: f.assign(at=f["at"] - pd.Timedelta(days=2)),
        N,
        {"series": "zl", "day": "2020-01-02", "at": "2020-01-01T00:00:00+00:00"},
    ),
    "a value known before its date beside projections": (
        INSTANTS.assign(at=INSTANTS["at"] - pd.Timedelta(days=9), kind="projection"),
        ("expect_column_not_above_column", {"column": "day", "limit": "at", "unless": {"kind": ["projection"]}}),
        put("kind", [3, 4], "daily"),
        2,
        {"series": "zl"},
    ),
    "a critical series without observations": (
        SERIES,
        ("expect_critical_series_present", {}),
        put("observations", 0, 0),
        1,
        {"series": "zl", "observations": 0},
    ),
    "nothing critical at all": (
        SERIES,
        ("expect_critical_series_present", {}),
        lambda f: f[~f["critical"]],
        1,
        {"fault": "no series is marked critical"},
    ),
    "longs that do not add up": (
        POSITIONS,
        LONGS,
        put("commercial_long", range(10), 0.0),
        10,
        {"observation_date": "2020-01-02", "commercial_long": 0.0, "open_interest": 100.0},
    ),
    "shorts with a part missing": (
        POSITIONS,
        SHORTS,
        put("nonreportable_short", 3, np.nan),
        1,
        {"observation_date": "2020-01-07", "nonreportable_short": None},
    ),
    "a session without a row": (
        FEATURES,
        ("expect_sessions_complete", {"first": "2020-01-02"}),
        lambda f: f.drop(index=7),
        1,
        {"date": "2020-01-13", "fault": "session missing"},
    ),
    "a row on a Saturday": (
        FEATURES,
        ("expect_sessions_complete", {"first": "2020-01-02"}),
        lambda f: pd.concat([f, f.tail(1).assign(date=pd.Timestamp("2020-02-01"))]),
        1,
        {"date": "2020-02-01", "fault": "not a session"},
    ),
    "rows out of order": (
        FEATURES,
        ("expect_column_strictly_increasing", {"column": "date"}),
        put("date", 4, DAYS[3]),
        1,
        {"date": "2020-01-07"},
    ),
    "a constant column": (
        FEATURES,
        ("expect_columns_not_constant", {"last": 10, "ignore": ["rain_flag"]}),
        lambda f: f.assign(a=np.where(f["a"] > 0, 2.0, np.nan)),
        1,
        {"column": "a", "value": 2.0},
    ),
    "two names for one column": (
        FEATURES,
        ("expect_no_identical_columns", {}),
        lambda f: f.assign(c=f["b"]),
        1,
        {"column": "c", "same_as": "b"},
    ),
    "a placeholder": (
        FEATURES,
        PLACEHOLDER,
        put("b", range(9, 50), 0.5),
        1,
        {"column": "b", "value": 0.5},
    ),
    "a constant column of a training file": (
        COLUMNS,
        ("expect_share_below", {"column": "constant", "max_share": 0, "ignore": ["*_flag"]}),
        put("constant", 0, True),
        1,
        {"column": "a", "constant": True},
    ),
    "a row that stands for the next day": (
        PANEL,
        ("expect_as_of_exact", {}),
        put("as_of_instant", 0, as_of_instants(DAYS)[1]),
        1,
        {"date": "2020-01-02", "as_of_instant": "2020-01-04T00:00:00+00:00"},
    ),
    "a negative age": (
        PANEL,
        ("expect_ages_not_negative", {}),
        put("zl__age_days", 2, -1.0),
        1,
        {"column": "zl__age_days", "date": "2020-01-06", "zl__age_days": -1.0},
    ),
    "a value without an age column": (
        PANEL,
        ("expect_ages_not_negative", {}),
        lambda f: f.assign(zs=1.0),
        1,
        {"column": "zs__age_days"},
    ),
    "a label that is off": (
        LABELS,
        EXACT,
        lambda f: f.assign(target_log_return=f["target_log_return"] + 1e-9),
        N - 5,
        {"horizon": "1w", "date": "2020-01-02", "reachable": True},
    ),
    "a filled label": (LABELS, EXACT, put("target_price", N - 1, 30.0), 1, {"date": "2020-03-31", "reachable": False}),
    "a label lost": (LABELS, EXACT, put("target_log_return", 4, np.nan), 1, {"date": "2020-01-08"}),
    "calendar days for sessions": (
        LABELS,
        ("expect_target_date_exact", {}),
        lambda f: f.assign(target_date=f["date"] + pd.Timedelta(days=5)),
        N,
        {"date": "2020-01-02", "target_date": "2020-01-07", "sessions_ahead": 5},
    ),
    "a target filled forward": (
        LABELS,
        ("expect_no_repeated_target", {"max_run": 5}),
        put("target_price", range(11, 17), 30.0),
        6,
        {"horizon": "1w", "date": "2020-01-17", "target_price": 30.0},
    ),
    "another horizon's sessions": (
        LABELS,
        ("expect_sessions_ahead_of_horizon", {"sessions": {"1w": 5}}),
        put("sessions_ahead", 1, 7),
        1,
        {"horizon": "1w", "date": "2020-01-03", "sessions_ahead": 7},
    ),
    "a shifted label": (
        LABELS,
        ("expect_target_at_its_date", {"tolerance": 1e-12}),
        lambda f: f.assign(target_price=f["target_price"].shift(-1)),
        N - 6,
        {"horizon": "1w", "date": "2020-01-02", "price_on_target_date": round(PRICE[5], 4)},
    ),
    "a filled tail": (
        LABELS.assign(surface="prod"),
        ("expect_targets_known_but_last", {}),
        put("target_log_return", range(N - 5, N), 0.01),
        5,
        {"surface": "prod", "horizon": "1w", "fault": "known, which cannot be"},
    ),
    "a target lost where both sessions have a bar": (
        LABELS.assign(surface="prod"),
        ("expect_targets_known_but_last", {}),
        put("target_log_return", 20, np.nan),
        1,
        {"date": "2020-01-31", "fault": "not known"},
    ),
    "a bar known before its session ended": (
        INSTANTS,
        ("expect_known_after_the_day", {"column": "at", "of": "day", "hours": 18, "where": {"series": ["zl"]}}),
        lambda f: f.assign(at=f["at"].where(f.index != 7, f["at"] - pd.Timedelta(hours=12))),
        1,
        {"series": "zl", "day": "2020-01-13"},
    ),
    "too many sources failed": (
        pd.DataFrame({"source": list("abcd"), "asked": [True] * 3 + [False], "failed": [True, False, False, True]}),
        ("expect_share_below", {"column": "failed", "where": {"asked": True}, "max_share": 0.5}),
        put("failed", 1, True),
        2,
        {"source": "a", "failed": True},
    ),
    "a negative price": (
        CELLS,
        ("expect_prices_positive", {"fields": ["close"], "unless": ["CL=F"]}),
        put("value", [3, N + 3], -1.0),
        1,
        {"series": "ZL=F", "observation_date": "2020-01-07", "value": -1.0},
    ),
    "two sources a tenth apart": (
        CELLS,
        ("expect_sources_to_agree", {"left": "a ZL=F close", "right": "b CL=F close", "tolerance": 0.02, "last": 9}),
        put("value", [2, N - 2], 33.0),
        1,
        {"a ZL=F close": 33.0, "b CL=F close": 30.0, "relative_gap": 0.1},
    ),
    "0.02 for 0.022": (
        PRICES.assign(crush=0.11 * 30 + 0.022 * 400 - 10),
        ("expect_board_crush_exact", {"tolerance": 1e-9} | {name: name for name in ("crush", *PRICES.columns)}),
        lambda f: f.assign(crush=0.11 * 30 + 0.02 * 400 - 10),
        5,
        {"crush": 0.11 * 30 + 0.02 * 400 - 10, "expected": 2.1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_fault_is_found_counted_and_shown(tmp_path: Path, case: str) -> None:
    good, (kind, kwargs), broken, count, example = CASES[case]
    passed = ask(tmp_path, good, kind, kwargs)
    assert passed.success, str(passed)
    failed = ask(tmp_path, broken(good), kind, kwargs)
    assert not failed.success
    assert "could not be evaluated" not in failed.reason
    assert failed.unexpected_count == count
    assert 1 <= len(failed.examples) <= 3
    assert example.items() <= failed.examples[0].items()


@pytest.mark.parametrize(
    ("what", "frame", "asked"),
    [
        ("a stale series that is not asked about", SERIES, STALE),
        ("longs within the tolerance", put("commercial_long", slice(None), 31.0)(POSITIONS), LONGS),
        ("a flag that is mostly 0", put("rain_flag", 6, 1.0)(FEATURES), PLACEHOLDER),
        (
            "a constant that is too short to tell",
            FEATURES.assign(c=put("a", slice(9, None), np.nan)(FEATURES)["a"] * 0),
            ("expect_columns_not_constant", {"last": 10, "ignore": ["rain_flag"]}),
        ),
        (
            "two counts that are too short to tell",
            FEATURES.assign(**dict.fromkeys("cd", put("a", slice(9, None), np.nan)(FEATURES)["a"] * 0)),
            ("expect_no_identical_columns", {"min_known": 10}),
        ),
        (
            "a value repeated in a column that is too short to tell",
            put("b", range(9, 50), 0.5)(FEATURES),
            (PLACEHOLDER[0], PLACEHOLDER[1] | {"last": N}),
        ),
        (
            "equal target prices for five sessions",
            put("target_price", range(11, 16), 30.0)(LABELS),
            ("expect_no_repeated_target", {"max_run": 5}),
        ),
        (
            "an unknown date of an unreachable target",
            put("target_date", N - 1, pd.NaT)(LABELS),
            ("expect_target_date_exact", {}),
        ),
        ("an unknown limit", put("limit", 0, np.nan)(SERIES.astype({"limit": "float64"})), STALE),
    ],
)
def test_what_is_no_fault_passes(
    tmp_path: Path, what: str, frame: pd.DataFrame, asked: tuple[str, dict[str, Any]]
) -> None:
    result = ask(tmp_path, frame, *asked)
    assert result.success, f"{what}: {result}"


def test_a_missing_value_fails_a_comparison_only_where_the_suite_says_so(tmp_path: Path) -> None:
    kind, kwargs = STALE
    result = ask(
        tmp_path,
        put("age", 0, np.nan)(SERIES.astype({"age": "float64"})),
        kind,
        kwargs | {"missing_fails": True},
    )
    assert not result.success and result.examples == ({"series": "zl", "age": None, "limit": 5},)


def test_runs_of_equal_targets_do_not_reach_across_horizons(tmp_path: Path) -> None:
    ends = put("target_price", range(N - 8, N - 5), 30.0)(LABELS).iloc[: N - 5]
    starts = put("target_price", range(3), 30.0)(LABELS).iloc[: N - 5].assign(horizon="1z")
    result = ask(tmp_path, pd.concat([ends, starts]), "expect_no_repeated_target", {"max_run": 5})
    assert result.success


def test_a_column_beyond_the_examples_is_still_named(tmp_path: Path) -> None:
    frame = FEATURES.assign(**{f"c{n}": 1.0 for n in range(7)})
    result = ask(tmp_path, frame, "expect_columns_not_constant", {"last": 2, "ignore": ["rain_flag"]})
    assert result.columns == tuple(f"c{n}" for n in range(7))
    assert "`c3`, `c4` and 2 more" in str(result)
