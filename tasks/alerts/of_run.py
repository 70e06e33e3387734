"""Alerts: sources that failed or are paused, stale series, tables that ended, degraded forecasts."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from tasks.day import InputNotes
from tasks.sources.ingest import Ingested


def raise_alerts(
    ingested: list[Ingested],
    series: pd.DataFrame,
    forecasts: pd.DataFrame,
    *,
    notices: tuple[str, ...] = (),
    unexplained: tuple[str, ...] = (),
    thin: str = "",
    ended: dict[str, str] | None = None,
    inputs: InputNotes | None = None,
    gates: pd.DataFrame | None = None,
    out_of_control: Mapping[str, str] | None = None,
    decision: tuple[str, ...] = (),
) -> pd.DataFrame:
    """Rows ``kind, subject, level, message`` of ``ops.alerts``.

    ``unexplained``: parts of the explanations that failed, and why. ``thin``: why the front contract's price is thin.
    ``ended``: tables kept by hand that end too early. ``inputs``: inputs that were set aside or replaced. ``gates``:
    the results of every gate. In a run that published, only PRE_TRAINING can block, on a day without training.
    ``out_of_control``: by horizon, why its champion was replaced. ``decision``: why a need has no decision.
    """
    rows = [
        {"kind": "source", "subject": one.source, "level": "warning", "message": f"{one.status}: {one.message}"}
        for one in ingested
        if (one.status in ("partial", "failed") or one.beside) and not one.no_network
    ]
    offline = [one for one in ingested if one.no_network]
    if offline:
        message = f"{offline[0].message.partition(': ')[2]} ({len(offline)} sources were not reached)"
        rows.append({"kind": "source", "subject": "network", "level": "warning", "message": message})
    # a paused source is one alert of its own: a person knows that nothing new comes
    paused = {one.source: one.paused for one in ingested if one.paused}
    rows += [{"kind": "paused", "subject": name, "level": "warning", "message": why} for name, why in paused.items()]
    # no alert for a disabled or never recorded source: the table of sources shows it on every run
    quiet = {one.source for one in ingested if one.status in ("disabled", "ended", "paused") or one.not_recorded}
    for source, part in series.groupby("source", sort=False):
        stale = part[(part["age_days"] > part["stale_limit_days"]) & (source not in paused)]
        absent = part[(part["observations"] == 0) & (source not in quiet)]
        for kind, found, what in (("stale", stale, "nothing new"), ("missing", absent, "nothing at all")):
            if len(found):
                message = f"{len(found)} of {len(part)} series have {what}: {', '.join(found['series'])}"
                rows.append({"kind": kind, "subject": str(source), "level": "warning", "message": message})
    for table, text in (ended or {}).items():
        rows.append({"kind": "table", "subject": table, "level": "warning", "message": text})
    for row in forecasts[forecasts["degraded"]].to_dict("records"):
        rows.append(
            {"kind": "degraded", "subject": row["horizon"], "level": "warning", "message": row["degraded_reason"]}
        )
    rows += [
        {"kind": "control", "subject": horizon, "level": "warning", "message": text}
        for horizon, text in (out_of_control or {}).items()
    ]
    if thin:
        rows.append({"kind": "liquidity", "subject": "ZL=F", "level": "warning", "message": thin})
    doubtful = inputs.unconfirmed if inputs else {}
    rows += [
        {
            "kind": "unconfirmed" if subject in doubtful else "input",
            "subject": subject,
            "level": "warning",
            "message": text,
        }
        for subject, text in (inputs.lines() if inputs else ())
    ]
    if gates is not None:
        blocked = gates[~gates["success"].astype(bool) & (gates["on_fail"] == "block")]
        for gate, part in blocked.groupby("gate", sort=False):
            text = f"{len(part)} expectations stop the next training: {'; '.join(part['reason'])}"
            rows.append({"kind": "gate", "subject": str(gate), "level": "warning", "message": text})
    rows += [
        {"kind": "decision", "subject": "registry/decision.yaml", "level": "warning", "message": text}
        for text in decision
    ]
    rows += [{"kind": "models", "subject": "model store", "level": "warning", "message": text} for text in notices]
    # one row per subject: the warehouse has one alert of a kind and subject per session
    rows += [
        {"kind": "explanation", "subject": text.partition(":")[0], "level": "warning", "message": text}
        for text in dict.fromkeys(unexplained)
    ]
    return pd.DataFrame(rows, columns=["kind", "subject", "level", "message"])
