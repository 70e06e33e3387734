"""``python -m evidence.lived``: the skill that a user would have lived; writes docs/results/lived.md.

It reads the newest bake-off of the daily budget in CBI_HOME (`make demo` or `cbi daily` leaves one).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping

import pandas as pd

from evidence.bake_off_report import newest_bake_off
from evidence.command_line import page_command
from evidence.machine import stamp
from evidence.page import shown, table, write_page
from tasks.evaluation.comparison import evaluate
from tasks.evaluation.lived import lived_policy, naive_of_the_past
from tasks.forecasting.control import lived_under_control
from tasks.models.catalogue import BASELINE
from tasks.registry import load_control_rule, load_models, load_quality_gates, load_surface
from tasks.run import open_run
from tasks.settings import PROJECT, load_settings
from tasks.sources.payloads import RECORDED

PAGE = PROJECT / "docs" / "results" / "lived.md"
BUDGET = "daily"
HALVES = 2018
"""The last year that earlier work read to choose families and settings."""


def skill(found: Mapping[str, object]) -> str:
    """Skill in percent with its 90% interval, where there are enough groups of origins for one."""
    if found["skill_pct"] == 0:
        return "the same"
    low, high = (float(str(found[name])) for name in ("skill_pct_low", "skill_pct_high"))
    interval = "no interval" if math.isnan(low) else f"{low:+z.1f} to {high:+z.1f}"
    return f"{found['skill_pct']:+z.2f} ({interval})"


def measure() -> None:
    """Replay the policy on the stored forecasts and write the page."""
    before = stamp("make lived")
    run = open_run(load_settings(), origin=RECORDED, as_of=None)
    models, gates = load_models(run.settings.registry, run.features), load_quality_gates(run.settings.registry)
    bake_off = newest_bake_off(run, BUDGET, models=models, gates=gates)
    levels, step = tuple(run.horizons.quantiles), run.horizons.walk_forward.origin_step_sessions
    cost, control = gates.trading_cost.round_trip_cents_lb, load_control_rule(run.settings.registry)
    surface = load_surface(run.settings.registry, run.features)
    chosen_until = models.known_when_chosen(surface)
    first, newest = run.horizons.walk_forward.first_test_year, run.as_of.year
    years, rows, yearly, ranks = range(first, newest + 1), [], [], []
    for name in bake_off.horizons:
        sessions, oofs = run.horizons.horizons[name].sessions, bake_off.oofs[name]

        def compared(own: pd.DataFrame, other: pd.DataFrame, sessions: int = sessions) -> Mapping[str, object]:
            return evaluate(own, other, levels, sessions=sessions, step=step, round_trip_cost_cents_lb=cost)

        lived = lived_policy(
            oofs, levels, gates.promotion, years, sessions=sessions, step=step, chosen_until=chosen_until
        )
        lived = lived_under_control(lived, oofs[BASELINE], control, levels, horizon=name, horizon_sessions=sessions)
        naive = naive_of_the_past(oofs, levels, years)
        board = bake_off.board[bake_off.board["horizon"] == name].set_index("family")
        best = str(board["skill_pct"].idxmax())
        leading = {str(figure): value for figure, value in board.loc[best].items()}
        for since, until in ((first, newest), (first, HALVES), (HALVES + 1, newest)):
            part = lived[lived["date"].dt.year.between(since, until)]
            against = compared(part, oofs[BASELINE])
            rows.append(
                (
                    name,
                    f"{since} to {until}",
                    len(part),
                    len(part) * step // sessions,
                    ", ".join(f"{family} {share:.0%}" for family, share in part["served"].value_counts(True).items()),
                    skill(compared(part, oofs["no_change"])),
                    skill(against),
                    skill(compared(part, naive)),
                    f"{against['coverage_50']:.0%}, {against['coverage_80']:.0%}, {against['coverage_90']:.0%}",
                )
            )
        ranks.append(
            (
                name,
                skill(compared(lived, oofs[BASELINE])),
                f"{best}: {skill(leading)}",
                shown(leading["promotion_p_value"], "{:.0%}"),
            )
        )
        for year, part in lived.groupby(lived["date"].dt.year):
            against = compared(part, oofs[BASELINE])
            yearly.append(
                (
                    name,
                    year,
                    ", ".join(dict.fromkeys(part["served"])),
                    len(part),
                    f"{compared(part, oofs['no_change'])['skill_pct']:+z.1f}",
                    f"{against['skill_pct']:+z.1f}",
                    f"{against['coverage_80']:.0%}",
                )
            )
        print(f"{name}: done", flush=True)
    write_page(
        PAGE,
        "The skill that a user would have lived",
        before,
        "At each weekly origin the promotion rule is applied to the outcomes known by then, with the champion so far, "
        "as a training of that day would. The family that it names serves; the baseline (`curve`) serves where none "
        "meets the rule, and where the champion has no forecast. From the origin on at which a champion's control "
        "chart leaves its limits ([control chart](control_chart.md)), the baseline serves in its place. Every "
        "forecast is from a model fitted before its "
        "year, with bands that widened after misses already known. Skill is in percent of the pinball loss of the "
        "forecast named in the head of the column, with its 90% interval from groups of origins "
        "(tasks/evaluation/groups.py); with fewer than five groups there is none.",
        "A family whose inputs or settings were chosen by someone who had read outcomes to a certain day "
        "(`chosen_until` in registry/models.yaml) did not exist before that day: it neither serves nor counts then. "
        "What is left of hindsight: the form of the curve's center, the decay of the EWMA volatility and the step of "
        "the adaptive bands, which every family shares. Models are refitted each January here, and weekly in "
        "production; a leakage audit that a direction hit rate above 60% asks for is taken as passed.",
        "## By horizon",
        table(
            [
                "horizon",
                "years",
                "origins",
                "periods that do not overlap",
                "served",
                "skill over no_change",
                "over the curve",
                "over the best naive of the past",
                "50, 80, 90% bands covered",
            ],
            rows,
        ),
        "## What choosing in hindsight adds",
        "Beside the lived skill over the curve: the family with the highest skill of the leaderboard, which knows all "
        "years and all choices, over the better naive. Its p-value is the family-wise one of promotion: it counts "
        "outcomes later than its choice only.",
        table(["horizon", "lived", "best of the leaderboard", "its p-value"], ranks),
        "## By year",
        table(
            [
                "horizon",
                "year",
                "served",
                "origins",
                "skill % over no_change",
                "over the curve",
                "80% band covered",
            ],
            yearly,
        ),
    )


if __name__ == "__main__":
    sys.exit(page_command("evidence.lived", __doc__, measure, PAGE))
