"""``python -m evidence.rolls``: the rolls of ZL=F on the recorded archive; writes docs/results/rolls.md.

Which rolls have a known step, how many labels cross a roll, and what the steps do to them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from evidence.command_line import command, exit_status
from evidence.inputs import Inputs
from evidence.machine import stamp
from evidence.page import table, write_page
from tasks.calendar import sessions
from tasks.panel.curve import contract_prices
from tasks.panel.rolls import roll_free_returns, roll_free_targets, roll_ratios, rolls
from tasks.registry import Horizons, load_roll_calendar
from tasks.settings import PROJECT

PAGE = PROJECT / "docs" / "results" / "rolls.md"
DATED = ("2005-05-16", "2014-05-15", "2018-12-17", "2020-03-16", "2021-01-15", "2021-07-15")


def newest(observations: pd.DataFrame, series: str) -> pd.DataFrame:
    """One row per day and a column per field of a series, from the newest vintages."""
    rows = observations[observations["series"] == series].sort_values("vintage", kind="stable")
    return rows.groupby(["observation_date", "field"])["value"].last().unstack()


def by_year(known: pd.DataFrame) -> str:
    """Rolls per year, how many steps are known, how old their pairs are, and what they add up to."""
    rows = [
        (
            year,
            len(part),
            part["log_ratio"].notna().sum(),
            f"{part['age_days'].median():.0f}",
            f"{part['age_days'].max():.0f}",
            f"{100 * part['log_ratio'].sum():+.1f}",
        )
        for year, part in known.groupby(known["date"].dt.year)
    ]
    return table(("year", "rolls", "step known", "age of the pair, days, median", "longest", "steps, % in all"), rows)


def by_horizon(close: pd.Series, known: pd.DataFrame, horizons: Horizons) -> str:
    """What crossing rolls does to the labels of each horizon."""
    rows = []
    for name, horizon in horizons.horizons.items():
        targets = roll_free_targets(close, known, sessions_ahead=horizon.sessions)
        labels = targets[targets["log_return"].notna()]
        both = labels.dropna()
        front, free = both["log_return"], both["roll_free_log_return"]
        rows.append(
            (
                name,
                f"{len(labels):,}",
                f"{100 * (labels['rolls'] > 0).mean():.1f}%",
                f"{len(labels) - len(both):,}",
                f"{100 * (front > 0).mean():.1f}%",
                f"{100 * (free > 0).mean():.1f}%",
                f"{100 * (np.sign(front) != np.sign(free)).mean():.1f}%",
                f"{100 * front.mean():+.2f}%",
                f"{100 * free.mean():+.2f}%",
            )
        )
    head = ("horizon", "labels", "cross a roll", "roll-free label missing", "higher, front month", "higher, roll-free")
    return table((*head, "sign flips", "mean, front month", "mean, roll-free"), rows)


def dated(close: pd.Series, known: pd.DataFrame) -> str:
    """Rolls by date: the contracts, the newest pair before them, and both returns of the session."""
    free, front = roll_free_returns(close, known), np.log(close).diff()
    chosen = known[known["date"].isin(pd.to_datetime(list(DATED)))]
    rows = [
        (
            f"{row['date']:%Y-%m-%d}",
            row["from_contract"],
            row["to_contract"],
            "none" if pd.isna(row["seen_on"]) else f"{row['seen_on']:%Y-%m-%d}",
            "unknown" if pd.isna(row["log_ratio"]) else f"{100 * row['log_ratio']:+.2f}%",
            f"{100 * front[row['date']]:+.2f}%",
            "missing" if pd.isna(free[row["date"]]) else f"{100 * free[row['date']]:+.2f}%",
        )
        for row in chosen.to_dict("records")
    ]
    return table(("roll", "from", "to", "newest pair", "step", "front-month return", "roll-free return"), rows)


def measure(folder: Path) -> Path:
    """Stage the recorded archive and write the page."""
    before, inputs = stamp("make rolls"), Inputs(folder)
    run, observations = inputs.run, inputs.observations
    rule = load_roll_calendar(run.settings.registry, run.sources).rolls["ZL"]
    days = sessions(last=run.as_of)
    close = newest(observations, rule.quote.series)["close"].reindex(days)
    known = roll_ratios(rolls(rule, days[0], days[-1]), contract_prices(observations, rule), rule)
    return write_page(
        PAGE,
        "The rolls of ZL=F",
        before,
        "ZL=F is one contract after another, unadjusted. Its price moves to the next contract on the session after the "
        "last trading day. The step is what the new contract cost against the old one in the newest pair of both "
        f"before the roll; a pair older than {rule.pairs.max_age_days} days leaves it unknown "
        "([decision 23](../decisions/0023-rolls.md)). Roll-free returns are the front month's less the steps; where a "
        "step is unknown they are missing.",
        "## By horizon",
        by_horizon(close, known, run.horizons),
        "Signs and means are of the labels that have both returns.",
        "## Some rolls",
        dated(close, known),
        "## By year",
        by_year(known),
    )


def main() -> int:
    """Run the command line."""
    command("evidence.rolls", __doc__, "").parse_args()

    def work() -> int:
        with tempfile.TemporaryDirectory(prefix="cbi-rolls-") as folder:
            print(measure(Path(folder)).relative_to(PROJECT))
        return 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
