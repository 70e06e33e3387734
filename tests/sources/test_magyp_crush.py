"""Argentina's crush: months in the order of the text, soybeans and their oil, doubtful months refused alone."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import magyp_crush
from tasks.sources.ingest import ingest_source
from tasks.sources.pages import texts
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
HEAD = ["Soja", "Girasol", "Lino", "Man\u00ed", "Algod\u00f3n", "C\u00e1rtamo", "Canola"]


def month(name: str, beans: str, oil: str) -> str:
    figures = [
        beans,
        "250.123",
        "0",
        "61.000",
        "9.500",
        "0",
        "1.200",
        oil,
        "110.000",
        "0",
        "20.000",
        "1.000",
        "0",
        "400",
    ]
    return f"<tr><td>{name}</td>" + "".join(f"<td align=right>{one}</td>\n" for one in figures) + "</tr>"


def page(*rows: str, section: str = "G R A N O S &nbsp;O L E A G I N O S O S", other: str = "PELLETS") -> bytes:
    heads = "".join(f"<td>{name}</td>" for name in HEAD * 2)
    table = f"<table><tr><td><b>{section}</b></td><td>A C E I T E S</td></tr><tr>{heads}</tr>{''.join(rows)}</table>"
    pellets = f"<table><tr><td>{other}</td></tr><tr><td>2026</td></tr>{month('ENERO', '2.000.000', '400.000')}</table>"
    text = f"<html><style>td {{}}</style><table><tr><td>{table}</td></tr></table>{table}{pellets}</html>"
    return text.encode("cp1252")


ROWS = [
    "<tr><td>2025</td></tr>",
    month("Noviembre", "3.402.911", "671.020"),
    month("DICIEMBRE", "3.100.000", "610.000"),
    month("TOTAL", "40.000.000", "7.900.000"),
    "<tr><td>2026</td></tr>",
    month("ENERO", "2.600.000", "512.000"),
]
PAGE = page(*ROWS)


@pytest.fixture
def spec(registry, server):
    local = {"endpoint": f"{server.url}/molienda.php", "rate_limit_per_minute": 60_000}
    return registry.sources.source("magyp_crush").model_copy(update=local)


@pytest.fixture
def ingest(spec, zones):
    def run():
        given = {"origin": "live", "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "magyp_crush", spec, as_of=date(2026, 4, 20), **given)

    return run


def test_months_are_read_once_and_known_in_the_middle_of_the_second_month_after(ingest, spec, server, zones):
    server.script = [(200, PAGE)]
    assert ingest().status == "ok"
    staged = stage_source(zones, "magyp_crush", spec, as_of=pd.Timestamp("2026-04-20"), code="t")
    assert staged.quarantine.empty
    rows = staged.observations
    known = rows["available_at"].dt.tz_convert("America/Argentina/Buenos_Aires").dt.strftime("%Y-%m-%d %H:%M")
    days = rows["observation_date"].dt.strftime("%Y-%m")
    assert sorted(zip(rows["series"], days, rows["value"], known, strict=True)) == [
        ("soybean_oil.produced", "2025-11", 671020.0, "2026-01-15 18:00"),
        ("soybean_oil.produced", "2025-12", 610000.0, "2026-02-15 18:00"),
        ("soybean_oil.produced", "2026-01", 512000.0, "2026-03-15 18:00"),
        ("soybeans.crushed", "2025-11", 3402911.0, "2026-01-15 18:00"),
        ("soybeans.crushed", "2025-12", 3100000.0, "2026-02-15 18:00"),
        ("soybeans.crushed", "2026-01", 2600000.0, "2026-03-15 18:00"),
    ], "no total, no pellets, nothing twice"
    assert set(rows["unit"]) == {"t"}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (month("FEBRERO", "2.600.000", "2.060.000"), "2026-02 has 2600000 t of soybeans and 2060000 t of their oil"),
        ("<tr><td>FEBRERO</td><td>2.600.000</td><td>s/d</td></tr>", "2026-02 has 1 figures instead of 14"),
        (month("ENERO", "2.700.000", "512.000"), "2026-01 has other figures where the page repeats it"),
    ],
    ids=["columns", "gap", "contradiction"],
)
def test_a_doubtful_month_is_refused_and_the_others_stay(ingest, spec, server, zones, bad, why):
    server.script = [(200, page(*ROWS, bad))]
    ingest()
    (stored,) = landed(zones, "magyp_crush")
    rows = magyp_crush.parse(stored, spec)
    days = set(rows.loc[rows["series"].isin(spec.series), "observation_date"])
    assert days == {"2025-11-01", "2025-12-01"} | ({"2026-01-01"} if "2026-02" in why else set())
    assert why in " ".join(rows["refused"].dropna())


@pytest.mark.parametrize("body", [b"<html>mantenimiento</html>", b"", PAGE[:120], b"\x81\x8d\xff"])
def test_something_else_lands_nothing(ingest, server, zones, body):
    server.script = [(200, body)]
    done = ingest()
    assert done.status == "failed" and "expected the months" in done.message and not landed(zones, "magyp_crush")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(ingest, server, status):
    server.script = [(status, b"busy", {"Retry-After": "0"}), (200, PAGE)]
    assert ingest().status == "ok" and len(server.requests) == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (page(*ROWS, section="SEMILLAS"), "no month under `GRANOS OLEAGINOSOS`"),
        (page(*[row.replace("2.600.000", "n/d").replace("3.", "x") for row in ROWS]), "figures instead of 14"),
        (page(*[row.replace(".", ",") for row in ROWS]), "figures instead of 14"),
    ],
    ids=["section", "figures", "separators"],
)
def test_another_shape_is_drift(ingest, spec, server, zones, content, why):
    server.script = [(200, PAGE)]
    ingest()
    (stored,) = landed(zones, "magyp_crush")
    stored.path.write_bytes(content)
    with pytest.raises(SchemaDrift, match=why):
        magyp_crush.parse(stored, spec)


def test_text_is_read_wherever_it_stands():
    assert texts("a<p>b &amp; c\n\n d</p><script>no</script><b>e") == ["a", "b & c", "d", "e"]
