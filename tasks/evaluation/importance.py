"""Which groups of features earn their place: what a forecast loses when a group is shuffled, and when it is left out.

Permutation (``grouped_permutation``) asks what a fitted model draws from a group; ablation (``ablation``) what a model
that never had the group would lose. Both stop before the final calendar year, sessions and targets alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tasks.evaluation.comparison import evaluate
from tasks.evaluation.metrics import pinball
from tasks.evaluation.surface import before_final_year
from tasks.evaluation.walk_forward import Fold, walk_forward
from tasks.models.forecaster import Forecaster, Problem
from tasks.models.worker import out_of_fold, usable
from tasks.registry import WalkForwardPlan

BLOCK_SESSIONS = 21  # shuffled together: a feature keeps its persistence within a month
REPEATS = 5
SEED = 20260101
FEWEST_ORIGINS = 20  # a fold cut off by a long horizon has too few to shuffle


def grouped_permutation(
    family: type[Forecaster],
    problem: Problem,
    table: pd.DataFrame,
    columns: Sequence[str],
    groups: Mapping[str, str],
    plan: WalkForwardPlan,
) -> pd.DataFrame:
    """Increase of a family's pinball loss when a group's columns are shuffled at the origins of a scored fold.

    Args:
        table: the training table of the problem's horizon. columns: what the family reads. groups: column: its group.

    Returns:
        a row a group, most important first: ``features``, ``folds``, ``increase_pct`` (mean over the folds of 100 x
        (loss shuffled / loss as it was - 1), each the mean of five shuffles), ``spread_pct`` (standard deviation of
        the folds) and ``folds_above_zero``. Empty where no fold could be fitted.

    Invariants: shuffled are inputs of a fold's own origins only, all columns of a group alike, in blocks of sessions;
    the model is that of the fold, which has not seen them. Within one year a slow feature hardly moves, so that the
    importance of what changes over years is understated.
    """
    held = before_final_year(table)
    known = usable(held).to_numpy()
    members: dict[str, list[str]] = {}
    for name in columns:
        members.setdefault(groups[name], []).append(name)
    increases: dict[str, list[float]] = {group: [] for group in members}
    for fold in walk_forward(pd.DatetimeIndex(held["date"]), plan, horizon=problem.sessions):
        train, test = fold.train[known[fold.train]], fold.test[known[fold.test]]
        if not fold.scored or not len(train) or len(test) < FEWEST_ORIGINS:
            continue
        model = family(problem)  # type: ignore[call-arg]
        model.fit(held.loc[train, list(columns)], held.loc[train, "target_log_return"])
        orders = shuffles(len(test), block=max(1, BLOCK_SESSIONS // plan.origin_step_sessions), seed=fold.year)
        found = _increases(model, problem, held.loc[test], list(columns), members, orders)
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


def shuffles(rows: int, *, block: int, seed: int, repeats: int = REPEATS) -> list[np.ndarray]:
    """Orders of the rows in which whole blocks have changed places, the first of them beginning anywhere."""
    rng = np.random.default_rng([SEED, seed])
    orders = []
    for _ in range(repeats):
        turned = np.roll(np.arange(rows), -int(rng.integers(rows)))
        blocks = np.array_split(turned, max(2, -(-rows // block)))
        orders.append(np.concatenate([blocks[i] for i in rng.permutation(len(blocks))]))
    return orders


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
        groups: column: its group, of the columns that may be left out. kept: columns that the family cannot do without.

    Returns:
        a row a group: ``features`` left out, ``origins``, ``skill_pct`` with its 90% interval and ``dm_p_value``;
        above zero the group earns its place.
    """
    held = before_final_year(table)
    whole = out_of_fold(family, problem, held, list(columns), plan)
    rows = []
    for group in dict.fromkeys(groups[name] for name in columns if name in groups):
        out = {name for name in columns if groups.get(name) == group and name not in kept}
        if not out or whole.empty:
            continue
        without = out_of_fold(family, problem, held, [name for name in columns if name not in out], plan)
        found = evaluate(
            whole[whole["scored"] & whole["p50"].notna()],
            without,
            problem.quantiles,
            sessions=problem.sessions,
            step=plan.origin_step_sessions,
            round_trip_cost_cents_lb=0.0,
        )
        told = ("origins", "skill_pct", "skill_pct_low", "skill_pct_high", "dm_p_value")
        rows.append({"group": group, "features": len(out), **{name: found[name] for name in told}})
    return pd.DataFrame(rows)


def _increases(
    model: Forecaster,
    problem: Problem,
    rows: pd.DataFrame,
    columns: list[str],
    members: Mapping[str, list[str]],
    orders: list[np.ndarray],
) -> dict[str, float]:
    """Each group's increase of loss in percent, mean of the orders; all are forecast at once."""
    inputs, target = rows[columns].reset_index(drop=True), rows["target_log_return"].to_numpy()
    frames = [inputs]
    for names in members.values():
        frames += [inputs.assign(**{name: inputs[name].to_numpy()[order] for name in names}) for order in orders]
    quantiles = model.predict_quantiles(pd.concat(frames, ignore_index=True))
    losses = np.array([pinball(target, part, problem.quantiles) for part in np.split(quantiles, len(frames))])
    usual, found = losses[0], {}
    for i, group in enumerate(members):
        shuffled = losses[1 + i * len(orders) : 1 + (i + 1) * len(orders)]
        both = ~np.isnan(shuffled) & ~np.isnan(usual)  # a missing input moves with its block
        pairs = [100 * (one[ok].mean() / usual[ok].mean() - 1) for one, ok in zip(shuffled, both, strict=True)]
        found[group] = float(np.mean(pairs))
    return found


def _nothing() -> pd.DataFrame:
    return pd.DataFrame(columns=["group", "features", "folds", "increase_pct", "spread_pct", "folds_above_zero"])
