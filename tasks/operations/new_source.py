"""``make new-source NAME=…``: the skeleton of a source, in five files; it passes `make lint`.

Until its entry's ``disabled:`` line is deleted it fetches nothing, and every run says so.
"""

from __future__ import annotations

import re
from pathlib import Path

from tasks.errors import RegistryError
from tasks.operations.deployments import PREFECT_YAML, prefect_yaml
from tasks.registry import load_sources
from tasks.storage.files import write_bytes

NAME = re.compile(r"^[a-z][a-z0-9_]{1,30}$")

ENTRY = """\
  {name}:
    module: {name}
    title: {name}, in the source's own words
    disabled: the skeleton of `make new-source`; fill in what is below, then delete this line
    endpoint: https://{host}.invalid/data.csv
    kind: values
    fields: {{value: value}}
    schedule: {{cron: "0 9 * * 1-5", timezone: America/New_York}}
    first_date: 2000-01-01
    refetch_days: 30
    rate_limit_per_minute: 30
    licence: who owns it and what may be done with it
    frequency: daily
    reliability: low
    caveat: what goes wrong with it, from its own notes
    priority: P1
    point_in_time: lagged
    availability: {{rule: next_business_day, time: "09:00", timezone: America/New_York}}
    stale_limit_days: 10
    max_quarantine_share: 0.1
    series:
      EXAMPLE: {{title: what it is, unit: its unit, range: [0, 1000]}}
"""

MODULE = '''\
"""{name}: a CSV `date,value`, one series an answer. Say here what is odd about it."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.csv_table import read_rows
from tasks.sources.payloads import Fetched, Payload, Window


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """One series of the window."""
    query = {{"id": series, "start": str(window.start), "end": str(window.end)}}
    content = http.get(spec.endpoint, query)
    yield Fetched(series=series, extension="csv", content=content, url=spec.endpoint)


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Values as served."""
    return read_rows(payload, date="date", columns=spec.fields)
'''

TEST = '''\
"""{name}: it asks what its documentation says, and what it answers is staged."""

from __future__ import annotations

from datetime import date

import pandas as pd

from tasks.sources.ingest import ingest_source
from tasks.staging.stage import stage_source

AS_OF = date(2023, 12, 29)


def test_it_asks_for_each_series_and_stages_the_answer(registry, server, zones):
    server.script = [(200, b"date,value\\n2023-12-27,1.5\\n2023-12-28,1.6\\n")]
    spec = registry.sources.source("{name}").model_copy(update={{"endpoint": server.url, "disabled": ""}})
    done = ingest_source(zones, "{name}", spec, origin="live", as_of=AS_OF, progress=lambda *step: None)
    assert done.status == "ok" and {{r.query["id"] for r in server.requests}} == set(spec.series)
    staged = stage_source(zones, "{name}", spec, as_of=pd.Timestamp(AS_OF), code="test")
    assert staged.observations["value"].tolist() == [1.5, 1.6] * len(spec.series)
'''

SUITE = """\
{{"name": "staging.{name}",
 "table": "{name}",
 "expectations": [
  {{"type": "expect_compound_columns_to_be_unique",
   "kwargs": {{"column_list": ["series", "observation_date"]}},
   "meta": {{"on_fail": "block", "reason": "One value a series and date, or the panel takes whichever comes first"}}}}
 ]}}
"""


def write_skeleton(name: str, project: Path) -> list[Path]:
    """Write the registry entry, the module, the test, the suite and the schedule; returns the files.

    Raises:
        RegistryError: the name is not a module name, or exists already.
    """
    if not NAME.match(name):
        raise RegistryError(f"`{name}` cannot name a source: small letters, digits and _, a letter first")
    registry = project / "registry" / "data_sources.yaml"
    texts = {
        project / "tasks" / "sources" / f"{name}.py": MODULE,
        project / "tests" / "sources" / f"test_{name}.py": TEST,
        project / "expectations" / "staging" / f"{name}.json": SUITE,
    }
    taken = [str(path.relative_to(project)) for path in texts if path.exists()]
    taken += ["registry/data_sources.yaml"] if name in load_sources(registry.parent).sources else []
    if taken:
        raise RegistryError(f"`{name}` exists already, in {', '.join(taken)}; choose another name, or edit those")
    for path, text in texts.items():
        write_bytes(path, text.format(name=name).encode())
    entry = ENTRY.format(name=name, host=name.replace("_", "-"))
    write_bytes(registry, (registry.read_text(encoding="utf-8").rstrip("\n") + "\n" + entry).encode())
    schedule = project / PREFECT_YAML
    write_bytes(schedule, prefect_yaml(load_sources(registry.parent)).encode())
    return [registry, *texts, schedule]
