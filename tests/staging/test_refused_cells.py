"""Refused cells are counted field by field: a source may lose its highs and no date."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.calendar import sessions
from tasks.registry import DataSources
from tasks.staging.summary import summarise_fields, summarise_series
from tests.conftest import AS_OF, Registry, StagedArchive

DAYS = sessions("2021-01-04", AS_OF)


def cells(field: str, days: pd.DatetimeIndex, *, vintage: int = 1, rule: str | None = None) -> pd.DataFrame:
    """Cells of ZL=F as staging holds them, or as quarantine does where a rule is given."""
    frame = pd.DataFrame(
        {
            "source": "yahoo",
            "series": "ZL=F",
            "observation_date": days,
            "field": field,
            "value": 50.0,
            "available_at": days.tz_localize("UTC") + pd.Timedelta(hours=24),
            "vintage": vintage,
        }
    )
    if rule:
        frame = frame.assign(rule=rule, reason=rule, row=1, payload=f"p{vintage}")
    return frame.astype(dict.fromkeys(("source", "series", "field"), "category"))


def together(*parts: pd.DataFrame) -> pd.DataFrame:
    frame = pd.concat(parts, ignore_index=True)
    return frame.astype(dict.fromkeys(("source", "series", "field"), "category"))


def of_zl(registry: Registry, held: pd.DataFrame, refused: pd.DataFrame) -> pd.DataFrame:
    table = summarise_fields(registry.sources, held, refused, as_of=AS_OF)
    return table[table["series"] == "ZL=F"].set_index("field")


def test_a_high_refused_is_counted_though_its_date_is_held(registry: Registry) -> None:
    year = DAYS[AS_OF - pd.Timedelta(days=365) < DAYS]
    lost = year[:50]
    held = together(cells("close", DAYS), cells("high", DAYS.difference(lost)))
    table = of_zl(registry, held, cells("high", lost, rule="impossible_ohlc"))
    assert list(table.loc["high", ["cells", "refused_cells", "year_cells", "year_refused"]]) == [
        *(len(DAYS), 50),
        *(len(year), 50),
    ]
    assert table.loc["high", "year_refused_share"] == pytest.approx(50 / len(year))
    assert table.loc["high", "dates_refused_share"] == 0, "counted by dates nothing is lost"
    assert list(table.loc["close", ["refused_cells", "year_refused", "critical"]]) == [0, 0, True]
    assert not table.loc["high", "critical"] and table.loc["high", "critical_year_refused_share"] == 0
    series = summarise_series(registry.sources, held, cells("high", lost, rule="impossible_ohlc"), as_of=AS_OF)
    zl = series[series["series"] == "ZL=F"].iloc[0]
    assert (zl["recent_refused"], zl["year_refused"], zl["worst_field"]) == (0, 50, "high")
    assert zl["worst_refused_share"] == pytest.approx(50 / len(year)) and zl["cells"] == 2 * len(DAYS)


def test_what_another_payload_or_vintage_gave_is_no_loss_and_counts_once(registry: Registry) -> None:
    some = DAYS[-10:]
    held = together(cells("close", DAYS), cells("close", some, vintage=2))
    refused = together(*(cells("close", some, vintage=payload, rule="range") for payload in (1, 2, 3)))
    assert list(of_zl(registry, held, refused).loc["close", ["cells", "refused_cells"]]) == [len(DAYS), 0]
    only = of_zl(registry, cells("close", DAYS.difference(some)), refused)
    assert list(only.loc["close", ["cells", "refused_cells"]]) == [len(DAYS), 10], "three payloads are one cell"
    assert only.loc["close", "critical_year_refused_share"] == only.loc["close", "year_refused_share"] > 0


def test_a_row_that_pads_a_weekend_is_no_cell_of_a_bar_and_one_without_a_date_is_none(registry: Registry) -> None:
    weekends = pd.DatetimeIndex(["2023-12-23", "2023-12-24", "2023-12-25"])  # the Monday is a holiday
    nowhere = cells("close", DAYS[-1:], rule="payload").assign(observation_date=pd.NaT)
    refused = together(cells("close", weekends, rule="weekend"), nowhere)
    assert list(of_zl(registry, cells("close", DAYS), refused).loc["close", ["cells", "refused_cells"]]) == [
        len(DAYS),
        0,
    ]


def test_the_year_ends_at_the_run_s_session_and_begins_365_days_before(registry: Registry) -> None:
    edge = AS_OF - pd.Timedelta(days=365)
    days = pd.DatetimeIndex([edge, edge + pd.Timedelta(days=1), AS_OF])  # 2022-12-29, -30 and 2023-12-29
    found = of_zl(registry, cells("open", DAYS[:1]), cells("open", days, rule="range")).loc["open"]
    assert (found["refused_cells"], found["year_refused"], found["year_cells"]) == (3, 2, 2)
    long_dead = of_zl(registry, cells("open", DAYS[:9]), cells("open", DAYS[9:12], rule="range")).loc["open"]
    assert pd.isna(long_dead["year_refused_share"]), "nothing was served within the year: there is no share of it"


def test_nothing_staged_has_no_row(registry: Registry) -> None:
    none = cells("close", DAYS[:0])
    assert summarise_fields(registry.sources, none, cells("close", DAYS[:0], rule="x"), as_of=AS_OF).empty
    assert len(summarise_series(registry.sources, none, cells("close", DAYS[:0], rule="x"), as_of=AS_OF))


def test_a_field_of_other_sources_is_counted_on_any_day(registry: Registry) -> None:
    """Of daily bars only sessions count; a freight index may be published on a holiday of the exchange."""
    holiday = pd.DatetimeIndex(["2023-12-25"])
    held = cells("value", DAYS).assign(source="freight", series="BDI")
    refused = cells("value", holiday, rule="range").assign(source="freight", series="BDI")
    table = summarise_fields(_only(registry.sources, "freight"), held, refused, as_of=AS_OF)
    assert list(table[["source", "series", "cells", "refused_cells"]].iloc[0]) == ["freight", "BDI", len(DAYS) + 1, 1]


def _only(sources: DataSources, name: str) -> DataSources:
    return sources.model_copy(update={"sources": {name: sources.sources[name]}})


def test_the_recorded_archive_by_cells_and_by_dates(staged: StagedArchive, registry: Registry) -> None:
    """8.4% of ZL's highs and 9.3% of its lows have no accepted value, nearly all before 2012; of its closes 1.8%."""
    table = summarise_fields(registry.sources, staged.observations, staged.quarantine, as_of=AS_OF)
    zl = table[(table["source"] == "yahoo") & (table["series"] == "ZL=F")].set_index("field")
    shares = zl["refused_share"]
    assert [round(shares[name], 3) for name in ("high", "low", "close")] == [0.084, 0.093, 0.018]
    assert (zl["year_refused"] == 0).all() and zl["year_cells"].eq(251).all()
    over = table[table["year_refused_share"] > table["max_refused_share"]]
    assert set(zip(over["series"], over["field"], strict=True)) == {("MYR=X", "high"), ("MYR=X", "low")}
    assert (over["dates_refused_share"] == 0).all(), "what counting dates does not see"
    held = staged.observations.drop_duplicates(["source", "series", "field", "observation_date"])
    assert (table["cells"] - table["refused_cells"]).sum() == len(held)
