"""EIA: every page as one document, the key taken out of it, disabled without one."""

from __future__ import annotations

import json
import logging
from datetime import date
from types import SimpleNamespace

import pandas as pd
import pytest

from tasks.alerts.of_run import raise_alerts
from tasks.errors import SourceUnavailable
from tasks.http import Http, Limits
from tasks.reporting.day_tables import disabled_table, freshness_table
from tasks.sources import eia
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import Window, landed
from tasks.staging.stage import stage_source

SECRET = "s3cr3t-eia-key-1234"
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
CRUDE, ETHANOL = "PET.WCESTUS1.W", "PET.W_EPOOXE_YIR_NUS_MBBLD.W"
WINDOW = Window(date(2023, 1, 1), date(2023, 12, 29))


def page(*rows: tuple[str, float], total: int, key: str = SECRET) -> bytes:
    data = [{"period": period, "series": "WCESTUS1", "units": "MBBL", "value": value} for period, value in rows]
    request = {"command": "/v2/seriesid/X", "params": {"api_key": key, "offset": 0}}
    return json.dumps({"request": request, "response": {"total": str(total), "data": data}}).encode()


@pytest.fixture
def spec(registry, server):
    spec = registry.sources.source("eia")
    return spec.model_copy(
        update={"endpoint": f"{server.url}/v2/seriesid", "series": {name: spec.series[name] for name in (CRUDE,)}}
    )


@pytest.fixture
def ask(spec):
    def run():
        with Http("eia", per_minute=60_000, keys={"EIA_API_KEY": SECRET}, limits=QUICK) as http:
            return list(eia.fetch(CRUDE, WINDOW, spec, http))

    return run


@pytest.fixture
def ingest(spec, zones):
    def run(**given):
        asked = {"origin": "live", "as_of": date(2023, 12, 29), "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "eia", spec, **(asked | given))

    return run


def test_all_pages_of_the_series_are_asked_for_and_land_as_one_document(ask, server, monkeypatch):
    monkeypatch.setattr(eia, "PAGE", 2)
    rows = [("2023-12-29", 431065), ("2023-12-22", 436568), ("2023-12-15", 443682)]
    server.script = [(200, page(*rows[:2], total=3)), (200, page(rows[2], total=3))]
    (fetched,) = ask()
    assert [row["value"] for row in json.loads(fetched.content)["response"]["data"]] == [431065, 436568, 443682]
    assert [request.path for request in server.requests] == [f"/v2/seriesid/{CRUDE}"] * 2
    assert server.requests[0].query == {"api_key": SECRET, "length": "2", "offset": "0"}
    assert server.requests[1].query["offset"] == "2"


@pytest.mark.parametrize(
    "script",
    [
        [(200, page(("2023-12-29", 1), total=3)), (200, page(total=3))],
        [(200, page(("2023-12-29", 1), total=3)), (503, b"busy")],
        [(200, page(total=0))],
        [(200, b'{"error": "invalid api_key=' + SECRET.encode() + b'", "code": 400}')],
        [(403, b'{"error": {"code": "API_KEY_INVALID"}}')],
        [(200, b"<html>down</html>")],
        [(200, b'{"response": {"data": [1, 2]}}')],
    ],
    ids=["short", "half", "nothing", "refused", "forbidden", "html", "numbers"],
)
def test_half_a_series_or_something_else_is_unavailable_and_tells_no_key(ask, server, script):
    server.script = script
    with pytest.raises(SourceUnavailable) as raised:
        ask()
    assert CRUDE in str(raised.value) and SECRET not in str(raised.value)


def test_the_echoed_key_is_in_no_payload_sidecar_log_or_message(ingest, server, zones, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("EIA_API_KEY", SECRET)
    echoed = page(("2023-12-22", 436568), total=1).replace(
        b'"units"', b'"next": "/v2?api_key=' + SECRET.encode() + b'", "units"'
    )
    server.script = [(503, SECRET.encode()), (200, echoed)]
    assert ingest().status == "ok"
    assert server.requests[-1].query["api_key"] == SECRET, "the server does get it"
    server.script = [(500, SECRET.encode())]
    done = ingest()
    assert done.status == "failed" and SECRET not in done.message and SECRET not in caplog.text
    files = [path for path in zones.raw.rglob("*") if path.is_file()]
    assert len(files) == 2 and not [path for path in files if SECRET in path.read_text() + str(path)]


def test_without_its_key_the_source_is_disabled_asks_nothing_and_raises_no_alert(
    ingest, spec, server, zones, archive, monkeypatch
):
    monkeypatch.delenv("EIA_API_KEY", raising=False)
    done = ingest()
    assert (done.status, done.message, done.payloads) == ("disabled", "disabled: needs EIA_API_KEY", 0)
    assert server.requests == []
    series = pd.DataFrame(
        {
            "source": ["eia"],
            "series": [CRUDE],
            "observations": [0],
            "ended": [False],
            "age_days": [float("nan")],
            "stale_limit_days": [14],
            "first_date": [pd.NaT],
            "last_date": [pd.NaT],
        }
    )
    none = pd.DataFrame({"degraded": pd.Series(dtype=bool)})
    assert raise_alerts([done], series, none).empty
    shown = SimpleNamespace(ingested=[done], series=series)
    assert freshness_table(shown)["status"].tolist() == ["disabled"]
    assert disabled_table(shown)["cannot be fetched live"].tolist() == ["needs EIA_API_KEY"]
    assert len(raise_alerts([done], series.assign(age_days=90.0), none)) == 1, "what was held once does grow stale"
    assert ingest(origin=archive).status == "ok", "a folder needs no key"
    assert ingest().payloads == 1, "and what is held stays"


def test_the_archive_stages_whole_and_a_week_is_known_on_the_wednesday_after_it(staged):
    held = staged.by_source["eia"]
    assert held.payloads == 15 and held.quarantine.empty and len(held.observations) == 25_452 - 13
    crude = held.observations[held.observations["series"] == ETHANOL].set_index("observation_date")
    known = crude["available_at"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M")
    assert known["2023-12-08"] == "2023-12-13 10:30"
    assert known["2023-12-22"] == "2023-12-28 10:30", "Christmas on Monday: a day later"
    assert known["2019-12-20"] == "2019-12-27 10:30", "Christmas on the Wednesday: Friday"
    assert known["2022-06-17"] == "2022-06-29 10:30", "the outage of June 2022"


def test_series_that_ended_say_so_by_their_age(staged, registry):
    held = staged.by_source["eia"].observations
    last = held.groupby("series", observed=True)["observation_date"].max()
    assert last["PET.W_EPC0_SAX_NUS_MBBL.W"] == pd.Timestamp("2016-09-30")
    assert last["PET.W_EPLLPZ_SAE_NUS_MBBL.W"] == pd.Timestamp("2020-04-03")
    limits = {name: entry.stale_limit_days for name, entry in registry.sources.source("eia").series.items()}
    assert set(limits.values()) == {21}


def test_a_live_payload_stages_as_the_recorded_one_does(ingest, spec, server, zones, monkeypatch):
    monkeypatch.setenv("EIA_API_KEY", SECRET)
    server.script = [(200, page(("2023-12-22", 436568), ("2023-12-15", "443682"), total=2))]
    ingest()
    assert landed(zones, "eia", CRUDE)[0].url == f"{spec.endpoint}/{CRUDE}"
    observations = stage_source(zones, "eia", spec, as_of=pd.Timestamp("2023-12-29"), code="t").observations
    assert observations["value"].tolist() == [443682, 436568]
    assert set(observations["unit"]) == {"thousand bbl"}
