"""Staging the two sources of plain CSV (the most cells of all) from landed payloads: parse, rules, vintages, parquet.

Peer: pandas only reads the same payloads, which is less than staging does: a lower bound. Both
read the same rows (asserted).
"""

from __future__ import annotations

import pandas as pd

from evidence.inputs import AS_OF, Inputs, staged
from evidence.measurement import Measurement, in_turns
from tasks.registry import DataSources
from tasks.sources.payloads import Payload, adapter
from tasks.storage.zones import Zones

REPEATS = 3
PLAIN = ("yahoo", "fred")


def measure(inputs: Inputs) -> list[Measurement]:
    sources = DataSources(sources={name: inputs.run.sources.source(name) for name in PLAIN})
    homes = [Zones(inputs.folder / f"staging-{repeat}") for repeat in range(REPEATS)]
    payloads = [inputs.land(zones, sources) for zones in homes][-1]
    fresh = iter(homes)
    (own, parts), (other, read) = in_turns(
        lambda: list(staged(next(fresh), sources, AS_OF)), lambda: read_only(payloads), repeats=REPEATS
    )
    assert all(part.changed for part in parts)
    rows, cells = _served(payloads, sources)
    assert rows == read, f"the peer read {read:,} rows, staging parses {rows:,}"
    return [
        Measurement(
            f"staging {' and '.join(PLAIN)}, cold",
            own,
            "s",
            peer=f"pandas reading the payloads only, {other:.2f} s",
            ratio=own / other,
            note=f"{len(payloads)} payloads, {cells:,} cells, {cells / own:,.0f} cells/s; median of {REPEATS}",
        )
    ]


def read_only(payloads: list[Payload]) -> int:
    """Rows that pandas reads from the payloads, without rules."""
    return sum(len(pd.read_csv(payload.path, skip_blank_lines=False)) for payload in payloads)


def _served(payloads: list[Payload], sources: DataSources) -> tuple[int, int]:
    """Rows and cells (rows times staged fields) of all payloads."""
    rows = cells = 0
    for payload in payloads:
        spec = sources.source(payload.source)
        parsed = adapter(spec).parse(payload, spec)
        rows += len(parsed)
        cells += len(parsed) * sum(field in parsed.columns for field in spec.fields)
    return rows, cells
