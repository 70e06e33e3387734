"""The chart of the production surface: which categories of features are steadily above noise, as PNG."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tasks.registry import FeatureRegistry, ProductionSurface
from tasks.reporting.drawing import COLORS, specification_of, write_picture
from tasks.training.feature_selection import ShapShares, standings


def surface_figure(path: Path, surface: ProductionSurface, evidence: ShapShares, registry: FeatureRegistry) -> Path:
    """A PNG of grouped SHAP by category: mean of all fits as a bar, each fold as a dot, its shadows as a tick."""
    import altair as alt

    category = standings(evidence, registry)["category"]
    own, noise = (
        (100 * shares).T.groupby(category).sum(min_count=1).T.groupby(level="fold").mean()
        for shares in (evidence.groups, evidence.shadows)
    )
    counts = surface.categories
    names = {
        name: f"{str(name).replace('_', ' ')}: {counts[name].chosen} of {counts[name].groups}"
        for name in own.mean().sort_values(ascending=False).index
    }
    unit = "share of mean |SHAP| of the median forecast, % (LightGBM, out of fold)"
    y = alt.Y("category:N", sort=list(names.values()), title="category: groups chosen of groups tried")
    y = y.axis(labelLimit=260, ticks=False, domain=False, titlePadding=12)
    kinds = ["mean of all folds and horizons", "one fold", "the same from shadows"]
    color = alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=[COLORS["grid"], COLORS["price"], COLORS["band"]]))

    def part(shares: pd.DataFrame, kind: str) -> pd.DataFrame:
        long = shares.melt(var_name="category", value_name="share_pct")
        return long.assign(category=long["category"].map(names), kind=kind)

    def drawn(shares: pd.DataFrame, kind: str) -> alt.Chart:
        return alt.Chart(part(shares, kind)).encode(x=alt.X("share_pct:Q", title=unit), y=y, color=color)

    layers = [
        drawn(own.mean().to_frame().T, kinds[0]).mark_bar(height=18),
        drawn(own, kinds[1]).mark_circle(size=22, opacity=0.8),
        drawn(noise.mean().to_frame().T, kinds[2]).mark_tick(thickness=2.5, height=20),
    ]
    above = (own.mean() - noise.mean()).sort_values(ascending=False)
    first, second = (str(name).replace("_", " ") for name in above.index[:2])
    groups = sum(count.groups for count in counts.values())
    return write_picture(
        path,
        specification_of(alt.layer(*layers), height=28 * len(names)),
        f"{len(surface.features)} of {groups} feature groups are steadily above noise, {first} and {second} furthest",
        [
            f"Folds {surface.folds[0]} to {surface.folds[-1]}, read to {surface.last_date_read}; "
            f"{surface.final_test_year} is not read"
        ],
    )
