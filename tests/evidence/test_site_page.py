"""The page of Lighthouse's scores says the median, a limit that is not met, and what costs points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evidence import site
from evidence.measurement import BenchError


def report(performance: float | None, paint_ms: float) -> dict[str, Any]:
    """What the page reads of one report of Lighthouse."""
    audits = {name: {"numericValue": paint_ms, "score": 1, "title": name} for name in site.METRICS}
    audits["unused-css"] = {"numericValue": None, "score": 0.5, "title": "Unused CSS"}
    refs = [{"id": "unused-css", "weight": 1}, {"id": "total-byte-weight", "weight": 0}]
    categories = {name: {"score": 1.0, "auditRefs": refs} for name in site.CATEGORIES}
    categories["performance"]["score"] = performance
    return {"lighthouseVersion": "12.2.3", "audits": audits, "categories": categories}


def test_the_median_counts_and_a_missed_limit_is_written_down() -> None:
    desktop = [report(0.99, 300), report(0.94, 500), report(0.90, 400)]
    text = "\n".join(site.parts({"desktop": desktop, "phone": [report(0.5, 9000)]}))
    assert "| desktop | performance | 94 | 99, 94, 90 | 95 | **not met** |" in text
    assert "| desktop | accessibility | 100 | 100, 100, 100 | 95 | yes |" in text
    assert "| phone | performance | 50 | 50 | none |  |" in text
    assert "| largest content, ms | 400 | 9,000 |" in text
    assert "| desktop | Unused CSS | 0.50 |" in text and "total-byte-weight" not in text


def test_a_score_that_was_not_measured_is_none_and_meets_no_limit() -> None:
    text = "\n".join(site.parts({"desktop": [report(None, 300)]}))
    assert "| desktop | performance | none |  | 95 | **not met** |" in text


def test_without_lighthouse_it_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_PATH", str(tmp_path))
    with pytest.raises(BenchError, match="`make lighthouse` installs them"):
        site.lighthouse("http://127.0.0.1:9/", ())
