"""The contest that ends a bake-off: evaluated models become versions, and one that beats the naive becomes champion."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from types import MappingProxyType

import pandas as pd

from tasks.errors import ModelStoreError, TrainingFailed
from tasks.evaluation.promotion import Audit, verdict
from tasks.model_store.protocol import ModelStore, Version
from tasks.models.catalogue import BASELINE
from tasks.registry import Horizons, PromotionRule
from tasks.training.bake_off import EvaluatedModel
from tasks.training.plan import Plan

logger = logging.getLogger(__name__)
BOARD_OF_NONE = ("run", "trained_as_of", "horizon", "family", "model_version", "refusal")


def store_and_promote(
    evaluated: Iterable[EvaluatedModel],
    store: ModelStore,
    plan: Plan,
    *,
    rule: PromotionRule,
    code_version: str,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """Store every evaluated family and promote the best that meets the rule. A repetition changes nothing.

    Returns the leaderboard, one row per horizon and family. The champion is the family with the highest skill among
    those that meet the promotion rule: column ``refusal`` says why another does not. If none does, or no fold could be
    measured, the baseline is champion. A budget of a few folds promotes nothing.

    Args:
        code_version: which code and rules built the training files. failed: fits that failed twice, with the reason.

    Raises:
        TrainingFailed: the baseline itself has no fits. ManifestMismatch: a training file changed since the plan.
    """
    versions = [store.add(one.files, {**one.metadata, "code_version": code_version}, one.metrics) for one in evaluated]
    baselines = {version.horizon for version in versions if version.family == BASELINE}
    if missing := sorted(set(plan.horizons.horizons) - baselines):
        raise TrainingFailed(f"the baseline was not fitted at {', '.join(missing)}: {'; '.join(failed.values())}")
    audit = read_audit(store)
    refused = {
        version.name: verdict(version, version.metrics, rule, audit, code_version=code_version) for version in versions
    }
    board = compare(versions, refused)
    for name, reason in failed.items():
        logger.warning("%s: %s", name, reason)
    if plan.budget.last_test_years:
        return board.assign(champion=False)
    champions = board[board["champion"]]["model_version"].to_list()
    store.promote(*(version for version in versions if version.name in champions), run=str(versions[0].metadata["run"]))
    return board


def write_audit(store: ModelStore, audit: Audit) -> str:
    """Store the audit beside its models, in place of the one before; returns its location."""
    return store.keep_audit(asdict(audit))


def read_audit(store: ModelStore) -> Audit | None:
    """The last audit, or None if there is none or it is unreadable."""
    stored = store.audit()
    try:
        return Audit(**{**stored, "findings": tuple(stored["findings"])}) if stored else None
    except (KeyError, TypeError):
        return None


def champions_of(store: ModelStore, horizons: Horizons, as_of: pd.Timestamp) -> dict[str, Version]:
    """The champion of each horizon that has one trained by ``as_of``; damaged ones are left out."""
    found = {}
    for name in horizons.horizons:
        with suppress(ModelStoreError):  # the forecast of its horizon says what is wrong with it
            found[name] = store.champion(name, as_of)
    return {name: version for name, version in found.items() if version is not None}


def measured_with(store: ModelStore, champions: dict[str, Version]) -> pd.DataFrame:
    """The leaderboard of the training runs of the champions, from the store."""
    runs = {str(version.metadata["run"]) for version in champions.values()}
    versions = [
        version for name in champions for version in store.of_horizon(name) if str(version.metadata["run"]) in runs
    ]
    board, serving = compare(versions), [version.name for version in champions.values()]
    return board.assign(champion=board["model_version"].isin(serving))


def compare(versions: list[Version], refused: Mapping[str, str] = MappingProxyType({})) -> pd.DataFrame:
    """The leaderboard: one row per family and horizon, with the figures that were stored with the version.

    ``refused``: reason for each version that may not be champion. The baseline is champion instead.
    """
    rows = [
        {
            "run": version.metadata["run"],
            "trained_as_of": version.trained_as_of,
            "horizon": version.horizon,
            "family": version.family,
            "model_version": version.name,
            **version.metrics,
            "refusal": refused.get(version.name, ""),
        }
        for version in versions
    ]
    # if no champion can be read, the leaderboard has no rows
    board = pd.DataFrame(rows, columns=None if rows else [*BOARD_OF_NONE])
    # before the first scored fold nothing is measured: the columns are there, without figures
    board = board.reindex(
        columns=[*board, *(name for name in ("pinball_log_return", "skill_pct") if name not in board)]
    )
    base, contest = board["family"] == BASELINE, [board["run"], board["horizon"]]
    # by skill, which is measured on a family's own origins: a net has five years, others fourteen
    base_loss = board["pinball_log_return"].where(base).groupby(contest).transform("min")
    skill = board["skill_pct"].fillna(100 * (1 - board["pinball_log_return"] / base_loss)).astype("float64")
    able = skill.where(~base & (board["refusal"] == "") & (skill > 0))
    best = able.groupby(contest).transform("max")
    return board.assign(champion=(able == best) | (base & best.isna()))
