"""``python -m evidence.track_record``: a replay's forecasts against what happened; writes docs/results/track_record.md.

It reads ``performance.forecast_outcomes`` of CBI_HOME, which `cbi replay` fills, and compares the figures of Python and
SQL on them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from evidence.command_line import command, exit_status
from evidence.machine import stamp
from evidence.page import shown, table, write_page
from tasks.errors import NothingStored
from tasks.evaluation.groups import group_length, interval
from tasks.evaluation.realised import FIGURES, counted
from tasks.gates.parity import AGREES
from tasks.reporting.preflight import TRACKING, compare_engines
from tasks.reporting.track_record import OUTCOMES
from tasks.reporting.track_record_charts import track_record_figure
from tasks.run import RunContext, open_run
from tasks.settings import PROJECT, load_settings
from tasks.sources.payloads import RECORDED
from tasks.warehouse.frames import to_frame
from tasks.warehouse.open import open_warehouse
from tasks.warehouse.protocol import Warehouse

PAGE = PROJECT / "docs" / "results" / "track_record.md"
FIGURE_FOLDER = Path("docs/images")


def of_replay(warehouse: Warehouse, replay: str) -> pd.DataFrame:
    """The outcomes of a replay that count.

    Raises:
        NothingStored: there are none; the message names the replays that have some.
    """
    outcomes = to_frame(warehouse.read(OUTCOMES))
    mine = counted(outcomes[outcomes["replay"] == replay])
    if mine.empty:
        known = ", ".join(sorted(set(outcomes["replay"]) - {""})) or "none"
        raise NothingStored(f"no outcomes of a replay `{replay}`; there are: {known}. Run `cbi replay` first")
    return mine


def skill(own: pd.Series, other: pd.Series, *, overlap: int) -> str:
    """How much lower the mean of ``own`` is than that of ``other``, in percent, with a 90% interval."""
    losses = pd.concat([own, other], axis=1).dropna().to_numpy(dtype="float64")
    if not len(losses):
        return "none"

    def percent(means: np.ndarray) -> np.ndarray:
        return 100 * (1 - means[:, [0]] / means[:, [1]])

    low, high = interval(losses, percent, length=group_length(overlap))
    text = f"{percent(losses.mean(axis=0, keepdims=True))[0, 0]:+.1f}"
    return text if np.isnan(low[0]) else f"{text} ({low[0]:+.1f} to {high[0]:+.1f})"


def horizon_rows(run: RunContext, outcomes: pd.DataFrame, in_sql: pd.DataFrame) -> Iterator[tuple[object, ...]]:
    """One row of the page per horizon."""
    for name, horizon in run.horizons.horizons.items():
        part = outcomes[outcomes["horizon"] == name].sort_values("session_number")
        if part.empty:
            continue
        spacing = max(1, int(np.median(np.diff(part["session_number"]))) if len(part) > 1 else 1)
        overlap = -(-horizon.sessions // spacing)
        sharpe = in_sql.loc[in_sql["horizon"] == name, "sharpe"].iloc[0]
        hits = part["direction_hit"].dropna().astype(bool)
        yield (
            name,
            len(part),
            len(part) // overlap,
            f"{100 * part['absolute_percentage_error'].mean():.2f}",
            f"{100 * part['no_change_absolute_percentage_error'].mean():.2f}",
            skill(part["absolute_percentage_error"], part["no_change_absolute_percentage_error"], overlap=overlap),
            skill(part["pinball_log_return"], part["baseline_pinball_log_return"], overlap=overlap),
            f"{part['error_cents_lb'].mean():+.2f}",
            *(f"{part[f'inside_{band}'].mean():.0%}" for band in (50, 80, 90)),
            f"{hits.mean():.0%} of {len(hits)}" if len(hits) else "no view",
            shown(sharpe, "{:+.2f}"),
            f"{part['is_baseline'].mean():.0%}",
        )


def measure(replay: str) -> int:
    """Draw the figures and write the page; 1 if Python and SQL disagree."""
    before = stamp(f"python -m evidence.track_record --replay {replay}")
    run = open_run(load_settings(), origin=RECORDED, as_of=None)
    warehouse = open_warehouse(run.settings)
    outcomes = of_replay(warehouse, replay)
    in_sql = warehouse.query(TRACKING)
    in_sql = in_sql[in_sql["replay"] == replay]
    parity = compare_engines(warehouse, tuple(run.horizons.quantiles))
    parity = parity[parity["replay"] == replay]
    pictures = []
    for name in (name for name in run.horizons.horizons if (outcomes["horizon"] == name).any()):
        path = FIGURE_FOLDER / f"track_record_{name}.png"
        part = outcomes[outcomes["horizon"] == name]
        track_record_figure(PROJECT / path, part, horizon=name, source=f"replay `{replay}`")
        pictures.append(f"![{name}: bands against what happened, rolling coverage and skill](../images/{path.name})")
    families = outcomes.groupby(["horizon", "family"], sort=False).size().reset_index(name="forecasts")
    families["order"] = families["horizon"].map(list(run.horizons.horizons).index)
    share = parity["difference"] / parity["python_value"].abs().clip(lower=1.0)
    widest = {name: share[parity["metric"] == name] for name in FIGURES}
    write_page(
        PAGE,
        "The track record of a replay",
        before,
        f"Forecasts of the replay `{replay}` from {outcomes['as_of'].min():%Y-%m-%d} to "
        f"{outcomes['as_of'].max():%Y-%m-%d}, as they would have been published, each by a model trained before its "
        "session, beside the close of its target date. An outcome counts from the session after the target date, at "
        "the price known that evening. Errors are of the median. Skill is how much lower the mean error or the pinball "
        "loss is than that of the forecast named in the head of the column, in percent, with a 90% interval "
        "from groups of neighboring origins, where there are five. The Sharpe ratio is of the sign of the forecast "
        "after cost, on trades that do not overlap, the median over start phases; rolling costs are not in it.",
        "## By horizon",
        table(
            [
                "horizon",
                "outcomes",
                "that do not overlap",
                "MAPE, %",
                "of no change",
                "skill over no change, MAPE",
                "over the baseline, pinball",
                "bias, cents/lb",
                "in 50% band",
                "in 80%",
                "in 90%",
                "direction right",
                "Sharpe",
                "served by the baseline",
            ],
            horizon_rows(run, outcomes, in_sql),
        ),
        *pictures,
        "## Which families served",
        table(
            ["horizon", "family", "forecasts"],
            families.sort_values(["order", "forecasts"], ascending=[True, False])[
                ["horizon", "family", "forecasts"]
            ].itertuples(index=False),
        ),
        "## Python and SQL on the same outcomes",
        "Python computes from prices and quantiles (tasks/evaluation/realised.py), SQL from the stored errors "
        "(`performance.vw_forecast_performance_tracking`). The largest difference over the horizons, as a share of the "
        "value where that is above 1.",
        table(
            ["metric", "horizons", "largest difference"],
            ((name, widest[name].count(), shown(widest[name].max(), "{:.1e}")) for name in FIGURES),
        ),
    )
    disagreeing = parity[parity["verdict"] != AGREES]
    for words in disagreeing["verdict"]:
        print(words, file=sys.stderr)
    return int(len(disagreeing) > 0)


def main() -> int:
    """Run the command line."""
    parser = command("evidence.track_record", __doc__, "--replay champions  # the replay of that name")
    parser.add_argument(
        "--replay", default="champions", metavar="NAME", help="the name of a replay. Default: champions"
    )
    words = parser.parse_args()

    def work() -> int:
        status = measure(words.replay)
        print(PAGE.relative_to(PROJECT))
        return status

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
