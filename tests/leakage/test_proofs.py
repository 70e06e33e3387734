"""The two proofs on a sample of the archive, and each of them against code that leaks: it must fail there.

`make proofs` runs them in full and writes docs/results/proofs.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tasks.exports import training_table
from tasks.panel import join
from tasks.proofs.permutation import permutation_proof, permuted_in_blocks, skillful
from tasks.proofs.truncation import ProofInputs, early_stamps, sample_days, truncation_proof
from tasks.registry import load_derived
from tasks.sources.payloads import landed
from tasks.staging import stage
from tasks.training import worker
from tasks.training.folds import walk_forward
from tests.conftest import AS_OF

pytestmark = pytest.mark.xdist_group("proofs")  # what its fixtures make is dear: one process makes it

DAYS = [pd.Timestamp("2009-06-24"), pd.Timestamp("2015-12-31"), pd.Timestamp("2022-04-28")]
A_WEDNESDAY = DAYS[:1]  # Tuesday's positions are out on Friday: known by date, they change what Wednesday saw


@pytest.fixture(scope="module")
def held(staged, documents, registry) -> ProofInputs:
    given = ProofInputs(
        observations=staged.observations,
        documents=documents,
        sources=registry.sources,
        joins=registry.joins,
        derived=load_derived(registry.folder, registry.sources),
        features=registry.features,
        as_of=AS_OF,
        payloads=lambda source: landed(staged.zones, source),
    )
    used = staged.observations["source"].isin(given.used)
    return replace(given, observations=staged.observations[used].reset_index(drop=True))


@pytest.fixture(scope="module")
def small(held: ProofInputs) -> ProofInputs:
    """Only what some column is made of, so that breaking things is cheap."""
    return replace(held, observations=held.relevant(held.observations).reset_index(drop=True))


@pytest.mark.parametrize("days", [DAYS[2:], pytest.param(DAYS, marks=pytest.mark.more)], ids=len)
def test_nothing_changes_when_the_future_is_removed(days, held):
    found = truncation_proof(held, days, restaged=1)
    assert found.empty, found.to_string()


def test_a_sample_of_days_is_spread_over_the_history_and_always_the_same():
    days = sample_days(50, last=AS_OF)
    assert days == sample_days(50, last=AS_OF) and len(set(days)) == 50
    assert {day.year for day in days} == set(range(2002, 2024))


LEAKS = {
    "tomorrow's close": lambda panel: panel["zl_last"].shift(-1),
    "a mean of all the sample": lambda panel: panel["zl_last"] - panel["zl_last"].mean(),
    "a centred window": lambda panel: panel["zl_last"].rolling(21, center=True).mean(),
    "a rank in all the sample": lambda panel: panel["vix_last"].rank(pct=True),
    "filled backwards": lambda panel: panel["cpo_last"].bfill(),
}


def test_every_planted_future_column_is_found_by_name_date_and_both_values(small):
    """All at once: each column is compared by itself, and the panel is what is dear."""
    planted = replace(
        small,
        build=lambda panel, registry: pd.DataFrame(
            {"date": panel["date"], "honest": panel["zl_last"].shift(1)}
            | {name: leak(panel) for name, leak in LEAKS.items()}
        ),
    )
    found = truncation_proof(planted, [pd.Timestamp("2013-12-27")], restaged=0)
    assert set(found["column"]) == set(LEAKS) and found["stage"].unique().tolist() == ["features"]
    assert (found["date"] <= found["cut"]).all() and (found["cells"] >= 1).all()
    assert (found["with_future"] != found["without_future"]).all()


def test_a_join_without_its_comparison_is_found(small, monkeypatch):
    """``last_known`` taking the value of the date, published or not."""
    honest = join.last_known
    by_date = lambda observed, available, values, at: honest(observed, np.sort(observed), values, at)  # noqa: E731
    monkeypatch.setattr(join, "last_known", by_date)
    found = truncation_proof(small, A_WEDNESDAY, restaged=0)
    assert "cot_zl_open_interest" in set(found.loc[found["stage"] == "panel", "column"])
    assert "features" in set(found["stage"])


def test_a_cut_without_its_comparison_is_found(small, monkeypatch):
    monkeypatch.setattr(stage, "known_by", lambda frame, as_of: frame)
    found = truncation_proof(small, A_WEDNESDAY, restaged=0)
    assert found["stage"].tolist() == ["known_by"] and found["cells"].iloc[0] > 100_000


def test_staging_that_keeps_what_came_later_is_found(small, monkeypatch):
    """As if no comparison with ``through`` were left: of noaa, which is quick to restage."""
    noaa = small.observations["source"] == "noaa"
    monkeypatch.setattr(ProofInputs, "used", ["noaa"])
    honest, end = stage.stage_payloads, pd.Timestamp("2023-12-29", tz="UTC")
    monkeypatch.setattr(stage, "stage_payloads", lambda *given, through: honest(*given, through=end))
    only = replace(small, observations=small.observations[noaa].reset_index(drop=True))
    [found] = truncation_proof(only, A_WEDNESDAY, restaged=1).query("stage == 'staging'").to_dict("records")
    assert found["column"].startswith("rows noaa oni")


@pytest.mark.parametrize(
    ("source", "shift"),
    [("cftc", pd.Timedelta(days=3)), ("noaa", pd.Timedelta(days=40)), ("yahoo", pd.Timedelta("1D"))],
)
def test_values_stamped_before_their_release_are_found(small, registry, source, shift):
    """The older system used Tuesday's positions from Tuesday. With and without the future that looks the same."""
    part = small.observations[small.observations["source"] == source]
    assert early_stamps(part, registry.sources).empty
    found = early_stamps(part.assign(available_at=part["available_at"] - shift), registry.sources)
    assert len(found) == part["series"].nunique()
    assert found["column"].str.contains("known before its release").all()


def test_a_revision_stamped_before_what_it_revises_is_found(held, registry):
    part = held.observations[held.observations["series"] == "soybean_oil.world.ending_stocks"]
    assert early_stamps(part, registry.sources).empty
    early = part["available_at"].where(part["vintage"] == 1, part["available_at"] - pd.Timedelta(days=400))
    [found] = early_stamps(part.assign(available_at=early), registry.sources).to_dict("records")
    assert "a revision known before what it revises" in found["column"]


@pytest.fixture(scope="module")
def tables(features, labels, registry) -> dict[str, pd.DataFrame]:
    columns = registry.features.production()
    return {h: training_table(features, labels, registry.regimes, horizon=h, columns=columns) for h in ("1m", "12m")}


def test_shuffled_labels_are_not_forecast(tables, registry):
    found = permutation_proof(tables, registry.horizons, registry.features.production(), permutations=2)
    assert len(found) == 2 * 2 * 2 and (found["origins"] >= 70).all()
    assert skillful(found).empty, found.to_string()


def test_a_walk_forward_without_its_purge_is_found(tables, registry, monkeypatch):
    unpurged = lambda dates, plan, *, horizon: walk_forward(dates, plan, horizon=0)  # noqa: E731
    monkeypatch.setattr(worker, "walk_forward", unpurged)
    found = permutation_proof(tables, registry.horizons, registry.features.production(), permutations=1)
    caught = skillful(found)
    assert set(caught["horizon"]) == {"1m", "12m"} and (caught["mean_skill_pct"] > 3).all()


def test_a_harness_that_trains_on_the_test_is_found(tables, registry, monkeypatch):
    def on_everything(dates, plan, *, horizon) -> Iterator[object]:
        for fold in walk_forward(dates, plan, horizon=horizon):
            yield replace(fold, train=np.arange(len(dates)))

    monkeypatch.setattr(worker, "walk_forward", on_everything)
    some = {"12m": tables["12m"]}
    found = permutation_proof(some, registry.horizons, registry.features.production(), permutations=1)
    assert "analogues" in set(skillful(found)["family"])


def test_a_permutation_moves_every_label_in_blocks_and_keeps_their_values(tables):
    table = tables["1m"]
    shuffled = permuted_in_blocks(table, sessions=21, chance=np.random.default_rng(1))
    known = worker.usable(table)
    before, after = (t.loc[known, "target_log_return"].to_numpy() for t in (table, shuffled))
    np.testing.assert_array_equal(np.sort(before), np.sort(after))
    assert (before == after).mean() < 0.01
    follows = pd.Series(before[1:], index=before[:-1]).groupby(level=0).first()
    assert (follows.reindex(after[:-1]).to_numpy() == after[1:]).mean() > 0.97, "neighbours stay neighbours"
    last = table["target_price"] / np.exp(table["target_log_return"])
    np.testing.assert_allclose((shuffled["target_price"] / np.exp(shuffled["target_log_return"]))[known], last[known])
    pd.testing.assert_frame_equal(
        shuffled.drop(columns=["target_log_return", "target_price"]),
        table.drop(columns=["target_log_return", "target_price"]),
    )
