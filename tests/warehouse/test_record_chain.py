"""The record of published forecasts: what it seals, and what it finds, whichever engine holds the warehouse."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.app import main
from tasks.operations.health import FAILING, take_health
from tasks.run import open_run
from tasks.settings import Settings
from tasks.storage.zones import Zones
from tasks.warehouse import record
from tasks.warehouse.bigquery.connection import BigQueryAddress
from tasks.warehouse.bigquery.warehouse import BigQueryWarehouse
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.frames import conform
from tasks.warehouse.tables import table_named

FORECASTS, REPLAYS, CHAIN = record.PUBLISHED, record.REPLAYS, record.CHAIN
DAYS = [pd.Timestamp(day) for day in ("2024-01-02", "2024-01-03", "2024-01-04")]


def stamp(day: pd.Timestamp) -> pd.Timestamp:
    return (day + pd.Timedelta(hours=24, minutes=5)).tz_localize("UTC")


def tamper(warehouse: Any, sql: str) -> None:
    """Change rows behind the warehouse's back, as someone with its files or its account can."""
    if isinstance(warehouse, BigQueryWarehouse):
        name = next(name for name in (FORECASTS, REPLAYS, CHAIN) if name in sql)
        warehouse.connection.client.query(sql.replace(name, warehouse.connection.quoted(name))).result()
        return
    for path in (warehouse._folder.parent / "cbi.duckdb", *warehouse._folder.glob("*.duckdb")):
        with duckdb.connect(str(path)) as connection:
            connection.execute(sql)


@pytest.fixture
def recorded(publish: Any, forecasts: Any, warehouse: Any) -> Any:
    """Three sessions of two horizons, published one after the other."""
    for price, day in enumerate(DAYS, 48):
        given = {"as_of": day, "origin": "live", "created_at": stamp(day), "last_price": price + 0.1}
        publish({FORECASTS: forecasts(given, {**given, "horizon": "1m", "regime": "Dürre"})}, as_of=f"{day:%Y-%m-%d}")
    return warehouse


def found(warehouse: Any) -> list[tuple[str, str]]:
    return [(one.as_of, one.what) for state in record.check_record(warehouse) for one in state.findings]


def links(warehouse: Any) -> pd.DataFrame:
    return warehouse.query(f"SELECT * FROM {CHAIN} ORDER BY chain, number")


def test_each_publication_of_a_session_is_one_link_that_follows_from_the_last(recorded: Any) -> None:
    held = links(recorded)
    assert held["number"].tolist() == [1, 2, 3] and held["as_of"].tolist() == DAYS
    assert held["previous_sha256"].tolist() == [record.GENESIS, *held["link_sha256"][:2]]
    assert [len(text.splitlines()) for text in held["published_rows"]] == [2, 2, 2] == held["row_count"].tolist()
    assert not held["adopted"].any()
    (state,) = record.check_record(recorded)
    assert (state.chain, state.links, state.forecasts, state.findings) == ("live", 3, 6, ())
    assert state.head_sha256 == held["link_sha256"].iloc[-1]


def test_the_same_forecasts_again_add_nothing_and_other_ones_add_a_link(
    recorded: Any, publish: Any, forecasts: Any, features: Any
) -> None:
    before, day = links(recorded), DAYS[1]
    given = {"as_of": day, "origin": "live", "created_at": stamp(DAYS[2]), "last_price": 49.1}
    same = publish({FORECASTS: forecasts(given, {**given, "horizon": "1m", "regime": "Dürre"})})
    assert not same.switched and links(recorded).equals(before)
    again = forecasts(given, {**given, "horizon": "1m", "regime": "Dürre"})
    assert publish({FORECASTS: again, "features.zl_daily_v1": features}).switched, "something else is new"
    assert links(recorded).equals(before)
    publish({FORECASTS: forecasts(given, {**given, "horizon": "1m", "regime": "Dürre", "point": 52.0})})
    held = links(recorded)
    assert held["as_of"].tolist() == [*DAYS, day], "a further link; none is rewritten"
    assert held.head(3).equals(before)
    rows = [json.loads(line) for line in held["published_rows"].iloc[-1].splitlines()]
    assert {row["horizon"]: row["created_at"] for row in rows} == {
        "1w": "2024-01-04T00:05:00.000000Z",  # unchanged: its time stays
        "1m": "2024-01-05T00:05:00.000000Z",
    }
    assert found(recorded) == []


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        (f"UPDATE {FORECASTS} SET p50 = 49.5 WHERE as_of = DATE '2024-01-03' AND horizon = '1w'", "changed"),
        (f"UPDATE {FORECASTS} SET origin = 'recorded' WHERE as_of = DATE '2024-01-03' AND horizon = '1w'", "changed"),
        (f"DELETE FROM {FORECASTS} WHERE as_of = DATE '2024-01-03' AND horizon = '1m'", "removed"),
        (
            f"INSERT INTO {FORECASTS} (as_of, horizon, model_version, origin, point, created_at) VALUES (DATE "
            "'2024-01-03', '3m', 'ridge/3m/v0001', 'live', 51.0, TIMESTAMP '2024-01-03 23:05:00+00')",
            "not recorded",
        ),
        (
            f"UPDATE {FORECASTS} SET created_at = TIMESTAMP '2023-12-24 10:00:00+00' "
            "WHERE as_of = DATE '2024-01-03' AND horizon = '1m'",
            "backdated",
        ),
        (f"DELETE FROM {CHAIN} WHERE number = 2", "removed link"),
        (f"UPDATE {CHAIN} SET published_rows = '' WHERE number = 2", "rewritten link"),
    ],
)
def test_what_is_done_to_a_row_is_found_and_named(recorded: Any, sql: str, what: str) -> None:
    tamper(recorded, sql)
    findings = {(one.as_of, one.what) for state in record.check_record(recorded) for one in state.findings}
    if what == "removed link":  # the next one follows from none, and the rows of the lost one are in no link
        assert findings == {("2024-01-04", "broken link"), ("2024-01-03", "not recorded")}
    elif what == "rewritten link":
        assert findings == {("2024-01-03", "broken link"), ("2024-01-03", "not recorded")}
    else:
        expected = {("2024-01-03", what)}
        if "origin = 'recorded'" in sql:  # its own chain lacks it, the other has never seen it
            expected.add(("2024-01-03", "not recorded"))
        assert findings == expected
    message = " ".join(one.message for state in record.check_record(recorded) for one in state.findings)
    assert "1w" in message or "1m" in message or "3m" in message or "link" in message


def test_a_link_sealed_anew_with_an_earlier_time_breaks_the_next_one(recorded: Any) -> None:
    """Somebody who knows how the hashes are made rewrites one link with its rows."""
    chain = recorded.read(CHAIN)
    rows = record.plain_rows(chain)
    two = next(row for row in rows if row["number"] == 2)
    two["created_at"] = "2023-12-24T10:00:00.000000Z"
    two["link_sha256"] = record._link_sha256(two)
    frame = pd.DataFrame(rows).assign(
        as_of=lambda frame: pd.to_datetime(frame["as_of"]), created_at=lambda frame: pd.to_datetime(frame["created_at"])
    )
    altered = conform(table_named(CHAIN), frame, table_named(CHAIN).columns)
    (state,) = record.verify(altered, {FORECASTS: recorded.read(FORECASTS)})
    assert {one.what for one in state.findings} == {"backdated", "broken link"}


def test_origins_and_replays_have_chains_of_their_own(recorded: Any, publish: Any, rows_of: Any) -> None:
    replayed = {"as_of": DAYS[0], "horizon": "1w", "model_version": "har/1w/v0001", "origin": "replay"}
    for name in ("weekly", "other"):
        publish({REPLAYS: rows_of(REPLAYS, {**replayed, "replay": name, "created_at": stamp(DAYS[2])})})
    states = {state.chain: state for state in record.check_record(recorded)}
    assert set(states) == {"live", "replay:other", "replay:weekly"}
    assert [states[name].links for name in sorted(states)] == [3, 1, 1]
    assert found(recorded) == []
    tamper(recorded, f"DELETE FROM {REPLAYS} WHERE replay = 'other'")
    assert found(recorded) == [("2024-01-02", "removed")]


def test_forecasts_of_before_the_record_are_adopted_and_say_so(publish: Any, forecasts: Any, warehouse: Any) -> None:
    for day in DAYS[:2]:
        publish({FORECASTS: forecasts({"as_of": day, "origin": "live", "created_at": stamp(day)})})
    tamper(warehouse, f"DELETE FROM {CHAIN} WHERE number > 0")  # as a version without a record left it
    (state,) = record.check_record(warehouse)
    assert [one.what for one in state.findings] == ["not recorded"] * 2
    publish({FORECASTS: forecasts({"as_of": DAYS[2], "origin": "live", "created_at": stamp(DAYS[2])})})
    assert links(warehouse)["adopted"].tolist() == [True, True, False]
    assert links(warehouse)["as_of"].tolist() == DAYS
    assert found(warehouse) == []


def test_a_publish_that_fails_seals_nothing(recorded: Any, publish: Any, forecasts: Any, features: Any) -> None:
    before = links(recorded)
    wrong = forecasts({"as_of": pd.Timestamp("2024-01-05"), "origin": "live"}).assign(point="eleven")
    with pytest.raises(Exception, match="point"):
        publish({FORECASTS: wrong})
    assert links(recorded).equals(before) and found(recorded) == []


@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.none(), min_size=1, max_size=5, unique_by=lambda v: str(v)
    ),
    st.text(max_size=8),
)
def test_the_text_of_rows_is_the_same_in_any_order_and_reads_back(values: list[float | None], regime: str) -> None:
    rows = pa.table(
        {
            "as_of": pa.array([pd.Timestamp("2024-01-02").date()] * len(values), pa.date32()),
            "p50": pa.array(values, pa.float64()),
            "regime": [regime] * len(values),
        }
    )
    text = record.text_of(record.plain_rows(rows))
    assert text == record.text_of(record.plain_rows(rows.take(list(reversed(range(len(values)))))))
    assert len(text.splitlines()) == len(values)
    assert sorted(str(json.loads(line).get("p50")) for line in text.splitlines()) == sorted(
        str(value if value is None else value + 0.0) for value in values
    )


def test_the_command_finds_what_was_done_and_what_was_cut_off(
    publish: Any,
    forecasts: Callable[..., pd.DataFrame],
    zones: Zones,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    warehouse = DuckDbWarehouse(zones)
    for day in DAYS:
        frame = forecasts({"as_of": day, "origin": "live", "created_at": stamp(day)})
        warehouse.publish({FORECASTS: frame}, as_of=day, staging=zones.staging)
    monkeypatch.setenv("CBI_HOME", str(zones.home))
    monkeypatch.setenv("CBI_WAREHOUSE", "duckdb")
    assert main(["verify", "record", "--json"]) == 0
    (state,) = json.loads(capsys.readouterr().out)
    noted = state["head_sha256"]
    assert main(["verify", "record", "--contains", noted]) == 0
    tamper(warehouse, f"DELETE FROM {CHAIN} WHERE number = 3")
    tamper(warehouse, f"DELETE FROM {FORECASTS} WHERE as_of = DATE '2024-01-04'")
    assert main(["verify", "record"]) == 0, "a chain alone cannot show that its end was cut off"
    capsys.readouterr()
    assert main(["verify", "record", "--contains", noted]) == 1
    assert noted in capsys.readouterr().err
    tamper(warehouse, f"UPDATE {FORECASTS} SET point = 60 WHERE as_of = DATE '2024-01-02'")
    checks = take_health(open_run(Settings(home=zones.home), origin="live", as_of="2024-01-04")).checks
    state, words = checks.set_index("check").loc["record", ["state", "told"]]
    assert state == FAILING and "2024-01-02 1w lightgbm/v1: point 51.0 → 60.0" in words
    assert main(["verify", "record"]) == 1
    out = capsys.readouterr().out
    assert "changed" in out and "2024-01-02 1w lightgbm/v1: point 51.0 → 60.0" in out


@pytest.mark.cloud
def test_of_two_machines_that_publish_at_once_the_second_seals_again(
    bigquery_emulator: Any, forecasts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = BigQueryAddress("test-project", prefix=f"t{secrets.token_hex(4)}_")
    one, other = (
        BigQueryWarehouse(place, Zones(tmp_path / name), Settings(home=tmp_path / name)) for name in ("one", "other")
    )

    def publish(warehouse: BigQueryWarehouse, day: pd.Timestamp) -> None:
        frame = forecasts({"as_of": day, "origin": "live", "created_at": stamp(day)})
        warehouse.publish({FORECASTS: frame}, as_of=day, staging=tmp_path / "none")

    publish(one, DAYS[0])
    seal, calls = record.new_links, []

    def interrupted(frames: Any, ask: Any) -> pd.DataFrame:
        sealed = seal(frames, ask)
        calls.append(len(sealed))
        if len(calls) == 1:  # the other machine publishes between our reading and our transaction
            publish(other, DAYS[1])
        return sealed

    monkeypatch.setattr(record, "new_links", interrupted)
    publish(one, DAYS[2])
    held = links(one)
    assert len(calls) == 3 and held["as_of"].tolist() == DAYS and held["number"].tolist() == [1, 2, 3]
    assert found(one) == []
