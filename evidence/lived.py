"""``python -m evidence.lived``: the skill that a user would have lived; writes docs/results/lived.md.

It reads the newest bake-off of the daily budget in CBI_HOME (`make demo` or `cbi daily` leaves one).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import pandas as pd

from evidence.bake_off_report import newest_bake_off
from evidence.command_line import command, exit_status
from evidence.machine import stamp
from evidence.page import table, write_page
from tasks.evaluation.comparison import evaluate
from tasks.evaluation.lived import lived_policy, naive_of_the_past
from tasks.models.catalogue import BASELINE
from tasks.registry import load_models, load_quality_gates
from tasks.run import open_run
from tasks.settings import PROJECT, load_settings
from tasks.sources.payloads import RECORDED

PAGE = PROJECT / "docs" / "results" / "lived.md"
BUDGET = "daily"
FIRST_YEAR = 2013
"""The first year with three scored years before it."""
TUNED_UNTIL = 2018
"""Choices of earlier work read the years to here."""


def skill(found: Mapping[str, object]) -> str:
    """Skill in percent with its 90% interval."""
    return f"{found['skill_pct']:+.2f} ({found['skill_pct_low']:+.2f} to {found['skill_pct_high']:+.2f})"


def measure() -> None:
    """Replay the policy on the stored forecasts and write the page."""
    before = stamp("make lived")
    run = open_run(load_settings(), origin=RECORDED, as_of=None)
    models, gates = load_models(run.settings.registry, run.features), load_quality_gates(run.settings.registry)
    bake_off = newest_bake_off(run, BUDGET, models=models, gates=gates)
    levels, step = tuple(run.horizons.quantiles), run.horizons.walk_forward.origin_step_sessions
    cost = gates.trading_cost.round_trip_cents_lb
    years, newest = range(FIRST_YEAR, run.as_of.year + 1), run.as_of.year
    periods = ((FIRST_YEAR, newest), (FIRST_YEAR, TUNED_UNTIL), (TUNED_UNTIL + 1, newest))
    rows, yearly = [], []
    for name in bake_off.horizons:
        sessions, oofs = run.horizons.horizons[name].sessions, bake_off.oofs[name]

        def compared(own: pd.DataFrame, other: pd.DataFrame, sessions: int = sessions) -> Mapping[str, object]:
            return evaluate(own, other, levels, sessions=sessions, step=step, round_trip_cost_cents_lb=cost)

        lived = lived_policy(
            oofs, levels, gates.promotion, years, sessions=sessions, step=step, round_trip_cost_cents_lb=cost
        )
        naive = naive_of_the_past(oofs, levels, years)
        hindsight = bake_off.promoted(name) or BASELINE
        for first, last in periods:
            part = lived[lived["date"].dt.year.between(first, last)]
            chosen = oofs[hindsight][oofs[hindsight]["date"].isin(part["date"])]
            rows.append(
                (
                    name,
                    f"{first} to {last}",
                    len(part),
                    len(part) * step // sessions,
                    skill(compared(part, oofs["no_change"])),
                    skill(compared(part, oofs[BASELINE])),
                    skill(compared(part, naive)),
                    f"{hindsight}: {skill(compared(chosen, oofs[BASELINE]))}",
                    f"{compared(part, oofs[BASELINE])['coverage_80']:.0%}",
                )
            )
        for year, part in lived.groupby(lived["date"].dt.year):
            against = compared(part, oofs[BASELINE])
            stood_in = (part["served"] != part["champion"]).sum()
            yearly.append(
                (
                    name,
                    year,
                    part["champion"].iloc[0],
                    len(part),
                    stood_in,
                    f"{compared(part, oofs['no_change'])['skill_pct']:+.1f}",
                    f"{against['skill_pct']:+.1f}",
                    f"{against['coverage_80']:.0%}",
                )
            )
        print(f"{name}: done", flush=True)
    heads = (
        "over no_change",
        "over the curve",
        "over the best naive of the past",
        "chosen in hindsight, over the curve",
    )
    write_page(
        PAGE,
        "The skill that a user would have lived",
        before,
        "Each January the promotion rule is applied to the outcomes known by then, and the family that it names serves "
        "the year; the baseline serves where none meets the rule, and where the champion has no forecast. Every "
        "forecast was made by a model fitted before its year, with bands that widened after misses already known. "
        "Skill is in percent of the pinball loss of the forecast named in the head of the column, with a 90% interval. "
        "The last skill is of the family that the same rule names when it sees all years: the difference is what "
        "selection in hindsight adds.",
        "Two choices were still made with knowledge of these years, and both flatter: the groups of features that "
        "`ridge` reads and the members of the ensemble (on 2010 to 2018), and the form of the curve's centre. "
        "Production trains more often than each January, and its leakage audit of a direction hit rate above 60% is "
        "taken as passed. Intervals are of blocks as long as the targets overlap, which is short: they are too narrow.",
        "## By horizon",
        table(["horizon", "years", "origins", "periods that do not overlap", *heads, "80% band held"], rows),
        "## By year",
        table(
            [
                "horizon",
                "year",
                "champion",
                "origins",
                "served by the baseline instead",
                "skill % over no_change",
                "over the curve",
                "80% band held",
            ],
            yearly,
        ),
    )


def main() -> int:
    """Run the command line."""
    command("evidence.lived", __doc__, "").parse_args()

    def work() -> int:
        measure()
        print(PAGE.relative_to(PROJECT))
        return 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
