"""What if: the scenarios, their analogues, and a response surface that the browser reads."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tasks.reporting.site.figures import Row, grouped, rows_of
from tasks.reporting.site.frames import Content, Frames
from tasks.reporting.site.words import horizon_title

VIEWS = (
    "api.vw_scenarios",
    "api.vw_latest_forecast",
    "api.vw_surface",
    "api.vw_surface_reactions",
    "api.vw_surface_checks",
)
TODAY, EVERY = "today", "every"
PRICES = ["p10", "p50", "p90"]


def content(frames: Frames) -> Content:
    """Each scenario with one row per horizon; the surface as tables, and as data for the sliders."""
    rows = rows_of("api.vw_scenarios", frames["api.vw_scenarios"], "scenario", "horizon")
    surface, reactions = frames["api.vw_surface"], frames["api.vw_surface_reactions"]
    known = rows_of("api.vw_surface", surface, "horizon", "point")
    today = [row for row in known if row["point"] == TODAY]
    inputs = _inputs(reactions)
    moving = [name for name, reacting in inputs.items() if reacting]
    values = {
        "scenarios": list(grouped(rows, "scenario")),
        "today": today,
        "by_curve": all(str(row["model_version"]).startswith("curve/") for row in today),
        "missing": [row for row in known if row["horizon"] == EVERY],
        "inputs": {name: _reaction(reactions, name) for name in inputs},
        "moving": moving,
        "still": [name for name in inputs if name not in moving],
        "unmoved": [row for row in today if row.has("p50") and row["horizon"] not in _moved(reactions)],
        "alone": {name: _levels(known, name) for name in moving},
        "pairs": list(grouped([row for row in known if row["other_input"] is not None], "point")),
        "checks": rows_of("api.vw_surface_checks", frames["api.vw_surface_checks"], "horizon"),
        "surface": _data(surface, moving) if moving else None,
    }
    return Content(values)


def _inputs(reactions: pd.DataFrame) -> dict[str, bool]:
    """The inputs that have a value, and whether any horizon reacts to each."""
    if reactions.empty:
        return {}
    known = reactions[reactions["horizon"] != EVERY]
    return {
        str(name): bool((part["largest_change_cents_lb"] > 0).any())
        for name, part in known.groupby("input", sort=False)
    }


def _moved(reactions: pd.DataFrame) -> set[str]:
    """The horizons that react to any input."""
    return set(reactions.loc[reactions["largest_change_cents_lb"] > 0, "horizon"]) if len(reactions) else set()


def _reaction(reactions: pd.DataFrame, name: str) -> Row:
    """The input's row at the horizon that it moves most."""
    part = reactions[(reactions["input"] == name) & (reactions["horizon"] != EVERY)]
    part = part.sort_values("largest_change_cents_lb", ascending=False, kind="stable")
    return rows_of("api.vw_surface_reactions", part, "horizon", "input")[0]


def _levels(known: list[Row], name: str) -> list[tuple[float, list[Row]]]:
    """By move, the answers of each horizon with that input moved alone."""
    own = [row for row in known if row["input"] == name and row["other_input"] is None and row["horizon"] != EVERY]
    return sorted(grouped(own, "move"), key=lambda entry: float(entry[0]))


def _data(surface: pd.DataFrame, moving: list[str]) -> dict[str, Any]:
    """The points for the sliders: by horizon, `[[input, move, …], [p10, p50, p90] or null]`."""
    found: dict[str, Any] = {}
    for row in surface[(surface["horizon"] != EVERY) & surface["surface"].notna()].to_dict("records"):
        moved = [(row["input"], row["move"]), (row["other_input"], row["other_move"])]
        point = [[name, float(move)] for name, move in moved if isinstance(name, str)]
        if all(name in moving for name, _ in point):
            prices = [float(row[name]) for name in PRICES]
            entry = found.setdefault(row["horizon"], {"title": horizon_title(row["horizon"]), "points": []})
            entry["points"].append([point, None if any(pd.isna(prices)) else prices])
    return found
