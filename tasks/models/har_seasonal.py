"""HAR with the season: soybean oil moves more while its crops grow, and the coming months say which those are."""

from __future__ import annotations

from typing import ClassVar

from tasks.models import har

SEASON = ("year_sin", "year_cos", "half_year_sin", "half_year_cos")


class Model(har.Model):
    """HAR with a year's memory and the season among its inputs."""

    family: ClassVar[str] = "har_seasonal"
    logs: ClassVar[tuple[str, ...]] = (*har.MEMORIES, "zl_volatility_252d_pct", "vix")
    levels: ClassVar[tuple[str, ...]] = (*har.LEVELS, *SEASON)
