"""Where a run without arguments takes its data from: live, or the recorded archive where nothing can be reached."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from flows.daily import origin_of
from tasks.errors import OriginError
from tasks.network import any_accepts
from tasks.registry import load_sources
from tasks.settings import PROJECT, Settings
from tasks.sources.origins import land_recorded
from tasks.sources.payloads import Fetched, has_live_data, land
from tasks.storage.zones import Zones

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[[str], Settings]:
    """Settings whose sources are all asked at one address."""

    def make(endpoint: str) -> Settings:
        folder = tmp_path / "registry"
        shutil.copytree(PROJECT / "registry", folder)
        file = folder / "data_sources.yaml"
        written = yaml.safe_load(file.read_text(encoding="utf-8"))
        for source in written["sources"].values():
            source["endpoint"] = endpoint
        file.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
        return Settings(home=tmp_path / "home", registry=folder)

    return make


def fetch_something(settings: Settings) -> None:
    sources = load_sources(settings.registry)
    fetched = Fetched("DGS10", "csv", b"observation_date,DGS10\n2023-12-27,3.79\n", NOWHERE)
    now = pd.Timestamp("2023-12-28 15:00", tz="UTC")
    land(Zones(settings.home), "fred", fetched, sources.source("fred"), fetched_at=now)


def test_without_network_a_home_that_was_never_live_runs_on_the_recorded_archive_and_says_so(settings_for, capsys):
    settings = settings_for(NOWHERE)
    assert origin_of(settings) == "recorded"
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "recorded archive" in said and "as of its last session" in said


def test_a_home_with_live_data_never_falls_back(settings_for, capsys):
    settings = settings_for(NOWHERE)
    fetch_something(settings)
    assert origin_of(settings) == "live"
    assert capsys.readouterr().err == ""


def test_where_a_source_can_be_reached_the_run_is_live(settings_for, server):
    settings = settings_for(server.url)
    assert any_accepts(load_sources(settings.registry).hosts())
    assert origin_of(settings) == "live" and server.requests == [], "nothing is asked yet"


def test_neither_network_nor_archive_is_one_line_that_says_what_to_do(settings_for, tmp_path):
    settings = settings_for(NOWHERE).model_copy(update={"archive": tmp_path / "gone"})
    with pytest.raises(OriginError, match=r"connect to the internet, or restore .*git checkout -- recorded"):
        origin_of(settings)


def test_recorded_payloads_and_the_registrys_own_tables_are_no_live_data(settings_for, archive):
    settings = settings_for(NOWHERE)
    sources, zones = load_sources(settings.registry), Zones(settings.home)
    assert land_recorded(zones, archive, "fred", "DGS10")
    [table, *_] = sources.source("policy_events").tables
    own = Fetched(table, "csv", b"x\n", NOWHERE)
    spec = sources.source("policy_events")
    land(zones, "policy_events", own, spec, fetched_at=pd.Timestamp("2023-12-28", tz="UTC"))
    assert not has_live_data(zones, sources)
    fetch_something(settings)
    assert has_live_data(zones, sources)
