"""The contest that ends a bake-off: evaluated models become versions, and one that beats the naive becomes champion."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from types import MappingProxyType

import pandas as pd

from tasks.errors import ModelStoreError, TrainingFailed
from tasks.evaluation.promotion import Audit, choose_champion, verdict
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

    Returns the leaderboard, one row per horizon and family. The champion is the family with the highest gain among
    those that meet the promotion rule: column ``refusal`` says why another does not. The family that was champion
    before this session stays until it fails the rule for champions or is clearly beaten. If none meets the rule, or no
    fold could be measured, the baseline is champion. A budget of a few folds promotes nothing.

    Args:
        code_version: which code and rules built the training files. failed: fits that failed twice, with the reason.

    Raises:
        TrainingFailed: the baseline itself has no fits. ManifestMismatch: a training file changed since the plan.
    """
    versions = [store.add(one.files, {**one.metadata, "code_version": code_version}, one.metrics) for one in evaluated]
    baselines = {version.horizon for version in versions if version.family == BASELINE}
    if missing := sorted(set(plan.horizons.horizons) - baselines):
        raise TrainingFailed(f"the baseline was not fitted at {', '.join(missing)}: {'; '.join(failed.values())}")
    serving = serving_before(store, plan.horizons, pd.Timestamp(str(versions[0].metadata["trained_as_of"])))
    board = judged(versions, rule, read_audit(store), code_version=code_version, serving=serving)
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


def measured_with(
    store: ModelStore, champions: dict[str, Version], rule: PromotionRule, *, code_version: str
) -> pd.DataFrame:
    """The leaderboard of the training runs of the champions, from the store, with what the rule says of each family."""
    runs = {str(version.metadata["run"]) for version in champions.values()}
    versions = [
        version for name in champions for version in store.of_horizon(name) if str(version.metadata["run"]) in runs
    ]
    families = {horizon: version.family for horizon, version in champions.items()}
    board = judged(versions, rule, read_audit(store), code_version=code_version, serving=families)
    return board.assign(champion=board["model_version"].isin([version.name for version in champions.values()]))


def serving_before(store: ModelStore, horizons: Horizons, trained_as_of: pd.Timestamp) -> dict[str, str]:
    """The family of each horizon's champion that was trained before a session: a repeated contest finds the same."""
    found = champions_of(store, horizons, trained_as_of - pd.Timedelta(days=1))
    return {horizon: version.family for horizon, version in found.items()}


def judged(
    versions: Sequence[Version],
    rule: PromotionRule,
    audit: Audit | None,
    *,
    code_version: str,
    serving: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """The leaderboard of one bake-off with the rule applied: ``refusal`` of each family, and ``champion``.

    Args:
        serving: by horizon, the family that is champion so far.
    """
    so_far = {horizon: serving.get(horizon, BASELINE) for horizon in {version.horizon for version in versions}}
    refused = {
        version.name: verdict(
            version,
            version.metrics,
            rule,
            audit,
            code_version=code_version,
            serving=version.family == so_far[version.horizon],
        )
        for version in versions
    }
    board = compare(versions, refused)
    chosen = {
        str(horizon): choose_champion(
            part, set(part.loc[part["refusal"] == "", "family"]), rule, serving=so_far[str(horizon)]
        )
        for horizon, part in board.groupby("horizon")
    }
    return board.assign(champion=board["family"] == board["horizon"].map(chosen))


def compare(versions: Sequence[Version], refused: Mapping[str, str] = MappingProxyType({})) -> pd.DataFrame:
    """The leaderboard: one row per family and horizon, with the figures that were stored with the version.

    ``refused``: the reason for each version that may not be champion.
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
    measured = ("pinball_log_return", "skill_pct", "served_gain_pct", "promotion_p_value")
    return board.reindex(columns=[*board, *(name for name in measured if name not in board)])
