"""docs/results/time_machine.md: the outcomes of evidence/time_machine.py as tables a person reads."""

from __future__ import annotations

from collections.abc import Sequence

from evidence.machine import stamp
from evidence.time_machine import OUTAGE_DATES, OUTAGES, PAIRS_FOR, PRICE, SERVED, TRAINED_BEFORE, Outcome


def page(outcomes: Sequence[Outcome], *, minutes: float, workers: int) -> str:
    """The page: how it was run, the years' last sessions, the outages by source and date, the pairs."""
    days = [one for one in outcomes if not one.case.dead]
    single = [one for one in outcomes if len(one.case.dead) == 1]
    pairs = [one for one in outcomes if len(one.case.dead) > 1]
    by_price = [one for one in outcomes if one.stopped and PRICE in one.case.dead]
    other = [one for one in outcomes if one.stopped and PRICE not in one.case.dead]
    parts = [
        "# Time machine: past days and dead sources",
        stamp("make time-machine"),
        "Each row is one daily run without Prefect and without a warehouse: "
        "staged observations, panel, features, labels, every gate and the forecast (tasks/day.py).",
        f"{len(outcomes)} runs: {_count(outcomes)}. {len(by_price)} stopped because ZL's own price was taken away, "
        f"{len(other)} for another reason. The runs that were not written down before took {minutes:.0f} minutes on "
        f"{workers} processes.",
        f"Models: {', '.join(f'{family} at {horizon}' for horizon, family in SERVED.items())}; the baseline stands by. "
        "Only the final fit of each is made, without folds, calibration or promotion. For a year's last session it is "
        "fitted on that day's rows and PRE_TRAINING is passed too; for an outage it was fitted on sound data "
        f"{TRAINED_BEFORE} sessions before.",
        "## The last session of each year",
        _table(
            ["day", "state", "set aside or stood in for", "warnings", "says"],
            [
                [one.case.as_of, one.state, "; ".join(one.notes) or "nothing", str(one.warnings), _said(one)]
                for one in days
            ],
        ),
        "## One source dead",
        "What became known of the source in the last so many sessions is taken away. Where a run is sound, nothing "
        "that the models read is older than it may be, or the source is not read by these models. An input counts as "
        "lost where it was known in the year to the training: after 400 sessions it was not, so a model trained in "
        "that year would have learnt to do without it, and only what stands in is told.",
    ]
    for day in OUTAGE_DATES:
        here = [one for one in single if one.case.as_of == day]
        if not here:
            continue
        names = list(dict.fromkeys(one.case.dead[0] for one in here))
        rows = []
        for name in names:
            of_name = {one.case.for_sessions: one for one in here if one.case.dead[0] == name}
            longest = of_name[max(of_name)]
            rows.append([name, *(of_name[n].state if n in of_name else "" for n in OUTAGES), _said(longest)])
        parts += [
            f"### {day}",
            _table(["source", *(f"{n} sessions" for n in OUTAGES), f"says after {max(OUTAGES)}"], rows),
        ]
    parts += [
        f"## Two sources dead for {PAIRS_FOR} sessions, {OUTAGE_DATES[-1]}",
        _table(["sources", "state", "says"], [[" + ".join(one.case.dead), one.state, _said(one)] for one in pairs]),
    ]
    return "\n\n".join(parts) + "\n"


def _count(outcomes: Sequence[Outcome]) -> str:
    states = [one.state for one in outcomes]
    return ", ".join(f"{states.count(state)} {state}" for state in ("sound", "degraded", "stopped"))


def _said(outcome: Outcome) -> str:
    """Why it stopped, or each distinct reason with the horizons that give it."""
    if outcome.stopped:
        return _short(outcome.stopped.split("\n")[0])
    by_reason: dict[str, list[str]] = {}
    for horizon, reason in outcome.degraded.items():
        by_reason.setdefault(reason, []).append(horizon)
    return "; ".join(f"{', '.join(horizons)}: {_short(reason)}" for reason, horizons in by_reason.items()) or "nothing"


def _short(text: str, at_most: int = 260) -> str:
    return text if len(text) <= at_most else text[: at_most - 2].rsplit(" ", 1)[0] + " …"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)])
