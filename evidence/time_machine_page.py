"""docs/results/time_machine.md: the outcomes of evidence/time_machine.py as tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evidence.page import table, write_page
from evidence.time_machine import OUTAGE_DATES, OUTAGES, PAIRS_FOR, PRICE, SERVED, TRAINED_BEFORE, Outcome


def write(path: Path, stamp: str, outcomes: Sequence[Outcome], *, minutes: float, workers: int) -> Path:
    """Write the page: the method, the years' last sessions, the outages by source and date, the pairs."""
    states = [one.state for one in outcomes]
    single = [one for one in outcomes if len(one.case.dead) == 1]
    counts = {
        "runs": len(outcomes),
        **{state: states.count(state) for state in ("sound", "degraded", "stopped")},
        "stopped where ZL's own price was taken away": sum(
            bool(one.stopped) and PRICE in one.case.dead for one in outcomes
        ),
        "stopped for another reason": sum(bool(one.stopped) and PRICE not in one.case.dead for one in outcomes),
        "minutes of the runs that were not written down before": f"{minutes:.0f}",
        "processes": workers,
    }
    days = [
        (one.case.as_of, one.state, "; ".join(one.notes) or "nothing", one.warnings, _reasons(one))
        for one in outcomes
        if not one.case.dead
    ]
    pairs = [(" + ".join(one.case.dead), one.state, _reasons(one)) for one in outcomes if len(one.case.dead) > 1]
    return write_page(
        path,
        "Time machine: past days and dead sources",
        stamp,
        "Each row is one daily run without Prefect and without a warehouse: "
        "staged observations, panel, features, labels, every gate and the forecast (tasks/day.py).",
        table(("", "count"), counts.items()),
        f"Models: {', '.join(f'{family} at {horizon}' for horizon, family in SERVED.items())}; the baseline stands by. "
        "Only the final fit of each is made, without folds, calibration or promotion. For a year's last session it is "
        "fitted on that day's rows and PRE_TRAINING is passed too; for an outage it was fitted on sound data "
        f"{TRAINED_BEFORE} sessions before.",
        "## The last session of each year",
        table(("day", "state", "set aside or stood in for", "warnings", "says"), days),
        "## One source dead",
        "What became known of the source in the last 30 to 400 sessions is taken away. Where a run is sound, nothing "
        "that the models read is older than it may be, or the source is not read by these models. An input counts as "
        "lost where it was known in the year to the training: after 400 sessions it was not, so a model trained in "
        "that year would have learned to do without it, and only what stands in is reported.",
        *(f"### {day}\n\n{_outages([one for one in single if one.case.as_of == day])}" for day in OUTAGE_DATES),
        f"## Two sources dead for {PAIRS_FOR} sessions, {OUTAGE_DATES[-1]}",
        table(("sources", "state", "says"), pairs),
    )


def _outages(outcomes: Sequence[Outcome]) -> str:
    """One row per source, one column per length."""
    by_source: dict[str, dict[int, Outcome]] = {}
    for one in outcomes:
        by_source.setdefault(one.case.dead[0], {})[one.case.for_sessions] = one
    rows = [
        (name, *(of[length].state for length in OUTAGES), _reasons(of[max(OUTAGES)])) for name, of in by_source.items()
    ]
    return table(("source", *(f"{n} sessions" for n in OUTAGES), f"says after {max(OUTAGES)}"), rows)


def _reasons(outcome: Outcome) -> str:
    """Why it stopped, or each distinct reason with its horizons."""
    if outcome.stopped:
        return _short(outcome.stopped.split("\n")[0])
    by_reason: dict[str, list[str]] = {}
    for horizon, reason in outcome.degraded.items():
        by_reason.setdefault(reason, []).append(horizon)
    return "; ".join(f"{', '.join(horizons)}: {_short(reason)}" for reason, horizons in by_reason.items()) or "nothing"


def _short(text: str, at_most: int = 260) -> str:
    return text if len(text) <= at_most else text[: at_most - 2].rsplit(" ", 1)[0] + " …"
