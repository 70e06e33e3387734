"""The recorded archive, staged: true extremes survive, false ones are in quarantine with their payload and row."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.sources.payloads import adapter, landed
from tasks.staging.stage import stage_payloads

LATER = pd.Timestamp("2030-01-01", tz="UTC")


def final(staged, series: str, day: str, field: str = "close") -> float:
    held = staged.observations
    part = held[(held["series"] == series) & (held["field"] == field) & (held["observation_date"] == day)]
    assert len(part), f"{series} {day} is not there"
    return part.sort_values("vintage")["value"].iloc[-1]


@pytest.mark.parametrize(
    ("series", "day", "field", "value"),
    [
        ("^VIX", "2020-03-16", "close", 82.69),
        ("DCOILWTICO", "2020-04-20", "value", -36.98),
        ("CL=F", "2020-04-20", "close", -37.63),
        ("ZL=F", "2022-04-28", "close", 90.60),
        ("ZL=F", "2022-09-07", "close", 67.73),
    ],
)
def test_true_extremes_survive(staged, series, day, field, value):
    assert final(staged, series, day, field) == pytest.approx(value, abs=0.005)


def test_the_provisional_close_of_2022_09_07_is_in_quarantine_with_payload_and_row(staged):
    held = staged.quarantine
    found = held[(held["series"] == "ZL=F") & (held["field"] == "close") & (held["observation_date"] == "2022-09-07")]
    entry = found[found["rule"] == "provisional"].iloc[0]
    assert entry["value"] == pytest.approx(61.99, abs=0.005)
    assert entry["payload"] == "yahoo/ZL=F/2022-09-07.csv"
    path = next(p.path for p in landed(staged.zones, "yahoo", "ZL=F") if p.name == entry["payload"])
    assert path.read_text().splitlines()[entry["row"] - 1].startswith("2022-09-07")
    accepted = staged.observations
    accepted = accepted[(accepted["series"] == "ZL=F") & (accepted["field"] == "close")]
    assert not ((accepted["value"] - 61.99).abs()[accepted["observation_date"] == "2022-09-07"] < 0.01).any()


def test_840_early_zl_bars_of_one_payload_lose_their_high_or_low_but_keep_their_close(staged):
    payload = next(p for p in landed(staged.zones, "yahoo", "ZL=F") if p.name == "yahoo/ZL=F/2022-09-07.csv")
    served = pd.read_csv(payload.path, parse_dates=["Date"]).dropna()
    outside = served[(served["Close"] > served["High"] + 1e-4) | (served["Close"] < served["Low"] - 1e-4)]
    assert len(outside) == 840 and outside["Date"].max().year == 2011
    held = staged.quarantine
    broken = held[(held["rule"] == "impossible_ohlc") & (held["payload"] == payload.name)]
    refused = set(broken[broken["field"].isin(["high", "low"])]["observation_date"])
    assert refused == set(outside["Date"])
    accepted = staged.observations
    zl_close = accepted[(accepted["series"] == "ZL=F") & (accepted["field"] == "close")]
    assert refused <= set(zl_close["observation_date"])


def test_rice_swapped_from_cents_to_dollars_is_refused(staged):
    held = staged.quarantine
    last = held[(held["series"] == "ZR=F") & (held["observation_date"] == "2023-09-18")]
    assert set(last["field"]) == {"open", "high", "low", "close", "adj_close", "volume"}
    close = last[last["field"] == "close"].iloc[0]
    assert close["value"] == pytest.approx(15.945, abs=0.001)
    accepted = staged.observations
    prices = accepted[(accepted["series"] == "ZR=F") & (accepted["field"] == "close")]["value"]
    assert prices.min() > 250


def test_the_sunday_bar_of_2002_is_in_quarantine(staged):
    held = staged.quarantine
    sunday = held[(held["series"] == "ZL=F") & (held["observation_date"] == "2002-02-24")]
    assert set(sunday["rule"]) <= {"weekend"} and len(sunday)


def test_no_accepted_value_is_missing_infinite_or_early(staged, registry):
    held = staged.observations
    assert held["value"].notna().all() and held["value"].abs().max() < 1e12
    assert held["available_at"].notna().all()
    ahead = {name: spec.projected_days for name, spec in registry.sources.sources.items()}
    allowed = pd.to_timedelta(held["source"].astype(str).map(ahead), unit="D")
    assert (held["available_at"] + allowed > held["observation_date"].dt.tz_localize("UTC")).all()
    assert held["available_at"].max() <= pd.Timestamp("2023-12-30 00:00", tz="UTC")


@pytest.mark.parametrize(
    "source", ["yahoo", "fred", "cftc", "cftc_disagg", "noaa", "inmet", "ghcnd", "eia", "sina", "freight"]
)
def test_every_cell_served_is_accepted_refused_or_an_empty_marker(staged, registry, source):
    """Counted by payload, series, date and field: accepted (equal repeats of a value once) or in quarantine."""
    spec, served = registry.sources.source(source), []
    observations, quarantine = stage_payloads(source, spec, landed(staged.zones, source), through=LATER)
    for payload in landed(staged.zones, source):
        rows = adapter(spec).parse(payload, spec)
        long = rows.melt(["series", "observation_date", "row"], var_name="field", value_name="served")
        if spec.missing_marker:
            long = long[long["served"].notna()]
        served.append(long.assign(payload=payload.name))
    cells = pd.concat(served, ignore_index=True)
    cells["observation_date"] = pd.to_datetime(cells["observation_date"], format="%Y-%m-%d", errors="coerce")
    text = {"series": str, "field": str}
    refused = quarantine.astype(text | {"payload": str})[["payload", "series", "field", "row"]].assign(refused=True)
    assert not refused.duplicated().any()
    judged = cells.merge(refused, on=["payload", "series", "field", "row"], how="left", validate="one_to_one")
    assert judged["refused"].sum() == len(refused), "nothing is refused that was not served"
    rest = judged[judged["refused"].isna()]
    known = observations.astype(text)[["series", "field", "observation_date", "value"]]
    joined = rest.merge(known, on=["series", "field", "observation_date"], how="left")
    value = pd.to_numeric(joined["served"])
    joined["same"] = ((value - joined["value"]).abs() <= 2e-6 * value.abs() + 1e-12).to_numpy()
    found = joined.groupby(["payload", "series", "field", "row"])["same"].any()
    assert found.all(), found[~found].index.tolist()[:5]
    assert len(found) > 1500
