"""Contract pairs: the documented URL, which row of a day counts, and what the recorded archive has of the curve."""

from __future__ import annotations

import dataclasses
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, Limits
from tasks.sources import pysystemtrade
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Window

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
WINDOW = Window(date(2023, 12, 1), date(2023, 12, 29))
HEADINGS = b"DATETIME,CARRY,CARRY_CONTRACT,PRICE,PRICE_CONTRACT,FORWARD,FORWARD_CONTRACT\n"
SERVED = HEADINGS + (
    b"2015-03-16 23:00:00,30.1,20150300,30.4,20150500,,20150700\n"
    b"2015-03-17 14:00:00,29.8,20150300,29.93,20150500,,20150700\n"  # the last of its day with both prices
    b"2015-03-17 18:00:00,,20150300,30.05,20150500,,20150700\n"
    b"2015-03-18 14:00:00,,20150300,30.2,20150500,30.3,20150700\n"  # the last of its day that has a price
    b"2015-03-18 23:00:00,,20150300,,20150500,,20150700\n"
    b"2015-03-19 23:00:00,,20150300,,20150500,,20150700\n"  # no price at all
)


@pytest.fixture
def spec(registry):
    return registry.sources.source("pysystemtrade")


@pytest.fixture
def ask(spec, server):
    def run():
        endpoint = spec.endpoint.replace("https://raw.githubusercontent.com", server.url)
        with Http("pysystemtrade", per_minute=60_000, limits=QUICK) as http:
            return list(pysystemtrade.fetch("SOYOIL", WINDOW, spec.model_copy(update={"endpoint": endpoint}), http))

    return run


@pytest.fixture
def payload(archive, tmp_path):
    def of(content: bytes):
        path = tmp_path / "served.csv"
        path.write_bytes(content)
        return dataclasses.replace(recorded_files(archive, "pysystemtrade", "SOYOIL")[0], path=path)

    return of


def test_the_documented_url_is_asked_and_the_answer_lands_as_served(ask, server):
    server.script = [(200, SERVED)]
    (fetched,) = ask()
    assert server.requests[0].path == ("/robcarver17/pysystemtrade/master/data/futures/multiple_prices_csv/SOYOIL.csv")
    assert (fetched.extension, fetched.content) == ("csv", SERVED)


@pytest.mark.parametrize("answer", [b"", b"<html>DATETIME,", b"404: Not Found"])
def test_what_is_no_table_is_not_landed(ask, server, answer):
    server.script = [(200, answer)]
    with pytest.raises(SourceUnavailable, match="SOYOIL: expected the table"):
        ask()


def test_of_a_day_the_last_row_with_both_prices_counts(payload, spec):
    rows = pysystemtrade.parse(payload(SERVED), spec).set_index("observation_date")
    assert rows["price"].tolist() == ["30.4", "29.93", "30.2"]
    assert rows["carry"].fillna("none").tolist() == ["30.1", "29.8", "none"]
    assert rows.loc["2015-03-18", "forward"] == "30.3" and rows.loc["2015-03-17", "row"] == 3
    assert "2015-03-19" not in rows.index


@pytest.mark.parametrize("content", [HEADINGS, SERVED.replace(b"CARRY,", b"CARY,", 1), SERVED[:40]])
def test_a_renamed_column_or_a_table_without_a_price_is_drift(payload, spec, content):
    with pytest.raises(SchemaDrift):
        pysystemtrade.parse(payload(content), spec)


def test_a_pair_is_known_two_sessions_after_its_stamp(staged):
    held = staged.by_source["pysystemtrade"].observations
    soyoil = held[(held["series"] == "SOYOIL") & (held["field"] == "price")].set_index("observation_date")
    known = soyoil["available_at"].dt.tz_convert("America/Chicago")
    # a Wednesday, and the Friday before Christmas, which is a Monday
    assert f"{known['2023-12-20']:%Y-%m-%d %H:%M}" == "2023-12-22 18:00"
    assert f"{known['2023-12-22']:%Y-%m-%d %H:%M}" == "2023-12-27 18:00"


def test_the_recorded_curve_reaches_from_1970_to_what_was_known_on_the_archives_last_session(staged):
    held = staged.by_source["pysystemtrade"].observations
    wide = held[held["series"] == "SOYOIL"].pivot(index="observation_date", columns="field", values="value")
    assert (wide.index[0], wide.index[-1]) == (pd.Timestamp("1970-02-03"), pd.Timestamp("2023-12-27"))
    last = wide.iloc[-1]
    assert (last["carry"], last["carry_contract"]) == (48.78, 20240300)
    assert (last["price"], last["price_contract"]) == (49.23, 20240500)
    # of the day whose pair the facts show: Sep, Oct and Dec 2021 at one moment
    day = wide.loc["2021-06-15"]
    assert [day[name] for name in ("carry", "price", "forward")] == [62.64, 61.86, 61.35]
    assert (wide["carry_contract"] < wide["price_contract"]).all()
