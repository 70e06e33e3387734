"""``python -m evidence.bake_off_report`` on what a daily run left: whose report it is, and why it promotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from evidence import bake_off_report
from tasks.storage.files import read_json, write_json
from tasks.storage.hashes import sha256_of
from tests.conftest import EARLY

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("daily")]


@pytest.fixture
def report(copied_home: Path, few_families: Path, tmp_path: Path, monkeypatch, capsys):
    """Runs the command on the copied home; returns its code and what it said."""
    monkeypatch.setenv("CBI_HOME", str(copied_home))
    monkeypatch.setenv("CBI_REGISTRY", str(few_families))

    def run(budget: str = "daily") -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["bake_off_report", "--budget", budget, "--into", str(tmp_path / "out")])
        code = bake_off_report.main()
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.mark.more
def test_the_report_names_its_data_and_says_why_a_family_is_not_promoted(report, copied_home: Path, tmp_path: Path):
    code, said = report()
    assert code == 0, said
    text = (tmp_path / "out/docs/results/bake_off.md").read_text()
    assert text.splitlines()[2].startswith("Written by `make bake-off-report` on 20")
    assert f"Session: {EARLY}" in text
    for horizon in ("1w", "1m", "3m", "6m", "12m"):
        digest = sha256_of(copied_home / "exports" / f"zl_training_prod_allhistory_{horizon}.parquet")
        assert f"{horizon} `{digest[:16]}`" in text
    metrics = read_json(copied_home / "models" / "drift" / "1m" / "v0001" / "metrics.json")
    assert metrics["promotion_p_value"] != metrics["promotion_p_value"], "missing: two years decide nothing"
    assert "how sure that is cannot be measured with this history" in text
    assert f"| drift | its gain over {metrics['best_naive']} is {metrics['served_gain_pct']:+.2f}%, below 0.5%" in text
    assert f"| {metrics['origins']} | " in text and f"## The final calendar year, {EARLY[:4]}" in text
    for name in ("leaderboard", "reliability", "forecast_and_outcome", "group_importance"):
        assert f"](../images/{name}.png)" in text
        assert (tmp_path / "out/docs/images" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_budget_that_was_not_run_and_files_of_another_run_have_no_report(report, copied_home: Path, tmp_path: Path):
    code, said = report("quick")
    assert code == 1 and "no bake-off of budget quick; run `cbi train --budget quick`" in said
    folder = copied_home / "exports"
    path, manifest = folder / "zl_training_prod_allhistory_1m.parquet", read_json(folder / "manifest.json")
    path.write_bytes((folder / "zl_training_prod_allhistory_3m.parquet").read_bytes())
    manifest["files"][path.name]["sha256"] = sha256_of(path)
    write_json(folder / "manifest.json", manifest)
    code, said = report()
    assert code == 1 and "zl_training_prod_allhistory_1m.parquet is not the file that" in said
    assert not (tmp_path / "out").exists()


def test_training_leaves_the_leaderboard_as_a_figure(copied_home: Path):
    figure = copied_home / "reports" / f"leaderboard_daily_{EARLY}.png"
    assert figure.read_bytes().startswith(b"\x89PNG")
