"""The yearbook's monthly table of soybean oil: found by its title, read by its headings, refused when they change."""

from __future__ import annotations

import dataclasses
import random
from datetime import date

import openpyxl
import pandas as pd
import pytest

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, Limits
from tasks.sources import usda_ers
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Payload, Window
from tasks.staging.stage import stage_payloads
from tasks.storage.hashes import sha256_of

LATER = pd.Timestamp("2030-01-01", tz="UTC")
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
FEED = "oil-crops-yearbook"


@pytest.fixture(scope="module")
def spec(registry):
    return registry.sources.source("usda_ers")


@pytest.fixture(scope="module")
def yearbook(archive) -> Payload:
    (payload,) = recorded_files(archive, "usda_ers", FEED)
    return payload


@pytest.fixture
def altered(yearbook, tmp_path):
    """The yearbook with cells of its monthly table changed."""

    def make(**cells: object) -> Payload:
        book = openpyxl.load_workbook(yearbook.path, data_only=True)
        for name, value in cells.items():
            book["tab8"][name] = value
        book.save(tmp_path / yearbook.path.name)
        path = tmp_path / yearbook.path.name
        return dataclasses.replace(yearbook, path=path, sha256=sha256_of(path))

    return make


def test_seven_crop_years_by_month_and_the_four_that_have_none_are_left_out(yearbook, spec):
    rows = usda_ers.parse(yearbook, spec)
    assert len(rows) == 7 * 84 and set(rows["series"]) == set(spec.series) and rows["row"].is_unique
    days = pd.to_datetime(rows["observation_date"])
    crop_year = days.dt.year - (days.dt.month < 10)
    assert sorted(set(crop_year)) == [2007, 2008, 2009, 2010, 2015, 2016, 2017]
    assert (rows.groupby("series")["observation_date"].nunique() == 84).all()


@pytest.mark.parametrize(
    ("series", "day", "value"),
    [
        ("beginning_stocks", "2007-10-01", 3085225),
        ("methyl_ester_use", "2008-09-01", 278100),
        ("production", "2018-03-01", 2079123),
        ("ending_stocks", "2018-09-01", 1995434),
        ("methyl_ester_use", "2018-09-01", 688710),
    ],
)
def test_numbers_read_by_hand_from_the_table(yearbook, spec, series, day, value):
    accepted, refused = stage_payloads("usda_ers", spec, [yearbook], through=LATER)
    part = accepted[(accepted["series"] == f"soybean_oil.us.{series}") & (accepted["observation_date"] == day)]
    assert part["value"].tolist() == [value] and refused.empty


def test_ending_stocks_are_supply_less_use_in_every_month(yearbook, spec):
    rows = usda_ers.parse(yearbook, spec).assign(value=lambda frame: pd.to_numeric(frame["value"]))
    wide = rows.pivot(index="observation_date", columns="series", values="value")
    wide.columns = [name.rpartition(".")[2] for name in wide]
    supply = wide["beginning_stocks"] + wide["production"] + wide["imports"]
    assert (supply - wide["domestic_use"] - wide["exports"] - wide["ending_stocks"]).abs().max() < 1e-6


def test_a_month_is_unknown_until_the_yearbook_of_its_crop_year(yearbook, spec):
    """The issue says `Last updated: March 29, 2019` and ends in September 2018."""
    for through, last in (("2020-03-28 15:59", "2018-08-01"), ("2020-03-28 16:00", "2018-09-01")):
        accepted, _ = stage_payloads("usda_ers", spec, [yearbook], through=pd.Timestamp(through, tz="UTC"))
        assert accepted["observation_date"].max() == pd.Timestamp(last)
    assert {entry.point_in_time for entry in spec.series.values()} == {"revised"}


def test_dashes_are_missing_and_text_is_refused(altered, spec):
    accepted, refused = stage_payloads("usda_ers", spec, [altered(C8="---", D8="n.q.")], through=LATER)
    assert len(accepted) == 588 - 2
    assert refused[["series", "rule"]].to_numpy().tolist() == [["soybean_oil.us.imports", "not_a_number"]]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"H4": "Biofuel"}, "methyl ester"),
        ({"G6": "Million pounds"}, "1,000 pounds"),
        ({"A1": "Table 8--Cottonseed oil: Supply and disappearance, by month"}, "no sheet"),
    ],
)
def test_a_table_that_changed_is_drift_that_says_what(altered, spec, cells, said):
    with pytest.raises(SchemaDrift, match=said):
        usda_ers.parse(altered(**cells), spec)


def test_damage_is_drift_and_goes_to_quarantine_whole(yearbook, spec, tmp_path):
    content, chance = yearbook.path.read_bytes(), random.Random("damage ers")
    cut = [content[: chance.randrange(len(content))] for _ in range(10)]
    for number, damaged in enumerate([b"", b"<html>down</html>", b"PK\x03\x04", *cut]):
        path = tmp_path / f"{number}.xlsx"
        path.write_bytes(damaged)
        accepted, refused = stage_payloads("usda_ers", spec, [dataclasses.replace(yearbook, path=path)], through=LATER)
        assert accepted.empty and refused["rule"].tolist() == ["payload"]


def test_a_workbook_that_unpacks_to_too_much_is_drift(yearbook, spec, monkeypatch):
    monkeypatch.setattr(usda_ers, "MAX_UNPACKED", 1000)
    with pytest.raises(SchemaDrift, match="more than the 1000 allowed"):
        usda_ers.parse(yearbook, spec)


@pytest.fixture
def ask(spec, server):
    def run():
        here = spec.model_copy(update={"endpoint": server.url + "/data-products/oil-crops-yearbook"})
        with Http("usda_ers", per_minute=60_000, limits=QUICK) as http:
            return list(usda_ers.fetch(FEED, Window(date(2007, 10, 1), date(2023, 12, 29)), here, http))

    return run


def test_the_workbook_linked_on_the_page_is_landed_as_served(ask, server, yearbook):
    content = yearbook.path.read_bytes()
    page = (
        b'<a href="/terms.pdf">terms</a> <a class="x" href="/media/123/Oil%20Crops%20Yearbook.xlsx?v=4">all tables</a>'
    )
    server.script = [(200, page), (200, content)]
    (fetched,) = ask()
    assert (fetched.series, fetched.extension, fetched.content) == (FEED, "xlsx", content)
    assert [request.path for request in server.requests] == [
        "/data-products/oil-crops-yearbook",
        "/media/123/Oil Crops Yearbook.xlsx",
    ]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([(200, b"<html>no link</html>")], "no workbook is linked on .*oil-crops-yearbook; the page has changed"),
        ([(200, b'<a href="oil.xlsx">'), (200, b"<html>moved")], "not a workbook but '<html>moved"),
        ([(404, b"gone")], "404"),
    ],
)
def test_a_page_that_moved_is_said(ask, server, script, said):
    server.script = script
    with pytest.raises(SourceUnavailable, match=said):
        ask()
