"""EIA's monthly biofuels: ids found by their names, ambiguity refused by name, the echoed key taken out."""

from __future__ import annotations

import json
import logging
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import eia, eia_biofuels
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

SECRET = "s3cr3t-eia-key-1234"
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
PLANTS = "soybean_oil_biodiesel"
NAMES = {
    "EPOOBDSO": "Soybean Oil Inputs to Biodiesel Production",
    "EPOOBDSOD": "Soybean Oil for Biodiesel Plants",
    "EPOOBDSOR": "Soybean Oil for Renewable Diesel Plants",
    "EPOOBDCOD": "Canola Oil for Biodiesel Plants",
}


def facets(**named: str) -> bytes:
    listed = [{"id": found, "name": name} for found, name in named.items()]
    return json.dumps({"response": {"totalFacets": len(listed), "facets": listed}}).encode()


def page(*months: tuple[str, object], total: int, units: str = "MMLB", series: str = "M_X") -> bytes:
    data = [{"period": month, "series": series, "value": value, "units": units} for month, value in months]
    request = {"command": "/v2/x/", "params": {"api_key": SECRET}}
    return json.dumps({"request": request, "response": {"total": str(total), "data": data}}).encode()


@pytest.fixture
def spec(registry, server, monkeypatch):
    monkeypatch.setenv("EIA_API_KEY", SECRET)
    spec = registry.sources.source("eia_biofuels")
    return spec.model_copy(update={"endpoint": f"{server.url}/v2", "series": {PLANTS: spec.series[PLANTS]}})


@pytest.fixture
def ingest(spec, zones):
    def run():
        given = {"origin": "live", "as_of": date(2023, 12, 29), "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "eia_biofuels", spec, **given)

    return run


def test_the_id_is_found_by_its_name_and_all_pages_land_as_one_document(ingest, server, zones, monkeypatch):
    monkeypatch.setattr(eia, "PAGE", 2)
    months = [("2023-07", "690"), ("2023-08", "701"), ("2023-09", None)]
    server.script = [(200, facets(**NAMES)), (200, page(*months[:2], total=3)), (200, page(months[2], total=3))]
    assert ingest().status == "ok"
    listed, first, second = server.requests
    assert listed.path == "/v2/petroleum/pnp/feedbiofuel/facet/product" and listed.query == {"api_key": SECRET}
    assert first.path == second.path == "/v2/petroleum/pnp/feedbiofuel/data/"
    assert first.query == {
        "api_key": SECRET,
        "frequency": "monthly",
        "data[0]": "value",
        "facets[product][]": "EPOOBDSOD",
        "start": "2021-01",
        "sort[0][column]": "period",
        "sort[0][direction]": "asc",
        "length": "2",
        "offset": "0",
    }
    assert second.query["offset"] == "2"
    (held,) = landed(zones, "eia_biofuels", PLANTS)
    assert [row["value"] for row in json.loads(held.path.read_bytes())["response"]["data"]] == ["690", "701", None]


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (NAMES | {"SECOND": "Soybean Oil for Other Biodiesel Plants"}, ["2 names", "EPOOBDSOD", "SECOND"]),
        ({"EPOOBDSO": NAMES["EPOOBDSO"]}, ["0 names", "Soybean Oil Inputs"]),
        ({}, ["0 names"]),
    ],
    ids=["two", "none", "empty"],
)
def test_a_name_that_none_or_several_have_is_refused_with_the_names_and_asks_for_no_data(ingest, server, named, told):
    server.script = [(200, facets(**named))]
    message = ingest().message
    assert all(part in message for part in [*told, PLANTS, "soybean oil biodiesel plants", "data_sources.yaml"])
    assert len(server.requests) == 1


@pytest.mark.parametrize("series", ["biodiesel_production", "renewable_diesel_production"])
def test_production_is_the_months_not_the_rate_a_day_and_the_nation_not_a_region(registry, series):
    """Words only: how EIA words these names is known from its pages, not from a recorded answer."""
    select = registry.sources.source("eia_biofuels").series[series].select
    fuel = "Renewable Diesel Fuel" if series.startswith("renewable") else "Biodiesel"
    kind = "Plant Net Production of"
    named = {
        "A": f"U.S. {kind} {fuel} (Thousand Barrels)",
        "B": f"U.S. {kind} {fuel} (Thousand Barrels per Day)",
        "C": f"East Coast (PADD 1) {kind} {fuel} (Thousand Barrels)",
    }
    assert eia_biofuels._chosen(series, select, facets(**named), None) == "A"


@pytest.mark.parametrize(
    "script",
    [
        [(200, facets(**NAMES)), (200, page(("2023-07", "1"), total=3)), (200, page(total=3))],
        [(200, facets(**NAMES)), (200, page(("2023-07", "1"), total=3)), (503, b"busy")],
        [(200, facets(**NAMES)), (200, page(total=0))],
        [(200, facets(**NAMES)), (200, b"<html>down</html>")],
        [(200, b'{"error": "invalid api_key=' + SECRET.encode() + b'", "code": 400}')],
        [(200, facets(**NAMES)[:40])],
        [(403, SECRET.encode())],
    ],
    ids=["short", "half", "nothing", "html", "refused", "cut", "forbidden"],
)
def test_half_of_it_or_something_else_lands_nothing_and_tells_no_key(ingest, server, zones, script, caplog):
    caplog.set_level(logging.DEBUG)
    server.script = script
    done = ingest()
    assert done.status == "failed" and not landed(zones, "eia_biofuels")
    assert SECRET not in done.message and SECRET not in caplog.text


def test_429_and_500_are_tried_again_and_the_key_is_in_no_file(ingest, server, zones, caplog):
    caplog.set_level(logging.DEBUG)
    echoed = page(("2023-07", "690"), total=1).replace(b'"units"', b'"api_key": "' + SECRET.encode() + b'", "units"')
    server.script = [(429, b"", {"Retry-After": "0"}), (200, facets(**NAMES)), (500, b""), (200, echoed)]
    assert ingest().status == "ok" and len(server.requests) == 4
    files = [path for path in zones.raw.rglob("*") if path.is_file()]
    assert len(files) == 2 and not [path for path in files if SECRET in path.read_text() + str(path)]
    assert SECRET not in caplog.text


def test_a_month_is_known_in_the_third_after_it_and_a_withheld_value_is_none(ingest, spec, server, zones):
    months = [("2021-03", "710"), ("2023-08", "701"), ("2023-09", None)]
    server.script = [(200, facets(**NAMES)), (200, page(*months, total=3))]
    ingest()
    held = stage_source(zones, "eia_biofuels", spec, as_of=pd.Timestamp("2023-12-29"), code="t")
    assert held.quarantine.empty
    known = held.observations["available_at"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M")
    assert list(zip(held.observations["value"], known, strict=True)) == [
        (710, "2021-11-05 17:00"),
        (701, "2023-11-05 17:00"),
    ]
    assert set(held.observations["unit"]) == {"million lb"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (page(("2023-07", "1"), total=1, units="MBBL"), "MBBL"),
        (page(("2023-07", "1"), total=1).replace(b'"period"', b'"month"'), "period"),
        (
            page(("2023-07", "1"), ("2023-07", "2"), total=2).replace(b'"M_X"', b'"M_Y"', 1),
            "M_Y",
        ),
        (b"{}", "response.data"),
        (b"", "response.data"),
    ],
    ids=["another unit", "renamed", "two series", "empty", "nothing"],
)
def test_rows_of_another_unit_or_of_several_series_are_drift_by_name(ingest, spec, server, zones, content, told):
    server.script = [(200, facets(**NAMES)), (200, page(("2023-07", "690"), total=1))]
    ingest()
    (held,) = landed(zones, "eia_biofuels", PLANTS)
    held.path.write_bytes(content)
    with pytest.raises(SchemaDrift, match=told) as raised:
        eia_biofuels.parse(held, spec)
    assert PLANTS in str(raised.value)
