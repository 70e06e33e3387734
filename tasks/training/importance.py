"""Importance of feature groups: the loss when a group carries no information, or is left out.

Permutation (``grouped_permutation``): what a fitted model draws from a group. Ablation (``ablation``): what a model
loses that was fitted without the group. Both stop before the final calendar year, sessions and targets alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tasks.evaluation.comparison import evaluate
from tasks.models.forecaster import Forecaster, Problem
from tasks.quantiles import pinball
from tasks.registry import WalkForwardPlan
from tasks.training.feature_selection import before_final_year
from tasks.training.folds import walk_forward
from tasks.training.worker import out_of_fold, usable

BLOCK_SESSIONS = 21  # sessions drawn together, so that a feature keeps its persistence within a month
REPEATS = 5
SEED = 20260101
FIGURES = ("origins", "skill_pct", "skill_pct_low", "skill_pct_high", "dm_p_value")  # of an ablation
FEWEST_ORIGINS = 20  # a fold cut short by a long horizon says too little


def grouped_permutation(
    family: type[Forecaster],
    problem: Problem,
    table: pd.DataFrame,
    columns: Sequence[str],
    groups: Mapping[str, str],
    plan: WalkForwardPlan,
) -> pd.DataFrame:
    """Increase of a family's pinball loss when a group's values come from other days of the training window.

    Args:
        table: the training table of the problem's horizon. columns: what the family reads. groups: column: its group.

    Returns:
        one row per group, most important first: ``features``, ``folds``, ``increase_pct`` (mean over the folds of 100 x
        (permuted loss / original loss - 1), each the mean of five draws), ``spread_pct`` (standard deviation of
        the folds) and ``folds_above_zero``. Empty where no fold could be fitted.

    All columns of a group come from the same days, in blocks of 21 sessions, at the origins of scored folds, from the
    fold's own model, which was not trained on them. The values are not shuffled among a fold's own origins: a
    volatility of December carries information on June, so that shuffled within a year volatility seemed to do harm
    (-0.4 to -1.5% of loss at 1w to 6m for ridge and LightGBM), and a slow feature would seem to have no effect.

    Invariants: no replacement value is of a session after the fold's training window.
    """
    before = before_final_year(table)
    known = usable(before).to_numpy()
    members: dict[str, list[str]] = {}
    for name in columns:
        members.setdefault(groups[name], []).append(name)
    increases: dict[str, list[float]] = {group: [] for group in members}
    for fold in walk_forward(pd.DatetimeIndex(before["date"]), plan, horizon=problem.sessions):
        train, test = fold.train[known[fold.train]], fold.test[known[fold.test]]
        if not fold.scored or not len(train) or len(test) < FEWEST_ORIGINS:
            continue
        model = family(problem)
        model.fit(before.loc[train, list(columns)], before.loc[train, "target_log_return"])
        drawn = [
            before.loc[rows, list(columns)] for rows in draws(train, len(test), plan.origin_step_sessions, fold.year)
        ]
        found = _increases(model, problem, before.loc[test], drawn, members)
        for group, increase in found.items():
            increases[group].append(increase)
    rows = [
        {
            "group": group,
            "features": len(members[group]),
            "folds": len(found),
            "increase_pct": float(np.mean(found)),
            "spread_pct": float(np.std(found, ddof=1)) if len(found) > 1 else np.nan,
            "folds_above_zero": int((np.asarray(found) > 0).sum()),
        }
        for group, found in increases.items()
        if found
    ]
    return pd.DataFrame(rows).sort_values("increase_pct", ascending=False, ignore_index=True) if rows else _nothing()


def draws(
    train: np.ndarray, origins: int, step: int, seed: int, *, block: int = BLOCK_SESSIONS, repeats: int = REPEATS
) -> list[np.ndarray]:
    """Rows of the training window that replace ``origins`` test rows, in blocks of ``block`` sessions.

    Args:
        step: sessions between two origins; a block's rows are as far apart.
    """
    rng = np.random.default_rng([SEED, seed])
    offsets = np.arange(0, block, step)
    reach = len(train) - offsets[-1]
    count = -(-origins // len(offsets))
    return [train[(rng.integers(reach, size=count)[:, None] + offsets).ravel()[:origins]] for _ in range(repeats)]


def ablation(
    family: type[Forecaster],
    problem: Problem,
    table: pd.DataFrame,
    columns: Sequence[str],
    groups: Mapping[str, str],
    plan: WalkForwardPlan,
    *,
    kept: Sequence[str] = (),
) -> pd.DataFrame:
    """Skill of a family over itself refitted without one group, over the scored folds before the final year.

    Args:
        groups: column: its group, of the columns that may be left out. kept: columns that the family needs.

    Returns:
        one row per group: ``features`` left out, ``origins``, ``skill_pct`` with its 90% interval and ``dm_p_value``;
        above zero the group helps. Empty where no scored fold could be fitted.
    """
    before = before_final_year(table)
    whole = out_of_fold(family, problem, before, list(columns), plan)
    scored = whole[whole["scored"] & whole["p50"].notna()] if len(whole) else whole
    if scored.empty:
        return pd.DataFrame(columns=["group", "features", *FIGURES])
    rows = []
    for group in dict.fromkeys(groups[name] for name in columns if name in groups):
        out = {name for name in columns if groups.get(name) == group and name not in kept}
        if not out:
            continue
        without = out_of_fold(family, problem, before, [name for name in columns if name not in out], plan)
        found = evaluate(
            scored,
            without,
            problem.quantiles,
            sessions=problem.sessions,
            step=plan.origin_step_sessions,
            round_trip_cost_cents_lb=0.0,
        )
        rows.append({"group": group, "features": len(out), **{name: found[name] for name in FIGURES}})
    return pd.DataFrame(rows)


def _increases(
    model: Forecaster,
    problem: Problem,
    rows: pd.DataFrame,
    drawn: Sequence[pd.DataFrame],
    members: Mapping[str, list[str]],
) -> dict[str, float]:
    """Each group's increase of loss in percent, mean of the draws; all are forecast at once."""
    inputs, target = rows[drawn[0].columns].reset_index(drop=True), rows["target_log_return"].to_numpy()
    frames = [inputs]
    for names in members.values():
        frames += [inputs.assign(**{name: other[name].to_numpy() for name in names}) for other in drawn]
    quantiles = model.predict_quantiles(pd.concat(frames, ignore_index=True))
    losses = np.array([pinball(target, part, problem.quantiles) for part in np.split(quantiles, len(frames))])
    usual, found = losses[0], {}
    for i, group in enumerate(members):
        replaced = losses[1 + i * len(drawn) : 1 + (i + 1) * len(drawn)]
        both = ~np.isnan(replaced) & ~np.isnan(usual)  # without an input that it needs, a row has no forecast
        pairs = [100 * (one[ok].mean() / usual[ok].mean() - 1) for one, ok in zip(replaced, both, strict=True)]
        found[group] = float(np.mean(pairs))
    return found


def _nothing() -> pd.DataFrame:
    return pd.DataFrame(columns=["group", "features", "folds", "increase_pct", "spread_pct", "folds_above_zero"])
