"""Alerts: those of today, and those before."""

from __future__ import annotations

from tasks.reporting.alert_list import ORDER
from tasks.reporting.site.figures import Row, rows_of
from tasks.reporting.site.frames import Content, Frames

VIEWS = ("api.vw_alerts",)
PAST_SHOWN = 200


def content(frames: Frames) -> Content:
    """Current alerts first, the most severe first."""
    rows = rows_of("api.vw_alerts", frames["api.vw_alerts"], "as_of", "kind", "subject")
    past = [row for row in rows if not row["is_current"]]
    return Content(
        {
            "current": sorted((row for row in rows if row["is_current"]), key=_rank),
            "past": past[:PAST_SHOWN],
            "left_out": max(0, len(past) - PAST_SHOWN),
        }
    )


def _rank(row: Row) -> int:
    return ORDER.get(row["level"], len(ORDER))
