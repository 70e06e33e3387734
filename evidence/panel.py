"""The point-in-time panel from all staged observations of the archive (tasks.panel.join.build_panel).

Peer: plain pandas, one `merge_asof` per column on the publication instant, which also respects
`available_at`, the newest vintage and the age limit. The two panels are equal cell by cell (asserted).
"""

from __future__ import annotations

import pandas as pd

from evidence.inputs import AS_OF, Inputs
from evidence.measurement import Measurement, in_turns
from evidence.processes import PeakMemory
from tasks.calendar import as_of_instants, sessions
from tasks.panel.join import AGE, build_panel, value_columns
from tasks.registry import JoinSpec

LIMIT_S, MEMORY_LIMIT_MB, REPEATS = 5, 2048, 3


def measure(inputs: Inputs) -> list[Measurement]:
    observations, joins = inputs.observations, inputs.run.joins
    with PeakMemory() as memory:
        build_panel(observations, joins, as_of=AS_OF)
    (own, panel), (other, expected) = in_turns(
        lambda: build_panel(observations, joins, as_of=AS_OF),
        lambda: merge_each_column(observations, joins, as_of=AS_OF),
        repeats=REPEATS,
    )
    pd.testing.assert_frame_equal(panel, expected, check_exact=True)
    columns = len(value_columns(panel))
    return [
        Measurement(
            "panel of all observations",
            own,
            "s",
            LIMIT_S,
            peer=f"one merge_asof a column, {other:.2f} s; equal cell by cell (asserted)",
            ratio=own / other,
            note=f"{len(observations):,} observations, {len(panel):,} sessions x {columns} columns with their ages; "
            f"median of {REPEATS}, in turns",
        ),
        Measurement(
            "panel: peak memory of the process",
            memory.megabytes,
            "MB",
            MEMORY_LIMIT_MB,
            note="sampled while it builds; all that the bench holds counts too",
        ),
    ]


def merge_each_column(observations: pd.DataFrame, spec: JoinSpec, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """The panel by `merge_asof`.

    Rows that publish an older observation than one already published are dropped first: a late revision of last month
    must not replace this month.
    """
    days = sessions(last=as_of)
    rows = pd.DataFrame({"date": days, "as_of_instant": as_of_instants(days)})
    groups = {key: part for key, part in observations.groupby(["source", "series", "field"], observed=True)}
    nothing = pd.Series(float("nan"), index=rows.index)
    columns, ages = {}, {}
    for join in spec.joins:
        for column, target in join.columns.items():
            series, _, field = target.rpartition(".")
            part = groups.get((join.source, series, field))
            if part is None:
                columns[column], ages[column + AGE] = nothing, nothing
                continue
            if join.in_force:
                noon = part["observation_date"].dt.tz_localize("UTC") + pd.Timedelta(hours=12)
                part = part.assign(available_at=part["available_at"].where(part["available_at"] > noon, noon))
            part = part.sort_values(["available_at", "observation_date", "vintage"])
            part = part[part["observation_date"] >= part["observation_date"].cummax()]
            known = pd.merge_asof(
                rows,
                part[["available_at", "observation_date", "value"]],
                left_on="as_of_instant",
                right_on="available_at",
            )
            age = (known["date"] - known["observation_date"]).dt.days.astype("float64")
            columns[column], ages[column + AGE] = known["value"].where(age <= join.max_age_days), age
    return pd.concat([rows, pd.DataFrame(columns), pd.DataFrame(ages)], axis=1)
