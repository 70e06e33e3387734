"""A payload replaced by another file while staging reads it, after its hash was verified."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
import pytest

from tasks.registry import SourceSpec
from tasks.sources.payloads import Fetched, Payload, adapter, land
from tasks.staging.stage import stage_source
from tasks.storage.zones import Zones
from tests.conftest import Registry

pytestmark = pytest.mark.faults
NOW = pd.Timestamp("2023-12-30T01:00", tz="UTC")


@pytest.mark.parametrize("other", [b"observation_date,DFF\n2023-12-27,9.99\n2023-12-28,9.99\n", b"<html>gone</html>"])
def test_a_payload_replaced_while_it_is_read_is_not_taken_for_the_one_that_was_landed(
    other: bytes, registry: Registry, zones: Zones, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    spec = registry.sources.source("fred")
    honest = adapter(spec).parse
    content = b"observation_date,DFF\n2023-12-27,5.33\n2023-12-28,5.33\n"
    payload = land(zones, "fred", Fetched("DFF", "csv", content, "u"), spec, fetched_at=NOW)

    def replaced_first(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
        new = payload.path.with_name("new")
        new.write_bytes(other)
        new.replace(payload.path)
        return honest(payload, spec)

    def staged() -> Any:
        return stage_source(zones, "fred", spec, as_of=pd.Timestamp("2023-12-29"), code="tests")

    with monkeypatch.context() as patched:
        patched.setattr(adapter(spec), "parse", replaced_first)
        of_the_other = staged()
    assert of_the_other.observations.empty, "a value that no sidecar vouches for"
    assert "was replaced while it was read" in of_the_other.quarantine["reason"].iloc[0]
    assert "the file was altered" in staged().quarantine["reason"].iloc[0]
    payload.path.write_bytes(content)
    began = time.monotonic()
    assert staged().observations["value"].unique().tolist() == [5.33], "what was landed, once it is back"
    record_property("healed_s", time.monotonic() - began)
