"""The daily run on the recorded archive, cold (empty home, training included) and warm (the same home again).

Peer of the warm run: the cold one. Both start and stop their own Prefect server, whose share is read
from the log's time stamps. A second run must leave every table and view with the rows it had.
"""

from __future__ import annotations

from evidence.inputs import Inputs
from evidence.measurement import BenchError, Measurement
from evidence.page import shown
from evidence.processes import DailyRun

COLD_LIMIT_S, WARM_LIMIT_S, MEMORY_LIMIT_MB = 240, 45, 2048


def measure(inputs: Inputs) -> list[Measurement]:
    code = inputs.code
    cold, warm = inputs.first_run, inputs.second_run
    if inputs.code != code:
        raise BenchError("the code was edited during the daily runs, so the warm one was not warm: measure again")
    differing = sorted(
        name
        for name in cold.row_counts.keys() | warm.row_counts.keys()
        if cold.row_counts.get(name) != warm.row_counts.get(name)
    )
    rows = sum(warm.row_counts.values())
    return [
        Measurement("daily run, cold", cold.wall_s, "s", COLD_LIMIT_S, note=f"one run; {_server(cold)}"),
        Measurement("daily run, cold: peak memory", cold.peak_mb, "MB", note="with its children, shared pages twice"),
        Measurement(
            "daily run, warm",
            warm.wall_s,
            "s",
            WARM_LIMIT_S,
            peer=f"the cold run, {cold.wall_s:.1f} s",
            ratio=warm.wall_s / cold.wall_s,
            note=f"one run; {_server(warm)}",
        ),
        Measurement(
            "daily run, warm: peak memory",
            warm.peak_mb,
            "MB",
            MEMORY_LIMIT_MB,
            peer=f"the cold run, {cold.peak_mb:.0f} MB",
            ratio=warm.peak_mb / cold.peak_mb,
            note="with its children, shared pages twice",
        ),
        Measurement(
            "daily run, warm: tables and views whose row count changed",
            len(differing),
            "",
            0,
            note=f"changed: {', '.join(differing) or 'none'}; {rows:,} rows after the warm run",
        ),
    ]


def _server(run: DailyRun) -> str:
    """The server's share of a run: from its start to the flow's start, and from its stop to the end."""
    start, stop = shown(run.prefect_start_s, "{:.1f} s"), shown(run.prefect_stop_s, "{:.1f} s")
    return f"of it the start of Prefect's server {start}, its stop {stop}"
