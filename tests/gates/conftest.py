"""The smallest tables that pass each gate. A test breaks one cell of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.calendar import as_of_instant, as_of_instants, sessions
from tasks.gates.tables import beside, summarise_refused
from tasks.registry import load_horizons
from tasks.settings import PROJECT

LAST = pd.Timestamp("2002-06-28")


@pytest.fixture
def staging() -> dict[str, pd.DataFrame]:
    days = sessions("2002-06-03", LAST)
    observations = pd.DataFrame(
        {
            "source": pd.Series(["yahoo"] * len(days), dtype="category"),
            "series": "ZL=F",
            "observation_date": days,
            "field": "close",
            "value": np.linspace(17, 19, len(days)),
            "unit": "cents/lb",
            "available_at": as_of_instants(days),
            "fetched_at": as_of_instants(days),
            "vintage": np.ones(len(days), dtype="int32"),
        }
    )
    series_summary = pd.DataFrame(
        {
            "source": ["yahoo", "fred"],
            "series": ["ZL=F", "DFF"],
            "priority": ["P0", "P1"],
            "critical": [True, False],
            "observations": [len(days), 10],
            "first_date": days[0],
            "last_date": days[-1],
            "last_available_at": as_of_instant(LAST),
            "as_of_instant": as_of_instant(LAST),
            "age_days": [0, 3],
            "stale_limit_days": [5, 7],
            "ended": False,
            "key_dates": [len(days), 10],
            "refused_dates": [0, 0],
            "recent_dates": [len(days), 10],
            "recent_refused": [0, 0],
            "critical_refused_share": 0.0,
            "critical_newest_refused": None,
            "recorded": True,
            "never_recorded": False,
            "refused_share": [0.0, 0.0],
            "max_refused_share": [0.05, 0.1],
        }
    )
    field_summary = pd.DataFrame(
        {
            "source": ["yahoo", "yahoo", "fred"],
            "series": ["ZL=F", "ZL=F", "DFF"],
            "field": ["close", "high", "value"],
            "cells": [len(days), len(days), 10],
            "refused_cells": 0,
            "refused_share": 0.0,
            "year_cells": [len(days), len(days), 10],
            "year_refused": 0,
            "year_refused_share": 0.0,
            "critical": [True, False, False],
            "critical_year_refused_share": 0.0,
            "dates_refused_share": 0.0,
            "max_refused_share": [0.05, 0.05, 0.1],
        }
    )
    positioning = pd.DataFrame(
        {
            "series": "6dca-aqww.007601",
            "observation_date": days[:4],
            "open_interest": 100.0,
            "noncommercial_long": 30.0,
            "noncommercial_short": 20.0,
            "noncommercial_spread": 10.0,
            "commercial_long": 50.0,
            "commercial_short": 65.0,
            "nonreportable_long": 10.0,
            "nonreportable_short": 5.0,
        }
    )
    return {
        "observations": observations,
        "series_summary": series_summary,
        "field_summary": field_summary,
        "source_summary": summarise_refused(series_summary),
        "cftc": positioning,
    }


@pytest.fixture
def features() -> dict[str, pd.DataFrame]:
    days = sessions(last=LAST)
    values = np.random.default_rng(7).normal(size=(len(days), 160))
    built = pd.DataFrame({"date": days} | {f"feature_{n}": values[:, n] for n in range(160)})
    # 17 cents/lb of oil, 160 USD/t of meal, 500 cents/bu of beans
    crush = pd.DataFrame({"date": days, "zl_last": 17.0, "zm_last": 160.0, "zs_last": 500.0})
    names = list(built.columns[1:])
    return {
        "features": built,
        "feature_columns": beside(names, names),
        "feature_starts": pd.DataFrame(
            {
                "column": names,
                "first_date": days[0],
                "begins": days[0],
                "inputs_begin": days[0],
                "last_session": LAST,
                "due": True,
                "missing": False,
                "critical": True,
                "recorded": True,
            }
        ),
        "board_crush": crush.assign(board_crush_usd_bu=1.87 + 3.52 - 5.0, oil_share=1.87 / 5.39),
    }


@pytest.fixture
def assembly() -> dict[str, pd.DataFrame]:
    days = sessions(last=LAST)
    close = 20 + np.sin(np.arange(len(days)) / 9)
    panel = pd.DataFrame(
        {"date": days, "as_of_instant": as_of_instants(days), "zl_close": close, "zl_close__age_days": 0.0}
    )
    panel_summary = pd.DataFrame(
        {
            "column": ["zl_close", "zl_last", "zs_last", "zm_last", "zc_last", "cl_last"],
            "critical": [True, True, False, False, False, False],
            "recorded": True,
            "stale_limit_days": 5.0,
            "recent_missing_share": 0.0,
            "fallback": False,
            "look_ahead": False,
            "not_finite": False,
            "empty": False,
            "source": "yahoo",
            "series": ["ZL=F", "ZL=F", "ZS=F", "ZM=F", "ZC=F", "CL=F"],
            "max_age_days": [0, 5, 5, 5, 5, 5],
            "known": len(days),
            "first_known": days[0],
            "last_known": days[-1],
            "last_age_days": 0.0,
            "latest_available_at": as_of_instant(LAST),
            "as_of_instant": as_of_instant(LAST),
        }
    )
    later, parts = sessions(), []
    for name, horizon in load_horizons(PROJECT / "registry").horizons.items():
        ahead = np.full(len(days), np.nan)
        ahead[: -horizon.sessions] = close[horizon.sessions :]
        parts.append(
            pd.DataFrame(
                {
                    "horizon": name,
                    "date": days,
                    "target_date": later[horizon.sessions : horizon.sessions + len(days)],
                    "target_log_return": np.log(ahead / close),
                    "target_price": ahead,
                    "last_price": close,
                    "sessions_ahead": horizon.sessions,
                    "reachable": ~np.isnan(ahead),
                }
            )
        )
    return {"panel": panel, "panel_summary": panel_summary, "labels": pd.concat(parts, ignore_index=True)}
