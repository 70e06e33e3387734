"""How seconds and memory grow with rows and with series, each size built in its own process (evidence/child.py).

The growth exponent is the slope of log cost on log work: 1 means proportional to the work, below 1 the fixed part still
shows. Memory is the peak beyond the imports, input included.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import pandas as pd

from evidence.child import LONG_S, REPEATS
from evidence.inputs import Inputs
from evidence.measurement import Measurement, ReportTable
from evidence.processes import build_in_child
from tasks.reporting.drawing import COLORS, DASHES, LINE_COLORS, write_picture
from tasks.settings import PROJECT

ROWS, SERIES = (1, 10, 100), (60, 600)
STEPWISE = 1.1
"""Proportional to the work: a slope of 1, plus a tenth for caches and a busy machine."""
FIGURE = PROJECT / "docs" / "images" / "growth.png"
BUILDS = {
    "panel join": ("panel", [(times, 1) for times in ROWS]),
    "feature build": ("features", [(times, 1) for times in ROWS]),
    "panel join by series": ("series panel", [(1, series) for series in SERIES]),
    "four features a series": ("series features", [(1, series) for series in SERIES]),
}


def measure(inputs: Inputs) -> list[Measurement | ReportTable]:
    """Seconds, memory and exponents of every build."""
    inputs.panel.to_parquet(inputs.folder / "panel.parquet")
    inputs.observations.to_parquet(inputs.folder / "observations.parquet")
    grown = take(inputs.folder)
    draw(grown, FIGURE)
    return [table_of(grown), *overall(grown)]


def take(folder: Path) -> pd.DataFrame:
    """One row per build and size: ``seconds``, ``grown_mb``, ``peak_mb``, ``work`` (cells, over the first size's)."""
    rows = []
    for build, (what, sizes) in BUILDS.items():
        for times, series in sizes:
            size = f"{times} x rows" if len({s for _, s in sizes}) == 1 else f"{series} series"
            rows.append({"build": build, "size": size} | build_in_child(what, folder, times=times, series=series))
    grown = pd.DataFrame(rows)
    grown["work"] = grown["cells"] / grown.groupby("build")["cells"].transform("first")
    return grown


def exponents(grown: pd.DataFrame) -> pd.DataFrame:
    """Slope of log seconds and of log MB on log work between neighboring sizes of a build; missing at the first."""
    work = grown.groupby("build", sort=False)["work"]
    step = grown["work"].div(work.shift()).map(math.log)
    return pd.DataFrame(
        {
            name: grown[name].div(grown.groupby("build", sort=False)[name].shift()).map(math.log) / step
            for name in ("seconds", "grown_mb")
        }
    )


def overall(grown: pd.DataFrame) -> list[Measurement]:
    """The exponents of each build from its smallest to its largest size, seconds and memory."""
    found = []
    for build, part in grown.groupby("build", sort=False):
        first, last = part.iloc[0], part.iloc[-1]
        for name, what in (("seconds", "seconds"), ("grown_mb", "memory")):
            slope = math.log(last[name] / first[name]) / math.log(last["work"] / first["work"])
            found.append(Measurement(f"{build}: {what} grow as the work to the power of", slope, "", STEPWISE))
    return found


def table_of(grown: pd.DataFrame) -> ReportTable:
    """The table for the report."""
    slopes = exponents(grown)
    cells = pd.DataFrame(
        {
            "build": grown["build"],
            "size": grown["size"],
            "work": grown["work"].map("{:.3g}".format),
            "s": grown["seconds"].map("{:.3g}".format),
            "s, the first time": grown["first_s"].map("{:.3g}".format),
            "MB beyond the imports": grown["grown_mb"].map("{:,.0f}".format),
            "MB of the process": grown["peak_mb"].map("{:,.0f}".format),
            "exponent of s": slopes["seconds"].map(_exponent),
            "exponent of MB": slopes["grown_mb"].map(_exponent),
        }
    )
    return ReportTable(
        "Growth",
        cells,
        "The archive's rows repeated under shifted dates, its series repeated under other names: they claim cost, not "
        "accuracy. Work is the cells made; what is read grows with it. Exponent: slope of log cost on log work since "
        f"the size before; from the smallest to the largest size it is to be at most {STEPWISE}. Each size in a fresh "
        f"process, the median of up to {REPEATS} builds in {LONG_S} s, in memory that the process holds by then: the "
        f"first time the system hands it out. Load average at the end {os.getloadavg()[0]:.1f}. The join is of the "
        "observations of the joined series. "
        "![Seconds and memory against the work](../images/growth.png)",
    )


def _exponent(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


def draw(grown: pd.DataFrame, path: Path) -> None:
    """Seconds and memory against the work, both axes logarithmic; the gray line is proportional to the work."""
    import altair as alt

    builds = list(dict.fromkeys(grown["build"]))
    colors = alt.Scale(domain=builds, range=[COLORS[name] for name in LINE_COLORS[: len(builds)]])
    dashes = alt.Scale(domain=builds, range=DASHES[: len(builds)])
    panels = []
    for name, label in (("seconds", "seconds"), ("grown_mb", "MB beyond the imports")):
        first = grown.groupby("build", sort=False)[name].transform("first")
        rows = grown.assign(cost=grown[name], in_step=first * grown["work"])[["build", "work", "cost", "in_step"]]
        x = alt.X("work:Q", title="work (cells made, in those of the first size)", scale=alt.Scale(type="log"))
        y = alt.Scale(type="log")
        base = alt.Chart(rows).encode(x=x, detail="build:N")
        steady = base.mark_line(color=COLORS["muted"], opacity=0.4).encode(y=alt.Y("in_step:Q", title=label, scale=y))
        lines = base.mark_line(point=True).encode(
            y=alt.Y("cost:Q", scale=y),
            color=alt.Color("build:N", scale=colors),
            strokeDash=alt.StrokeDash("build:N", scale=dashes),
        )
        panels.append(alt.layer(steady, lines).properties(width=380, height=260))
    write_picture(path, alt.hconcat(*panels).to_dict(), "Growth of cost with work (gray: in step with it)")
