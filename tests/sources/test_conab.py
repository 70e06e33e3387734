"""Conab: each survey is a vintage of its crop year, known at its month's end; a country is the sum of its states."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.http import Limits
from tasks.sources import conab
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
HEAD = (
    "ano_agricola;safra;uf;produto;id_produto;id_levantamento;dsc_levantamento;area_plantada_mil_ha;producao_mil_t;"
    "produtividade_mil_ha_mil_t"
)


def line(year: str, state: str, survey: str, area: str, crop: str, product: str = "SOJA") -> str:
    return f"{year} ;UNICA ;{state} ;{product} ;4238 ;{survey} ;{survey} LEVANTAMENTO ;{area};{crop};3.5"


LINES = [
    line("2023/24", "MT", "1", "12200", "44348.5"),
    line("2023/24", "PR", "1", "5800", "21800"),
    line("2023/24", "RS", "1", "6700", "96000"),
    line("2023/24", "MT", "4", "12100", "40200"),
    line("2023/24", "PR", "4", "5800", "21000"),
    line("2023/24", "RS", "4", "6700", "94000"),
    line("2023/24", "MT", "12", "12000", "40420"),
    line("2023/24", "MT", "99", "12000", "39000"),
    line("2023/24", "MT", "1", "7000", "43000", product="MILHO 2ª SAFRA"),
    line("2023", "PR", "1", "1400", "4500", product="TRIGO"),
]


def file(*lines: str, head: str = HEAD) -> bytes:
    return ("\n".join([head, *lines]) + "\n").encode("latin-1")


@pytest.fixture
def spec(registry, server):
    local = {"endpoint": f"{server.url}/downloads/arquivos/LevantamentoGraos.txt", "rate_limit_per_minute": 60_000}
    return registry.sources.source("conab").model_copy(update=local)


@pytest.fixture
def ingest(spec, zones):
    def run():
        given = {"origin": "live", "limits": QUICK, "progress": lambda *step: None}
        return ingest_source(zones, "conab", spec, as_of=date(2024, 10, 31), **given)

    return run


def test_a_survey_is_a_vintage_known_at_the_end_of_its_month(ingest, spec, server, zones):
    server.script = [(200, file(*LINES))]
    assert ingest().status == "ok"
    staged = stage_source(zones, "conab", spec, as_of=pd.Timestamp("2024-10-31"), code="t")

    def crop(series: str, instant: str) -> list[float]:
        rows = staged.observations.query("series == @series and field == 'production'")
        rows = rows[rows["available_at"] <= pd.Timestamp(instant, tz="America/Sao_Paulo")]
        assert set(rows["observation_date"].astype(str)) <= {"2023-10-01"}
        return rows.sort_values("vintage")["value"].tolist()[-1:]

    assert crop("mt", "2023-10-31 17:59") == [] and crop("mt", "2023-10-31 18:00") == [44348.5]
    assert crop("mt", "2024-01-31 17:00") == [44348.5] and crop("mt", "2024-01-31 18:00") == [40200.0]
    assert crop("mt", "2024-10-15 12:00") == [40420.0], "number 99 has no date and is left out"
    assert crop("brazil", "2023-11-30 12:00") == [162148.5] and crop("brazil", "2024-02-15 12:00") == [155200.0]
    assert {(row.series, row.rule) for row in staged.quarantine.itertuples()} >= {("brazil", "range")}, (
        "the twelfth survey of one state alone is no crop of a country"
    )
    (held,) = landed(zones, "conab")
    assert conab.parse(held, spec)["released_at"].max() == pd.Timestamp("2024-09-30 18:00", tz="America/Sao_Paulo")
    area = staged.observations.query("field == 'area_planted' and series == 'pr'")
    assert set(area["unit"]) == {"thousand ha"} and area["value"].iloc[0] == 5800


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (line("2023/24", "GO", "1", "4500", "n/d"), "production of a state is no number"),
        (line("2023/24", "MT", "1", "12200", "44348.5"), "MT is in it twice"),
    ],
)
def test_a_survey_with_a_doubtful_state_has_no_figure_and_the_others_stay(ingest, spec, server, zones, bad, told):
    server.script = [(200, file(*LINES, bad))]
    ingest()
    (held,) = landed(zones, "conab")
    rows = conab.parse(held, spec)
    good = rows[rows["series"].isin(spec.series)]
    assert "2023-10-31" not in set(good["released_at"].dt.strftime("%Y-%m-%d")) and len(good) > 0
    assert told in " ".join(rows["refused"].dropna()) and "survey 1 of 2023/24" in " ".join(rows["refused"].dropna())


@pytest.mark.parametrize(
    ("body", "told"),
    [(b"<html>manutencao</html>", "expected the surveys"), (b"", "expected the surveys")],
)
def test_something_else_lands_nothing(ingest, server, zones, body, told):
    server.script = [(200, body)]
    done = ingest()
    assert done.status == "failed" and told in done.message and not landed(zones, "conab")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("producao_mil_t", "producao", "producao_mil_t"),
        ("id_levantamento", "levantamento", "id_levantamento"),
        (";SOJA ;", ";SOJA EM GRAOS ;", "no survey of SOJA"),
    ],
)
def test_another_shape_is_drift_by_name(ingest, spec, server, zones, old, new, told):
    server.script = [(200, file(*LINES))]
    ingest()
    (held,) = landed(zones, "conab")
    held.path.write_bytes(file(*LINES).replace(old.encode(), new.encode()))
    with pytest.raises(SchemaDrift, match=told):
        conab.parse(held, spec)
