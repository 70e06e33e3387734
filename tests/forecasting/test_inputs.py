"""What a forecast says of its inputs: which source is gone, what was set aside, what stands in, who has no driver."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tasks.alerts.of_run import raise_alerts
from tasks.calendar import sessions
from tasks.day import InputNotes
from tasks.forecasting.forecast import input_reasons
from tasks.registry import FeatureEntry, FeatureRegistry
from tasks.reporting.terminal import notes

DAYS = sessions("2018-01-02", "2019-06-28")


def entry(*sources: str) -> FeatureEntry:
    return FeatureEntry(
        formula="x", unit="x", sources=sources, point_in_time="lagged", sign="?", first_date="2000-01-03"
    )


REGISTRY = FeatureRegistry(
    categories={
        "positioning": {name: entry("cftc") for name in ("cot_a", "cot_b", "cot_c")},
        "macro": {"vix": entry("yahoo ^VIX", "fred VIXCLS"), "rate": entry("fred DGS10")},
        "price": {"zl": entry("yahoo ZL=F"), "zs": entry("yahoo ZS=F")},
    }
)
READS = list(REGISTRY.features)


def features(**gone: int) -> pd.DataFrame:
    """Every feature is known on every session, but for the last so many of those given."""
    table = pd.DataFrame({"date": DAYS} | dict.fromkeys(READS, 1.0))
    for name, sessions_gone in gone.items():
        table.loc[len(DAYS) - sessions_gone :, name] = np.nan
    return table


def reasons(table: pd.DataFrame, *, trained: int = -1, notes: InputNotes | None = None) -> list[str]:
    return input_reasons(table, READS, REGISTRY, trained_as_of=DAYS[trained], notes=notes)


def test_a_source_that_is_gone_is_named_with_the_inputs_that_are_lost() -> None:
    assert reasons(features()) == []
    assert reasons(features(cot_a=30)) == [], "one of three, and one of seven, is not yet worth a word"
    assert reasons(features(cot_a=30, cot_c=30)) == ["cftc: 2 of 3 inputs are missing (cot_a, cot_c)"]


def test_a_fifth_of_the_inputs_and_half_of_a_source_may_be_lost_and_no_more() -> None:
    both = FeatureRegistry(
        categories={
            "pairs": {f"pair_{n}": entry("yahoo X", "fred Y") for n in range(8)},
            "own": {"own_a": entry("cftc"), "own_b": entry("cftc")},
        }
    )
    names = list(both.features)
    whole = pd.DataFrame({"date": DAYS} | dict.fromkeys(names, 1.0))

    def told(*gone: str) -> list[str]:
        lost = whole.assign(**{name: whole[name].mask(whole.index >= len(DAYS) - 5) for name in gone})
        return input_reasons(lost, names, both, trained_as_of=DAYS[-1])

    assert told("pair_0", "pair_1") == [] and told("own_a") == []
    assert told("pair_0", "pair_1", "pair_2") == ["3 of 10 inputs are missing (pair_0, pair_1, pair_2)"]
    assert told("own_a", "own_b", "pair_0") == ["cftc: 2 of 2 inputs are missing (own_a, own_b)"], "said once"
    many = told(*(f"pair_{n}" for n in range(7)))
    assert many == ["7 of 10 inputs are missing (pair_0, pair_1, pair_2, pair_3, pair_4 and 2 more)"]


@pytest.mark.parametrize(("known", "lost"), [(168, True), (167, False)])
def test_an_input_is_missed_that_was_known_on_two_thirds_of_the_year_to_the_training(known: int, lost: bool) -> None:
    table, year = features(), slice(len(DAYS) - 1 - 252, len(DAYS) - 1)
    table.loc[len(DAYS) - 1, ["cot_a", "cot_b", "cot_c"]] = np.nan
    rows = table.index[year]
    table.loc[rows[known:], ["cot_a", "cot_b", "cot_c"]] = np.nan
    assert bool(reasons(table, trained=-2)) == lost


def test_a_message_names_five_and_counts_the_rest() -> None:
    names = [f"cot_{n}" for n in "abcdefgh"]
    wide = FeatureRegistry(categories={"positioning": {name: entry("cftc") for name in names}})
    table = pd.DataFrame({"date": DAYS} | dict.fromkeys(names, 1.0))
    table.loc[len(DAYS) - 1, names] = np.nan
    (told,) = input_reasons(table, names, wide, trained_as_of=DAYS[-1])
    assert told == "cftc: 8 of 8 inputs are missing (cot_a, cot_b, cot_c, cot_d, cot_e and 3 more)"
    assert input_reasons(table, ["unknown"], wide, trained_as_of=DAYS[-1]) == [], "what no registry names is no input"


def test_what_was_missing_when_the_model_was_trained_is_not_lost() -> None:
    long_gone = features(cot_a=200, cot_b=200, cot_c=200)
    assert reasons(long_gone) == []
    assert reasons(long_gone, trained=-201) == ["cftc: 3 of 3 inputs are missing (cot_a, cot_b, cot_c)"]


def test_what_was_set_aside_and_what_stands_in_degrade_the_models_that_read_it() -> None:
    told = InputNotes(set_aside={"yahoo ZS=F": "shows the future"}, stands_in={"yahoo ^VIX": "fred VIXCLS"})
    assert reasons(features(), notes=told) == [
        "yahoo ZS=F is set aside (zs): shows the future",
        "fred VIXCLS stands in for yahoo ^VIX (vix)",
    ]
    assert input_reasons(features(), ["zl", "rate"], REGISTRY, trained_as_of=DAYS[-1], notes=told) == []
    series = pd.DataFrame(columns=["source", "series", "observations", "age_days", "stale_limit_days"])
    forecasts = pd.DataFrame({"degraded": [False], "horizon": ["1w"], "degraded_reason": [None]})
    alerts = raise_alerts([], series, forecasts, inputs=told)
    assert list(alerts["kind"]) == ["input", "input"] and list(alerts["subject"]) == ["yahoo ZS=F", "yahoo ^VIX"]


def test_an_unconfirmed_close_is_the_first_thing_told() -> None:
    told = InputNotes(set_aside={"yahoo ZS=F": "late"}, unconfirmed={"yahoo ZL=F": "the bar repeats"})
    assert told.lines()[0] == ("yahoo ZL=F", "the newest close is unconfirmed: the bar repeats")


def summary(families: list[str], champions: list[str]) -> SimpleNamespace:
    forecasts = pd.DataFrame(
        {
            "horizon": ["1w", "1m"],
            "family": families,
            "is_baseline": [family == "curve" for family in families],
            "degraded": [family != champion for family, champion in zip(families, champions, strict=True)],
            "degraded_reason": "ridge/1m/v0001 cannot serve: no forecast without vix",
            "point": 1.5,
            "last_price": 1.5,
            "direction_reason": None,
            "p10": 1.0,
            "p90": 2.0,
        }
    )
    board = pd.DataFrame({"family": [*champions, "har"], "champion": [True, True, False], "skill_pct": np.nan})
    return SimpleNamespace(forecasts=forecasts, leaderboard=board)


def test_champions_that_cannot_serve_are_not_said_to_have_missed_the_gates() -> None:
    missed = "No model met the promotion gates"
    assert any(missed in line for line in notes(summary(["curve"] * 2, ["curve"] * 2)))
    cannot = notes(summary(["curve"] * 2, ["curve", "ridge"]))
    assert not any(missed in line for line in cannot)
    assert any("cannot serve today" in line for line in cannot) and any("without vix" in line for line in cannot)
    assert not any("cannot serve today" in line for line in notes(summary(["curve", "ridge"], ["curve", "ridge"])))


def test_a_lost_input_that_counts_as_its_mean_is_counted_however_few_there_are() -> None:
    table = features(cot_a=30)
    told = input_reasons(table, READS, REGISTRY, trained_as_of=DAYS[-1], at_mean=["cot_a"])
    assert told == ["1 of 7 inputs are missing and count as their mean (cot_a)"]
    assert input_reasons(features(), READS, REGISTRY, trained_as_of=DAYS[-1], at_mean=["cot_a"]) == []
