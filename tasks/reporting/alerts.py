"""What a person should hear about: sources that failed, series that age, forecasts that are degraded."""

from __future__ import annotations

import pandas as pd

from tasks.sources.ingest import Ingested


def raise_alerts(ingested: list[Ingested], series: pd.DataFrame, forecasts: pd.DataFrame) -> pd.DataFrame:
    """Rows ``kind, subject, level, message`` of ``ops.alerts``."""
    rows = [
        {"kind": "source", "subject": came.source, "level": "warning", "message": f"{came.status}: {came.message}"}
        for came in ingested
        if came.status not in ("ok", "disabled")
    ]
    disabled = {came.source for came in ingested if came.status == "disabled"}
    for source, part in series.groupby("source", sort=False):
        if source in disabled and part["age_days"].isna().all():
            continue
        stale = part[(part["age_days"] > part["stale_limit_days"]) | part["age_days"].isna()]
        if len(stale):
            names = ", ".join(stale["series"])
            rows.append(
                {
                    "kind": "stale",
                    "subject": str(source),
                    "level": "warning",
                    "message": f"{len(stale)} of {len(part)} series have nothing new or nothing at all: {names}",
                }
            )
    for row in forecasts[forecasts["degraded"]].to_dict("records"):
        rows.append(
            {"kind": "degraded", "subject": row["horizon"], "level": "warning", "message": row["degraded_reason"]}
        )
    return pd.DataFrame(rows, columns=["kind", "subject", "level", "message"])
