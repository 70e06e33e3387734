"""The state of every source, read from the zones: nothing is asked of anyone, nothing is written."""

from __future__ import annotations

import pandas as pd

from tasks.registry import DataSources
from tasks.reporting.summary import source_table
from tasks.sources.ingest import why_disabled
from tasks.sources.payloads import landed
from tasks.staging.gather import gather
from tasks.staging.stage import nothing_staged, read_staged
from tasks.staging.summary import summarise_series
from tasks.zones import Zones


def source_health(zones: Zones, sources: DataSources, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """One row a source: ``source, priority, state, observations, series, first, last, stale, last_fetch``.

    ``state`` is ok, stale (with the number of series), nothing held, or disabled with the key that it needs; it begins
    with ``critical`` where a series without which there is no forecast is stale or missing.
    """
    staged = [held for held in (read_staged(zones, name) for name in sources.sources) if held is not None]
    series = summarise_series(sources, *gather(staged or [nothing_staged()], as_of=as_of), as_of=as_of)
    table = source_table(series, sources.sources).set_index("source").to_dict("index")
    lost = series[series["critical"] & ~(series["age_days"] <= series["stale_limit_days"])]
    rows = []
    for name, spec in sources.sources.items():
        held, fetches = table[name], [payload.fetched_at for payload in landed(zones, name)]
        state = (
            f"stale: {held['stale']} series" if held["stale"] else "ok" if held["last"] != "none" else "nothing held"
        )
        if disabled := why_disabled(spec):
            state = f"disabled: {disabled}; {state}"
        if name in set(lost["source"]):
            state = f"critical: {', '.join(lost.loc[lost['source'] == name, 'series'])}; {state}"
        rows.append(
            {
                "source": name,
                "priority": spec.priority,
                "state": state,
                **{key: held[key] for key in ("observations", "series", "first", "last")},
                "last_fetch": f"{max(fetches):%Y-%m-%d}" if fetches else "never",
            }
        )
    return pd.DataFrame(rows)
