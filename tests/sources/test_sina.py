"""Sina: the documented URL, both spellings of a bar, and what the quarantine holds of the archive."""

from __future__ import annotations

import dataclasses
import json
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, Limits
from tasks.sources import sina
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Window

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
WINDOW = Window(date(2023, 12, 1), date(2023, 12, 29))
LIVE = (
    b"/*<script>location.href='//sina.com';</script>*/\n"
    b'var _Y0=([{"d":"2023-12-28","o":"7676.000","h":"7708.000","l":"7630.000","c":"7656.000","v":"441947",'
    b'"p":"589704","s":"7668.000"},{"d":"2023-12-29","o":"7646.000","h":"7666.000","l":"7520.000","c":"7522.000",'
    b'"v":"555930","p":"597840","s":"7584.000"}]);'
)


@pytest.fixture
def ask(registry, server):
    def run():
        spec = registry.sources.source("sina")
        endpoint = spec.endpoint.replace("https://stock2.finance.sina.com.cn", server.url)
        with Http("sina", per_minute=60_000, limits=QUICK) as http:
            return list(sina.fetch("Y0", WINDOW, spec.model_copy(update={"endpoint": endpoint}), http))

    return run


def test_the_documented_url_is_asked_and_the_answer_lands_as_served(ask, server):
    server.script = [(200, LIVE)]
    (fetched,) = ask()
    asked = server.requests[0]
    assert asked.path == "/futures/api/jsonp.php/var _Y0=/InnerFuturesNewService.getDailyKLine"
    assert asked.query == {"symbol": "Y0"}
    assert (fetched.extension, fetched.content) == ("js", LIVE)


def test_a_live_bar_and_a_recorded_one_parse_alike(registry, archive, tmp_path):
    spec = registry.sources.source("sina")
    recorded = recorded_files(archive, "sina", "Y0")[0]
    path = tmp_path / "live.js"
    path.write_bytes(LIVE)
    live = sina.parse(dataclasses.replace(recorded, path=path), spec)
    whole = sina.parse(recorded, spec).tail(2)
    for field in spec.fields:
        assert pd.to_numeric(live[field]).tolist() == whole[field].tolist(), field
    assert live["observation_date"].tolist() == whole["observation_date"].tolist()


@pytest.mark.parametrize("answer", [b"", b"var _Y0=(null);", b"var _Y0=([]);", b"<html>[1, 2]</html>", b"]["])
def test_an_answer_without_bars_is_unavailable(ask, server, answer):
    server.script = [(200, answer)]
    with pytest.raises(SourceUnavailable, match="Y0: expected the array of bars"):
        ask()


def test_a_source_that_errs_is_down(ask, server):
    server.script = [(503, b"busy")]
    with pytest.raises(SourceUnavailable, match="503"):
        ask()


def test_both_spellings_at_once_are_drift(registry, archive, tmp_path):
    recorded = recorded_files(archive, "sina", "Y0")[0]
    path = tmp_path / "both.js"
    bar = {"date": "2023-12-29", "d": "2023-12-29", **{name: 1 for name in sina.IN_FULL.values() if name != "date"}}
    path.write_text(f"var x = {json.dumps([bar])};")
    with pytest.raises(SchemaDrift, match=r"both\.js"):
        sina.parse(dataclasses.replace(recorded, path=path), registry.sources.source("sina"))


def test_the_archive_keeps_true_extremes_and_loses_mixed_contracts_and_empty_settlements(staged, registry):
    held = staged.by_source["sina"]
    assert held.payloads == 6
    closes = held.observations[held.observations["field"] == "close"]
    assert len(closes) == 25_416 - 6 - 4, "less the Sunday of 2008-07-20 in each, and four bars of another contract"
    assert closes.groupby("series", observed=True)["value"].max()["P0"] == 12_718, "April 2022"
    jumps = held.quarantine[(held.quarantine["rule"] == "jump") & (held.quarantine["field"] == "close")]
    assert set(jumps["series"]) == {"A0"} and set(jumps["observation_date"].dt.year) == {2006}
    outside = held.quarantine[held.quarantine["rule"] == "range"]
    assert set(outside["field"]) == {"settle"} and set(outside["value"]) == {0.0}
    assert {"contracts", "CNY/t"} == set(held.observations["unit"])
    assert set(closes["available_at"].dt.tz_convert("America/Chicago").dt.hour) == {18}
