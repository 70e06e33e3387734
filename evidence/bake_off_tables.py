"""A leaderboard as Markdown tables: its summary, its rows, aspirations, slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from evidence.page import shown, table
from tasks.evaluation.promotion import aspirations_met
from tasks.models.catalogue import ENSEMBLE, is_joint
from tasks.registry import Aspirations

COVERAGE_WANTED = (0.77, 0.83)  # of the ensemble's 80% band
ASPIRED = {
    "mape_pct": ("MAPE", "{:.1f}%"),
    "sharpe": ("Sharpe", "{:.2f}"),
    "direction_hit_rate": ("Direction", "{:.1%}"),
    "calibration_error": ("Calibration error", "{:.3f}"),
}
Row = Mapping[Any, Any]


def summary_table(board: pd.DataFrame) -> str:
    """One row per horizon: the promoted family, the ensemble, the families ahead of the better naive.

    Args:
        board: tasks.model_store.contest.compare of one run.
    """
    rows = []
    for horizon, there in board.groupby("horizon", sort=False):
        measured = there.dropna(subset=["skill_pct"])
        ensemble = _records(measured[measured["family"] == ENSEMBLE])
        others = measured[(measured["family"] != ENSEMBLE) & (measured["skill_pct"] > 0)]
        nets = measured[[is_joint(family) for family in measured["family"]]]
        ahead = nets[nets["skill_pct"] > 0]
        losses = there.dropna(subset=["pinball_log_return"])
        # losses of other years are not comparable
        best = losses[losses["origins"] == losses["origins"].max()].nsmallest(1, "pinball_log_return")
        rows.append(
            (
                horizon,
                _listed(there.loc[there["champion"], "family"]),
                _listed(f"{interval(one, 'skill_pct', '{:+.2f}')} over {one['better_naive']}" for one in ensemble),
                _listed(cell(one, "coverage_80", "{:.1%}") for one in ensemble),
                _skills(others.sort_values("skill_pct", ascending=False)),
                f"{len(nets)} / {len(ahead)} / {sum(ahead['skill_pct_low'] > 0)}",
                _skills(best),
            )
        )
    low, high = COVERAGE_WANTED
    head = ["horizon", "promoted", "the ensemble's skill %", f"its 80% band covered (wanted {low:.0%} to {high:.0%})"]
    head += ["others that lose less than the better naive", "nets: all / lose less / with a 90% interval above zero"]
    return table([*head, "lowest pinball among the families with the most origins"], rows)


def leaderboard_table(board: pd.DataFrame) -> str:
    """One horizon's families, the lowest loss first."""
    rows = [
        (
            f"**{row['family']}**" if row["champion"] else row["family"],
            cell(row, "origins", "{:.0f}"),
            f"{str(row['first_origin'])[:7]} to {str(row['last_origin'])[:7]}",
            cell(row, "pinball_log_return", "{:.5f}"),
            cell(row, "crps_log_return", "{:.5f}"),
            f"{interval(row, 'skill_pct', '{:+.2f}')} over {row['better_naive']}",
            cell(row, "dm_p_value", "{:.3f}"),
            " / ".join(cell(row, f"coverage_{band}", "{:.1%}") for band in (50, 80, 90)),
            cell(row, "width_80_log_return", "{:.3f}"),
            cell(row, "calibration_error", "{:.3f}"),
            interval(row, "direction_hit_rate", "{:.1%}"),
            interval(row, "sharpe", "{:.2f}"),
            cell(row, "mape_pct", "{:.2f}"),
            cell(row, "rmse_cents_lb", "{:.2f}"),
        )
        for row in _records(board.dropna(subset=["pinball_log_return"]).sort_values("pinball_log_return"))
    ]
    head = ["family", "origins", "from, to", "pinball", "CRPS", "skill %", "DM p", "50 / 80 / 90% bands covered"]
    head += ["80% width", "calibration error", "direction", "Sharpe", "MAPE %", "RMSE"]
    return table(head, rows)


def aspiration_table(board: pd.DataFrame, aspirations: Aspirations) -> str:
    """Each aspiration per horizon: for the ensemble and the promoted family, and how many others meet it."""
    words = {True: "met", False: "not met", None: "not measured"}
    rows = []
    for horizon, there in board.groupby("horizon", sort=False):
        others = dict.fromkeys(ASPIRED, 0)
        for row in _records(there):
            met = aspirations_met(row, aspirations)
            if row["family"] == ENSEMBLE or row["champion"]:
                cells = (f"{cell(row, name, form)}: {words[met[name]]}" for name, (_, form) in ASPIRED.items())
                rows.append((horizon, f"{row['family']}{' (promoted)' if row['champion'] else ''}", *cells))
            if row["family"] != ENSEMBLE:
                others = {name: count + (met[name] is True) for name, count in others.items()}
        rows.append((horizon, "families beside the ensemble that meet it", *others.values()))
    limits = {name.rpartition("_")[0]: (name.rpartition("_")[2], at) for name, at in aspirations.model_dump().items()}
    head = [f"{title} {limits[name][0]} {form.format(limits[name][1])}" for name, (title, form) in ASPIRED.items()]
    return table(["horizon", "family", *head], rows)


def slice_table(slices: pd.DataFrame, horizons: Sequence[str], *, name: str) -> str:
    """Skill with its interval and the 80% band's coverage: one row per slice, ordered by time.

    Args:
        slices: rows of tasks.evaluation.comparison.sliced of one family per horizon, with ``horizon``.
    """
    begun = slices.groupby("slice")["first_origin"].min()

    def skill(row: Row) -> str:
        return f"{interval(row, 'skill_pct', '{:+.1f}')}, {cell(row, 'coverage_80', '{:.0%}')}"

    order = sorted(begun.index, key=lambda part: (begun[part], part))
    return table([name, *horizons], by_horizon(slices, "slice", order, horizons, skill))


def skill_table(boards: Mapping[str, pd.DataFrame], horizons: Sequence[str]) -> str:
    """Skill with its interval and the 80% band's coverage: one row per family, one column per horizon."""
    frames = [board.assign(slice=board["family"], horizon=horizon) for horizon, board in boards.items() if len(board)]
    return slice_table(pd.concat(frames), horizons, name="family") if frames else table([], [])


def by_horizon(
    frame: pd.DataFrame, name: str, order: Iterable[object], horizons: Sequence[str], text: Callable[[Row], str]
) -> list[list[str]]:
    """Rows of a table with one column per horizon; "none" if the frame has no row of a name and horizon."""
    rows = {(row[name], row["horizon"]): text(row) for row in _records(frame)}
    return [[str(one), *(rows.get((one, horizon), "none") for horizon in horizons)] for one in order]


def cell(row: Row, name: str, form: str) -> str:
    """A figure of a row; "none" if it was not measured."""
    return shown(row.get(name), form)


def interval(row: Row, name: str, form: str) -> str:
    """A figure with its 90% interval, if it has one."""
    low, high = cell(row, f"{name}_low", form), cell(row, f"{name}_high", form)
    return cell(row, name, form) + ("" if low == "none" else f" ({low} to {high})")


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _skills(frame: pd.DataFrame) -> str:
    return _listed(f"{row['family']} {row['skill_pct']:+.2f}" for row in _records(frame))


def _listed(parts: Iterable[object]) -> str:
    return ", ".join(map(str, parts)) or "none"
