"""``cbi models``: what a person and a program see, and what a promotion on the command line leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cli.app import main
from tasks import clock
from tasks.calendar import sessions
from tasks.model_store.folder import FolderStore
from tasks.reporting import preflight
from tasks.settings import load_settings
from tests.cloud.models import Fitted, fit_baseline, metadata

SURE = {"best_naive": "curve", "served_gain_pct": 2.0, "promotion_p_value": 0.01, "independent_periods": 100}
GOOD = SURE | {
    "better_naive": "curve",
    "skill_pct": 2.0,
    "skill_pct_low": 0.5,
    "skill_pct_high": 3.5,
    "coverage_80": 0.81,
}
FIGURES = {
    "curve": {
        "better_naive": "curve",
        "skill_pct": 0.0,
        "skill_pct_low": 0.0,
        "skill_pct_high": 0.0,
        "coverage_80": 0.8,
    },
    "har": GOOD | {"skill_pct": 1.0, "skill_pct_low": 0.1, "served_gain_pct": 1.0},
    "ridge": GOOD,
}


@pytest.fixture(scope="module")
def fitted(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit_baseline(archive, tmp_path_factory.mktemp("fitted"))


@pytest.fixture
def store(fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """A home with three versions at a week, of which the curve serves; the clock stands at a day of March 2020."""
    sessions()  # the calendar of this process is read once, and other tests need it to the present
    monkeypatch.setenv("CBI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CBI_MODELS", "folder")
    monkeypatch.setenv(clock.NAME, "2020-03-02T10:00-06:00")
    monkeypatch.setattr(preflight, "objections", lambda settings: [])  # this home has no training files
    store = FolderStore(tmp_path / "home" / "models")
    for family, figures in FIGURES.items():
        version = store.add(fitted.files, metadata(family, family=family) | {"data_snapshot": "d" * 64}, figures)
        if family == "curve":
            store.promote(version, run="r")
    return store


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["models", *words])
    told = capsys.readouterr()
    return status, told.out, told.err


def in_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    status, out, err = asked(capsys, *words, "--json")
    assert status == 0, err
    return json.loads(out)


def test_the_command_alone_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = asked(capsys)
    for command in ("list", "show", "compare", "promote", "roll-back", "shadow", "prune", "verify"):
        assert f" {command} " in out + err
    assert status in (0, 2)


def test_list_shows_champions_with_reasons_to_people_and_all_to_machines(
    store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = in_json(capsys, "list")
    assert [(row["version"], row["champion"]) for row in rows] == [
        ("curve/1w/v0001", True),
        ("ridge/1w/v0001", False),
        ("har/1w/v0001", False),
    ]
    assert rows[0]["why"] == "the baseline: no family met the promotion rule"
    assert (rows[1]["skill_pct_low"], rows[1]["coverage_80"], rows[1]["origins"]) == (0.5, 0.81, None)
    assert rows[1]["bytes"] == sum(
        path.stat().st_size for path in (store.folder / "ridge").rglob("*") if path.is_file()
    )
    status, out, _ = asked(capsys, "list", "--horizon", "1w")
    assert status == 0
    for words in ("champion", "+2.00 (+0.50 to +3.50)", "81%", "dddddddd, none", "it met the rule, with less gain"):
        assert words in " ".join(out.split()), words
    assert asked(capsys, "list", "--horizon", "2w")[0] == 2
    assert in_json(capsys, "list", "--as-of", "2019-12-31") == []


def test_promote_and_roll_back_are_one_command_each(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = asked(capsys, "promote", "ridge/1w/v0001")
    assert status == 0 and "ridge/1w/v0001 serves 1w from sessions of 2020-03-02 on." in out
    assert "Before: curve/1w/v0001." in out and "replays too" in out
    status, _, err = asked(capsys, "promote", "har/1w/v0001")
    assert status == 1 and err.startswith("PromotionRefused: the measured gain of har/1w/v0001 is +1.00%")
    assert asked(capsys, "promote", "har/1w/v0001", "--force")[0] == 2
    done = in_json(capsys, "promote", "har/1w/v0001", "--force", "--reason", "its inputs are late")
    assert (done["before"], done["forced"], done["reason"]) == ("ridge/1w/v0001", "yes", "its inputs are late")
    status, out, _ = asked(capsys, "roll-back", "1w", "--reason", "not late after all")
    assert status == 0 and "ridge/1w/v0001 serves 1w" in out
    champion = store.champion("1w", pd.Timestamp("2020-03-02"))
    assert champion is not None and champion.name == "ridge/1w/v0001" and len(store.history()) == 4
    [row] = [row for row in in_json(capsys, "list") if row["champion"]]
    assert row["why"] == "a person returned to it from har/1w/v0001 on 2020-03-02: not late after all"


def test_the_pre_flight_speaks_against_a_promotion_and_not_against_a_roll_back(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(capsys, "promote", "ridge/1w/v0001")[0] == 0
    monkeypatch.undo()
    monkeypatch.setenv("CBI_HOME", str(store.folder.parent))
    [objection] = preflight.objections(load_settings())
    assert objection == "the pre-flight cannot run: this home has no training files; run `cbi daily`"
    status, _, err = asked(capsys, "promote", "curve/1w/v0001")
    assert status == 1 and objection in err and "--force --reason TEXT" in err
    status, out, _ = asked(capsys, "promote", "curve/1w/v0001", "--force", "--reason", "no files on this machine")
    assert status == 0 and f"Overruled: {objection}" in out
    assert asked(capsys, "roll-back", "1w")[0] == 0


def test_show_compare_shadow_and_verify(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = asked(capsys, "shadow", "har/1w/v0001", "--sessions", "3")
    assert status == 0 and "har/1w/v0001 forecasts unserved from the session of 2020-03-02 on, 3 sessions." in out
    shown = in_json(capsys, "show", "har/1w/v0001")
    assert shown["shadow"] and shown["metrics"]["skill_pct"] == 1.0 and shown["record"] == []
    assert set(shown["files"]) >= {"model.json", "metadata.json"}
    assert "not in shadow any more" in asked(capsys, "shadow", "har/1w/v0001", "--sessions", "0")[1]
    compared = {row["figure"]: row for row in in_json(capsys, "compare", "ridge/1w/v0001", "har/1w/v0001")}
    assert compared["skill_pct"]["difference"] == 1.0
    assert asked(capsys, "verify")[0] == 0
    (store.folder / "har" / "1w" / "v0001" / "model.json").write_text("{}")
    status, out, _ = asked(capsys, "verify")
    assert status == 1 and "altered or gone: model.json" in out and "2 of 3 versions are as stored" in out
    status, _, err = asked(capsys, "show", "hra/1w/v0001")
    assert status == 1 and "Did you mean har/1w/v0001?" in err


def test_prune_deletes_with_yes_only(store: FolderStore, fitted: Fitted, capsys: pytest.CaptureFixture[str]) -> None:
    for day in ("2020-02-03", "2020-02-10"):
        told = metadata(f"har {day}", family="har", day=day) | {"run": f"run of {day}"}
        store.add(fitted.files, told, {})
    status, out, _ = asked(capsys, "prune")
    assert status == 0 and "1 of 5 versions can be deleted" in out and "`--yes` deletes them" in out
    assert len(store.of_horizon("1w")) == 5
    assert asked(capsys, "prune", "--yes")[0] == 0
    assert [version.name for version in store.versions("har", "1w")] == ["har/1w/v0001", "har/1w/v0003"]
    assert "0 of 4" in asked(capsys, "prune", "--yes")[1]


def test_an_empty_home_has_no_versions_and_says_nothing_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CBI_HOME", str(tmp_path / "none"))
    assert in_json(capsys, "list") == [] and asked(capsys, "verify")[0] == 0
    assert asked(capsys, "list")[0] == 0
