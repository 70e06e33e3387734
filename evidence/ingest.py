"""Landing and staging of the whole archive, in an empty home, and again without new payloads.

Each in its own process (``python -m evidence.ingest HOME ARCHIVE``), for its memory; its seconds include the start
of Python. Peer of the second: the first. Sources run one after the other, as on the smallest machine; a daily run
runs a few of them at once.
"""

from __future__ import annotations

import sys
from pathlib import Path

from evidence.inputs import AS_OF, Inputs, staged
from evidence.measurement import Measurement
from evidence.processes import run_python
from tasks.registry import load_sources
from tasks.settings import PROJECT
from tasks.storage.zones import Zones

COLD_LIMIT_S, AGAIN_LIMIT_S, MEMORY_LIMIT_MB = 60, 10, 3072


def measure(inputs: Inputs) -> list[Measurement]:
    home = inputs.folder / "ingest"
    words = ("-m", "evidence.ingest", str(home), str(inputs.archive))
    cold, again = run_python(*words, sampled=True), run_python(*words, sampled=True)
    sources = inputs.run.sources.sources
    files = sum(1 for _ in (home / "raw").rglob("*.sidecar.json"))
    note = f"{files} payloads of {sum((home / 'staging' / name).exists() for name in sources)} sources; one run"
    return [
        Measurement("whole archive, landed and staged", cold.seconds, "s", COLD_LIMIT_S, note=note),
        Measurement("whole archive, landed and staged: peak memory", cold.peak_mb, "MB", MEMORY_LIMIT_MB),
        Measurement(
            "the same again, nothing new",
            again.seconds,
            "s",
            AGAIN_LIMIT_S,
            peer=f"the first time, {cold.seconds:.1f} s",
            ratio=again.seconds / cold.seconds,
        ),
    ]


if __name__ == "__main__":
    home, archive = map(Path, sys.argv[1:])
    for _ in staged(Zones(home), load_sources(PROJECT / "registry"), AS_OF, origin=archive):
        pass
