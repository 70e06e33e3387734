"""INMET: both hourly formats and BDMEP come to one daily schema, and two instruments of one place agree."""

from __future__ import annotations

import dataclasses
import io
import random
import time
import zipfile
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, Limits
from tasks.sources import inmet
from tasks.sources.ingest import ingest_source
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Window, landed
from tasks.staging.arrivals import judged
from tasks.staging.stage import stage_payloads, stage_source
from tasks.staging.summary import summarise_series
from tasks.storage.hashes import sha256_of

FIELDS = ["precipitation_mm", "temperature_max_c", "temperature_min_c"]
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
LATER = pd.Timestamp("2030-01-01", tz="UTC")


@pytest.fixture(scope="module")
def spec(registry):
    return registry.sources.source("inmet")


@pytest.fixture(scope="module")
def recorded(archive, spec):
    return {feed: recorded_files(archive, "inmet", feed)[0] for feed in spec.replayed_in(archive / "inmet")}


@pytest.fixture(scope="module")
def days(recorded, spec):
    return {feed: inmet.parse(payload, spec) for feed, payload in recorded.items()}


@pytest.fixture
def zipped(recorded, tmp_path):
    """A payload of hand-made members."""

    def make(members: dict[str, bytes], name: str = "2022-12-31.zip"):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return dataclasses.replace(recorded["dadoshistoricos-2022"], path=path, sha256=sha256_of(path))

    return make


def member(payload, part: str) -> tuple[str, bytes]:
    with zipfile.ZipFile(payload.path) as archive:
        name = next(name for name in archive.namelist() if part in name)
        return name, archive.read(name)


def hourly(*rows: str, code: str = "A901") -> bytes:
    """A file of 2019 and after, with the columns that count."""
    above = [f"X:;{n}" for n in range(3)] + [f"CODIGO (WMO):;{code}"] + [f"Y:;{n}" for n in range(4)]
    header = (
        "Data;Hora UTC;PRECIPITAÇÃO TOTAL, HORÁRIO (mm);"
        "TEMPERATURA MÁXIMA NA HORA ANT. (AUT) (°C);TEMPERATURA MÍNIMA NA HORA ANT. (AUT) (°C);"
    )
    return "\n".join([*above, header, *rows, ""]).encode("latin-1")


def hours(day: str, count: int, values: str = ",5;20,5;19,5") -> list[str]:
    return [f"{day};{hour:02d}00 UTC;{values};" for hour in range(count)]


def test_every_payload_has_a_row_for_each_day_of_each_registered_station_in_its_files(days, recorded, spec):
    for feed, rows in days.items():
        expected = 0
        with zipfile.ZipFile(recorded[feed].path) as archive:
            for info in archive.infolist():
                lines = archive.read(info).decode("latin-1").splitlines()
                if feed == "bdmep-parana":
                    expected += len({line.split(";")[1] for line in lines[1:] if line.startswith("CURITIBA;")})
                elif lines[3].split(";")[1] in spec.series:
                    expected += (len(lines) - 9) / 24
        assert len(rows) == expected, feed
        assert list(rows.columns) == ["series", "observation_date", "row", *FIELDS]
        assert rows["row"].is_unique and not rows.duplicated(["series", "observation_date"]).any()


def test_all_payloads_parse_in_seconds(recorded, spec):
    started = time.process_time()
    for payload in recorded.values():
        inmet.parse(payload, spec)
    assert time.process_time() - started < 25


@pytest.mark.parametrize("year", [2018, 2022])
def test_a_day_is_its_24_hours_in_both_formats(year, days, recorded):
    """Counted by hand from the file's lines, for every day of the year."""
    _, content = member(recorded["A807-curitiba"], f"_01-01-{year}")
    lines = [line.split(";") for line in content.decode("latin-1").splitlines()[9:]]
    table = pd.DataFrame(lines).replace({"": None, "-9999": None})
    values = table[[2, 9, 10]].apply(lambda column: pd.to_numeric(column.str.replace(",", ".")))
    by_day = values.groupby(table[0].str.replace("/", "-"))
    by_hand = pd.concat([by_day[2].sum(), by_day[9].max(), by_day[10].min()], axis=1).where(by_day.count() >= 20)
    held = days["A807-curitiba"].set_index("observation_date")[FIELDS]
    held = held[held.index.str.startswith(str(year))]
    assert len(held) == 365 and held.notna().all(axis=1).sum() > 300
    pd.testing.assert_frame_equal(held, by_hand.set_axis(FIELDS, axis=1), check_names=False)


def test_the_same_year_written_in_the_format_before_2019_gives_the_same_days(days, recorded, spec, zipped):
    name, content = member(recorded["dadoshistoricos-2022"], "A901")
    lines = content.decode("latin-1").split("\n")
    older = [line.replace("/", "-").replace("00 UTC;", ":00;") for line in lines[9:] if line]
    older = [";".join("-9999" if cell == "" else cell for cell in line.split(";")[:-1]) + ";" for line in older]
    header = lines[8].replace("Data;Hora UTC", "DATA (YYYY-MM-DD);HORA (UTC)")
    text = "\n".join([*lines[:8], header, *older, ""])
    assert "2022-01-01;07:00;" in text and "UTC;" not in text
    held = days["dadoshistoricos-2022"].query("series == 'A901'")[["observation_date", *FIELDS]]
    for encoding in ("latin-1", "utf-8"):
        again = inmet.parse(zipped({name: text.encode(encoding)}), spec)[["observation_date", *FIELDS]]
        pd.testing.assert_frame_equal(again, held.reset_index(drop=True), check_dtype=False)


def test_a_station_year_in_two_payloads_is_one_value_a_day_without_a_second_vintage(days, recorded, spec, zipped):
    """The station's own collection holds many years, the yearly zip one: the year's last day must not differ."""
    name, content = member(recorded["A807-curitiba"], "_01-01-2022")
    yearly = zipped({name: content})
    both = [recorded["A807-curitiba"], yearly]
    held, refused = stage_payloads("inmet", spec, both, through=LATER)
    assert refused.empty and set(held["vintage"]) == {1}
    rain = inmet.parse(yearly, spec).set_index("observation_date")["precipitation_mm"]
    collected = days["A807-curitiba"].set_index("observation_date")["precipitation_mm"]
    pd.testing.assert_series_equal(rain, collected[rain.index])
    assert rain.notna().sum() > 300 and "2022-12-31" in rain.dropna().index


@pytest.fixture(scope="module")
def curitiba(recorded, spec):
    """Curitiba's automatic and conventional station side by side, 2003-2015, whole days only.

    Rain of the automatic one is summed from 12 to 12 UTC (stamps 13 to 12), as the conventional one is read.
    """
    automatic = (
        inmet.readings(recorded["A807-curitiba"], spec).set_index("moment").sort_index().loc["2003":"2015", FIELDS]
    )
    conventional = (
        inmet.readings(recorded["bdmep-parana"], spec).set_index("moment").sort_index().loc["2003":"2015", FIELDS]
    )
    conventional = conventional.groupby(conventional.index.normalize()).first()
    morning = automatic.set_axis(automatic.index + pd.Timedelta(hours=11))["precipitation_mm"].resample("D")
    by_day = automatic.resample("D")
    whole = pd.DataFrame(
        {
            "precipitation_mm": morning.sum().where(morning.count() == 24),
            "temperature_max_c": by_day["temperature_max_c"].max(),
            "temperature_min_c": by_day["temperature_min_c"].min(),
        }
    ).where(by_day[FIELDS].count() == 24)
    return {field: whole[[field]].join(conventional[field].rename("conventional")).dropna() for field in FIELDS}


def test_the_automatic_and_the_conventional_rain_gauge_of_curitiba_agree(curitiba):
    """Measured on 2,802 common days: correlation 0.959 (0.913 with the day read at 8 UTC, 0.194 a day off).

    Over 77 months with 25 common days or more, mean absolute difference 11.5 mm, median 4.4 mm, of 135 mm a month;
    correlation 0.939. Four months make the mean (January 2007: 62 against 286 mm): the automatic gauge was clogged.
    """
    daily = curitiba["precipitation_mm"].set_axis(["automatic", "conventional"], axis=1)
    by_month = daily.groupby(daily.index.to_period("M"))
    monthly = by_month.sum()[by_month.size() >= 25]
    difference = monthly["automatic"] - monthly["conventional"]
    assert len(daily) > 2500 and len(monthly) > 70
    assert daily["automatic"].corr(daily["conventional"]) > 0.95
    assert difference.abs().mean() < 13
    assert difference.abs().median() < 7
    moved = daily["conventional"].shift(1, freq="D")
    assert daily["automatic"].corr(moved) < 0.3, "a day off would show"


@pytest.mark.parametrize(
    ("field", "correlation", "tolerance"), [("temperature_max_c", 0.99, 0.5), ("temperature_min_c", 0.99, 0.4)]
)
def test_the_thermometers_of_curitiba_agree_on_the_same_date(curitiba, field, correlation, tolerance):
    """Measured on 2,862 common days: TMAX correlation 0.995, mean absolute difference 0.36 degC; TMIN 0.993, 0.26 degC.

    A day off, TMAX correlates 0.73 and TMIN 0.84: the maximum filed at 00 UTC of a date is that date's own.
    """
    daily = curitiba[field]
    difference = (daily[field] - daily["conventional"]).abs()
    assert len(daily) > 2500
    assert daily[field].corr(daily["conventional"]) > correlation
    assert difference.mean() < tolerance
    for days_off in (-1, 1):
        assert daily[field].corr(daily["conventional"].shift(days_off, freq="D")) < 0.9


def test_nineteen_hours_are_no_day_and_twenty_are(spec, zipped):
    payload = zipped({"a.CSV": hourly(*hours("2022/01/01", 19), *hours("2022/01/02", 20), *hours("2022/01/03", 24))})
    rows = inmet.parse(payload, spec).set_index("observation_date")
    assert rows["precipitation_mm"].tolist()[1:] == [10.0, 12.0]
    assert rows.loc["2022-01-01", FIELDS].isna().all()


def test_a_field_is_missing_by_itself_and_one_unreadable_hour_counts_as_missing(spec, zipped):
    gauge_out = hours("2022/01/01", 24, ";20,5;19,5")
    one_bad = [*hours("2022/01/02", 23), "2022/01/02;2300 UTC;?;30,1;19;"]
    rows = inmet.parse(zipped({"a.CSV": hourly(*gauge_out, *one_bad)}), spec).set_index("observation_date")
    assert pd.isna(rows.at["2022-01-01", "precipitation_mm"]) and rows.at["2022-01-01", "temperature_max_c"] == 20.5
    assert rows.loc["2022-01-02", FIELDS].tolist() == [11.5, 30.1, 19.0]


def test_an_hour_served_twice_counts_once_and_a_contradicted_one_not_at_all(spec, zipped):
    day = hours("2022/01/01", 24)
    twice = inmet.parse(zipped({"a.CSV": hourly(*day), "b.CSV": hourly(*day)}), spec)
    assert twice["precipitation_mm"].tolist() == [12.0]
    contradicted = inmet.parse(zipped({"a.CSV": hourly(*day, "2022/01/01;2300 UTC;80;20,5;19,5;")}), spec)
    assert contradicted["precipitation_mm"].tolist() == [11.5]


def test_whole_year_outages_are_no_observations_and_no_refusals(staged, recorded, spec):
    held = staged.by_source["inmet"]
    dourados = held.observations[held.observations["series"] == "A721"]
    years = set(dourados["observation_date"].dt.year)
    assert years == {2020, 2022, 2023}
    assert not (held.quarantine["series"] == "A721").any()


def test_no_staged_day_is_known_before_it_ended(staged):
    held = staged.by_source["inmet"].observations
    ended = held["observation_date"].dt.tz_localize("UTC") + pd.Timedelta(days=1)
    assert (held["available_at"] >= ended + pd.Timedelta(days=1)).all()
    assert set(held["unit"]) == {"mm", "degC"}
    assert set(held.loc[held["field"] == "precipitation_mm", "unit"]) == {"mm"}


def test_rain_is_the_key_field_of_the_summary(staged, registry):
    held = staged.by_source["inmet"]
    table = summarise_series(
        registry.sources, held.observations, held.quarantine, as_of=pd.Timestamp("2023-12-29")
    ).set_index(["source", "series"])
    rain = held.observations.query("series == 'A917' and field == 'precipitation_mm'")
    assert table.loc[("inmet", "A917"), "key_dates"] == rain["observation_date"].nunique()
    assert table.loc[("inmet", "A901"), "age_days"] <= 10


def test_a_zip_that_would_unpack_to_too_much_is_not_read(recorded, spec, zipped, monkeypatch):
    bomb = zipped({"b_A901_.CSV": b"0" * 3_000_000})
    monkeypatch.setattr(inmet, "MAX_MEMBER_BYTES", 2_000_000)
    with pytest.raises(SchemaDrift, match="a member of 3000000 bytes, more than the 2000000 allowed"):
        inmet.parse(bomb, spec)
    monkeypatch.setattr(inmet, "MAX_MEMBER_BYTES", 4_000_000)
    monkeypatch.setattr(inmet, "MAX_TOTAL_BYTES", 2_900_000)
    with pytest.raises(SchemaDrift, match="would unpack to"):
        inmet.parse(bomb, spec)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("MÁXIMA NA HORA", "MAX. NA HORA", "TEMPERATURA MÁXIMA"),
        ("CODIGO (WMO)", "CODIGO", "no registered station"),
        ("2022/01/01;", "01/01/2022;", "line 10: no date and hour in '01/01/2022'"),
        (" UTC;", " h;", "no date and hour in .*'0000 h'"),
        ("A901", "A999", "no registered station"),
    ],
)
def test_another_shape_is_drift_that_says_what_is_wrong(old, new, said, spec, zipped):
    content = hourly(*hours("2022/01/01", 24)).decode("latin-1").replace(old, new).encode("latin-1")
    with pytest.raises(SchemaDrift, match=said):
        inmet.parse(zipped({"a.CSV": content}), spec)


def test_a_damaged_zip_is_drift_or_the_same_days_but_never_another_error(recorded, days, spec, tmp_path):
    whole, chance, drifted = recorded["dadoshistoricos-2023"], random.Random("inmet"), 0
    for number in range(60):
        damaged = bytearray(whole.path.read_bytes())
        if number % 3 == 0:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            near = len(damaged) if number % 3 == 1 else 3000
            for _ in range(3):
                damaged[-chance.randrange(1, near)] = chance.randrange(256)
        path = tmp_path / f"{number}.zip"
        path.write_bytes(damaged)
        try:
            rows = inmet.parse(dataclasses.replace(whole, path=path), spec)
        except SchemaDrift as error:
            assert path.name in str(error)
            drifted += 1
        else:
            assert set(rows["series"]) <= set(spec.series)
            drifted += ("refused_as" in rows) and bool((rows["refused_as"] == "part").any())
    assert drifted > 30


@pytest.mark.parametrize("content", [b"", b"<html>down</html>", b"PK\x03\x04", b"PK\x05\x06" + b"\x00" * 18])
def test_something_else_altogether_is_drift(content, recorded, spec, tmp_path):
    path = tmp_path / "2023-12-31.zip"
    path.write_bytes(content)
    with pytest.raises(SchemaDrift, match="2023-12-31"):
        inmet.parse(dataclasses.replace(recorded["dadoshistoricos-2023"], path=path), spec)


def a_zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.CSV", hourly(*hours("2024/01/01", 24)))
    return content.getvalue()


def test_live_asks_for_the_zip_of_each_year_and_years_without_a_feed_go_with_the_newest(spec, server):
    feeds = tuple(f"dadoshistoricos-{year}" for year in range(2020, 2024))
    live = spec.model_copy(update={"endpoint": server.url + "/uploads/dadoshistoricos/{year}.zip", "feeds": feeds})
    server.script = [(200, a_zip())]

    def ask(start: date) -> dict[str, list[str]]:
        window = Window(start, date(2024, 2, 1))
        with Http("inmet", per_minute=60_000, limits=QUICK) as http:
            return {feed: [fetched.series for fetched in inmet.fetch(feed, window, live, http)] for feed in feeds}

    first = ask(spec.first_date)
    assert [folders for folders in first.values()][:3] == [[feed] for feed in feeds[:3]]
    assert set(first[feeds[3]]) == {f"dadoshistoricos-{year}" for year in (*range(2003, 2020), 2023, 2024)}
    server.requests.clear()
    again = ask(date(2020, 11, 1))
    assert again == {feeds[0]: [], feeds[1]: [], feeds[2]: [], feeds[3]: [feeds[3], "dadoshistoricos-2024"]}
    assert [r.path for r in server.requests] == [f"/uploads/dadoshistoricos/{year}.zip" for year in (2023, 2024)]


def test_a_page_in_place_of_a_zip_is_unavailable(spec, server):
    live = spec.model_copy(update={"endpoint": server.url + "/{year}.zip"})
    server.script = [(200, b"<html>manutencao</html>")]
    with Http("inmet", per_minute=60_000, limits=QUICK) as http, pytest.raises(SourceUnavailable, match="manutencao"):
        list(inmet.fetch("dadoshistoricos-2023", Window(date(2023, 1, 1), date(2023, 12, 31)), live, http))


def test_a_live_year_lands_and_stages(spec, server, zones):
    live = spec.model_copy(
        update={"endpoint": server.url + "/{year}.zip", "first_date": date(2024, 1, 1), "rate_limit_per_minute": 6000}
    )
    server.script = [(200, a_zip())]
    done = ingest_source(zones, "inmet", live, origin="live", as_of=date(2024, 1, 9), progress=lambda *step: None)
    assert (done.status, done.failures) == ("ok", {})
    assert [payload.series for payload in landed(zones, "inmet")] == ["dadoshistoricos-2024"]
    held = stage_source(zones, "inmet", live, as_of=pd.Timestamp("2024-01-09"), code="t").observations
    assert held[["series", "field", "value"]].astype({"series": str, "field": str}).to_numpy().tolist() == [
        ["A901", "precipitation_mm", 12.0],
        ["A901", "temperature_max_c", 20.5],
        ["A901", "temperature_min_c", 19.5],
    ]


def packed(path: Path, *members: tuple[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)


def station(code: str = "A901", *, hours_told: int = 24, date_told: str = "2023/01/05") -> bytes:
    head = f"REGIAO:;CO\nUF:;MT\nESTACAO:;X\nCODIGO (WMO):;{code}\nLATITUDE:;0\nLONGITUDE:;0\nALTITUDE:;0\nDATA:;0\n"
    names = (
        "Data;Hora UTC;PRECIPITAÇÃO TOTAL, HORÁRIO (mm);TEMPERATURA MÁXIMA NA HORA ANT. (AUT) (°C);"
        "TEMPERATURA MÍNIMA NA HORA ANT. (AUT) (°C);\n"
    )
    rows = "".join(f"{date_told};{hour:02d}00 UTC;0;25,1;21,5;\n" for hour in range(hours_told))
    return (head + names + rows).encode("latin-1")


def arrive(zones, spec, origin):
    as_of = pd.Timestamp("2024-02-02")
    done = ingest_source(zones, "inmet", spec, origin=origin, as_of=as_of.date(), progress=lambda *step: None)
    staged = stage_source(zones, "inmet", spec, as_of=as_of, code="tests")
    return judged(done, staged.quarantine, spec), staged


FOREIGN = {
    "the packer's own": ("__MACOSX/2023/._INMET_A901.CSV", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "),
    "empty, of no registered station": ("2023/INMET_S_RS_A899_X.CSV", b""),
    "of no registered station, unreadable": ("2023/INMET_S_RS_A899_X.CSV", b"\xff\xfe broken"),
    "no CSV at all": ("2023/leiame.txt", b"ola"),
}


@pytest.mark.parametrize("member", FOREIGN.values(), ids=FOREIGN)
def test_a_member_that_is_none_of_the_registered_stations_costs_nothing(zones, spec, tmp_path, member):
    """The reported case inmet-odd-member."""
    packed(tmp_path / "inmet" / "dadoshistoricos-2023" / "2024-02-01.zip", ("2023/INMET_A901.CSV", station()), member)
    done, staged = arrive(zones, spec, tmp_path)
    assert done.status == "ok"
    values = staged.observations.set_index("field")["value"].to_dict()
    assert values == {"precipitation_mm": 0.0, "temperature_max_c": 25.1, "temperature_min_c": 21.5}
    assert set(staged.observations["series"]) == {"A901"}


@pytest.mark.parametrize(
    "odd",
    [b"", station("A904")[:200], station("A904").replace(b"Hora UTC", b"Quando"), station("A904", date_told="x")],
    ids=["empty", "cut", "renamed", "dates"],
)
def test_a_registered_station_that_cannot_be_read_costs_that_station_and_is_reported(zones, spec, tmp_path, odd):
    packed(
        tmp_path / "inmet" / "dadoshistoricos-2023" / "2024-02-01.zip",
        ("2023/INMET_CO_MT_A904_SORRISO.CSV", odd),
        ("2023/INMET_CO_MT_A901_CUIABA.CSV", station()),
    )
    done, staged = arrive(zones, spec, tmp_path)
    assert done.status == "partial" and "INMET_CO_MT_A904_SORRISO.CSV" in done.message
    assert set(staged.observations["series"]) == {"A901"} and len(staged.observations) == 3


def test_a_line_without_a_date_costs_its_hour(zones, spec, tmp_path):
    odd = station().replace(b"2023/01/05;0700", b"05.01.;0700")
    packed(tmp_path / "inmet" / "dadoshistoricos-2023" / "2024-02-01.zip", ("2023/INMET_A901.CSV", odd))
    done, staged = arrive(zones, spec, tmp_path)
    assert done.status == "ok" and len(staged.observations) == 3
    assert any("line 17: no date and hour in '05.01.'" in why for why in staged.quarantine["reason"].astype(str))


def test_a_year_that_cannot_be_had_costs_itself(spec, server):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("INMET_A901.CSV", station())
    server.by_request = lambda r: (404, b"no such page") if "2027" in r.path else (200, whole.getvalue())
    here = spec.model_copy(update={"endpoint": server.url + "/{year}.zip", "first_date": date(2026, 1, 1)})
    fetched, newest = [], max(feed for feed in spec.feeds if feed.startswith("dados"))
    with Http("inmet", per_minute=60_000, limits=QUICK) as http, pytest.raises(SourceUnavailable, match="no such page"):
        for one in inmet.fetch(newest, Window(date(2026, 1, 1), date(2028, 2, 1)), here, http):
            fetched.append(one.url[-8:])
    assert fetched == ["2026.zip", "2028.zip"]
