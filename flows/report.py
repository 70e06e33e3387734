"""The result of a run as Prefect artifacts: the terminal's content, in the UI."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, cast

from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

from tasks.secrets import redact, redact_values

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from tasks.outcome import DayResult

LEADERBOARD = (
    "horizon",
    "family",
    "champion",
    "skill_pct",
    "skill_pct_low",
    "skill_pct_high",
    "coverage_80",
    "mape_pct",
    "pinball_log_return",
    "origins",
    "refusal",
)


def publish_artifacts(result: DayResult, brief: str = "", *, site: Path) -> None:
    """The brief first, then fan, drivers, gates, alerts, and the tables behind them; each with its own caption.

    Charts are inline: no file server is needed.

    Args:
        brief: as Markdown; without one the whole report stands first. site: the folder of the pages; a caption names
            the page that shows more.
    """
    from tasks.reporting.day_tables import coverage_table, driver_table, forecast_table
    from tasks.reporting.terminal import COVERAGE_TITLE, DRIVERS_TITLE, gates_markdown, markdown

    day, pages = f"as of {result.as_of:%Y-%m-%d}", result.pages
    if brief:
        publish_markdown("zl-brief", brief, f"The brief {day}: `cbi brief` writes it as one page; site: {site}")
    publish_table("zl-forecast", forecast_table(result), f"Forecast in cents/lb, {day}; page: {site / 'index.html'}")
    if pages:
        _publish_picture("zl-fan-chart", pages.fan_chart, f"Two years of ZL and the bands of the forecast, {day}")
    drivers = driver_table(result)
    if len(drivers):
        publish_table("zl-drivers", drivers, f"{DRIVERS_TITLE}, {day}; page: {site / 'why.html'}")
    gates = f"Gates: what was met and what was not, {day}; page: {site / 'data.html'}"
    publish_markdown("zl-gates", gates_markdown(result), gates)
    listed = result.alerts[["level", "kind", "subject", "message"]]
    alerts = f"Alerts {day}; `cbi alerts list` shows what is open; page: {site / 'alerts.html'}"
    publish_table("zl-alerts", listed, alerts)
    publish_markdown("zl-report", markdown(result), f"Every table of the run, {day}")
    publish_table("feature-coverage", coverage_table(result), f"{COVERAGE_TITLE}, {day}")
    if pages:
        _publish_picture("feature-coverage-chart", pages.coverage_chart, f"{COVERAGE_TITLE}, {day}")


def emit_alerts(raised: pd.DataFrame) -> None:
    """One Prefect event `cbi.alert.raised` per alert that was raised, for automations; without secrets."""
    from prefect.context import FlowRunContext, TaskRunContext
    from prefect.events import emit_event

    if not (FlowRunContext.get() or TaskRunContext.get()):  # without a server an event goes nowhere
        return
    for row in raised.to_dict("records"):
        words = {name: redact(str(row[name])) for name in ("kind", "subject", "level", "message")}
        name = f"cbi.alert.{words['kind']}.{words['subject']}"
        emit_event("cbi.alert.raised", resource={"prefect.resource.id": name}, payload=words)


def publish_leaderboard(board: pd.DataFrame, figure: Path | None, *, title: str) -> None:
    """The bake-off's leaderboard as the columns that a reader compares, and its figure if something was measured.

    Every figure is in ``performance.leaderboard``.
    """
    shown = board[[name for name in LEADERBOARD if name in board]]
    publish_table("zl-leaderboard", shown, f"{title}; every figure: performance.leaderboard")
    if figure is not None:
        _publish_picture("zl-leaderboard-chart", figure, title)


def publish_table(key: str, frame: pd.DataFrame, title: str) -> None:
    """A frame as an artifact. Everyone with the UI can read artifacts: secrets are removed."""
    rows = json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))  # NaN becomes null
    create_table_artifact(key=key, table=cast("Any", redact_values(rows)), description=redact(title))


def publish_markdown(key: str, text: str, title: str) -> None:
    """A page of text as an artifact, without secrets."""
    create_markdown_artifact(key=key, markdown=redact(text), description=redact(title))


def _publish_picture(key: str, picture: Path, title: str) -> None:
    """Inline, as base64."""
    encoded = base64.b64encode(picture.read_bytes()).decode()
    create_image_artifact(key=key, image_url=f"data:image/png;base64,{encoded}", description=title)
