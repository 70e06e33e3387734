"""A live source repeats itself: what repeats is kept once, and staging is that of every row of every payload."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pandas as pd
import pytest

from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, land, landed
from tasks.staging import parsed, stage
from tasks.staging.parsed import ParsedPayloads
from tasks.staging.stage import stage_payloads
from tasks.storage.zones import Zones
from tests.conftest import Registry

DAYS = pd.bdate_range("2023-01-02", "2023-05-31")
THROUGH = pd.Timestamp("2023-12-31", tz="UTC")


def bars(rng: random.Random) -> Callable[[pd.Timestamp], bytes]:
    """A market that revises, repeats, jumps, freezes, withholds and contradicts itself, as served at an instant."""
    closes = {day: round(50 + rng.gauss(0, 1), 2) for day in DAYS}
    for start in rng.sample(range(20, 90), 3):  # frozen bars
        closes.update(dict.fromkeys(DAYS[start : start + 14], 51.0))
    for day in rng.sample(list(DAYS[30:]), 4):  # spikes, some of which stay
        closes[day] = 99.0
    late = {day: day + pd.Timedelta(days=rng.choice([3, 9])) for day in rng.sample(list(DAYS), 12)}
    revised = {day: day + pd.Timedelta(days=rng.choice([1, 4, 15])) for day in rng.sample(list(DAYS), 25)}

    def served(now: pd.Timestamp) -> bytes:
        rows = ["Date,Open,High,Low,Close,Adj Close,Volume"]
        for day in DAYS[DAYS.slice_indexer(now - pd.Timedelta(days=29), now)]:
            if day in late and now < late[day]:
                rows += [f"{day:%Y-%m-%d},null,null,null,null,null,null"] if day.day % 2 else []
                continue
            close = closes[day] - (0.5 if day in revised and now < revised[day] else 0)
            low = close - (0 if close == 51.0 else 0.3)
            rows.append(f"{day:%Y-%m-%d},{close},{close},{low},{close},{close},10")
            if day.dayofyear % 17 == 0 and now.dayofyear % 3 == 0:  # the same date twice, now and then
                rows.append(f"{day:%Y-%m-%d},{close + now.dayofyear % 2},{close},{low},{close},{close},10")
        return ("\n".join(rows) + "\n").encode()

    return served


@pytest.fixture
def spec(registry: Registry) -> SourceSpec:
    return registry.sources.source("yahoo")


def staged(
    payloads: list[Payload], spec: SourceSpec, store: ParsedPayloads | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    return stage_payloads("yahoo", spec, payloads, through=THROUGH, parsed=store)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.more) for seed in range(1, 6))])
def test_staging_day_by_day_is_staging_of_every_row_of_every_payload(
    seed: int, spec: SourceSpec, zones: Zones, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    served, kept = bars(rng), zones.staging / "parsed"
    instants = [day + pd.Timedelta(hours=rng.choice([13, 24])) for day in DAYS[10:] if rng.random() < 0.8]
    for number, now in enumerate(instants):
        came = Fetched("ZL=F", "csv", served(now), "http://somewhere")
        land(zones, "yahoo", came, spec, fetched_at=now.tz_localize("UTC"))
        if number % rng.choice([1, 3, 7]) == 0:
            store = ParsedPayloads(kept, spec, code="tests")
            staged(landed(zones, "yahoo"), spec, store)
            store.keep()
    payloads = landed(zones, "yahoo")
    store = ParsedPayloads(kept, spec, code="tests")
    found, refused = staged(payloads, spec, store)
    rows = sum(len(frame) for _, frame in store._kept.segments)
    anew, refused_anew = staged(payloads, spec)
    pd.testing.assert_frame_equal(found, anew)
    pd.testing.assert_frame_equal(refused, refused_anew)
    honest = parsed._repeats
    monkeypatch.setattr(parsed, "_repeats", lambda *given: honest(*given).assign(repeated=False))
    every, all_refused = staged(payloads, spec)
    pd.testing.assert_frame_equal(found, every)
    cells = ["series", "observation_date", "field", "value", "rule"]
    once = [frame[cells].astype(str).drop_duplicates() for frame in (refused, all_refused)]
    assert set(map(tuple, once[0].to_numpy())) == set(map(tuple, once[1].to_numpy())), "every refusal is told"
    assert rows < 4 * len(DAYS), "what repeats is not kept again"


def test_reading_all_again_holds_a_few_payloads_at_once_and_gives_the_same(
    spec: SourceSpec, zones: Zones, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home of many payloads whose parsed rows are lost, or are of other code, needs memory for a few of them."""
    served = bars(random.Random(5))
    for now in DAYS[10:60] + pd.Timedelta(hours=24):
        land(zones, "yahoo", Fetched("ZL=F", "csv", served(now), "u"), spec, fetched_at=now.tz_localize("UTC"))
    payloads, judged = landed(zones, "yahoo"), list[int]()
    honest = stage.screen
    monkeypatch.setattr(stage, "screen", lambda rows, spec: judged.append(len(rows)) or honest(rows, spec=spec))
    found, refused = staged(payloads, spec)
    (at_once,) = judged
    largest = max(payload.path.stat().st_size for payload in payloads)
    monkeypatch.setattr(parsed, "BYTES_AT_ONCE", 3 * largest)
    judged.clear()
    few, refused_few = staged(payloads, spec)
    assert sum(judged) == at_once and max(judged) < at_once / 10
    pd.testing.assert_frame_equal(few, found)
    pd.testing.assert_frame_equal(refused_few, refused)


@pytest.mark.parametrize("damage", ["altered", "gone", "older"])
def test_what_changes_among_old_payloads_is_noticed(
    damage: str, spec: SourceSpec, zones: Zones, registry: Registry
) -> None:
    served, kept = bars(random.Random(3)), zones.staging / "parsed"
    instants = list(DAYS[20:60] + pd.Timedelta(hours=24))
    for now in instants[:10] + instants[11:]:
        land(zones, "yahoo", Fetched("ZL=F", "csv", served(now), "u"), spec, fetched_at=now.tz_localize("UTC"))
    store = ParsedPayloads(kept, spec, code="tests")
    staged(landed(zones, "yahoo"), spec, store)
    store.keep()
    path = landed(zones, "yahoo")[5].path
    if damage == "altered":  # one digit, the same size, the old time of change set back
        before, body = path.stat(), path.read_bytes()
        path.write_bytes(body[:-2] + (b"9\n" if body[-2:] != b"9\n" else b"8\n"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif damage == "gone":
        path.unlink()
    else:
        came = Fetched("ZL=F", "csv", served(instants[10]).replace(b",10\n", b",11\n"), "u")
        land(zones, "yahoo", came, spec, fetched_at=instants[10].tz_localize("UTC"))
    found, refused = staged(landed(zones, "yahoo"), spec, ParsedPayloads(kept, spec, code="tests"))
    anew, refused_anew = staged(landed(zones, "yahoo"), spec)
    pd.testing.assert_frame_equal(found, anew)
    pd.testing.assert_frame_equal(refused, refused_anew)
    assert (refused["rule"] == "payload").sum() == (damage != "older")
