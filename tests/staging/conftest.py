"""Payload files written by hand, staged by the real adapters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tasks.sources.payloads import Payload
from tasks.staging.stage import stage_payloads
from tasks.storage.hashes import sha256_of

HEADER = "Date,Open,High,Low,Close,Adj Close,Volume"
LATER = pd.Timestamp("2030-01-01", tz="UTC")


def bar(day: str, close: float | str, *, low: float | None = None, high: float | None = None) -> str:
    """One CSV line; a bar half a percent wide unless told."""
    if isinstance(close, str):
        return f"{day},{close},{close},{close},{close},{close},100"
    low, high = low or close * 0.995, high or close * 1.005
    return f"{day},{close},{high},{low},{close},{close},100"


@pytest.fixture
def payload(tmp_path: Path) -> Callable[..., Payload]:
    """Write a yahoo history CSV of ZL as if fetched at a time."""

    def make(fetched_at: str, *lines: str, header: str = HEADER, series: str = "ZL=F") -> Payload:
        moment = pd.Timestamp(fetched_at, tz="UTC")
        path = tmp_path / f"{moment:%Y-%m-%dT%H%M%S}.csv"
        path.write_text("\n".join([header, *lines, ""]))
        return Payload(
            source="yahoo",
            series=series,
            path=path,
            sha256=sha256_of(path),
            bytes=path.stat().st_size,
            url="",
            fetched_at=moment,
            day_known_only=False,
        )

    return make


@pytest.fixture
def stage(registry) -> Callable[..., tuple[pd.DataFrame, pd.DataFrame]]:
    """Observations and quarantine of yahoo payloads."""

    def run(*payloads: Payload, through: pd.Timestamp = LATER) -> tuple[pd.DataFrame, pd.DataFrame]:
        return stage_payloads("yahoo", registry.sources.source("yahoo"), payloads, through=through)

    return run
