"""Each rule on a payload of a few lines. Cells are refused, not rows, and nothing served is lost."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.calendar import as_of_instant, sessions

DAYS = [f"{day:%Y-%m-%d}" for day in sessions("2020-03-02", "2020-12-31")]
FETCHED = "2021-01-02 12:00"
LINE = "{day},{open},{high},{low},{close},{adj},{volume}"


def line(day: str, close="40.5", **cells) -> str:
    served = {"open": "40", "high": "41", "low": "39.5", "adj": close, "volume": "100"}
    return LINE.format(**{"day": day, "close": close, **served, **cells})


def closes(observations: pd.DataFrame) -> dict[str, float]:
    part = observations[observations["field"] == "close"]
    return {f"{day:%Y-%m-%d}": value for day, value in zip(part["observation_date"], part["value"], strict=True)}


def refused(quarantine: pd.DataFrame) -> set[tuple[str, str, int]]:
    """(rule, field, row) of every refused cell."""
    return set(zip(quarantine["rule"], quarantine["field"], quarantine["row"], strict=True))


FIELDS = {"open", "high", "low", "close", "adj_close", "volume"}


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (line(DAYS[1], close="1e308", adj="40"), {("range", "close", 3)}),
        (line(DAYS[1], close="1e400", adj="40"), {("range", "close", 3)}),
        (line(DAYS[1], close="-40", adj="40"), {("range", "close", 3)}),
        (line(DAYS[1], volume="-1"), {("range", "volume", 3)}),
        (line(DAYS[1], high="900"), {("range", "high", 3)}),
        (line(DAYS[1], close="n/a", adj="40"), {("not_a_number", "close", 3)}),
        (line(DAYS[1], close="nan", adj="40"), {("not_a_number", "close", 3)}),
        (line(DAYS[1], open="null"), {("null", "open", 3)}),
        (line(DAYS[1], open=""), {("null", "open", 3)}),
        (line(DAYS[1], high="40.2"), {("impossible_ohlc", "high", 3)}),
        (line(DAYS[1], low="40.7"), {("impossible_ohlc", "low", 3)}),
        (line(DAYS[1], high="39.9", low="41.5"), {("impossible_ohlc", "high", 3), ("impossible_ohlc", "low", 3)}),
        (line(DAYS[1], open="41.5"), {("impossible_ohlc", "open", 3)}),
        (f"{DAYS[1]},null,null,null,null,null,null", {("null", field, 3) for field in FIELDS}),
        (line("2020-03-08"), {("weekend", field, 3) for field in FIELDS}),
        (line("2022-03-08"), {("future_date", field, 3) for field in FIELDS}),
        (line("03/03/2020"), {("bad_date", field, 3) for field in FIELDS}),
        (line("2020-13-03"), {("bad_date", field, 3) for field in FIELDS}),
        (line(""), {("bad_date", field, 3) for field in FIELDS}),
    ],
)
def test_a_broken_cell_is_refused_by_its_rule_and_its_neighbours_are_kept(payload, stage, broken, expected):
    observations, quarantine = stage(payload(FETCHED, line(DAYS[0]), broken, line(DAYS[2], close="40.6")))
    assert refused(quarantine) == expected
    assert len(observations) + len(quarantine) == 3 * len(FIELDS), "nothing is lost"
    assert {DAYS[0], DAYS[2]} <= set(closes(observations))
    assert quarantine["payload"].str.startswith("yahoo/ZL=F/2021-01-02").all() and (quarantine["reason"] != "").all()


def test_prices_in_dollars_a_pound_are_refused_not_converted(payload, stage):
    swapped = ["0.405", "0.41", "0.402"]
    lines = [line(DAYS[n], close=price, open=price, high=price, low=price) for n, price in enumerate(swapped)]
    observations, quarantine = stage(payload(FETCHED, *lines, line(DAYS[3])))
    assert closes(observations) == {DAYS[3]: 40.5}
    assert set(quarantine["rule"]) == {"range"}


def test_an_equal_duplicate_row_is_kept_once(payload, stage):
    observations, quarantine = stage(payload(FETCHED, line(DAYS[0]), line(DAYS[1]), line(DAYS[1])))
    assert closes(observations) == {DAYS[0]: 40.5, DAYS[1]: 40.5}
    assert refused(quarantine) == {("duplicate", field, 4) for field in FIELDS}


def test_contradicting_duplicate_rows_are_all_refused_but_only_in_the_fields_that_contradict(payload, stage):
    observations, quarantine = stage(
        payload(FETCHED, line(DAYS[0]), line(DAYS[1]), line(DAYS[1], close="43", high="44"))
    )
    assert closes(observations) == {DAYS[0]: 40.5}
    both = {("duplicate", field, row) for field in ("close", "adj_close", "high") for row in (3, 4)}
    assert refused(quarantine) == both | {("duplicate", field, 4) for field in FIELDS}


def test_an_empty_row_does_not_cost_the_good_row_of_the_same_date(payload, stage):
    empty = f"{DAYS[1]},null,null,null,null,null,null"
    for lines in ([empty, line(DAYS[1])], [line(DAYS[1]), empty]):
        observations, quarantine = stage(payload(FETCHED, line(DAYS[0]), *lines))
        assert closes(observations) == {DAYS[0]: 40.5, DAYS[1]: 40.5}
        assert set(quarantine["rule"]) == {"null"} and len(quarantine) == len(FIELDS)


def test_the_same_payload_again_makes_no_vintage(payload, stage):
    lines = [line(day) for day in DAYS[:3]]
    observations, quarantine = stage(payload("2021-01-02", *lines), payload("2021-02-02", *lines))
    assert len(observations) == 3 * len(FIELDS) and (observations["vintage"] == 1).all() and quarantine.empty


def test_the_bar_of_a_running_session_is_provisional_and_its_final_value_stands(payload, stage):
    early = payload(f"{DAYS[1]} 20:00", line(DAYS[0]), line(DAYS[1], close="40.9"))
    late = payload(f"{DAYS[2]} 12:00", line(DAYS[0]), line(DAYS[1], close="40.2"))
    observations, quarantine = stage(early, late)
    assert closes(observations) == {DAYS[0]: 40.5, DAYS[1]: 40.2}
    assert refused(quarantine) == {("provisional", field, 3) for field in FIELDS}
    final = observations[(observations["field"] == "close") & (observations["observation_date"] == DAYS[1])]
    assert (final["vintage"] == 1).all()


def test_the_bar_of_the_day_before_a_fetch_at_18_00_chicago_is_not_provisional(payload, stage):
    at_the_close = as_of_instant(DAYS[0]).tz_localize(None)
    assert stage(payload(str(at_the_close), line(DAYS[0])))[1].empty
    assert set(stage(payload(str(at_the_close - pd.Timedelta(seconds=1)), line(DAYS[0])))[1]["rule"]) == {"provisional"}


def test_a_frozen_bar_is_refused_from_its_tenth_repeat_on_and_a_thaw_is_accepted(payload, stage, registry):
    limit = registry.sources.source("yahoo").series["ZL=F"].stale_run
    frozen = [line(day) for day in DAYS[: limit + 2]]
    observations, quarantine = stage(payload(FETCHED, *frozen, line(DAYS[limit + 2], close="40.6")))
    assert set(closes(observations)) == {*DAYS[: limit - 1], DAYS[limit + 2]}
    assert set(quarantine["rule"]) == {"stale_run"}
    assert set(quarantine["observation_date"].dt.strftime("%Y-%m-%d")) == set(DAYS[limit - 1 : limit + 2])


def quiet(count: int) -> list[str]:
    """Closes near 40 that never stand still."""
    return [line(day, close=f"{40.5 + 0.01 * (n % 5):.2f}") for n, day in enumerate(DAYS[:count])]


def spiked(day: str, price: float, *, low: float | None = None, high: float | None = None) -> str:
    return line(day, close=f"{price}", open=f"{price}", low=f"{low or price * 0.99}", high=f"{high or price * 1.01}")


def test_a_lone_spike_is_refused_with_its_size_and_the_return_is_believed(payload, stage):
    after = [line(day, close="40.52") for day in DAYS[31:34]]
    observations, quarantine = stage(payload(FETCHED, *quiet(30), spiked(DAYS[30], 70), *after))
    found = closes(observations)
    assert DAYS[30] not in found and all(day in found for day in DAYS[31:34])
    prices = {("jump", field, 32) for field in FIELDS - {"volume"}}
    assert refused(quarantine) == prices, "the volume of that day is no price"
    reason = quarantine["reason"].iloc[0]
    assert "nothing confirms" in reason and "+72." in reason and "limit 12.3%" in reason, "twice CBOT's 2.5 cents"


def test_a_true_jump_that_its_own_bar_traded_through_is_believed_at_once(payload, stage):
    """Where no exchange limits a day's move."""
    jump = spiked(DAYS[30], 70, low=41)
    served = payload(FETCHED, *quiet(30), jump, series="CL=F")
    observations, quarantine = stage(served, through=as_of_instant(DAYS[30]))
    assert closes(observations)[DAYS[30]] == 70 and quarantine.empty


def test_beyond_the_exchange_s_limit_no_bar_confirms_itself(payload, stage):
    """A whole bar of ZL times 1.24, with the old level inside it."""
    jump = spiked(DAYS[30], 50.2, low=40.5)
    observations, waiting = stage(payload(FETCHED, *quiet(30), jump), through=as_of_instant(DAYS[30]))
    assert DAYS[30] not in closes(observations) and set(waiting["rule"]) == {"jump"}
    within = payload("2021-01-03", *quiet(30), spiked(DAYS[30], 45.2))
    assert closes(stage(within, through=as_of_instant(DAYS[30]))[0])[DAYS[30]] == 45.2, "4.7 cents: twice in 24 years"


def test_a_close_outside_its_own_bar_is_not_proved_by_that_bar(payload, stage):
    """The reported row: only the close is wrong. It was believed, with the bar's own low for proof."""
    wrong = line(DAYS[30], close="120", adj="120")
    observations, waiting = stage(payload(FETCHED, *quiet(30), wrong, series="CL=F"), through=as_of_instant(DAYS[30]))
    assert DAYS[30] not in closes(observations)
    assert {("jump", "close"), ("impossible_ohlc", "high")} <= set(
        zip(waiting["rule"], waiting["field"].astype(str), strict=True)
    )


@pytest.mark.parametrize("fields", ["40,41,39.5,4", "40", ""])
def test_a_row_that_was_cut_is_refused_whole_and_no_other_is(payload, stage, fields):
    """`47.8` of 47.84: what is left of a number is a number."""
    cut = f"{DAYS[29]},{fields}".rstrip(",")
    observations, quarantine = stage(payload(FETCHED, *quiet(29), cut, line(DAYS[30])))
    assert DAYS[29] not in closes(observations) and len(closes(observations)) == 30
    [told] = quarantine.loc[quarantine["rule"] == "record", "reason"]
    assert f"{cut.count(',') + 1} of 7 fields, the line was cut" in told and cut in told


def test_a_level_shift_is_believed_with_the_next_bar_and_known_only_then(payload, stage):
    shifted = payload(FETCHED, *quiet(30), spiked(DAYS[30], 70), spiked(DAYS[31], 71), spiked(DAYS[32], 70.5))
    observations, quarantine = stage(shifted)
    assert quarantine.empty
    known = observations[observations["field"] == "close"].set_index("observation_date")["available_at"]
    assert known[DAYS[30]] == as_of_instant(DAYS[31]), "the shift itself waits for its confirmation"
    assert known[DAYS[29]] == as_of_instant(DAYS[29]) and known[DAYS[31]] == as_of_instant(DAYS[31])
    before, waiting = stage(shifted, through=as_of_instant(DAYS[30]))
    assert DAYS[30] not in closes(before) and set(waiting["rule"]) == {"jump"}


def test_a_jump_is_judged_by_its_past_only(payload, stage):
    """What comes three days later changes nothing of an earlier verdict."""
    start = [*quiet(30), spiked(DAYS[30], 70), spiked(DAYS[31], 40.5), spiked(DAYS[32], 40.6)]
    calm = stage(payload("2021-01-02", *start, line(DAYS[33])))[0]
    wild = stage(payload("2021-01-03", *start, spiked(DAYS[33], 120), spiked(DAYS[34], 12)))[0]
    upto = DAYS[32]
    keep = ["observation_date", "field", "value", "available_at"]
    one, other = (frame.loc[frame["observation_date"] <= upto, keep].reset_index(drop=True) for frame in (calm, wild))
    pd.testing.assert_frame_equal(one, other)


def test_a_payload_of_closes_only_gives_closes_only(payload, stage):
    observations, quarantine = stage(payload(FETCHED, f"{DAYS[0]},40.5", f"{DAYS[1]},40.6", header="Date,Close"))
    assert set(observations["field"]) == {"close"} and quarantine.empty and len(observations) == 2


def test_an_unreadable_payload_is_one_quarantine_entry_and_costs_no_other(payload, stage):
    good, bad = payload("2021-01-02", line(DAYS[0])), payload("2021-01-03", "x", header="<html>")
    gone = payload("2021-01-04", line(DAYS[1]))
    gone.path.unlink()
    observations, quarantine = stage(good, bad, gone)
    assert closes(observations) == {DAYS[0]: 40.5}
    assert set(quarantine["rule"]) == {"payload"} and set(quarantine["payload"]) == {bad.name, gone.name}
    only, refused_ = stage(bad)
    assert only.empty and len(refused_) == 1 and list(only.columns) == list(observations.columns)
