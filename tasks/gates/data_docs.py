"""Great Expectations' own pages of the gates' results, as one zip.

A download, not the main report: the pages load their styles from CDNs and are plain without a network. Building them
uses no network.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from tasks.gates.examples import EXAMPLES
from tasks.gates.suites import build_expectations, load_suites, suite_path
from tasks.storage.files import write_bytes


def write_data_docs(
    path: Path, tables: Mapping[str, Mapping[str, pd.DataFrame]], *, expectations: Path, as_of: pd.Timestamp
) -> Path:
    """Validate every gate's tables and write Great Expectations' pages of the results, zipped, to ``path``.

    Args:
        tables: frames by gate, then by table.

    Raises:
        RegistryError: a suite is invalid.
    """
    with TemporaryDirectory() as folder:
        site = Path(folder) / "data_docs"
        _build(site, tables, expectations, as_of)
        (site / "contents.html").write_text(_contents(site), encoding="utf-8")
        archive = shutil.make_archive(str(Path(folder) / "pages"), "zip", root_dir=folder, base_dir=site.name)
        return write_bytes(path, Path(archive).read_bytes())


def _contents(site: Path) -> str:
    """Plain links to every result: Great Expectations' own index is empty without its scripts."""
    found = sorted(path.relative_to(site).as_posix() for path in site.glob("validations/**/*.html"))
    links = "".join(f'<li><a href="{escape(path)}">{escape(path)}</a></li>' for path in found)
    return (
        "<!doctype html><meta charset='utf-8'><title>Data Docs</title><h1>Validation results</h1>"
        "<p>With a network, <a href='index.html'>index.html</a> is the styled way in; without one these links are."
        f"</p><ul>{links}</ul>"
    )


def _build(
    site: Path, tables: Mapping[str, Mapping[str, pd.DataFrame]], expectations: Path, as_of: pd.Timestamp
) -> None:
    suites = {gate: load_suites(gate, expectations) for gate in tables}
    built = {  # first, because it turns analytics off before Great Expectations is imported
        (gate, table): build_expectations(suite, suite_path(gate, table, expectations))
        for gate, by_table in suites.items()
        for table, suite in by_table.items()
    }
    from great_expectations import ExpectationSuite, get_context
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    context = get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            progress_bars=ProgressBarsConfig(globally=False),
            analytics_enabled=False,
            data_docs_sites={
                "gates": {
                    "class_name": "SiteBuilder",
                    "show_how_to_buttons": False,
                    "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)},
                    "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                }
            },
        ),
    )
    for (gate, table), checks in built.items():
        suite = suites[gate][table]
        for expectation, check in zip(checks, suite.expectations, strict=True):
            expectation.notes = f"{check.meta.on_fail}: {check.meta.reason}"
        kept = context.suites.add(ExpectationSuite(name=f"{gate}.{table}", expectations=checks))
        asset = context.data_sources.add_pandas(kept.name).add_dataframe_asset(table)
        batch = asset.add_batch_definition_whole_dataframe("whole").get_batch(
            {"dataframe": tables[gate][table].reset_index(drop=True)}
        )
        result = batch.validate(kept, result_format={"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES})
        for one in result.results:  # the pages need a percentage, which our own expectations do not report
            if one.result.get("element_count"):
                one.result.setdefault(
                    "unexpected_percent", 100 * one.result.get("unexpected_count", 0) / one.result["element_count"]
                )
        result.meta["run_id"] = RunIdentifier(run_name=f"{as_of:%Y-%m-%d}", run_time=as_of.to_pydatetime())
        identifier = ValidationResultIdentifier(
            expectation_suite_identifier=ExpectationSuiteIdentifier(kept.name),
            run_id=result.meta["run_id"],
            batch_identifier=table,
        )
        context.validation_results_store.add(identifier, result)
    context.build_data_docs()
