"""Baltic dry index: recorded only, and the run says why."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from tasks.errors import SourceUnavailable
from tasks.http import Http
from tasks.sources import freight
from tasks.sources.ingest import ingest_source
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Window

AS_OF = date(2023, 12, 29)


def test_a_live_run_is_disabled_with_its_reason(registry, zones):
    spec = registry.sources.source("freight")
    done = ingest_source(zones, "freight", spec, origin="live", as_of=AS_OF, progress=lambda *step: None)
    assert (done.status, done.message) == ("disabled", f"disabled: {spec.disabled}")
    with Http("freight", per_minute=60) as http, pytest.raises(SourceUnavailable, match="no free API"):
        freight.fetch("baltic-dry-index", Window(AS_OF, AS_OF), spec, http)


def test_the_archive_parses_whole_and_its_extremes_are_those_of_the_record(registry, archive, staged):
    (payload,) = recorded_files(archive, "freight", "baltic-dry-index")
    rows = freight.parse(payload, registry.sources.source("freight"))
    assert len(rows) == 5600
    held = staged.by_source["freight"]
    values = held.observations.set_index("observation_date")["value"]
    assert values.idxmax() == pd.Timestamp("2008-05-20") and values.max() == 11793
    assert values.idxmin() == pd.Timestamp("2016-02-10") and values.min() == 290
    assert len(values) == 5600 - 81 and set(held.quarantine["rule"]) == {"weekend"}


def test_the_spliced_past_is_known_only_from_the_day_the_index_began(staged):
    known = staged.by_source["freight"].observations.set_index("observation_date")["available_at"]
    assert known[:"1999-10-31"].min() == pd.Timestamp("1999-11-01 18:00", tz="UTC")
    assert known["2008-05-20"] == pd.Timestamp("2008-05-20 17:00", tz="UTC")
