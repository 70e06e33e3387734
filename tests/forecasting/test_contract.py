"""Which contract a forecast's price is of, on days that are known."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.forecasting.contract import contract_month, contract_name, with_contracts
from tasks.labels import target_date
from tasks.registry import load_roll_calendar


@pytest.fixture(scope="module")
def rule(registry):
    return load_roll_calendar(registry.folder, registry.sources).rolls["ZL"]


@pytest.mark.parametrize(
    ("as_of", "contract", "roll_date", "targets"),
    [
        # 12 January is the business day before the 15th, and the 15th is Martin Luther King's day
        ("2023-12-29", "ZLF24", "2024-01-16", ["ZLF24", "ZLH24", "ZLK24", "ZLN24", "ZLF25"]),
        # in the last days of a contract that was in short supply
        ("2021-04-29", "ZLK21", "2021-05-17", ["ZLK21", "ZLN21", "ZLQ21", "ZLZ21", "ZLK22"]),
        ("2022-04-28", "ZLK22", "2022-05-16", ["ZLK22", "ZLN22", "ZLQ22", "ZLZ22", "ZLK23"]),
        # on the last trading day the price is still the old contract's
        ("2021-07-14", "ZLN21", "2021-07-15", ["ZLQ21", "ZLQ21", "ZLV21", "ZLF22", "ZLN22"]),
    ],
)
def test_the_contract_its_roll_and_those_of_the_targets(rule, registry, as_of, contract, roll_date, targets):
    day = pd.Timestamp(as_of)
    ahead = [target_date(day, horizon.sessions) for horizon in registry.horizons.horizons.values()]
    told = with_contracts(pd.DataFrame({"target_date": ahead}), rule, priced_on=day)
    assert set(told["contract"]) == {contract} and set(told["roll_date"]) == {pd.Timestamp(roll_date)}
    assert told["target_contract"].tolist() == targets


def test_names_are_the_exchanges():
    assert contract_name("ZL", 202401) == "ZLF24" and contract_name("ZL", 202212) == "ZLZ22"
    assert contract_month("ZLF24") == "January 2024"
