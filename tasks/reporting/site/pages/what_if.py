"""What if: the scenarios, their analogues, and a response surface that the browser reads."""

from __future__ import annotations

from tasks.reporting.site.figures import grouped, rows_of
from tasks.reporting.site.frames import Content, Frames

VIEWS = ("api.vw_scenarios", "api.vw_latest_forecast")


def content(frames: Frames) -> Content:
    """Each scenario with one row per horizon."""
    rows = rows_of("api.vw_scenarios", frames["api.vw_scenarios"], "scenario", "horizon")
    return Content({"scenarios": list(grouped(rows, "scenario"))})
