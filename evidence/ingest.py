"""Landing and staging every payload of the archive, in an empty home, and again with nothing new.

Each in a process of its own, for its memory. Peer of the second: the first. The sources come one after the other, as
on the smallest machine; a daily run has a few of them at once.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from evidence.inputs import AS_OF, Inputs
from evidence.measurement import Measurement, PeakMemory, timed
from tasks.registry import load_sources
from tasks.settings import PROJECT
from tasks.sources.ingest import ingest_source
from tasks.staging.stage import stage_source
from tasks.storage.zones import Zones

COLD_LIMIT_S, AGAIN_LIMIT_S, MEMORY_LIMIT_MB = 60, 10, 3072


def measure(inputs: Inputs) -> list[Measurement]:
    home = inputs.folder / "ingest"
    cold_s, cold_mb = in_a_process(home, inputs.archive)
    again_s, _ = in_a_process(home, inputs.archive)
    sources = inputs.sources.sources
    files = sum(1 for _ in (home / "raw").rglob("*.sidecar.json"))
    note = f"{files} payloads of {sum((home / 'staging' / name).exists() for name in sources)} sources; one run"
    return [
        Measurement("whole archive, landed and staged", cold_s, "s", COLD_LIMIT_S, note=note),
        Measurement("whole archive, landed and staged: peak memory", cold_mb, "MB", MEMORY_LIMIT_MB),
        Measurement(
            "the same again, nothing new",
            again_s,
            "s",
            AGAIN_LIMIT_S,
            peer=f"the first time, {cold_s:.1f} s",
            ratio=again_s / cold_s,
        ),
    ]


def in_a_process(home: Path, archive: Path) -> tuple[float, float]:
    """Seconds and peak megabytes of one pass over all sources, start of Python included."""
    process = multiprocessing.get_context("spawn").Process(target=ingest_all, args=(home, archive))

    def whole() -> float:
        process.start()
        with PeakMemory(process.pid or 0, every_s=0.1) as memory:
            process.join()
        return memory.megabytes

    seconds, peak_mb = timed(whole)
    assert process.exitcode == 0, f"the pass over all sources ended with {process.exitcode}"
    return seconds, peak_mb


def ingest_all(home: Path, archive: Path) -> None:
    """Land and stage every source of the registry from the archive."""
    zones = Zones(home)
    for source, spec in load_sources(PROJECT / "registry").sources.items():
        ingest_source(zones, source, spec, origin=archive, as_of=AS_OF.date(), progress=lambda *_: None)
        stage_source(zones, source, spec, as_of=AS_OF, code="bench")
