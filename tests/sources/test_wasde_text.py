"""WASDE as plain text: the US soybean table of 1995 and 2005, the columns of this month, known at 08:30."""

from __future__ import annotations

import dataclasses
import random

import pandas as pd
import pytest

from tasks.errors import SchemaDrift
from tasks.sources import usda_wasde
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Payload
from tasks.staging.stage import stage_payloads

LATER = pd.Timestamp("2030-01-01", tz="UTC")


@pytest.fixture(scope="module")
def spec(registry):
    return registry.sources.source("usda_wasde")


@pytest.fixture(scope="module")
def reports(archive, spec) -> list[Payload]:
    assert usda_wasde.TEXT in spec.recorded and usda_wasde.TEXT not in spec.feeds, "replayed, and not asked for live"
    return recorded_files(archive, "usda_wasde", usda_wasde.TEXT)


@pytest.fixture(scope="module")
def observations(reports, spec) -> pd.DataFrame:
    accepted, refused = stage_payloads("usda_wasde", spec, reports, through=LATER)
    assert refused.empty, "every number is in its range and dated"
    return accepted


@pytest.mark.parametrize(
    ("series", "day", "value", "unit"),
    [
        # 12 June 1995, read by eye
        ("soybeans.us.area_planted", "1993-09-01", 60.1, "million acres"),
        ("soybeans.us.area_harvested", "1995-09-01", 61.5, "million acres"),
        ("soybeans.us.yield", "1995-09-01", 36.0, "bu/acre"),
        ("soybeans.us.imports", "1994-09-01", 8, "million bu"),
        ("soybeans.us.crush", "1995-09-01", 1375, "million bu"),
        ("soybeans.us.ending_stocks", "1995-09-01", 355, "million bu"),
        ("soybean_oil.us.production", "1993-10-01", 13951, "million lb"),
        ("soybean_oil.us.domestic_use", "1994-10-01", 12900, "million lb"),
        ("soybean_oil.us.ending_stocks", "1995-10-01", 1495, "million lb"),
        ("soybean_meal.us.exports", "1995-10-01", 5700, "thousand short tons"),
        # 10 June 2005
        ("soybeans.us.area_planted", "2005-09-01", 73.9, "million acres"),
        ("soybeans.us.yield", "2004-09-01", 42.5, "bu/acre"),
        ("soybeans.us.exports", "2005-09-01", 1135, "million bu"),
        ("soybeans.us.total_use", "2003-09-01", 2525, "million bu"),
        ("soybean_oil.us.beginning_stocks", "2005-10-01", 1526, "million lb"),
        ("soybean_oil.us.exports", "2004-10-01", 1400, "million lb"),
        ("soybean_oil.us.ending_stocks", "2005-10-01", 1536, "million lb"),
        ("soybean_meal.us.domestic_use", "2005-10-01", 34400, "thousand short tons"),
        ("soybean_meal.us.ending_stocks", "2003-10-01", 211, "thousand short tons"),
    ],
)
def test_numbers_read_by_hand_from_the_reports(observations, series, day, value, unit):
    (one,) = observations[(observations["series"] == series) & (observations["observation_date"] == day)].to_dict(
        "records"
    )
    assert (one["value"], one["unit"], one["vintage"]) == (value, unit, 1)


def test_a_report_has_every_us_series_but_biofuel_for_three_years_and_is_known_at_half_past_eight(reports, spec):
    expected = {name for name in spec.series if ".us." in name} - {"soybean_oil.us.biofuel_use"}
    for one in reports:
        rows = usda_wasde.parse(one, spec)
        assert set(rows["series"]) == expected and len(rows) == 3 * len(expected) == 72
        assert rows["row"].is_unique and rows["value"].notna().all()
        (moment,) = rows["released_at"].dt.tz_convert("America/New_York").unique()
        assert f"{moment:%Y-%m-%d %H:%M}" == f"{one.path.stem} 08:30"


def test_the_balance_holds(reports, spec):
    """Ending stocks are supply less use; a column taken wrongly would not add up."""
    for one in reports:
        rows = usda_wasde.parse(one, spec).assign(value=lambda frame: pd.to_numeric(frame["value"]))
        wide = rows.pivot(index="observation_date", columns="series", values="value")
        for commodity in ("soybean_oil", "soybean_meal"):
            us = {name.split(".")[2]: wide[name].dropna() for name in wide if name.startswith(f"{commodity}.us.")}
            left = us["beginning_stocks"] + us["production"] + us["imports"] - us["domestic_use"] - us["exports"]
            assert len(left) == 3 and ((left - us["ending_stocks"]).abs() <= 3).all()


def changed(payload: Payload, path, *replaced: tuple[str, str]) -> Payload:
    text = payload.path.read_bytes().decode("latin-1")
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    path.write_bytes(text.encode("latin-1"))
    return dataclasses.replace(payload, path=path)


def test_before_the_morning_releases_a_report_is_known_late_rather_than_early(reports, spec, tmp_path):
    early = changed(
        reports[0],
        tmp_path / "early.txt",
        ("WASDE-303 - June 12, 1995", "WASDE-270 - June 10, 1992"),
    )
    (moment,) = usda_wasde.parse(early, spec)["released_at"].dt.tz_convert("America/New_York").unique()
    assert f"{moment:%Y-%m-%d %H:%M}" == "1992-06-10 15:00"


def test_the_marketing_year_of_the_century_is_read_too(reports, spec, tmp_path):
    turned = changed(
        reports[0],
        tmp_path / "turned.txt",
        ("1995/96 Projections", "1999/2000 Projections"),
        ("1993/94 :  1994/95", "1997/98 :  1998/99"),
    )
    assert usda_wasde.parse(turned, spec)["observation_date"].max() == "1999-10-01"


def test_a_column_that_has_no_projection_yet_is_missing_or_ignored(reports, spec, tmp_path):
    line = "Imports               :      68         10            10            10"
    for new, told in (
        ("Imports               :      68         10            10            NA", None),
        ("Imports               :      68         10            NA            10", "10"),
    ):
        rows = usda_wasde.parse(changed(reports[0], tmp_path / "na.txt", (line, new)), spec)
        imports = rows[rows["series"] == "soybean_oil.us.imports"].set_index("observation_date")["value"]
        assert pd.isna(imports["1995-10-01"]) if told is None else imports["1995-10-01"] == told


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("WASDE-303 - June 12, 1995", "WASDE-303", "when it was issued"),
        ("U.S. Soybeans and Products", "U.S. Soybean Products", "no complete table"),
        ("May           June", "June          July", "expected three marketing years"),
        ("1993/94 :  1994/95", "1992/93 :  1994/95", "expected three marketing years"),
        ("Ending stocks         :   1,103      1,085         1,440         1,495", "Ending stocks :", "no row for"),
        ("Crushings             :   1,276      1,385", "Crushings             :   1,276           ", "has 3 numbers"),
    ],
)
def test_a_report_that_changed_is_drift_that_says_what(reports, spec, tmp_path, old, new, said):
    with pytest.raises(SchemaDrift, match=said):
        usda_wasde.parse(changed(reports[0], tmp_path / "1995-06-12.txt", (old, new)), spec)


def test_another_unit_costs_the_series_in_it_and_nothing_is_converted(reports, spec, tmp_path):
    odd = changed(reports[0], tmp_path / "1995-06-12.txt", ("Million pounds", "Million tonnes"))
    rows = usda_wasde.parse(odd, spec)
    lost = rows[rows["refused"].notna()]
    assert set(lost["series"].str.split(".").str[0]) == {"soybean_oil"} and set(lost["refused_as"]) == {"part"}
    assert lost["refused"].str.contains(r"Million tonnes.*million lb.*nothing is converted").all()
    assert rows["refused"].isna().sum() > len(lost)


@pytest.mark.parametrize("content", [b"", b"\n", b"<html>down</html>", b"\x00" * 100])
def test_something_else_altogether_is_drift(reports, spec, tmp_path, content):
    path = tmp_path / "1995-06-12.txt"
    path.write_bytes(content)
    with pytest.raises(SchemaDrift, match="wasde-txt"):
        usda_wasde.parse(dataclasses.replace(reports[0], path=path), spec)


def test_a_damaged_report_is_drift_or_whole_rows_but_never_another_error(reports, spec, tmp_path):
    chance, drifted = random.Random("damage text"), 0
    for number in range(60):
        damaged = bytearray(reports[number % 2].path.read_bytes())
        if number % 4 < 2:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            for _ in range(600):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path = tmp_path / f"{number}.txt"
        path.write_bytes(damaged)
        try:
            rows = usda_wasde.parse(dataclasses.replace(reports[number % 2], path=path), spec)
        except SchemaDrift as error:
            assert path.name in str(error)
            drifted += 1
        else:
            assert len(rows) == 72
    assert 0 < drifted < 60
