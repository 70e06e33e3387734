"""``cbi project surface``: choose the production surface and lock it.

The choice is registry/production_surface.yaml.

The rule (docs/decisions/0009-production-surface.md). No constant was tuned on a result:

1. Only sessions before the final test year are read; a target that reaches into that year counts as unknown.
2. A candidate is a production feature with two years of varying values before 2014. Candidates that rank sessions
   alike (Spearman above 0.9, complete linkage) are one group.
3. Every horizon's median LightGBM is fitted before every scored fold on the candidates and one shadow each: its own
   known values, shifted by half of them. A shadow has the feature's persistence and gaps, but no information.
4. A group outranks noise in a fit when its grouped SHAP, mean |sum of its members' contributions| at the fold's
      origins, is above that of nine in ten shadow groups. Stability is the share of fits in which it does, among those
      whose training rows have two years of it: a late beginning does not count as lack of signal.
5. The groups more stable than nine in ten shadow groups are chosen, best per category first, at most 60. Each
   is represented by its member with the most SHAP. The volatility that every family scales by is always included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from tasks.errors import ManifestMismatch, TrainingFailed
from tasks.exports import check_exports, file_name
from tasks.models.catalogue import SCALE
from tasks.models.forecaster import Problem, without_curve_moves
from tasks.registry import (
    SURFACE_SIZE,
    FeatureRegistry,
    Horizons,
    ProductionSurface,
    SurfaceCategory,
    SurfaceFeature,
    surface_version,
)
from tasks.settings import PROJECT
from tasks.storage.files import read_parquet, write_bytes
from tasks.storage.hashes import code_fingerprint, fingerprint
from tasks.training.folds import walk_forward
from tasks.training.worker import usable

KNOWN_BEFORE = pd.Timestamp("2014-01-01")
KNOWN_SESSIONS = 504  # two years
ALIKE = 0.9  # |Spearman|
NINE_IN_TEN = 0.9
CODE = (
    PROJECT / "tasks" / "training" / "feature_selection.py",
    PROJECT / "tasks" / "training" / "folds.py",
    PROJECT / "tasks" / "models" / "boosted.py",
    PROJECT / "tasks" / "models" / "forecaster.py",
)
HEAD = """\
# The production surface: what nets and linear models read, in this order. Trees read every production feature.
# Written by `make surface` and locked: an edit by hand is refused. Only sessions before the final test year were read.
# stability: share of fits (horizon x fold) in which the group's SHAP is above that of nine in ten shadows of features.
# shap_share_pct: its group's share of |SHAP|, mean of the fits. stands_for: features that rank sessions as it does.
# categories: production features, those with enough history before 2014, their groups, and how many were chosen.
"""


@dataclass(frozen=True)
class ShapShares:
    """Mean |SHAP| as shares of each fit's total over the candidates; one row per fit, index (horizon, fold).

    Column i of ``groups`` and ``shadows`` is ``members[i]``; ``features`` has one column per candidate. A group is
    missing in a fit whose training rows have less than two years of it.
    """

    members: tuple[tuple[str, ...], ...]
    groups: pd.DataFrame
    shadows: pd.DataFrame
    features: pd.DataFrame

    def stability(self) -> tuple[pd.Series, pd.Series]:
        """Share of fits in which each group, and each shadow group, is above nine in ten shadow groups."""
        line = self.shadows.quantile(NINE_IN_TEN, axis=1)
        above, noise = (shares.gt(line, axis=0).where(shares.notna()) for shares in (self.groups, self.shadows))
        return above.astype("float64").mean(), noise.astype("float64").mean()


def before_final_year(table: pd.DataFrame) -> pd.DataFrame:
    """The sessions before the last calendar year of the table, without the targets that lie in it.

    Invariants: nothing of the final year is in the result, except that it existed.
    """
    start = pd.Timestamp(year=table["date"].max().year, month=1, day=1)
    kept = table[table["date"] < start].reset_index(drop=True)
    reaches = kept["target_date"] >= start
    return kept.assign(**{name: kept[name].mask(reaches) for name in ("target_log_return", "target_date")})


def candidates(table: pd.DataFrame, columns: list[str]) -> list[str]:
    """Features with two years of varying values before 2014: enough folds can learn from them.

    The expected moves of the curve are the centre of the target, and no family learns from them.
    """
    columns = without_curve_moves(columns)
    early = table.loc[table["date"] < KNOWN_BEFORE, columns]
    return [name for name in columns if early[name].count() >= KNOWN_SESSIONS and early[name].nunique() > 1]


def alike(table: pd.DataFrame, columns: list[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of features in which every pair has |Spearman| above 0.9 before 2014, in the order of ``columns``.

    A column is ranked over its own known sessions; pairs with less than a year in common count as unlike.
    """
    from sklearn.cluster import AgglomerativeClustering

    ranks = table.loc[table["date"] < KNOWN_BEFORE, columns].rank()
    distance = 1 - ranks.corr(min_periods=KNOWN_SESSIONS // 2).abs().fillna(0.0).to_numpy()
    np.fill_diagonal(distance, 0.0)
    clustering = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="complete", distance_threshold=1 - ALIKE
    )
    labels = pd.Series(clustering.fit_predict(distance), index=columns)
    return tuple(tuple(group) for group in labels.groupby(labels, sort=False).groups.values())


def shadow(feature: pd.Series) -> pd.Series:
    """The feature's known values rotated by half of their number; missing where the feature is missing."""
    known = feature.dropna()
    return pd.Series(np.roll(known.to_numpy(), len(known) // 2), index=known.index).reindex(feature.index)


def explain_folds(
    tables: Mapping[str, pd.DataFrame],
    members: tuple[tuple[str, ...], ...],
    horizons: Horizons,
    progress: Callable[[str], None] = lambda fit: None,
) -> ShapShares:
    """Fit every horizon and scored fold on features and shadows; exact TreeSHAP at the fold's origins."""
    from tasks.models.boosted import LightGbm

    columns = [name for group in members for name in group]
    of_group = np.repeat(np.eye(len(members)), [len(group) for group in members], axis=0)
    index, groups, shadows, features = [], [], [], []
    for horizon, table in tables.items():
        sessions = horizons.horizons[horizon].sessions
        inputs = pd.concat(
            [table[columns], pd.DataFrame({f"shadow of {name}": shadow(table[name]) for name in columns})], axis=1
        )
        known, scaled = usable(table).to_numpy(), table[SCALE].notna().to_numpy()
        for fold in walk_forward(pd.DatetimeIndex(table["date"]), horizons.walk_forward, horizon=sessions):
            train, test = fold.train[known[fold.train]], fold.test[scaled[fold.test]]
            if not fold.scored or not len(train) or not len(test):
                continue
            model = LightGbm(Problem(horizon, sessions, (0.5,)))
            model.fit(inputs.loc[train], table.loc[train, "target_log_return"])
            found = model.explain(inputs.loc[test])[list(inputs.columns)].to_numpy()
            own, noise = found[:, : len(columns)], found[:, len(columns) :]
            total = np.abs(own @ of_group).mean(axis=0).sum()
            enough = (table.loc[train, columns].count().to_numpy()[:, None] * of_group).max(axis=0) >= KNOWN_SESSIONS
            groups.append(np.where(enough, np.abs(own @ of_group).mean(axis=0) / total, np.nan))
            shadows.append(np.where(enough, np.abs(noise @ of_group).mean(axis=0) / total, np.nan))
            features.append(np.abs(own).mean(axis=0) / total)
            index.append((horizon, fold.year))
            progress(f"{horizon} {fold.year}")
    fits = pd.MultiIndex.from_tuples(index, names=["horizon", "fold"])
    return ShapShares(
        members,
        pd.DataFrame(groups, index=fits),
        pd.DataFrame(shadows, index=fits),
        pd.DataFrame(features, index=fits, columns=columns),
    )


def standings(evidence: ShapShares, registry: FeatureRegistry) -> pd.DataFrame:
    """One row per group: the ``feature`` for it, its ``category``, ``stability``, ``share`` of |SHAP|, ``chosen``."""
    stability, noise = evidence.stability()
    strongest = evidence.features.mean()
    of = [SCALE if SCALE in group else str(strongest[list(group)].idxmax()) for group in evidence.members]
    table = pd.DataFrame({"feature": of, "stability": stability, "share": evidence.groups.mean()})
    table["category"] = table["feature"].map(registry.category_of)
    vital = table["feature"] == SCALE
    able = table[(stability > noise.quantile(NINE_IN_TEN)) | vital]
    able = able.sort_values(["stability", "share"], ascending=False, kind="stable")
    turn = able.assign(vital=vital, best=~able["category"].duplicated())
    turn = turn.sort_values(["vital", "best"], ascending=False, kind="stable")
    return table.assign(chosen=table.index.isin(turn.index[: SURFACE_SIZE[1]]))


def choose(evidence: ShapShares, registry: FeatureRegistry) -> dict[str, SurfaceFeature]:
    """The chosen features in the registry's order."""
    table = standings(evidence, registry)
    rows = {row["feature"]: (group, row) for group, row in table[table["chosen"]].iterrows()}
    return {
        name: SurfaceFeature(
            category=registry.category_of[name],
            dtype="float64",
            stands_for=tuple(other for other in evidence.members[int(str(rows[name][0]))] if other != name),
            shap_share_pct=round(100 * float(rows[name][1]["share"]), 3),
            stability=round(float(rows[name][1]["stability"]), 3),
        )
        for name in registry.features
        if name in rows
    }


def select_surface(
    tables: Mapping[str, pd.DataFrame],
    registry: FeatureRegistry,
    horizons: Horizons,
    progress: Callable[[str], None] = lambda fit: None,
) -> tuple[ProductionSurface, ShapShares]:
    """The surface, and the SHAP shares that chose it.

    Args:
        tables: the training table of every horizon, in full; this function cuts off what it may not read.

    Raises:
        TrainingFailed: too few features outrank noise, or there is no fold to judge by.
    """
    final = max(table["date"].max() for table in tables.values()).year
    columns = registry.production()
    read = {horizon: before_final_year(table) for horizon, table in tables.items()}
    first = next(iter(read.values()))
    able = candidates(first, columns)
    if SCALE not in able:
        raise TrainingFailed(f"{SCALE}, by which every family scales, has too short a history before 2014")
    evidence = explain_folds(read, alike(first, able), horizons, progress)
    if evidence.groups.empty:
        raise TrainingFailed(
            f"no fold from {horizons.walk_forward.first_test_year} to {final - 1} could be fitted; run `make demo` on "
            f"more history, then `make surface`"
        )
    features = choose(evidence, registry)
    if len(features) < SURFACE_SIZE[0]:
        raise TrainingFailed(
            f"only {len(features)} groups of features outrank noise and a surface has {SURFACE_SIZE[0]} at least; the "
            f"file is unchanged. More history or more features are needed, not a lower threshold"
        )
    table = standings(evidence, registry)
    candidate_categories = [registry.category_of[name] for name in able]
    folds = sorted(set(evidence.groups.index.get_level_values("fold")))
    surface = ProductionSurface(
        version=surface_version(features),
        final_test_year=final,
        folds=tuple(folds),
        horizons=tuple(tables),
        last_date_read=max(part["date"].max() for part in read.values()).date(),
        data_snapshot=fingerprint({horizon: _content(part, columns) for horizon, part in read.items()}),
        code=code_fingerprint(*CODE),
        categories={
            category: SurfaceCategory(
                features=sum(registry.category_of[name] == category for name in columns),
                candidates=candidate_categories.count(category),
                groups=int((table["category"] == category).sum()),
                chosen=int((table["chosen"] & (table["category"] == category)).sum()),
            )
            for category in registry.categories
        },
        features=features,
    )
    return surface, evidence


def _content(table: pd.DataFrame, columns: list[str]) -> str:
    kept = table[["date", "target_log_return", *columns]]
    return fingerprint(kept.columns.to_list(), pd.util.hash_pandas_object(kept, index=False).to_numpy().tobytes().hex())


def write_surface(path: Path, surface: ProductionSurface) -> Path:
    """Write the file: readable, without a timestamp, the same bytes for the same choice."""
    content = yaml.safe_dump(surface.model_dump(mode="json"), sort_keys=False, width=110, default_flow_style=None)
    return write_bytes(path, (HEAD + content).encode())


def read_tables(exports: Path, registry: FeatureRegistry, horizons: Horizons) -> dict[str, pd.DataFrame]:
    """The training file of every horizon, verified against the manifest.

    Raises:
        ManifestMismatch: files missing, altered, or built before the feature registry changed.
    """
    check_exports(exports)
    tables = {horizon: read_parquet(exports / file_name("prod", horizon)) for horizon in horizons.horizons}
    for horizon, table in tables.items():
        if absent := [name for name in registry.production() if name not in table]:
            raise ManifestMismatch(
                f"{exports / file_name('prod', horizon)} has no {', '.join(absent[:3])}; run `make demo` or `make "
                f"daily`, then `make surface`"
            )
    return tables
