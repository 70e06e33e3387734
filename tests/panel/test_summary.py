"""What is said of each panel column: judged on the last quarter, whatever its history, and declared delays left out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instants, sessions
from tasks.panel.join import AGE
from tasks.panel.summary import RECENT_SESSIONS, summarise_panel
from tasks.registry import Join, JoinSpec
from tests.conftest import Registry

LAST = pd.Timestamp("2019-03-29")
SPEC = JoinSpec(
    joins=(
        Join(source="yahoo", max_age_days=0, columns={"zl_close": "ZL=F.close", "zs": "ZS=F.close"}),
        Join(source="fred", max_age_days=100, columns={"pcepi": "PCEPI.value"}),
    )
)
NOTHING = pd.DataFrame(
    {
        "source": pd.Series(dtype="category"),
        "series": pd.Series(dtype="category"),
        "field": pd.Series(dtype="category"),
        "observation_date": pd.Series(dtype="datetime64[us]"),
        "available_at": pd.Series(dtype="datetime64[us, UTC]"),
        "value": pd.Series(dtype="float64"),
        "vintage": pd.Series(dtype="int32"),
    }
)


def summary_of(first: str, registry: Registry, **missing: slice) -> pd.DataFrame:
    """Of a panel whose columns have a value on every session, but for those of ``missing``."""
    days = sessions(first, LAST)
    values = {column: np.linspace(1, 2, len(days)) for join in SPEC.joins for column in join.columns}
    for column, gone in missing.items():
        values[column][gone] = np.nan
    ages = {column + AGE: 0.0 for column in values}
    panel = pd.DataFrame({"date": days, "as_of_instant": as_of_instants(days)} | values | ages)
    return summarise_panel(panel, SPEC, NOTHING, registry.sources).set_index("column")


def test_what_was_missing_long_ago_does_not_weigh_however_short_or_long_history_is(registry: Registry) -> None:
    for first in ("2000-01-03", "2016-01-04"):
        told = summary_of(first, registry, zs=slice(0, -RECENT_SESSIONS - 252))
        assert told.loc["zs", "recent_missing_share"] == 0, first
        assert told.loc["zs", "first_known"] > pd.Timestamp("2017-01-01")


def test_what_was_there_a_year_ago_and_is_missing_now_is_counted_and_a_column_that_ended_is_not(
    registry: Registry,
) -> None:
    lost = summary_of("2016-01-04", registry, zs=slice(-30, None)).loc["zs"]
    assert (lost["recent_due"], lost["recent_missing"]) == (RECENT_SESSIONS, 30)
    assert lost["recent_missing_share"] == 30 / RECENT_SESSIONS
    ended = summary_of("2016-01-04", registry, zs=slice(-400, None)).loc["zs"]
    assert (ended["recent_due"], ended["recent_missing_share"]) == (0, 0)


def test_the_price_is_due_on_every_session(registry: Registry) -> None:
    told = summary_of("2016-01-04", registry, zl_close=slice(-400, None)).loc["zl_close"]
    assert told["critical"] and told["recent_missing_share"] == 1


def test_a_declared_delay_is_no_fault(registry: Registry) -> None:
    """The shutdown of 2018-12: PCEPI of December came on 2019-03-01, that of January a month late as well."""
    told = summary_of("2016-01-04", registry, pcepi=slice(-40, -21)).loc["pcepi"]
    assert told["recent_due"] < RECENT_SESSIONS - 19 and told["recent_missing"] == 0


def test_an_infinite_value_is_told(registry: Registry) -> None:
    days = sessions("2018-01-02", LAST)
    values = {column: 1.0 for join in SPEC.joins for column in join.columns}
    panel = pd.DataFrame({"date": days, "as_of_instant": as_of_instants(days)} | values)
    panel = panel.assign(**{column + AGE: 0.0 for column in values}, zs=np.inf)
    told = summarise_panel(panel, SPEC, NOTHING, registry.sources).set_index("column")
    assert told["not_finite"].to_dict() == {"zl_close": False, "zs": True, "pcepi": False}
