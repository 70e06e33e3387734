"""``python -m evidence.proofs``: both proofs in full, on what the last run left in CBI_HOME; writes the leakage audit.

Ends with 0 when both hold, 1 when one does not or nothing could be proved. ``docs/results/proofs.md`` gets the figures.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from evidence.machine import commit
from tasks.command_line import command
from tasks.day import day_of
from tasks.errors import CbiError, ManifestMismatch
from tasks.evaluation.promotion import Audit
from tasks.exports import check_exports, training_table
from tasks.model_store.contest import write_audit
from tasks.model_store.open import open_store
from tasks.panel.join import value_columns
from tasks.proofs.permutation import MAX_SKILL_PCT, permutation_proof, skilful
from tasks.proofs.truncation import Held, sample_days, truncation_proof
from tasks.registry import load_regime_calendar
from tasks.run import RunContext, open_run
from tasks.secrets import quoted
from tasks.settings import PROJECT, load_settings
from tasks.sources.payloads import landed
from tasks.staging.documents import gather_documents
from tasks.staging.gather import stack
from tasks.staging.stage import Staged, stage_source, staging_code
from tasks.storage.files import read_json, read_parquet, write_bytes
from tasks.storage.locks import exclusive

REPORT = PROJECT / "docs" / "results" / "proofs.md"


def prove(run: RunContext, *, days: int, restaged: int, permutations: int, console: Console) -> tuple[Audit, str]:
    """Both proofs on the training files of the last run.

    Returns:
        the audit, and the report as Markdown.

    Raises:
        ManifestMismatch: the training files are missing, altered, or not what this code makes of the held payloads.
    """
    began = time.monotonic()
    manifest = check_exports(run.work.exports)
    staged = _stage(run)
    held = Held(
        observations=stack([part.observations for part in staged]),
        documents=gather_documents([part.documents for part in staged], as_of=run.as_of),
        sources=run.sources,
        joins=run.joins,
        derived=run.derived,
        features=run.features,
        as_of=run.as_of,
        payloads=lambda source: landed(run.zones, source),
    )
    panel, tables = training_tables_anew(run, staged)
    columns = run.features.production()
    cuts = sample_days(days, last=run.as_of)
    with _bar(console) as bar:
        row = bar.add_task("truncation", total=len(cuts))
        changed = truncation_proof(held, cuts, restaged=restaged, progress=_mover(bar, row, "truncation"))
        row = bar.add_task("permutation", total=permutations * len(tables))
        found = permutation_proof(
            tables, run.horizons, columns, permutations=permutations, progress=_mover(bar, row, "permutation")
        )
    findings = [
        f"{r['stage']} {r['column']} at {r['date']}: {r['with_future']} with the future, {r['without_future']} without"
        for r in changed.to_dict("records")
    ]
    findings += [
        f"{r['family']} at {r['horizon']} forecasts shuffled labels, skill {r['mean_skill_pct']:+.1f}%"
        for r in skilful(found).to_dict("records")
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
        "Session": audit.as_of,
        "Code version": f"{audit.code_version}, commit {commit()}",
        "Observations": f"{len(held.observations):,} of {len(run.sources.sources)} sources",
        "Cuts": f"{len(cuts)} sessions, {cuts[0]:%Y-%m-%d} to {cuts[-1]:%Y-%m-%d}, {restaged} of them from payloads",
        "Compared at each": f"{len(run.derived.series)} derived series, {len(value_columns(panel))} panel columns with "
        f"their ages, {len(run.features.features)} features; every session up to the cut",
        "Columns that changed": f"{len(changed)} (limit 0)",
        "Permutations": f"{permutations} of each of {len(tables)} horizons",
        "Took": f"{time.monotonic() - began:.0f} s",
    }
    return audit, _markdown(audit, figures, found, changed)


def _stage(run: RunContext) -> list[Staged]:
    code = staging_code()  # as the run has it: what it staged is read, not staged again
    return [
        stage_source(run.zones, name, spec, as_of=run.as_of, code=code) for name, spec in run.sources.sources.items()
    ]


def training_tables_anew(run: RunContext, staged: list[Staged]) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Panel and training tables built anew, as the day builds them; the files on disk must equal them.

    Raises:
        ManifestMismatch: they do not, so that an audit would be of something else.
    """
    day = day_of(run, staged)
    regimes, columns = load_regime_calendar(run.settings.registry), run.features.production()
    tables = {}
    for name in run.horizons.horizons:
        table = training_table(day.features, day.labels, regimes, horizon=name, columns=columns)
        path = run.work.exports / f"zl_training_prod_allhistory_{name}.parquet"
        try:
            pd.testing.assert_frame_equal(read_parquet(path), table, check_exact=True)
        except AssertionError as error:
            raise ManifestMismatch(
                f"{path} is not what this code makes of the held payloads ({quoted(str(error), most=160)}); run "
                f"`make demo` or `make daily`, then `make proofs`"
            ) from None
        tables[name] = table
    return day.panel, tables


def _markdown(audit: Audit, figures: dict[str, str], found: pd.DataFrame, changed: pd.DataFrame) -> str:
    lines = ["# Proofs against leaks (written by `make proofs`: generated, never edited)", ""]
    lines += [f"- Date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", *(f"- {k}: {v}" for k, v in figures.items())]
    lines += [f"- Outcome: {'both hold' if audit.passed else 'NOT PROVED'}", "", "## Truncation", ""]
    lines += [
        "Features, panel and derived series at every session up to a cut must be bit for bit the same with and without "
        "what was published later; restaged observations must equal those staged from everything, and no value may be "
        "stamped as known before the earliest release its rule allows.",
        "",
    ]
    if len(changed):
        head = list(changed.columns)
        lines += [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
        lines += [f"| {' | '.join(str(v) for v in row)} |" for row in changed.head(50).itertuples(index=False)]
        lines += [""]
    lines += [
        "## Permutation",
        "",
        "Two greedy models are trained on labels shuffled in blocks and judged by the walk-forward harness, at the "
        f"origins a training row could reach. Their mean skill over no change may be at most {MAX_SKILL_PCT:g}%.",
        "",
        "| horizon | model | mean skill | lowest | highest | direction | origins |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (horizon, family), part in found.groupby(["horizon", "family"], sort=False):
        skill, direction = part["skill_pct"], 100 * part["direction_hit_rate"].mean()
        lines.append(
            f"| {horizon} | {family} | {skill.mean():+.2f}% | {skill.min():+.2f}% | {skill.max():+.2f}% | "
            f"{direction:.1f}% | {part['origins'].iloc[0]} |"
        )
    return "\n".join(lines) + "\n"


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _mover(bar: Progress, row: object, what: str):  # type: ignore[no-untyped-def]
    def move(done: int, total: int, item: str) -> None:
        bar.update(row, completed=done, total=total, description=f"{what}: {item}")  # type: ignore[arg-type]

    return move


def main() -> int:
    """Command line."""
    parser = command("evidence.proofs", __doc__, "", "--days 5 --restaged 1 --permutations 2    # a sample, minutes")
    parser.add_argument("--days", type=int, default=52, help="sessions to cut at, spread over the history")
    parser.add_argument("--restaged", type=int, default=10, help="so many of them start from the payloads")
    parser.add_argument("--permutations", type=int, default=10, help="of the labels of each horizon")
    parser.add_argument("--report", type=Path, default=REPORT, help="where the figures are written")
    given, console = parser.parse_args(), Console(stderr=True)
    try:
        settings = load_settings()
        made = read_json(settings.home / "exports" / "manifest.json")
        if made is None:
            raise ManifestMismatch("there are no training files to prove anything of; run `make demo` or `make daily`")
        run = open_run(settings, origin="live", as_of=made["as_of"])
        audit, report = prove(
            run, days=given.days, restaged=given.restaged, permutations=given.permutations, console=console
        )
    except CbiError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    with exclusive(run.zones, "models", wait_s=3600):
        path = write_audit(open_store(settings), audit)
    write_bytes(given.report, report.encode())
    print(report)
    print(f"audit: {path}")
    return 0 if audit.passed else 1


if __name__ == "__main__":
    sys.exit(main())
