"""Conab's weekly progress: list, week, workbook; this week's shares of soybeans alone; a bad week loses only itself."""

from __future__ import annotations

import io
from datetime import date, datetime

import openpyxl
import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import conab_progress
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
LIST = "/conab/pt-br/safras/progresso-de-safra"


def table(crop: str, operation: str, day: datetime, rows: list[tuple[str, object]]) -> list[list[object]]:
    """One crop's block as the sheet has it, in columns B to F."""
    week_before, year_before = day.replace(day=day.day - 7), day.replace(year=day.year - 1)
    head = [
        [None, f"{crop} - Safra 2025/26"],
        [None, "(Esses 12 estados correspondem a 96% da área cultivada)"],
        [None, operation],
        [None, "Estado", "Semana até:", None, None, "Média 5 anos"],
        [None, None, 2025, 2026, None, None],
        [None, None, year_before, week_before, day, None],
    ]
    return [*head, *[[None, place, 0.01, 0.02, value, 0.03] for place, value in rows], []]


def book(*blocks: list[list[object]]) -> bytes:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = "Progresso de safra"
    for row in [["Conab"], [], *[row for block in blocks for row in block]]:
        sheet.append(row)
    stored = io.BytesIO()
    workbook.save(stored)
    return stored.getvalue()


STATES = [
    ("Tocantins", 0.5),
    ("Mato Grosso ", 0.78),
    ("Paraná", "40%*"),
    ("Rio Grande do Sul", 0),
    ("12 estados", 0.364),
]
SHEET = book(
    table("Milho 1ª", "Colheita", datetime(2026, 2, 22), [("Mato Grosso", 0.11), ("9 estados", 0.2)]),
    table("Soja", "Semeadura", datetime(2026, 2, 22), [("Mato Grosso", 1), ("12 estados", 0.998)]),
    table("Soja", "Colheita*", datetime(2026, 2, 22), STATES),
    table("Trigo", "Colheita*", datetime(2026, 2, 22), [("Paraná", 0.9)]),
)


@pytest.fixture
def spec(registry, server):
    local = {"endpoint": f"{server.url}{LIST}", "rate_limit_per_minute": 60_000, "burst": 100}
    return registry.sources.source("conab_progress").model_copy(update=local | {"first_date": date(2026, 2, 1)})


@pytest.fixture
def pages(server):
    """The list of two pages, a page per week, and the workbook of the week to 22 February alone."""
    here = f"{server.url}{LIST}"

    def link(week: str) -> str:
        return f'<a href="{here}/acompanhamento-das-lavouras-{week}">Acompanhamento das Lavouras</a>'

    weeks = {
        "16-02-a-22-02-26": f'<a href="{here}/w/plantio-e-colheita-16-02-a-22-02/view">Plantio e Colheita</a>',
        "09-02-a-15-02-26": '<a href="https://elsewhere.example/plantio-e-colheita-09-02">Plantio e Colheita</a>',
    }
    first = [*weeks, *[f"01-01-a-{day:02d}-02-26" for day in range(2, 8)]]
    found: dict[str, bytes] = {
        "": "".join(link(week) for week in first).encode(),
        "20": (link("20-10-a-26-10-25") + link("45-45-a-45-45-25")).encode(),
        "/w/plantio-e-colheita-16-02-a-22-02": SHEET,
    } | {f"/acompanhamento-das-lavouras-{week}": weeks.get(week, "<p>sem planilha</p>").encode() for week in first}

    def answer(request):
        place = request.path.removeprefix(LIST) or request.query.get("b_start:int", "")
        return (200, found[place]) if place in found else (404, b"nothing here")

    server.by_request = answer
    return found


@pytest.fixture
def ingest(spec, zones):
    def run():
        given = {"origin": "live", "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "conab_progress", spec, as_of=date(2026, 3, 6), **given)

    return run


def test_weeks_of_the_window_are_followed_to_their_workbooks_on_the_same_host(pages, ingest, server, zones):
    assert ingest().status == "ok"
    (stored,) = landed(zones, "conab_progress")
    assert stored.url.endswith("/w/plantio-e-colheita-16-02-a-22-02") and stored.path.read_bytes() == SHEET
    asked = [request.path.removeprefix(LIST) for request in server.requests]
    assert asked[:2] == ["", ""] and server.requests[1].query == {"b_start:int": "20"}
    assert len(asked) == 2 + 8 + 1 and not [path for path in asked if "elsewhere" in path]


def test_this_weeks_shares_of_soybeans_are_known_on_the_friday_after(pages, ingest, spec, zones):
    ingest()
    staged = stage_source(zones, "conab_progress", spec, as_of=pd.Timestamp("2026-03-06"), code="t")
    assert staged.quarantine.empty
    rows = staged.observations
    assert dict(zip(rows["series"], rows["value"], strict=True)) == {
        "sown": 0.998,
        "sown.mt": 1.0,
        "harvested": 0.364,
        "harvested.mt": 0.78,
        "harvested.pr": 0.4,
        "harvested.rs": 0.0,
    }, "no corn, no wheat, not last week's column, a corrected share without its mark"
    assert set(rows["observation_date"]) == {pd.Timestamp("2026-02-22")} and set(rows["unit"]) == {"share of area"}
    known = rows["available_at"].dt.tz_convert("America/Sao_Paulo").dt.strftime("%Y-%m-%d %H:%M")
    assert set(known) <= {"2026-03-06 18:00"}


def test_a_page_in_place_of_a_workbook_is_quoted(pages, ingest, zones):
    pages["/w/plantio-e-colheita-16-02-a-22-02"] = b"<html>manutencao</html>"
    done = ingest()
    assert done.status == "failed" and "is not a workbook but '<html>manutencao</html>'" in done.message
    pages["/acompanhamento-das-lavouras-16-02-a-22-02-26"] = b"<p>sem planilha</p>"
    assert "no workbook of a week from 2026-02-01 to 2026-03-06" in ingest().message
    pages[""] = b"<html>nova pagina</html>"
    assert "expected the list of weeks, got '<html>nova pagina</html>'" in ingest().message
    assert not landed(zones, "conab_progress")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(pages, ingest, server, status):
    good, seen = server.by_request, []

    def busy_once(request):
        seen.append(request)
        return (status, b"busy", {"Retry-After": "0"}) if len(seen) == 1 else good(request)

    server.by_request = busy_once
    assert ingest().status == "ok"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (book(table("Soja em grãos", "Colheita", datetime(2026, 2, 22), STATES)), "no table of sowing or harvest"),
        (book(table("Soja", "Plantio", datetime(2026, 2, 22), STATES)), "no table of sowing or harvest"),
        (book(table("Soja", "Colheita", datetime(2026, 2, 22), [("MT", 0.5)])), "no table of sowing or harvest"),
        (SHEET[:200], "not a workbook"),
    ],
    ids=["crop", "operation", "states", "cut"],
)
def test_another_sheet_is_drift(pages, ingest, spec, zones, content, why):
    ingest()
    (stored,) = landed(zones, "conab_progress")
    stored.path.write_bytes(content)
    with pytest.raises(SchemaDrift, match=why):
        conab_progress.parse(stored, spec)
