"""``python -m evidence.bake_off_report``: the newest bake-off of a budget, from the model store to a report.

Writes ``docs/results/bake_off.md`` and its figures: generated, never edited. Reads the models stored under CBI_HOME
(forecasts and figures of each version), their fits, and the training files.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from evidence.bake_off_tables import (
    Row,
    aspiration_table,
    by_horizon,
    cell,
    interval,
    leaderboard_table,
    skill_table,
    slice_table,
    summary_table,
)
from evidence.command_line import command, exit_status
from evidence.inputs import last_run
from evidence.machine import stamp, training_files
from evidence.page import facts, table, write_page
from tasks.errors import ManifestMismatch, ModelStoreError, TrainingFailed
from tasks.evaluation.calibration import static_and_adaptive
from tasks.evaluation.comparison import NAIVE, by_regime, by_year, leaderboard, sliced
from tasks.evaluation.promotion import Audit, refusal, unmet_gates
from tasks.exports import check_exports, file_name
from tasks.model_store.contest import judged, read_audit, serving_before
from tasks.model_store.open import open_store
from tasks.model_store.protocol import Version
from tasks.models.catalogue import BASELINE, ENSEMBLE, SCALE
from tasks.models.forecaster import Problem, forecaster
from tasks.registry import Models, QualityGates, load_models, load_quality_gates, load_regime_calendar, load_surface
from tasks.reporting.evaluation_charts import (
    forecast_and_outcome_figure,
    group_importance_figure,
    leaderboard_figure,
    reliability_figure,
)
from tasks.run import RunContext
from tasks.settings import PROJECT
from tasks.storage.files import read_parquet
from tasks.storage.zones import Zones
from tasks.training.blending import REGIMES, ensemble
from tasks.training.importance import ablation, grouped_permutation

REPORT = Path("docs/results/bake_off.md")
FIGURES = Path("docs/images")
BREAK = ("2020-01-01", "2022-12-31")
EXPLAINED = ("ridge", "lightgbm")  # they learn from features, and are refitted in seconds
ABLATED = "ridge"
YES = {True: "yes", False: "no"}


@dataclass(frozen=True)
class BakeOff:
    """The newest bake-off of a budget, from the store."""

    versions: tuple[Version, ...]
    board: pd.DataFrame
    audit: Audit | None

    @property
    def horizons(self) -> list[str]:
        """Shortest first."""
        return list(dict.fromkeys(version.horizon for version in self.versions))

    def version(self, family: str, horizon: str) -> Version:
        """The version of a family and horizon in it."""
        return next(v for v in self.versions if (v.family, v.horizon) == (family, horizon))

    @cached_property
    def oofs(self) -> dict[str, dict[str, pd.DataFrame]]:
        """horizon: family: its published out-of-fold forecasts; families without a fold are left out."""
        found: dict[str, dict[str, pd.DataFrame]] = {horizon: {} for horizon in self.horizons}
        for version in self.versions:
            oof = read_parquet(version.folder / "oof.parquet")
            if len(oof):
                found[version.horizon][version.family] = oof
        return found

    def shown(self, horizon: str) -> str:
        """The family shown in detail: the ensemble, or else the baseline."""
        return ENSEMBLE if ENSEMBLE in self.oofs[horizon] else BASELINE

    def promoted(self, horizon: str) -> str | None:
        """The family that meets the gates with the lowest loss, if the budget promotes."""
        champion = self.board[(self.board["horizon"] == horizon) & self.board["champion"]]
        return str(champion["family"].iloc[0]) if len(champion) else None


def newest_bake_off(run: RunContext, budget: str, *, models: Models, gates: QualityGates) -> BakeOff:
    """The bake-off of ``budget`` with the newest session, and among those the one stored last.

    Raises:
        ModelStoreError: the store has none. ManifestMismatch: its training files have changed.
    """
    store = open_store(run.settings)
    horizons = list(run.horizons.horizons)
    stored = [v for v in store.versions(BASELINE, horizons[0]) if v.metadata.get("budget") == budget]
    if not stored:
        raise ModelStoreError(f"{store.place} has no bake-off of budget {budget}; run `cbi train --budget {budget}`")
    newest = max(stored, key=lambda version: (version.trained_as_of, version.number)).metadata["run"]
    versions = [v for horizon in horizons for v in store.of_horizon(horizon) if v.metadata["run"] == newest]
    files = check_exports(run.work.exports)["files"]
    for version in versions:
        if files[file_name("prod", version.horizon)]["sha256"] != version.metadata["data_snapshot"]:  # type: ignore[index]
            raise ManifestMismatch(
                f"{run.work.exports / file_name('prod', version.horizon)} is not the file that {version.name} was "
                f"trained on; run `cbi train --budget {budget}` on the files that are there now"
            )
    audit = read_audit(store)
    serving = serving_before(store, run.horizons, versions[0].trained_as_of)
    board = judged(versions, gates.promotion, audit, code_version=run.code_version, serving=serving)
    promotes = not models.budgets[budget].last_test_years
    return BakeOff(tuple(versions), board if promotes else board.assign(champion=False), audit)


def raw_forecasts(bake_off: BakeOff, zones: Zones, family: str, horizon: str) -> dict[str, pd.DataFrame]:
    """Out-of-fold forecasts before any calibration, of a family or of each member of the ensemble.

    Raises:
        TrainingFailed: a fit is missing.
    """
    fits = bake_off.version(family, horizon).metadata["fits"]
    found = {}
    for part, years in dict(fits).items():
        paths = [zones.fits / identity / f"forecasts.{horizon}.parquet" for year, identity in years.items()]
        folds = [path for year, path in zip(years, paths, strict=True) if year != "0"]
        if gone := [path for path in folds if not path.exists()]:
            raise TrainingFailed(f"{gone[0]} is gone; run `cbi train` with the same budget again")
        parts = [frame for frame in map(read_parquet, folds) if len(frame)]
        if parts:
            found[part] = pd.concat(parts, ignore_index=True)
    return found


def calibrations(bake_off: BakeOff, run: RunContext, family: str, horizon: str) -> pd.DataFrame:
    """Uncalibrated, static and adaptive over the break of 2020 to 2022, and the published forecasts."""
    levels, sessions = tuple(run.horizons.quantiles), run.horizons.horizons[horizon].sessions
    step = run.horizons.walk_forward.origin_step_sessions
    regimes = read_parquet(run.work.exports / file_name("prod", horizon), columns=["date", SCALE, *REGIMES])
    raw = raw_forecasts(bake_off, run.zones, family, horizon)
    alone = raw[family] if family in raw else ensemble(raw, regimes, levels, horizon=sessions, step=step)
    rows = []
    for name, oof in {"": alone, "as issued": bake_off.oofs[horizon][family]}.items():
        known = oof[oof["target_log_return"].notna() & oof["p50"].notna()].reset_index(drop=True)
        features = regimes.set_index("date").loc[known["date"]].reset_index()
        found = static_and_adaptive(known, features, levels, horizon=sessions, step=step, first=BREAK[0], last=BREAK[1])
        rows.append(found.iloc[:1].assign(calibration=name) if name else found)
    return pd.concat(rows, ignore_index=True).assign(horizon=horizon, family=family)


def shared_origins(oofs: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Every family's scored forecasts at the origins that all of them have."""
    scored = {family: oof[oof["scored"] & oof["p50"].notna()] for family, oof in oofs.items()}
    scored = {family: oof for family, oof in scored.items() if len(oof)}
    shared = set.intersection(*(set(oof["date"]) for oof in scored.values())) if scored else set()
    return {family: oof[oof["date"].isin(shared)] for family, oof in scored.items()}


def importances(run: RunContext, models: Models) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Grouped permutation importance and ablation at every horizon, with ``horizon`` and ``family``."""
    surface = load_surface(run.settings.registry, run.features)
    groups, plan = run.features.category_of, run.horizons.walk_forward
    own = {name: group for name, group in groups.items() if group in models.families[ABLATED].groups}
    from tasks.models.ridge import NO_DRIVER  # inputs of its scale: it cannot forecast without them

    found, without = [], []
    for horizon, entry in run.horizons.horizons.items():
        rows = read_parquet(run.work.exports / file_name("prod", horizon))
        problem = Problem(horizon, entry.sessions, tuple(run.horizons.quantiles))
        for family in EXPLAINED:
            columns = models.columns(family, run.features, surface)
            permuted = grouped_permutation(forecaster(family), problem, rows, columns, groups, plan)
            found.append(permuted.assign(horizon=horizon, family=family))
        columns = models.columns(ABLATED, run.features, surface)
        left = ablation(forecaster(ABLATED), problem, rows, columns, own, plan, kept=NO_DRIVER)
        without.append(left.assign(horizon=horizon, family=ABLATED))
    return pd.concat(found, ignore_index=True), pd.concat(without, ignore_index=True)


def write_report(
    bake_off: BakeOff, run: RunContext, models: Models, gates: QualityGates, *, into: Path, budget: str
) -> Path:
    """The report and its figures, under ``into``; returns the report."""
    horizons, board = bake_off.horizons, bake_off.board
    levels, step = tuple(run.horizons.quantiles), run.horizons.walk_forward.origin_step_sessions
    measured = board.dropna(subset=["pinball_log_return"])
    if measured.empty:
        raise TrainingFailed(f"the bake-off of budget {budget} has no fold with a known outcome; there is no report")
    images = into / FIGURES
    shown = {h: _scored(bake_off.oofs[h][bake_off.shown(h)]) for h in horizons if bake_off.shown(h) in bake_off.oofs[h]}
    leaderboard_figure(images / "leaderboard.png", {h: measured[measured["horizon"] == h] for h in horizons})
    lengths = {h: run.horizons.horizons[h].sessions for h in horizons}
    reliability_figure(images / "reliability.png", shown, levels, lengths, step=step)
    forecast_and_outcome_figure(images / "forecast_and_outcome.png", shown, levels)
    permuted, without = importances(run, models)
    if len(permuted):
        group_importance_figure(images / "group_importance.png", permuted)
    return write_page(
        into / REPORT,
        "The bake-off",
        *_head(bake_off, run, promotes=not models.budgets[budget].last_test_years),
        "## Summary",
        "Skill is in percent of the better naive's pinball loss, with its 90% interval. "
        "docs/decisions/0010-scale-and-ensemble.md has what was tried and left.",
        summary_table(board),
        *_leaderboards(bake_off, run, gates),
        "## Aspirations",
        aspiration_table(board, gates.aspirations),
        *_shared(bake_off, run, gates),
        *_slices(bake_off, run, gates),
        *_calibration(bake_off, run),
        *_groups(permuted, without),
        "## Families",
        table(["family", "what it is"], [[f, e.title] for f, e in models.families.items()]),
        f"`{ENSEMBLE}` averages the quantiles of {', '.join(models.ensemble)}.",
    )


def _head(bake_off: BakeOff, run: RunContext, *, promotes: bool) -> list[str]:
    """The stamp and the facts of the run."""
    one, audit = bake_off.versions[0].metadata, bake_off.audit
    folds = bake_off.board.dropna(subset=["folds"]) if "folds" in bake_off.board else bake_off.board
    snapshots = {h: str(bake_off.version(BASELINE, h).metadata["data_snapshot"]) for h in bake_off.horizons}
    known: dict[str, object] = {
        "Session": f"{one['trained_as_of']}; nothing known later is in it",
        "Budget and run": f"`{one['budget']}`, run `{one['run']}`, {bake_off.board['family'].nunique()} families with "
        f"the ensemble, {len(bake_off.horizons)} horizons",
        "The budget may promote": YES[promotes],
        "Scored calendar years of a family and horizon": ", ".join(
            f"{len(part)} with {count:.0f}" for count, part in folds.groupby("folds")
        ),
        "Folds": f"expanding, first test year {run.horizons.walk_forward.first_test_year}, an origin every "
        f"{run.horizons.walk_forward.origin_step_sessions} sessions, purged by the horizon",
        "Leakage audit passed": "no audit" if audit is None else f"{YES[audit.passed]}, as of {audit.as_of}",
        "Leakage audit is of this data and code": YES[
            audit is not None
            and audit.code_version == run.code_version
            and all(audit.data_snapshots.get(v.horizon) == v.metadata["data_snapshot"] for v in bake_off.versions)
        ],
    }
    return [stamp("make bake-off-report", training_files(str(one["trained_as_of"]), snapshots)), facts(known)]


def _leaderboards(bake_off: BakeOff, run: RunContext, gates: QualityGates) -> list[str]:
    parts = [
        "## Leaderboard",
        "Out-of-fold forecasts with adaptive bands, as issued. Skill is in pinball loss over the better naive, chosen "
        "with hindsight on the origins of the row; brackets are 90% intervals from groups of origins. A row is "
        "measured on the origins it has: where these differ (nets run on the last years only), losses are not "
        "comparable between rows, skill only roughly. DM p: one-sided Diebold-Mariano. Sharpe: sign strategy on "
        f"periods that do not overlap, after {gates.trading_cost.round_trip_cents_lb:g} cents/lb a round trip. "
        "Pinball, CRPS and width in log return, RMSE in cents/lb. In bold: promoted. Below each leaderboard stands "
        "what the other families lack for promotion; one that lacks nothing has a higher pinball loss, or the budget "
        "may not promote.",
        f"![Skill over the better naive]({_link('leaderboard.png')})",
    ]
    for horizon in bake_off.horizons:
        board = bake_off.board[bake_off.board["horizon"] == horizon]
        lacks = table(["family", "lacks for promotion"], _unmet(bake_off, run, gates, horizon))
        parts += [f"### {horizon}", leaderboard_table(board), lacks]
    return parts


def _unmet(bake_off: BakeOff, run: RunContext, gates: QualityGates, horizon: str) -> list[tuple[str, str]]:
    """The families that are not promoted, and the gates that they do not meet, in the gates' words."""
    rows = []
    for version in bake_off.versions:
        if version.horizon != horizon or version.family in (bake_off.promoted(horizon), BASELINE):
            continue
        reasons = list(unmet_gates(version.metrics, gates.promotion))
        if refusal(version, gates.promotion, bake_off.audit, code_version=run.code_version):
            reasons.append(
                f"its direction hit rate is above {gates.promotion.max_direction_hit_rate_pct:g}% and no passing "
                f"leakage audit is of this data and code"
            )
        rows.append((version.family, "; ".join(reasons) or "nothing"))
    return rows


def _shared(bake_off: BakeOff, run: RunContext, gates: QualityGates) -> list[str]:
    boards = {}
    for horizon, oofs in bake_off.oofs.items():
        shared = shared_origins(oofs)
        if len({len(_scored(oof)) for oof in oofs.values()}) > 1 and shared and len(next(iter(shared.values()))):
            boards[horizon] = leaderboard(shared, tuple(run.horizons.quantiles), **_measured_as(run, gates, horizon))
    spans = [
        (h, board["origins"].iloc[0], board["first_origin"].iloc[0], board["last_origin"].iloc[0])
        for h, board in boards.items()
    ]
    return [
        "## On the origins that every family has",
        "Skill % over the better naive of these origins with its 90% interval, and what the 80% band covered. Only "
        "horizons at which the families' origins differ.",
        table(["horizon", "origins", "first", "last"], spans),
        skill_table(boards, list(boards)),
    ]


def _slices(bake_off: BakeOff, run: RunContext, gates: QualityGates) -> list[str]:
    regimes, levels = load_regime_calendar(run.settings.registry), tuple(run.horizons.quantiles)
    final = bake_off.versions[0].trained_as_of.year
    by: dict[str, list[pd.DataFrame]] = {"regime": [], "year": []}
    last: dict[str, pd.DataFrame] = {}
    for horizon, oofs in bake_off.oofs.items():
        how = _measured_as(run, gates, horizon)
        close = {bake_off.shown(horizon), bake_off.promoted(horizon) or bake_off.shown(horizon)}
        some = {family: oof for family, oof in oofs.items() if family in close or family in NAIVE}
        for name, cut in {
            "regime": {family: by_regime(oof, regimes) for family, oof in some.items()},
            "year": {family: by_year(oof) for family, oof in some.items()},
        }.items():
            found = sliced(some, cut, levels, **how)
            by[name].append(found[found["family"].isin(close)].assign(horizon=horizon))
        years = {family: by_year(oof).where(oof["date"].dt.year == final) for family, oof in oofs.items()}
        last[horizon] = sliced(oofs, years, levels, **how)
    parts = [
        "## By regime and by year",
        "Skill % with its 90% interval where there are enough origins for one, and what the 80% band covered. The "
        "naive is the one that was better over the whole. An origin belongs to the year and regime it is in, not to "
        "that of its outcome. The promoted family of each horizon is in the summary.",
    ]
    families: dict[str, dict[str, str | None]] = {
        "The ensemble": {h: bake_off.shown(h) for h in bake_off.horizons},
        "What is promoted": {h: bake_off.promoted(h) for h in bake_off.horizons},
    }
    for name, frames in by.items():
        frame = pd.concat(frames, ignore_index=True)
        for what, chosen in families.items():
            own = frame[frame["family"] == frame["horizon"].map(chosen)]
            parts += [f"### {what} by {name}", slice_table(own, bake_off.horizons, name=name)]
    counts = [(h, int(board["origins"].max()) if len(board) else 0) for h, board in last.items()]
    return [
        *parts,
        f"## The final calendar year, {final}",
        f"This is the one look at {final} by itself: nothing was chosen on it. It is in the leaderboard above too, as "
        "every scored year is. Columns as above; origins end where outcomes are not yet known.",
        table(["horizon", "origins"], counts),
        skill_table(last, bake_off.horizons),
    ]


def _calibration(bake_off: BakeOff, run: RunContext) -> list[str]:
    frames = [calibrations(bake_off, run, bake_off.shown(h), h) for h in bake_off.oofs if bake_off.oofs[h]]
    rows = [
        (
            row["horizon"],
            row["calibration"],
            f"{row['origins']:.0f}",
            *(cell(row, f"coverage_{band}", "{:.1%}") if row["origins"] else "none" for band in (50, 80, 90)),
            cell(row, "pinball_log_return", "{:.5f}") if row["origins"] else "none",
        )
        for row in pd.concat(frames).to_dict("records")
    ]
    return [
        "## Calibration",
        f"![Reliability]({_link('reliability.png')})",
        f"![Forecast and outcome]({_link('forecast_and_outcome.png')})",
        f"Both figures are of `{'`, `'.join(sorted({bake_off.shown(h) for h in bake_off.horizons}))}`, as issued. Over "
        f"the break of {BREAK[0][:4]} to {BREAK[1][:4]}, its quantiles averaged from uncalibrated members, the same "
        "with static and with adaptive calibration, and as issued (members and average with adaptive bands):",
        table(["horizon", "calibration", "origins", "50% covered", "80% covered", "90% covered", "pinball"], rows),
    ]


def _groups(permuted: pd.DataFrame, without: pd.DataFrame) -> list[str]:
    parts = [
        "## Which groups of features earn their place",
        "Increase of pinball loss in percent when a group's values are those of other days of the fold's training "
        "window (blocks of 21 sessions, five draws): mean of the folds ± their standard deviation, and in how many "
        "folds it was above zero. Folds before the final year only.",
        f"![Importance of groups]({_link('group_importance.png')})",
    ]
    horizons = list(dict.fromkeys(permuted["horizon"]))
    for family, part in permuted.groupby("family", sort=False):
        order = part.groupby("group")["increase_pct"].mean().sort_values(ascending=False).index
        counts = part.drop_duplicates("group").set_index("group")["features"]
        rows = by_horizon(part, "group", order, horizons, _effect)
        rows = [[group, str(counts[group]), *cells] for group, *cells in rows]
        parts += [f"### {family}", table(["group", "features", *horizons], rows)]
    groups = dict.fromkeys(without.get("group", ()))
    return [
        *parts,
        f"### {ABLATED} without a group",
        "Skill % of the whole over itself refitted without the group, with its 90% interval; above zero the group "
        "earns its place. What the scale is made of stays in.",
        table(
            ["group", *horizons],
            by_horizon(without, "group", groups, horizons, lambda row: interval(row, "skill_pct", "{:+.2f}")),
        ),
    ]


def _effect(row: Row) -> str:
    folds = f"{row['folds_above_zero']:.0f} of {row['folds']:.0f}"
    return f"{row['increase_pct']:+.2f} ± {cell(row, 'spread_pct', '{:.2f}')}, {folds}"


def _scored(oof: pd.DataFrame) -> pd.DataFrame:
    return oof[oof["scored"] & oof["p50"].notna()]


def _measured_as(run: RunContext, gates: QualityGates, horizon: str) -> dict[str, Any]:
    return {
        "sessions": run.horizons.horizons[horizon].sessions,
        "step": run.horizons.walk_forward.origin_step_sessions,
        "round_trip_cost_cents_lb": gates.trading_cost.round_trip_cents_lb,
    }


def _link(figure: str) -> str:
    return f"../{FIGURES.name}/{figure}"


def main() -> int:
    """Command line."""
    parser = command("evidence.bake_off_report", __doc__, "--budget full")
    parser.add_argument("--budget", default="full", help="a budget of registry/models.yaml")
    parser.add_argument("--into", type=Path, default=PROJECT, help="folder under which docs/ is written")
    given = parser.parse_args()
    return exit_status(lambda: write(given.budget, given.into))


def write(budget: str, into: Path) -> int:
    """Write the report of the newest bake-off of a budget."""
    run = last_run()
    models, gates = load_models(run.settings.registry, run.features), load_quality_gates(run.settings.registry)
    if budget not in models.budgets:
        raise ModelStoreError(f"no budget `{budget}`; known: {', '.join(models.budgets)}")
    bake_off = newest_bake_off(run, budget, models=models, gates=gates)
    print(f"Report: {write_report(bake_off, run, models, gates, into=into, budget=budget)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
