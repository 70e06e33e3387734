"""What a leaderboard says, in sentences and Markdown tables. Every sentence is chosen by the figures it tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from tasks.evaluation.promotion import aspirations_met
from tasks.models.catalogue import BASELINE, ENSEMBLE, is_joint
from tasks.registry import Aspirations

COVERAGE_WANTED = (0.77, 0.83)  # of the 80% band: what the ensemble is to hold
ASPIRED = {
    "mape_pct": ("MAPE", "{:.1f}%"),
    "sharpe": ("Sharpe", "{:.2f}"),
    "direction_hit_rate": ("Direction", "{:.1%}"),
    "calibration_error": ("Calibration error", "{:.3f}"),
}
CHOSEN_WITHOUT = "docs/decisions/0010-scale-and-ensemble.md"


def findings(board: pd.DataFrame, aspirations: Aspirations, *, promotes: bool) -> list[str]:
    """The leaderboard in plain words.

    Args:
        board: tasks.model_store.contest.compare of one run. promotes: whether its budget may promote.
    """
    horizons = list(dict.fromkeys(board["horizon"]))
    rows = board[board["family"] == ENSEMBLE].dropna(subset=["skill_pct"])
    told = _about_ensemble(rows, board, horizons) if len(rows) else ["There is no ensemble: no two members have fits."]
    told.append(_best(board, horizons))
    nets = board[[is_joint(family) for family in board["family"]]].dropna(subset=["skill_pct"])
    if len(nets):
        ahead = nets[nets["skill_pct"] > 0]
        certain = ahead[ahead["skill_pct_low"] > 0]
        told.append(
            f"Of {len(nets)} nets and horizons {len(ahead)} lose less than the better naive of their origins"
            + (f" ({_listed(ahead, 'skill_pct', '{:+.2f}%')})" if len(ahead) else "")
            + f"; {len(certain) or 'none'} with a 90% interval above zero."
        )
    told += _aspired(board, aspirations, horizons)
    if not promotes:
        told.append("This budget has too few folds to promote anything.")
    else:
        served = board[board["champion"]].set_index("horizon")["family"]
        models = {h: served[h] for h in horizons if h in served and served[h] != BASELINE}
        base = [h for h in horizons if h not in models]
        parts = [", ".join(f"{family} at {h}" for h, family in models.items())] if models else []
        parts += [f"{BASELINE}, because nothing else met the gates, at {', '.join(base)}"] if base else []
        told.append(f"Promoted: {'; '.join(parts)}.")
    return told


def _about_ensemble(rows: pd.DataFrame, board: pd.DataFrame, horizons: Sequence[str]) -> list[str]:
    below, certain = rows[rows["skill_pct"] > 0], rows[rows["skill_pct_low"] > 0]
    told = [
        f"The ensemble's pinball loss is below the better naive's at {_of(below, horizons)}; the 90% interval of its "
        f"skill lies above zero at {_of(certain, horizons)}."
    ]
    short = rows[~(rows["skill_pct"] > 0)]
    for row in short.to_dict("records"):
        there = board[(board["horizon"] == row["horizon"]) & (board["family"] != ENSEMBLE)]
        ahead = there[there["skill_pct"] > 0].sort_values("skill_pct", ascending=False)
        told.append(
            f"Not reached at {row['horizon']}: the ensemble's skill over {row['better_naive']} is "
            f"{row['skill_pct']:+.2f}%. Tried there: {len(there)} families (below; {CHOSEN_WITHOUT} has what was tried "
            f"and left); "
            + (
                f"{', '.join(f'{r.family} ({r.skill_pct:+.2f}%)' for r in ahead.itertuples())} lost less."
                if len(ahead)
                else "none lost less than the naive."
            )
        )
    low, high = COVERAGE_WANTED
    inside = rows["coverage_80"].between(low, high)
    sentence = (
        f"Its 80% band held between {low:.0%} and {high:.0%} of the outcomes at {_of(rows[inside], horizons)}"
        f"{'' if inside.all() else f', not at {_listed_by_horizon(rows[~inside])}'}."
    )
    return [*told, sentence]


def _best(board: pd.DataFrame, horizons: Sequence[str]) -> str:
    """The lowest loss among families with the most origins: losses of other years are not comparable."""
    parts = []
    for horizon in horizons:
        there = board[board["horizon"] == horizon].dropna(subset=["pinball_log_return"])
        most = there[there["origins"] == there["origins"].max()]
        if len(most):
            best = most.loc[most["pinball_log_return"].idxmin()]
            parts.append(f"{best['family']} at {horizon} ({best['skill_pct']:+.2f}%)")
    return f"The lowest pinball loss, among the families with the most origins: {', '.join(parts)}."


def _aspired(board: pd.DataFrame, aspirations: Aspirations, horizons: Sequence[str]) -> list[str]:
    limits = aspirations.model_dump()
    told = []
    for figure, (title, form) in ASPIRED.items():
        name = next(name for name in limits if name.startswith(figure))
        limit = f"{title} {name.rpartition('_')[2]} {form.format(limits[name])}"
        met = board[[aspirations_met(row, aspirations)[figure] is True for row in _records(board)]]
        ensemble = met[met["family"] == ENSEMBLE]
        others = met[met["family"] != ENSEMBLE]
        told.append(
            f"{limit}: met by the ensemble at {_of(ensemble, horizons)}"
            + (f"; by others at {_listed_families(others, horizons)}." if len(others) else "; by no other family.")
        )
    return told


def leaderboard_table(board: pd.DataFrame) -> list[str]:
    """One horizon's families, the lowest loss first."""
    rows = [
        [
            f"**{row['family']}**" if row["champion"] else str(row["family"]),
            _cell(row, "origins", "{:.0f}"),
            f"{str(row['first_origin'])[:7]} to {str(row['last_origin'])[:7]}",
            _cell(row, "pinball_log_return", "{:.5f}"),
            _cell(row, "crps_log_return", "{:.5f}"),
            f"{_interval(row, 'skill_pct', '{:+.2f}')} over {row['better_naive']}",
            _cell(row, "dm_p_value", "{:.3f}"),
            " / ".join(_cell(row, f"coverage_{band}", "{:.1%}") for band in (50, 80, 90)),
            _cell(row, "width_80_log_return", "{:.3f}"),
            _cell(row, "calibration_error", "{:.3f}"),
            _interval(row, "direction_hit_rate", "{:.1%}"),
            _interval(row, "sharpe", "{:.2f}"),
            _cell(row, "mape_pct", "{:.2f}"),
            _cell(row, "rmse_cents_lb", "{:.2f}"),
        ]
        for row in _records(board.dropna(subset=["pinball_log_return"]).sort_values("pinball_log_return"))
    ]
    head = ["family", "origins", "from, to", "pinball", "CRPS", "skill %", "DM p", "50 / 80 / 90% bands held"]
    head += ["80% width", "calibration error", "direction", "Sharpe", "MAPE %", "RMSE"]
    return table(head, rows)


def aspiration_table(board: pd.DataFrame, aspirations: Aspirations) -> list[str]:
    """Each aspiration of the ensemble and of what is promoted, per horizon: the figure, met or not."""
    rows = []
    for row in _records(board[(board["family"] == ENSEMBLE) | board["champion"]]):
        met = aspirations_met(row, aspirations)
        words = {True: "met", False: "not met", None: "not measured"}
        rows.append(
            [
                str(row["horizon"]),
                f"{row['family']}{' (promoted)' if row['champion'] else ''}",
                *(f"{_cell(row, name, form)}: {words[met[name]]}" for name, (_, form) in ASPIRED.items()),
            ]
        )
    limits = aspirations.model_dump()
    named = {name: next(full for full in limits if full.startswith(name)) for name in ASPIRED}
    head = [
        f"{title} {named[name].rpartition('_')[2]} {form.format(limits[named[name]])}"
        for name, (title, form) in ASPIRED.items()
    ]
    return table(["horizon", "family", *head], rows)


def slice_table(slices: pd.DataFrame, horizons: Sequence[str], *, name: str) -> list[str]:
    """Skill with its interval and the 80% band's coverage, a row a slice, in order of time, and a column a horizon.

    Args:
        slices: rows of tasks.evaluation.comparison.sliced of one family a horizon, with ``horizon``.
    """
    held = {(row["slice"], row["horizon"]): row for row in _records(slices)}
    begun = slices.groupby("slice")["first_origin"].min()
    rows = [
        [
            part,
            *(
                f"{_interval(held[part, h], 'skill_pct', '{:+.1f}')}, {_cell(held[part, h], 'coverage_80', '{:.0%}')}"
                if (part, h) in held
                else "none"
                for h in horizons
            ),
        ]
        for part in sorted(begun.index, key=lambda part: (begun[part], part))
    ]
    return table([name, *horizons], rows)


def skill_table(boards: Mapping[str, pd.DataFrame], horizons: Sequence[str]) -> list[str]:
    """Skill with its interval and the 80% band's coverage, a row a family and a column a horizon."""
    frames = [board.assign(slice=board["family"], horizon=horizon) for horizon, board in boards.items() if len(board)]
    return slice_table(pd.concat(frames), horizons, name="family") if frames else ["None.", ""]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, with an empty one after it; "None." without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ["None.", ""]
    return [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |", *lines, ""]


def _records(board: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in board.to_dict("records")]


def _of(rows: pd.DataFrame, horizons: Sequence[str]) -> str:
    named = [horizon for horizon in horizons if horizon in set(rows["horizon"])]
    return f"{len(named)} of {len(horizons)} horizons" + (f" ({', '.join(named)})" if named else "")


def _listed(rows: pd.DataFrame, figure: str, form: str) -> str:
    return ", ".join(f"{row['family']} at {row['horizon']} {form.format(row[figure])}" for row in _records(rows))


def _listed_families(rows: pd.DataFrame, horizons: Sequence[str]) -> str:
    counts = rows.groupby("horizon")["family"].nunique()
    return ", ".join(f"{h} ({counts[h]})" for h in horizons if h in counts)


def _listed_by_horizon(rows: pd.DataFrame) -> str:
    return ", ".join(f"{row['horizon']} ({_cell(row, 'coverage_80', '{:.1%}')})" for row in _records(rows))


def _cell(row: Mapping[str, Any], name: str, form: str) -> str:
    value = row.get(name)
    return "none" if value is None or pd.isna(value) else form.format(value)


def _interval(row: Mapping[str, Any], name: str, form: str) -> str:
    low, high = _cell(row, f"{name}_low", form), _cell(row, f"{name}_high", form)
    return _cell(row, name, form) + ("" if low == "none" else f" ({low} to {high})")
