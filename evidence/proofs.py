"""``python -m evidence.proofs``: both proofs in full, on the last run's files in CBI_HOME; writes the leakage audit.

Exits with 0 if both pass, 1 if one fails or cannot run. Writes ``docs/results/proofs.md``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from rich.console import Console

from evidence.command_line import command, exit_status
from evidence.inputs import last_run, staged
from evidence.machine import stamp, training_files
from evidence.page import facts, frame_table, page, table
from tasks.day import day_of
from tasks.errors import ManifestMismatch
from tasks.evaluation.promotion import Audit
from tasks.exports import check_exports, training_table
from tasks.model_store.contest import write_audit
from tasks.model_store.open import open_store
from tasks.panel.join import value_columns
from tasks.proofs.permutation import MAX_SKILL_PCT, permutation_proof, skillful
from tasks.proofs.truncation import ProofInputs, sample_days, truncation_proof
from tasks.registry import load_regime_calendar
from tasks.run import RunContext
from tasks.secrets import quoted
from tasks.settings import PROJECT
from tasks.sources.payloads import landed
from tasks.staging.documents import gather_documents
from tasks.staging.gather import stack
from tasks.staging.stage import Staged
from tasks.storage.files import read_parquet, write_bytes
from tasks.storage.locks import exclusive

REPORT = PROJECT / "docs" / "results" / "proofs.md"


def prove(run: RunContext, *, days: int, restaged: int, permutations: int, console: Console) -> tuple[Audit, str]:
    """Both proofs on the training files of the last run.

    Returns:
        the audit, and the report as Markdown.

    Raises:
        ManifestMismatch: the training files are missing, altered, or not what this code builds from the stored
        payloads.
    """
    began = time.monotonic()
    manifest = check_exports(run.work.exports)
    parts = list(staged(run.zones, run.sources, run.as_of))
    inputs = ProofInputs(
        observations=stack([part.observations for part in parts]),
        documents=gather_documents([part.documents for part in parts], as_of=run.as_of),
        sources=run.sources,
        joins=run.joins,
        derived=run.derived,
        features=run.features,
        as_of=run.as_of,
        payloads=lambda source: landed(run.zones, source),
    )
    panel, tables = training_tables_anew(run, parts)
    columns = run.features.production()
    cuts = sample_days(days, last=run.as_of)
    with console.status("truncation") as status:

        def progress(what: str) -> Callable[[int, int, str], None]:
            return lambda done, total, item: status.update(f"{what} {done} of {total}: {item}")

        changed = truncation_proof(inputs, cuts, restaged=restaged, progress=progress("truncation"))
        found = permutation_proof(
            tables, run.horizons, columns, permutations=permutations, progress=progress("permutation")
        )
    findings = [
        f"{r['stage']} {r['column']} at {r['date']}: {r['with_future']} with the future, {r['without_future']} without"
        for r in changed.to_dict("records")
    ]
    findings += [
        f"{r['family']} at {r['horizon']} forecasts shuffled labels, skill {r['mean_skill_pct']:+.1f}%"
        for r in skillful(found).to_dict("records")
    ]
    files = {name: manifest["files"][f"zl_training_prod_allhistory_{name}.parquet"] for name in tables}  # type: ignore[index]
    audit = Audit(
        passed=not findings,
        data_snapshots={name: entry["sha256"] for name, entry in files.items()},
        code_version=run.code_version,
        as_of=f"{run.as_of:%Y-%m-%d}",
        findings=tuple(findings),
    )
    figures = {
        "Outcome": "both hold" if audit.passed else "NOT PROVED",
        "Code version": audit.code_version,
        "Observations": f"{len(inputs.observations):,} of {len(run.sources.sources)} sources",
        "Cuts": f"{len(cuts)} sessions, {cuts[0]:%Y-%m-%d} to {cuts[-1]:%Y-%m-%d}, {restaged} of them from payloads",
        "Compared at each": f"{len(run.derived.series)} derived series, {len(value_columns(panel))} panel columns with "
        f"their ages, {len(run.features.features)} features; every session up to the cut",
        "Columns that changed": f"{len(changed)} (limit 0)",
        "Permutations": f"{permutations} of each of {len(tables)} horizons",
        "Took": f"{time.monotonic() - began:.0f} s",
    }
    before = stamp("make proofs", training_files(audit.as_of, audit.data_snapshots))
    return audit, _page(before, figures, found, changed)


def training_tables_anew(run: RunContext, parts: list[Staged]) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Panel and training tables built again, like in a day; the files on disk must equal them.

    Raises:
        ManifestMismatch: they differ, so that an audit would be of other data.
    """
    day = day_of(run, parts)
    regimes, columns = load_regime_calendar(run.settings.registry), run.features.production()
    tables = {}
    for name in run.horizons.horizons:
        table = training_table(day.features, day.labels, regimes, horizon=name, columns=columns)
        path = run.work.exports / f"zl_training_prod_allhistory_{name}.parquet"
        try:
            pd.testing.assert_frame_equal(read_parquet(path), table, check_exact=True)
        except AssertionError as error:
            raise ManifestMismatch(
                f"{path} is not what this code builds from the stored payloads ({quoted(str(error), most=160)}); run "
                f"`make demo` or `make daily`, then `make proofs`"
            ) from None
        tables[name] = table
    return day.panel, tables


def _page(stamp: str, figures: dict[str, str], found: pd.DataFrame, changed: pd.DataFrame) -> str:
    rows = []
    for (horizon, family), part in found.groupby(["horizon", "family"], sort=False):
        skill, direction = part["skill_pct"], 100 * part["direction_hit_rate"].mean()
        skills = (f"{value:+.2f}%" for value in (skill.mean(), skill.min(), skill.max()))
        rows.append((horizon, family, *skills, f"{direction:.1f}%", part["origins"].iloc[0]))
    return page(
        "Proofs against leaks",
        stamp,
        facts(figures),
        "## Truncation",
        "Features, panel and derived series at every session up to a cut must be bit for bit the same with and without "
        "what was published later; restaged observations must equal those staged from everything, and no value may be "
        "stamped as known before the earliest release its rule allows. What changed, 50 rows at most:",
        frame_table(changed.head(50)),
        "## Permutation",
        "Two greedy models are trained on labels shuffled in blocks and judged by the walk-forward harness, at the "
        f"origins a training row could reach. Their mean skill over no change may be at most {MAX_SKILL_PCT:g}%.",
        table(("horizon", "model", "mean skill", "lowest", "highest", "direction", "origins"), rows),
    )


def main() -> int:
    """Command line."""
    parser = command("evidence.proofs", __doc__, "", "--days 5 --restaged 1 --permutations 2    # a sample, minutes")
    parser.add_argument("--days", type=int, default=52, help="sessions to cut at, spread over the history")
    parser.add_argument("--restaged", type=int, default=10, help="so many of them start from the payloads")
    parser.add_argument("--permutations", type=int, default=10, help="of the labels of each horizon")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the figures are written")
    given = parser.parse_args()
    return exit_status(lambda: write_proofs(given))


def write_proofs(given: argparse.Namespace) -> int:
    """Run the proofs, and write the audit and the report. Returns 1 if a proof fails."""
    run = last_run()
    console = Console(stderr=True)
    audit, report = prove(
        run, days=given.days, restaged=given.restaged, permutations=given.permutations, console=console
    )
    with exclusive(run.zones, "models", wait_s=3600):
        path = write_audit(open_store(run.settings), audit)
    write_bytes(given.report, report.encode())
    print(f"{report}\naudit: {path}")
    return 0 if audit.passed else 1


if __name__ == "__main__":
    sys.exit(main())
