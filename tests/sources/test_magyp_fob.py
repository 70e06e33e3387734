"""Argentina's official FOB prices: a document per weekday, an exact position, the shipment that begins first."""

from __future__ import annotations

import json
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import magyp_fob
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
OIL, REFINED, BEANS, BAGGED = "15071000100Q", "15079019100G", "12019000190C", "12019000299C"


def post(position: str, price: object, month: object = 7, year: object = 2026, **other: object) -> dict[str, object]:
    named = {"fecha": "2026-07-23", "circular": "2022", "posicion": position, "precio": price}
    return named | {"mesDesde": month, "añoDesde": year, "mesHasta": month, "añoHasta": year} | other


def answer(*posts: object) -> bytes:
    return json.dumps({"posts": posts}, ensure_ascii=False).encode()


DAY = answer(
    post(OIL, 1170, 12), post(OIL, 1149, 8), post(OIL, 1186), post(OIL, 1100, 1, 2027),
    post(REFINED, 1229), post(BEANS, 450), post(BAGGED, 470), post("10011900110H", 275),
)  # fmt: skip


@pytest.fixture
def spec(registry, server):
    local = {"endpoint": f"{server.url}/ws/ssma/precios_fob.php", "rate_limit_per_minute": 60_000, "burst": 100}
    return registry.sources.source("magyp_fob").model_copy(update=local | {"first_date": date(2026, 7, 22)})


@pytest.fixture
def ingest(spec, zones):
    def run(as_of: date = date(2026, 7, 27)):
        given = {"origin": "live", "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "magyp_fob", spec, as_of=as_of, **given)

    return run


def only(day: str, content: bytes = DAY, other: bytes = b'{"posts": []}'):
    return lambda request: (200, content if request.query["Fecha"] == day else other)


def test_each_weekday_is_requested_by_its_argentine_date_and_a_holiday_leaves_nothing(ingest, server, zones):
    server.by_request = only("23/07/2026")
    done = ingest()
    assert (done.status, done.new_payloads) == ("ok", 1)
    assert [request.query["Fecha"] for request in server.requests] == [
        "22/07/2026", "23/07/2026", "24/07/2026", "27/07/2026",
    ]  # fmt: skip
    (stored,) = landed(zones, "magyp_fob")
    assert stored.path.read_bytes() == DAY and stored.url.endswith("?Fecha=23/07/2026")


def test_a_price_is_of_the_exact_position_and_the_shipment_that_begins_first(ingest, spec, server, zones):
    server.by_request = only("23/07/2026")
    ingest()
    staged = stage_source(zones, "magyp_fob", spec, as_of=pd.Timestamp("2026-07-27"), code="t")
    assert staged.quarantine.empty
    values = staged.observations.set_index("series")
    assert values["value"].to_dict() == {"soybean_oil": 1186.0, "soybean_oil.refined": 1229.0, "soybeans": 450.0}
    assert set(values["unit"]) == {"USD/t"} and set(values["observation_date"]) == {pd.Timestamp("2026-07-23")}
    known = values["available_at"].dt.tz_convert("America/Argentina/Buenos_Aires").dt.strftime("%m-%d %H:%M")
    assert set(known) == {"07-24 12:00"}, "noon of the next business day"


def test_a_doubtful_window_costs_its_series_alone(ingest, spec, server, zones):
    doubtful = answer(post(OIL, 1186), post(OIL, 1190), post(REFINED, 1229, "x"), post(BEANS, 450), {"fecha": 1})
    server.by_request = only("23/07/2026", doubtful)
    ingest()
    (stored,) = landed(zones, "magyp_fob")
    rows = magyp_fob.parse(stored, spec)
    assert rows.loc[rows["series"].isin(spec.series), "series"].tolist() == ["soybeans"]
    reasons = " ".join(rows["refused"].dropna())
    assert "two prices of soybean_oil on 2026-07-23 for the same shipment" in reasons
    assert "a shipment window of soybean_oil.refined on 2026-07-23 has no month" in reasons
    assert "in row 5; the source renamed it" in reasons


def test_no_circular_at_all_is_reported(ingest, server, zones):
    server.by_request = lambda request: (200, b"" if request.query["Fecha"] == "22/07/2026" else b'{"posts": []}')
    done = ingest()
    assert done.status == "failed" and "no circular from 2026-07-22 to 2026-07-27" in done.message
    assert not landed(zones, "magyp_fob")


@pytest.mark.parametrize("body", [b"<html>mantenimiento</html>", b'{"posts": [{"fecha": "2026', b'{"precios": []}'])
def test_something_else_is_quoted_and_requested_no_further(ingest, server, zones, body):
    server.script = [(200, body)]
    done = ingest()
    assert done.status == "failed" and "expected the day's prices, got" in done.message
    assert len(server.requests) == 1 and not landed(zones, "magyp_fob")


def test_a_bad_day_loses_only_itself(ingest, server, zones):
    server.by_request = only("22/07/2026", DAY.replace(b"-23", b"-22"), b'{"posts": []}')
    good = server.by_request
    server.by_request = lambda request: (200, b"<html>") if request.query["Fecha"] == "24/07/2026" else good(request)
    done = ingest()
    assert len(landed(zones, "magyp_fob")) == 1 and "2026-07-24: expected the day's prices" in done.message


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(ingest, server, status):
    server.script = [(status, b"busy", {"Retry-After": "0"}), (200, DAY)]
    assert ingest().status == "ok"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("posicion", "ncm", "posicion"),
        ("precio", "fob", "precio"),
        ("mesDesde", "mes", "mesDesde"),
        ("posts", "rows", "not a document with rows under posts"),
    ],
)
def test_another_shape_is_drift_by_name(ingest, spec, server, zones, old, new, why):
    server.by_request = only("23/07/2026")
    ingest()
    (stored,) = landed(zones, "magyp_fob")
    stored.path.write_bytes(DAY.replace(old.encode(), new.encode()))
    with pytest.raises(SchemaDrift, match=why):
        magyp_fob.parse(stored, spec)
    stored.path.write_bytes(answer(post("10011900110H", 275)))
    with pytest.raises(SchemaDrift, match="none of the registered positions"):
        magyp_fob.parse(stored, spec)
