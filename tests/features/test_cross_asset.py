"""How ZL moves with currencies, whose recorded closes often are opens: held against FRED's noon rates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.mark.parametrize("year", [2008, 2009, 2012, 2014, 2016, 2017, 2022])
def test_the_reals_correlation_with_zl_is_that_of_the_same_days(
    staged, panel: pd.DataFrame, features: pd.DataFrame, year: int
) -> None:
    held = staged.observations
    noon = held[(held["source"] == "fred") & (held["series"] == "DEXBZUS")]
    noon = noon.sort_values("vintage").groupby("observation_date")["value"].last()
    prices = pd.DataFrame({"zl": panel.set_index("date")["zl_last"]}).join(noon.rename("real"))
    moves = np.log(prices).diff()
    noons = moves["zl"].rolling(63, min_periods=42).corr(moves["real"]).loc[f"{year}"].mean()
    found = features.set_index("date").loc[f"{year}", "zl_brl_correlation_63d"].mean()
    assert found == pytest.approx(noons, abs=0.2)
    assert found < -0.05
