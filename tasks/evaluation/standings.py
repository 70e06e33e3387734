"""What promotion reads of the families of one horizon: the gain over the best naive if each were served, and how sure.

A family is judged as it would be served: where it has no forecast, the baseline's loss counts. So a family gains
nothing by leaving out the origins that are hard.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType

import numpy as np
import pandas as pd

from tasks.evaluation.comparison import NAIVE, overlapping_origins
from tasks.evaluation.superior import family_wise_p_values
from tasks.models.catalogue import BASELINE
from tasks.quantiles import BANDS, column, pinball

COLUMNS = ("family", "best_naive", "served_gain_pct", "promotion_p_value", "independent_periods", "coverage_80")


def without_years_of_choice(oof: pd.DataFrame, chosen_until: date | None) -> pd.DataFrame:
    """The forecasts made after the family was chosen."""
    return oof if chosen_until is None else oof[oof["date"] > pd.Timestamp(chosen_until)]


class Losses:
    """Losses and hits of every family on the baseline's scored origins, by date, so that any past can be judged.

    Args:
        oofs: by family its out-of-fold forecasts; the baseline must be among them.
        chosen_until: by family, the last day of the outcomes that were read to choose it. What it forecasts of them
            counts as no forecast: nobody could have served it then.
    """

    def __init__(
        self,
        oofs: Mapping[str, pd.DataFrame],
        levels: tuple[float, ...],
        chosen_until: Mapping[str, date] = MappingProxyType({}),
    ) -> None:
        base = oofs[BASELINE]
        base = base[base["scored"] & base["p50"].notna()].sort_values("date").set_index("date")
        self.dates, self.targets = pd.DatetimeIndex(base.index), pd.DatetimeIndex(base["target_date"])
        self.families = [family for family in oofs if len(oofs[family])]
        names, (lower, upper) = [column(level) for level in levels], BANDS[80]
        outcome = base["target_log_return"].to_numpy()
        losses, inside = [], []
        for family in self.families:
            own = without_years_of_choice(oofs[family], chosen_until.get(family)).set_index("date").reindex(base.index)
            losses.append(pinball(outcome, own[names].to_numpy(dtype="float64"), levels))
            hit = (outcome >= own[lower].to_numpy()) & (outcome <= own[upper].to_numpy())
            inside.append(np.where(own["p50"].notna(), hit, np.nan))
        self.losses, self.inside = np.column_stack(losses), np.column_stack(inside)

    def standings(self, *, sessions: int, step: int, known_by: pd.Timestamp | None = None) -> pd.DataFrame:
        """One row per family (``COLUMNS``), from the outcomes known at the close of ``known_by``; default: all.

        ``served_gain_pct``: percent of the loss of the best naive, in hindsight over these origins, that is saved.
        ``promotion_p_value``: family-wise, see tasks/evaluation/superior.py. ``independent_periods``: horizons that
        fit into the family's own origins one after another. Figures are missing where there is nothing to measure.
        """
        rows = len(self.dates) if known_by is None else int((self.targets <= known_by).sum())
        losses, inside = self.losses[:rows], self.inside[:rows]
        table = pd.DataFrame({"family": self.families})
        if not rows:
            return table.reindex(columns=list(COLUMNS))
        base = losses[:, self.families.index(BASELINE)]
        served = np.where(np.isnan(losses), base[:, None], losses)
        naive = [i for i, family in enumerate(self.families) if family in NAIVE and not np.isnan(losses[:, i]).any()]
        best = min(naive, key=lambda i: float(losses[:, i].mean()))
        gains = losses[:, [best]] - served
        known = ~np.isnan(inside)
        hits = np.where(known, inside, 0.0).sum(axis=0)
        return table.assign(
            best_naive=self.families[best],
            served_gain_pct=100 * gains.mean(axis=0) / losses[:, best].mean(),
            promotion_p_value=family_wise_p_values(gains, overlap=overlapping_origins(sessions, step)),
            independent_periods=known.sum(axis=0) * step // sessions,
            coverage_80=np.divide(hits, known.sum(axis=0), out=np.full(len(hits), np.nan), where=known.any(axis=0)),
        )
