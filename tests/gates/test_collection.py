"""POST_COLLECTION: what landed, a row a source."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.errors import GateFailed
from tasks.gates.run import GateReport, run_gate
from tasks.gates.tables import collection_tables
from tasks.settings import PROJECT
from tasks.sources.ingest import Ingested
from tests.conftest import AS_OF, Registry, StagedArchive


def landed_as(staged: StagedArchive, registry: Registry, **changes: Ingested) -> tuple[pd.DataFrame, GateReport]:
    """The real archive's sources, some of them changed."""
    came = [
        changes.get(source, Ingested(source, "ok" if held.payloads else "not recorded", held.payloads, 0))
        for source, held in staged.by_source.items()
    ]
    tables = collection_tables(staged.zones, registry.sources, came, as_of=AS_OF)
    return tables["collection"].set_index("source"), run_gate(
        "POST_COLLECTION", tables, expectations=PROJECT / "expectations"
    )


def test_the_archive_passes_and_sources_whose_payloads_are_old_are_named(
    staged: StagedArchive, registry: Registry
) -> None:
    table, report = landed_as(staged, registry)
    report.require()
    assert table.at["yahoo", "payload_age_days"] == 0
    old = table[table["payload_age_days"] > table["stale_limit_days"]]
    (warned,) = report.failed("warn")
    assert warned.column_name == "payload_age_days" and warned.unexpected_count == len(old) > 0
    assert {row["source"] for row in warned.examples} <= set(old.index)


def test_a_critical_series_that_did_not_come_blocks(staged: StagedArchive, registry: Registry) -> None:
    lost = Ingested("yahoo", "partial", 70, 0, {"ZL=F": "HTTP 500"})
    _, report = landed_as(staged, registry, yahoo=lost)
    with pytest.raises(GateFailed, match=r'(?s)column `critical_missing`: 1 of \d+ .*"source": "yahoo"'):
        report.require()


def test_many_sources_failing_is_a_warning_and_the_price_alone_may_stop_the_run(
    staged: StagedArchive, registry: Registry
) -> None:
    asked = [name for name, held in staged.by_source.items() if held.payloads and name != "yahoo"]
    down = {name: Ingested(name, "failed", 1, 0, {name: "no answer"}) for name in asked}
    some = dict(list(down.items())[: len(asked) // 3])
    _, report = landed_as(staged, registry, **some)
    report.require()
    assert any("P1" in result.reason and result.unexpected_count == len(some) for result in report.failed("warn"))
    _, worse = landed_as(staged, registry, **down)
    worse.require()
    assert any("More than half" in result.reason for result in worse.failed("warn"))


def test_a_source_that_says_ok_and_holds_nothing_is_told(staged: StagedArchive, registry: Registry) -> None:
    _, report = landed_as(staged, registry, fred=Ingested("fred", "ok", 0, 0))
    report.require()
    (told,) = [result for result in report.failed("warn") if result.column_name == "empty"]
    assert told.examples[0]["source"] == "fred"
