"""``python -m evidence.proofs`` on what a daily run left: the audit names its data and code, or there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from evidence import proofs as command
from tasks.errors import ManifestMismatch
from tasks.run import open_run
from tasks.settings import load_settings
from tasks.storage.files import read_json, read_parquet, write_json, write_parquet
from tasks.storage.hashes import sha256_of
from tests.conftest import EARLY

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("daily")]


@pytest.fixture
def prove(copied_home: Path, few_families: Path, monkeypatch):
    monkeypatch.setenv("CBI_HOME", str(copied_home))
    monkeypatch.setenv("CBI_REGISTRY", str(few_families))
    run = open_run(load_settings(), origin="live", as_of=EARLY)
    return lambda: command.prove(run, days=2, restaged=0, permutations=1, console=Console(quiet=True))


@pytest.mark.more
def test_the_audit_is_of_the_training_files_and_the_code_of_the_run(prove, copied_home):
    audit, report = prove()
    assert audit.passed and audit.findings == ()
    folder = copied_home / "exports"
    held = {name: sha256_of(folder / f"zl_training_prod_allhistory_{name}.parquet") for name in audit.data_snapshots}
    assert audit.data_snapshots == held and set(held) == {"1w", "1m", "3m", "6m", "12m"}
    for words in (EARLY, "both hold", "Columns that changed: 0", "| 12m | echo |"):
        assert words in report


def test_training_files_that_are_not_made_of_the_held_payloads_are_not_proved(prove, copied_home):
    folder = copied_home / "exports"
    path, manifest = folder / "zl_training_prod_allhistory_1m.parquet", read_json(folder / "manifest.json")
    table = read_parquet(path)
    write_parquet(path, table.assign(target_log_return=table["target_log_return"].shift(1)))
    manifest["files"][path.name]["sha256"] = sha256_of(path)
    write_json(folder / "manifest.json", manifest)
    with pytest.raises(ManifestMismatch, match=r"1m\.parquet is not what this code builds from the stored payloads"):
        prove()


def test_without_a_run_there_is_nothing_to_prove(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CBI_HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["evidence.proofs", "--report", str(tmp_path / "proofs.md")])
    assert command.main() == 1
    assert "run `make demo` or `make daily`" in capsys.readouterr().err
    assert not (tmp_path / "proofs.md").exists()
