"""`import flows.daily` in fresh processes, the interpreter's own start left out. Peer: `import prefect` alone."""

from __future__ import annotations

import statistics

from evidence.inputs import Inputs
from evidence.measurement import Measurement
from evidence.processes import import_seconds

LIMIT_S, REPEATS = 2.5, 5


def measure(_: Inputs) -> list[Measurement]:
    for module in ("flows.daily", "prefect"):  # compiles bytecode if there is none
        import_seconds(module)
    turns = [(import_seconds("flows.daily"), import_seconds("prefect")) for _ in range(REPEATS)]
    own, other = (statistics.median(seconds) for seconds in zip(*turns, strict=True))
    return [
        Measurement(
            "import flows.daily",
            own,
            "s",
            LIMIT_S,
            peer=f"`import prefect`, {other:.2f} s",
            ratio=own / other,
            note=f"median of {REPEATS} fresh processes each, in turns",
        )
    ]
