"""A source that a person paused: nothing of it is fetched or landed, everything says so, and it can be resumed."""

from __future__ import annotations

import json
from datetime import date

import pandas as pd
import pytest

from cli.app import main
from tasks.alerts.of_run import raise_alerts
from tasks.errors import ManifestMismatch, SettingsError, SourceUnavailable
from tasks.operations.audit import take_inventory
from tasks.operations.health import source_health, take_health
from tasks.registry import load_sources
from tasks.reporting.screen import attention_lines
from tasks.run import open_run
from tasks.settings import PROJECT, load_settings
from tasks.sources.ingest import backfill_source, ingest_source
from tasks.sources.pauses import pause, pauses, resume
from tasks.sources.payloads import Window, landed
from tasks.staging.summary import summarise_series

CSV = b"observation_date,DGS10\n2023-12-20,3.9\n2023-12-21,3.9\n"
REASON = "the agency is closed"


@pytest.fixture
def spec(registry, server):
    server.by_request = lambda request: (200, CSV)
    local = {"endpoint": server.url, "keyed_endpoint": "", "rate_limit_per_minute": 60_000, "optional_secrets": ()}
    return registry.sources.source("fred").model_copy(update={**local, "key_pages": {}})


def fetch(zones, spec, origin="live"):
    given = {"as_of": date(2023, 12, 22), "progress": lambda *step: None, "series": ("DGS10",)}
    return ingest_source(zones, "fred", spec, origin=origin, **given)


def test_a_paused_source_is_not_asked_keeps_what_it_has_and_goes_on_where_it_was(zones, spec, server):
    assert fetch(zones, spec).new_payloads == 1
    asked, before = len(server.requests), landed(zones, "fred")
    pause(zones, "fred", REASON)
    done = fetch(zones, spec)
    assert (done.status, done.new_payloads, done.payloads, done.failures) == ("paused", 0, 1, {})
    assert REASON in done.message and "`cbi sources resume fred`" in done.message
    assert len(server.requests) == asked and landed(zones, "fred") == before
    assert resume(zones, "fred") is not None and resume(zones, "fred") is None
    assert fetch(zones, spec).status == "ok" and len(server.requests) > asked


def test_a_paused_source_lands_nothing_from_a_folder_and_is_not_backfilled(zones, spec, server, tmp_path):
    path = tmp_path / "origin" / "fred" / "DGS10" / "2023-12-22.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(CSV)
    pause(zones, "fred", REASON)
    assert fetch(zones, spec, origin=tmp_path / "origin").status == "paused" and not landed(zones, "fred")
    window = Window(date(2023, 12, 1), date(2023, 12, 22))
    with pytest.raises(SourceUnavailable, match=REASON):
        backfill_source(zones, "fred", spec, window=window, chunk_days=30, progress=lambda *step: None)
    assert not server.requests
    resume(zones, "fred")
    assert fetch(zones, spec, origin=tmp_path / "origin").payloads == 1


def test_the_first_date_stays_a_new_reason_replaces_the_old_one_and_none_is_refused(zones, monkeypatch):
    monkeypatch.setenv("CBI_NOW", "2024-01-02T12:00:00Z")
    first = pause(zones, "fred", REASON)
    monkeypatch.setenv("CBI_NOW", "2024-01-05T12:00:00Z")
    again = pause(zones, "fred", "  the  quota\nis spent ")
    assert (again.since, again.reason) == (first.since, "the quota is spent")
    pause(zones, "mei", REASON)
    assert {name: f"{one.since:%Y-%m-%d}" for name, one in pauses(zones).items()} == {
        "fred": "2024-01-02",
        "mei": "2024-01-05",
    }
    with pytest.raises(SettingsError, match="Give a reason"):
        pause(zones, "fred", "  ")
    assert [path.name for path in zones.pauses.iterdir()] == ["sources.json"], "no temporary file is left"


def test_a_list_of_pauses_that_cannot_be_read_is_named_and_health_fails(zones, spec, monkeypatch):
    pause(zones, "fred", REASON)
    path = zones.pauses / "sources.json"
    path.write_text("[1", encoding="utf-8")
    with pytest.raises(ManifestMismatch, match="delete it"):
        pauses(zones)
    monkeypatch.setenv("CBI_HOME", str(zones.home))
    health = take_health(open_run(load_settings(), origin="live", as_of="2023-12-22"))
    found = health.checks.set_index("check").loc["pauses"]
    assert found["state"] == "failing" and str(path) in found["told"]


def test_a_list_of_pauses_that_cannot_be_read_stops_no_run(zones, spec, caplog):
    zones.pauses.mkdir(parents=True)
    (zones.pauses / "sources.json").write_text("[1]", encoding="utf-8")
    assert fetch(zones, spec).status == "ok"
    assert "whether it is paused is not known" in caplog.text and "delete it" in caplog.text


def test_a_paused_source_is_one_notice_of_its_own_and_none_of_its_series_is_told_as_stale_or_missing(
    zones, spec, registry
):
    fetch(zones, spec)
    from tasks.staging.stage import stage_source

    as_of = pd.Timestamp("2024-06-28")
    staged = stage_source(zones, "fred", spec, as_of=as_of, code="t")
    sources = registry.sources.model_copy(update={"sources": {"fred": spec}})
    series = summarise_series(sources, staged.observations, staged.quarantine, as_of=as_of)
    nothing = pd.DataFrame({"degraded": pd.Series(dtype=bool)})
    before = raise_alerts([fetch(zones, spec)], series, nothing)
    assert set(before["kind"]) == {"stale", "missing"}
    pause(zones, "fred", REASON)
    alerts = raise_alerts([fetch(zones, spec)], series, nothing)
    assert alerts[["kind", "subject"]].to_numpy().tolist() == [["paused", "fred"]] and REASON in alerts["message"][0]
    assert attention_lines(alerts.assign(level="info")) == ["paused, 1 source: fred"]
    state = source_health(zones, sources, as_of=as_of).set_index("source").loc["fred", "state"]
    assert state.startswith("paused since ") and REASON in state and state.endswith("stale: 1 series")


def test_at_the_command_line_a_source_is_listed_shown_paused_and_resumed_and_the_registry_stays(
    zones, monkeypatch, capsys
):
    monkeypatch.setenv("CBI_HOME", str(zones.home))
    monkeypatch.delenv("EIA_API_KEY", raising=False)
    before = (PROJECT / "registry" / "data_sources.yaml").read_bytes()

    def said(*words: str) -> str:
        assert main(["sources", *words]) == 0
        return capsys.readouterr().out

    assert "registry/data_sources.yaml" in _refused(capsys, "pause", "cftcc", "--reason", REASON)
    assert REASON in said("pause", "cftc", "--reason", REASON)
    rows = {row["source"]: row for row in json.loads(said("list", "--json"))}
    assert set(rows) == set(load_sources(PROJECT / "registry").sources)
    assert rows["cftc"]["state"] == "paused" and REASON in rows["cftc"]["why"] and rows["cftc"]["features"] == 19
    assert (rows["eia"]["state"], rows["freight"]["state"]) == ("needs a key", "disabled")
    assert (rows["policy_events"]["state"], rows["mei"]["state"]) == ("registry table", "live")
    shown = said("show", "cftc")
    assert "What it takes: `cbi sources resume cftc`" in shown and "cot_zl_commercial_net_share" in shown
    keyed = json.loads(said("show", "eia", "--json"))
    assert keyed["takes"] == ["set EIA_API_KEY: get it at https://www.eia.gov/opendata/register.php, free"]
    assert keyed["keys"] == {"EIA_API_KEY": False} and "distillate_stocks_over_5y_pct" in keyed["feeds"]["features"]
    derived = json.loads(said("show", "sina", "--json"))["feeds"]
    assert "china.crush_margin" in derived["derived"] and len(derived["features"]) > len(derived["production"]) > 0
    assert "ZL=F" in said("pause", "yahoo", "--reason", REASON), "a critical series is named"
    assert "resumed; it was paused since" in said("resume", "cftc") and "is not paused" in said("resume", "cftc")
    inventory = take_inventory(open_run(load_settings(), origin="live", as_of="2023-12-22")).set_index("name")
    assert inventory.loc["pauses", "owner"] == "cbi sources"
    assert (PROJECT / "registry" / "data_sources.yaml").read_bytes() == before


def _refused(capsys, *words: str) -> str:
    assert main(["sources", *words]) == 1
    return capsys.readouterr().err


def test_show_tells_the_newest_value_that_was_known_and_when(zones, spec, monkeypatch):
    from tasks.operations.source_list import source_facts
    from tasks.staging.stage import stage_source

    monkeypatch.setenv("CBI_HOME", str(zones.home))
    fetch(zones, spec)
    stage_source(zones, "fred", spec, as_of=pd.Timestamp("2023-12-22"), code="t")

    def newest(as_of: str) -> list[list[object]]:
        return source_facts(open_run(load_settings(), origin="live", as_of=as_of), "fred").newest.to_numpy().tolist()

    assert newest("2023-12-22") == [["DGS10", "2023-12-21", 3.9, "%", "2023-12-22 14:00"]]
    assert newest("2023-12-21") == [["DGS10", "2023-12-20", 3.9, "%", "2023-12-21 14:00"]], "as it was known then"
