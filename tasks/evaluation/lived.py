"""The skill that a user would have lived: at each origin the promotion rule is applied to what was known by then.

A leaderboard over all years chooses a family with knowledge of the years that it is scored on, which flatters. Here the
family that serves is chosen from outcomes known by then only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from types import MappingProxyType

import pandas as pd

from tasks.evaluation.comparison import NAIVE
from tasks.evaluation.promotion import choose_champion, unmet_gates
from tasks.evaluation.standings import Losses, without_years_of_choice
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
    chosen_until: Mapping[str, date] = MappingProxyType({}),
) -> pd.DataFrame:
    """The forecasts that the promotion rule would have served at one horizon.

    Args:
        oofs: by family its out-of-fold forecasts as published (calibrated); each was made by a model fitted before its
            year. The baseline must be among them.
        years: in which forecasts are made. At each origin the rule is applied anew to the outcomes known by then, with
            the champion so far: as a training of that day would.
        chosen_until: by family, the last day of the outcomes read to choose it; it serves and counts from then on.

    Returns:
        the rows of the champions' forecasts, with ``champion`` and ``served`` (the baseline where the champion has no
        forecast), one per origin of the baseline.

    Invariants: a row depends on outcomes known by its date, and on its own forecasts.
    """
    losses = Losses(oofs, levels, chosen_until)
    scored = {
        family: without_years_of_choice(oof[oof["scored"]], chosen_until.get(family)).set_index("date")
        for family, oof in oofs.items()
    }
    wanted = losses.dates[losses.dates.year.isin(list(years))]
    champion, champions = BASELINE, []
    for origin in wanted:
        table = losses.standings(sessions=sessions, step=step, known_by=origin)
        rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
        able = [str(row["family"]) for row in rows if not unmet_gates(row, rule, serving=row["family"] == champion)]
        champion = choose_champion(table, able, rule, serving=champion)
        champions.append(champion)
    named = pd.Series(champions, index=wanted, dtype="object")
    served = scored[BASELINE].loc[wanted].assign(champion=named, served=BASELINE)
    for family in named.unique():
        own = scored[family].reindex(wanted[named.to_numpy() == family])
        own = own[own["p50"].notna()]
        served.loc[own.index, own.columns] = own
        served.loc[own.index, "served"] = family
    return served.reset_index()


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
