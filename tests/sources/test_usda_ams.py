"""AMS Market News: the key in a header alone, 120 days a question, a field per means of transport, FOB only."""

from __future__ import annotations

import base64
import json
import logging
from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import usda_ams
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

SECRET = "s3cr3t-mars-key-12"  # pragma: allowlist secret
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)


def row(price: object, day: str = "07/20/2026", mode: str = "Truck", **other: object) -> dict[str, object]:
    return {
        "report_date": day,
        "commodity": "Soybean Oil",
        "trade Loc": "Iowa",
        "trans_mode": mode,
        "freight": "F.O.B.",
        "sale_type": "Ask",
        "quote_type": "Basis",
        "avg_price": price,
        "price_unit": "Cents Per Lb",
    } | other


def corn_oil(price: object, state: str = "Iowa", **other: object) -> dict[str, object]:
    plain = row(price, commodity="Distillers Corn Oil", **{"state/Province": state}, **other)
    return {name: value for name, value in plain.items() if name not in ("trade Loc", "freight")}


def answer(*rows: dict[str, object], **stats: int) -> bytes:
    counted = {"totalRows": len(rows), "returnedRows": len(rows), "userAllowedRows": 100_000} | stats
    return json.dumps({"reportSection": "Report Detail", "results": rows, "stats": counted}).encode()


@pytest.fixture
def spec(registry, server, monkeypatch):
    monkeypatch.setenv("MARS_API_KEY", SECRET)
    local = {"endpoint": f"{server.url}/services/v1.2/reports", "rate_limit_per_minute": 60_000}
    return registry.sources.source("usda_ams").model_copy(update={**local, "first_date": date(2026, 1, 1)})


@pytest.fixture
def ingest(spec, zones):
    def run(feed: str = "report-3511", as_of: date = date(2026, 7, 31)):
        given = {"origin": "live", "limits": QUICK, "progress": lambda *step: None, "series": (feed,)}
        return ingest_source(zones, "usda_ams", spec, as_of=as_of, **given)

    return run


def values(staged) -> list[list[object]]:
    rows = staged.observations.assign(day=staged.observations["observation_date"].dt.strftime("%Y-%m-%d"))
    return rows[["series", "day", "field", "value", "unit"]].astype(object).to_numpy().tolist()


def test_120_days_are_asked_at_once_with_the_key_as_a_user_name_in_a_header(ingest, server, zones, caplog):
    caplog.set_level(logging.DEBUG)
    seen = []

    def reply(handler):
        seen.append(handler.headers.get("Authorization"))
        body = answer(row(77.61, note=SECRET))
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    server.script = [reply]
    assert ingest().status == "ok"
    assert [request.path for request in server.requests] == ["/services/v1.2/reports/3511/Report Detail"] * 2
    assert [request.query["q"] for request in server.requests] == [
        "report_date=01/01/2026:04/30/2026",
        "report_date=05/01/2026:07/31/2026",
    ]
    basic = base64.b64encode(f"{SECRET}:".encode()).decode()
    assert seen == [f"Basic {basic}"] * 2
    files = [path for path in zones.raw.rglob("*") if path.is_file()]
    text = "".join(path.read_text(encoding="utf-8") for path in files) + caplog.text
    assert len(files) == 2 and SECRET not in text and basic not in text


def test_weeks_are_dated_at_their_monday_by_means_of_transport_and_known_on_the_friday_after(
    ingest, spec, server, zones
):
    rows = [
        row(77.61),
        row(78.0, mode="Rail"),
        row(70.0, freight="Delivered"),
        row(334.5, commodity="Soybean Meal", price_unit="$ Per Ton"),
        row(None, day="07/13/2026"),
        row(77.0, mode="River Barge"),
        row(1.0, **{"trade Loc": "Nebraska"}),
        row(76.1, day="07/27/2026"),
    ]
    server.by_request = lambda request: (200, answer(*rows) if ":07/31" in request.query["q"] else answer())
    assert ingest().status == "ok"
    held = stage_source(zones, "usda_ams", spec, as_of=pd.Timestamp("2026-07-31"), code="t")
    assert sorted(values(held)) == [
        ["3511.soybean_meal.iowa", "2026-07-20", "truck", 334.5, "USD/short ton"],
        ["3511.soybean_oil.iowa", "2026-07-20", "rail", 78.0, "cents/lb"],
        ["3511.soybean_oil.iowa", "2026-07-20", "truck", 77.61, "cents/lb"],
    ], "the week of the 27th is not known on the 31st"
    known = held.observations["available_at"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M")
    assert set(known) == {"2026-07-31 18:00"} and held.quarantine.empty


def test_corn_oil_is_of_the_other_report_by_state(ingest, spec, server, zones):
    server.script = [(200, answer(corn_oil(66.4), corn_oil(67.67, "Illinois"), corn_oil(76.0, "Kansas")))]
    assert ingest("report-3616").status == "ok"
    assert server.requests[0].query["q"].startswith("report_begin_date=01/01/2026:")
    held = stage_source(zones, "usda_ams", spec, as_of=pd.Timestamp("2026-08-31"), code="t")
    assert sorted(values(held)) == [
        ["3616.corn_oil.illinois", "2026-07-20", "truck", 67.67, "cents/lb"],
        ["3616.corn_oil.iowa", "2026-07-20", "truck", 66.4, "cents/lb"],
    ]


def test_another_unit_and_two_prices_of_one_week_are_refused_and_the_rest_stays(ingest, spec, server, zones):
    rows = [row(77.6, day="07/13/2026"), row(0.776, price_unit="$ Per Lb"), row(78.0), row(79.0)]
    server.script = [(200, answer(*rows))]
    ingest(as_of=date(2026, 4, 1))
    held = stage_source(zones, "usda_ams", spec, as_of=pd.Timestamp("2026-08-31"), code="t")
    assert [value[1:4] for value in values(held)] == [["2026-07-13", "truck", 77.6]]
    reasons = " ".join(held.quarantine["reason"])
    assert "is in '$ Per Lb', not 'Cents Per Lb'" in reasons and "another price" in reasons


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (answer(), "no report from 2026-01-01"),
        (answer(row(77.6), returnedRows=100_000), "expected the report"),
        (b'{"message": "Forbidden"}', "Forbidden"),
        (b'{"results": [{"report_date": "07/2', "expected the report"),
        (b"<html>down</html>", "html"),
    ],
    ids=["nothing", "as many rows as allowed", "refused", "cut", "html"],
)
def test_a_refusal_a_cut_answer_or_nothing_lands_nothing(ingest, server, zones, body, told):
    server.script = [(200, body)]
    done = ingest()
    assert done.status == "failed" and told in done.message and not landed(zones, "usda_ams")


def test_without_its_key_it_is_not_asked_and_says_where_to_get_one(ingest, spec, server, monkeypatch):
    monkeypatch.delenv("MARS_API_KEY")
    assert ingest().message == "disabled: needs MARS_API_KEY" and not server.requests
    assert spec.key_pages["MARS_API_KEY"].startswith("https://mymarketnews.ams.usda.gov")


@pytest.mark.parametrize("name", ["report_date", "trade Loc", "avg_price", "price_unit", "trans_mode"])
def test_a_renamed_field_is_drift_by_name(ingest, spec, server, zones, name):
    server.script = [(200, answer(row(77.6)))]
    ingest(as_of=date(2026, 4, 1))
    (held,) = landed(zones, "usda_ams")
    held.path.write_bytes(answer(row(77.6)).replace(f'"{name}"'.encode(), b'"renamed"'))
    with pytest.raises(SchemaDrift, match=name):
        usda_ams.parse(held, spec)
