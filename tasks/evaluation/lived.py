"""The skill that a user would have lived: each January the promotion rule is applied to what was known by then.

A leaderboard over all years chooses a family with knowledge of the years that it is scored on, which flatters. Here the
family that serves a year is chosen from the outcomes of earlier years only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from tasks.evaluation.comparison import NAIVE, leaderboard
from tasks.evaluation.promotion import unmet_gates
from tasks.models.catalogue import BASELINE
from tasks.quantiles import column, pinball
from tasks.registry import PromotionRule


def lived_policy(
    oofs: Mapping[str, pd.DataFrame],
    levels: tuple[float, ...],
    rule: PromotionRule,
    years: Iterable[int],
    *,
    sessions: int,
    step: int,
    round_trip_cost_cents_lb: float,
) -> pd.DataFrame:
    """The forecasts that the promotion rule would have served at one horizon.

    Args:
        oofs: by family its out-of-fold forecasts as published (calibrated); each was made by a model fitted before its
            year. The baseline must be among them.
        years: in which forecasts are made; in each the champion is the family with the highest skill over the better
            naive among those that meet the rule on origins whose outcome was known before the year.

    Returns:
        the rows of the champions' forecasts, with ``champion`` (of the year) and ``served`` (the baseline where the
        champion has no forecast), one per origin of the baseline.

    Invariants: a row depends on forecasts and outcomes known by its year's first day, and on its own year's forecast.
    """
    served = []
    for year in years:
        champion = _champion(
            known_before(oofs, year),
            levels,
            rule,
            sessions=sessions,
            step=step,
            round_trip_cost_cents_lb=round_trip_cost_cents_lb,
        )
        base = _of_year(oofs[BASELINE], year)
        own = _of_year(oofs[champion], year).reindex(base.index)
        chosen = own.where(own["p50"].notna(), base)
        names = np.where(own["p50"].notna(), champion, BASELINE)
        served.append(chosen.assign(champion=champion, served=names).reset_index())
    return pd.concat(served, ignore_index=True) if served else pd.DataFrame()


def naive_of_the_past(
    oofs: Mapping[str, pd.DataFrame], levels: tuple[float, ...], years: Iterable[int]
) -> pd.DataFrame:
    """Each year the forecasts of the naive family with the lowest loss on outcomes known before that year."""
    parts = []
    names = [column(level) for level in levels]
    for year in years:
        losses = {
            family: pinball(past["target_log_return"].to_numpy(), past[names].to_numpy(), levels).mean()
            for family, past in known_before(oofs, year).items()
            if family in NAIVE and len(past)
        }
        best = min(losses, key=lambda family: losses[family], default=BASELINE)
        parts.append(_of_year(oofs[best], year).assign(naive=best).reset_index())
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def known_before(oofs: Mapping[str, pd.DataFrame], year: int) -> dict[str, pd.DataFrame]:
    """The scored forecasts of each family whose outcome was known before the year's first day."""
    start = pd.Timestamp(year=year, month=1, day=1)
    return {
        family: oof[oof["scored"] & oof["p50"].notna() & (oof["target_date"] < start)] for family, oof in oofs.items()
    }


def _of_year(oof: pd.DataFrame, year: int) -> pd.DataFrame:
    return oof[oof["scored"] & (oof["date"].dt.year == year)].set_index("date")


def _champion(
    past: Mapping[str, pd.DataFrame],
    levels: tuple[float, ...],
    rule: PromotionRule,
    *,
    sessions: int,
    step: int,
    round_trip_cost_cents_lb: float,
) -> str:
    known = {family: oof for family, oof in past.items() if len(oof)}
    if BASELINE not in known:
        return BASELINE
    board = leaderboard(known, levels, sessions=sessions, step=step, round_trip_cost_cents_lb=round_trip_cost_cents_lb)
    rows = [{str(name): value for name, value in row.items()} for row in board.to_dict("records")]
    able = [row for row in rows if row["family"] != BASELINE and row["skill_pct"] > 0 and not unmet_gates(row, rule)]
    return str(max(able, key=lambda row: row["skill_pct"])["family"]) if able else BASELINE
