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


def publish_artifacts(result: DayResult) -> None:
    """The forecast and coverage tables, the whole report, the gates, and the charts (inline: no file server needed)."""
    from tasks.reporting.day_tables import coverage_table, forecast_table
    from tasks.reporting.terminal import COVERAGE_TITLE, gates_markdown, markdown

    title = f"ZL as of {result.as_of:%Y-%m-%d}"
    publish_table("zl-forecast", forecast_table(result), title)
    publish_table("feature-coverage", coverage_table(result), f"{COVERAGE_TITLE}, as of {result.as_of:%Y-%m-%d}")
    publish_markdown("zl-report", markdown(result), title)
    publish_markdown("zl-gates", gates_markdown(result), title)
    if result.pages:
        _publish_picture("zl-fan-chart", result.pages.fan_chart, title)
        _publish_picture("feature-coverage-chart", result.pages.coverage_chart, title)


def emit_alerts(raised: pd.DataFrame) -> None:
    """One Prefect event `cbi.alert.raised` per alert that was raised, for automations; without secrets."""
    from prefect.events import emit_event

    for row in raised.to_dict("records"):
        words = {name: redact(str(row[name])) for name in ("kind", "subject", "level", "message")}
        name = f"cbi.alert.{words['kind']}.{words['subject']}"
        emit_event("cbi.alert.raised", resource={"prefect.resource.id": name}, payload=words)


def publish_leaderboard(board: pd.DataFrame, figure: Path | None, *, title: str) -> None:
    """The bake-off's leaderboard as a table of every figure, and its figure if something was measured."""
    publish_table("zl-leaderboard", board, title)
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
