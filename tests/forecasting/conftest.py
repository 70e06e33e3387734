"""Shared by the tests of forecasts and their reasons."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.conftest import Registry
from tests.forecasting.market import Market, make_market


@pytest.fixture(scope="session")
def market(
    features: pd.DataFrame,
    panel: pd.DataFrame,
    labels: pd.DataFrame,
    registry: Registry,
    tmp_path_factory: pytest.TempPathFactory,
) -> Market:
    return make_market(features, panel, labels, registry, tmp_path_factory.mktemp("market"))
