"""What a person should hear about: sources that failed, series that age, tables that ended, degraded forecasts."""

from __future__ import annotations

import pandas as pd

from tasks.day import InputNotes
from tasks.sources.ingest import Ingested


def raise_alerts(
    ingested: list[Ingested],
    series: pd.DataFrame,
    forecasts: pd.DataFrame,
    *,
    notices: tuple[str, ...] = (),
    ended: dict[str, str] | None = None,
    inputs: InputNotes | None = None,
    gates: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Rows ``kind, subject, level, message`` of ``ops.alerts``.

    ``ended``: tables kept by hand that end too early. ``inputs``: what was set aside and what stands in. ``gates``:
    every gate's results; of a run that published, one that blocks is PRE_TRAINING on a day that trained nothing.
    """
    rows = [
        {"kind": "source", "subject": came.source, "level": "warning", "message": f"{came.status}: {came.message}"}
        for came in ingested
        if (came.status in ("partial", "failed") or came.beside) and not came.no_network
    ]
    offline = [came for came in ingested if came.no_network]
    if offline:
        message = f"{offline[0].message.partition(': ')[2]} ({len(offline)} sources were not reached)"
        rows.append({"kind": "source", "subject": "network", "level": "warning", "message": message})
    # that a source is disabled or was never recorded is no news: the table of sources says so on every run
    quiet = {came.source for came in ingested if came.status in ("disabled", "ended") or came.not_recorded}
    for source, part in series.groupby("source", sort=False):
        stale = part[part["age_days"] > part["stale_limit_days"]]
        unheld = part[(part["observations"] == 0) & (source not in quiet)]
        for kind, found, what in (("stale", stale, "nothing new"), ("missing", unheld, "nothing at all")):
            if len(found):
                message = f"{len(found)} of {len(part)} series have {what}: {', '.join(found['series'])}"
                rows.append({"kind": kind, "subject": str(source), "level": "warning", "message": message})
    for table, told in (ended or {}).items():
        rows.append({"kind": "table", "subject": table, "level": "warning", "message": told})
    for row in forecasts[forecasts["degraded"]].to_dict("records"):
        rows.append(
            {"kind": "degraded", "subject": row["horizon"], "level": "warning", "message": row["degraded_reason"]}
        )
    rows += [
        {"kind": "input", "subject": subject, "level": "warning", "message": told}
        for subject, told in (inputs.lines() if inputs else ())
    ]
    if gates is not None:
        blocked = gates[~gates["success"].astype(bool) & (gates["on_fail"] == "block")]
        for gate, part in blocked.groupby("gate", sort=False):
            told = f"{len(part)} expectations stop the next training: {'; '.join(part['reason'])}"
            rows.append({"kind": "gate", "subject": str(gate), "level": "warning", "message": told})
    rows += [{"kind": "models", "subject": "model store", "level": "warning", "message": told} for told in notices]
    return pd.DataFrame(rows, columns=["kind", "subject", "level", "message"])
