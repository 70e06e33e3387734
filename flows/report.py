"""A run's outcome as Prefect artifacts: what the terminal shows, in the UI."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from tasks.reporting.summary import RunSummary


def publish_artifacts(summary: RunSummary) -> None:
    """The forecast and coverage tables, the whole report, the gates, and the charts (inline: no file server needed)."""
    from tasks.reporting.terminal import COVERAGE_TITLE, gates_markdown, markdown

    title = f"ZL as of {summary.as_of:%Y-%m-%d}"
    create_table_artifact(
        key="zl-forecast",
        table=[{str(k): v for k, v in row.items()} for row in summary.forecast_table().to_dict("records")],
        description=title,
    )
    create_table_artifact(
        key="feature-coverage",
        table=[{str(k): v for k, v in row.items()} for row in summary.coverage_table().to_dict("records")],
        description=f"{COVERAGE_TITLE}, as of {summary.as_of:%Y-%m-%d}",
    )
    create_markdown_artifact(key="zl-report", markdown=markdown(summary), description=title)
    create_markdown_artifact(key="zl-gates", markdown=gates_markdown(summary), description=title)
    for key, chart in {"zl-fan-chart": summary.chart, "feature-coverage-chart": summary.coverage_chart}.items():
        _publish_picture(key, chart, title)


def publish_leaderboard(board: pd.DataFrame, figure: Path | None, *, title: str) -> None:
    """The bake-off's leaderboard as a table of every figure, and its picture where something was measured."""
    rows = json.loads(board.to_json(orient="records", date_format="iso", double_precision=15))  # NaN becomes null
    create_table_artifact(key="zl-leaderboard", table=rows, description=title)
    if figure is not None:
        _publish_picture("zl-leaderboard-chart", figure, title)


def _publish_picture(key: str, picture: Path, title: str) -> None:
    """Inline, as base64."""
    held = base64.b64encode(picture.read_bytes()).decode()
    create_image_artifact(key=key, image_url=f"data:image/png;base64,{held}", description=title)
