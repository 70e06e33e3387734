"""What a person may do with a model store, the same on a folder and on Cloud Storage (the emulator)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.errors import ModelStoreError, PromotionRefused
from tasks.model_store.administration import (
    Judge,
    compare_versions,
    list_versions,
    promote,
    promotions_table,
    put_in_shadow,
    roll_back,
    show_version,
)
from tasks.model_store.champions import CHAMPIONS, HISTORY, current_champions, of_lines
from tasks.model_store.folder import FolderStore
from tasks.model_store.protocol import ModelStore, Version
from tasks.model_store.shadows import active
from tasks.model_store.upkeep import plan_prune, prune, verify
from tasks.registry import load_quality_gates
from tests.cloud.models import Fitted, Place, fit_baseline, metadata
from tests.conftest import Registry

AT = pd.Timestamp("2020-03-02T16:00Z")
SURE = {"best_naive": "curve", "served_gain_pct": 2.0, "promotion_p_value": 0.01, "independent_periods": 100}
GOOD = SURE | {
    "better_naive": "curve",
    "skill_pct": 2.0,
    "skill_pct_low": 0.5,
    "skill_pct_high": 3.5,
    "coverage_80": 0.81,
}
CURVE = SURE | {"better_naive": "curve", "skill_pct": 0.0, "served_gain_pct": 0.0, "coverage_80": 0.8}
WORSE = GOOD | {"skill_pct": 1.0, "served_gain_pct": 1.0}
BAD = GOOD | {"skill_pct": 0.7, "served_gain_pct": 0.7, "promotion_p_value": 0.3}


@pytest.fixture(scope="module")
def fitted(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit_baseline(archive, tmp_path_factory.mktemp("fitted"))


@pytest.fixture(params=["folder", "gcs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    uri = "folder" if request.param == "folder" else request.getfixturevalue("models_uri")
    return Place(uri, tmp_path / "machines")


@pytest.fixture(scope="module")
def judge(registry: Registry) -> Judge:
    rule = load_quality_gates(registry.folder).promotion
    return Judge(rule, code_version="c0de", horizons=registry.horizons, partial_budgets=["quick"])


Add = Callable[..., Version]


@pytest.fixture
def add(place: Place, fitted: Fitted) -> Add:
    """Store one more version of a family; its files are those of a small real baseline."""

    def store(family: str, figures: dict[str, Any], *, day: str = "2020-01-02", **other: Any) -> Version:
        identity = f"{family} {day} {other}"
        told = metadata(identity, family=family, day=day) | {"run": f"run of {day}", "data_snapshot": "d"} | other
        return place.store().add(fitted.files, told, figures)

    return store


def agree(place: Place) -> list[dict[str, str]]:
    """The history, once champions.json was found to follow from it."""
    history = of_lines(place.pointer(HISTORY), "")
    assert json.loads(place.pointer(CHAMPIONS)) == current_champions(history)
    return history


def champion(store: ModelStore, day: str) -> str:
    found = store.champion("1w", pd.Timestamp(day))
    return "none" if found is None else found.name


def test_a_person_promotes_and_rolls_back_and_the_next_run_serves_what_the_history_says(
    place: Place, add: Add, judge: Judge
) -> None:
    first, second = add("curve", CURVE), add("ridge", GOOD)
    place.store().promote(first, run="run of 2020-01-02")
    done = promote(place.store(), second.name, judge, at=AT, reason="it met the rule since")
    assert (done.before, done.objections, done.entry["by"]) == (first.name, (), "person")
    days = ("2020-02-28", "2020-03-02", "2020-09-01")
    assert [champion(place.store("b"), day) for day in days] == [first.name, second.name, second.name]
    back = roll_back(place.store("b"), "1w", judge, at=AT + pd.Timedelta(days=30), reason="misses")
    assert back.before == second.name and back.entry["rolled_back"] == second.name
    assert [champion(place.store(), day) for day in (*days, "2020-03-31")] == [
        first.name,
        second.name,
        first.name,
        second.name,
    ]
    assert champion(place.store(), "2020-04-01") == first.name
    assert len(agree(place)) == 3, "the history only grows"
    with pytest.raises(ModelStoreError, match="has no champion at 1w before the present one"):
        roll_back(place.store(), "1w", judge, at=AT + pd.Timedelta(days=31))
    with pytest.raises(ModelStoreError, match="no horizon '2w'"):
        roll_back(place.store(), "2w", judge, at=AT)
    later = add("har", GOOD, day="2020-05-01")
    place.store().promote(later, run="run of 2020-05-01")
    assert champion(place.store("b"), "2020-05-04") == later.name, "a training of a later session"
    table = promotions_table(place.store().history())
    assert list(table["promoted_by"]) == ["training", "person", "person", "training"]
    assert list(table["rolled_back"].fillna("")) == ["", "", second.name, ""] and table["entry"].is_unique


@pytest.mark.parametrize(
    ("figures", "other", "why"),
    [
        (BAD, {}, "the best of all families tried does as well with a chance of 30%, above 4%"),
        ({}, {}, "its gain over the best naive is not measured"),
        (
            WORSE,
            {},
            r"the measured gain of har/1w/v0001 is \+1.00%, below the \+2.00% of ridge/1w/v0001, which serves",
        ),
        (GOOD, {"budget": "quick"}, "measured by budget quick, on a few folds only"),
    ],
    ids=["refused by the rule", "not measured", "worse than the champion", "a few folds"],
)
def test_a_worse_or_unverified_version_is_promoted_only_by_force_with_a_reason(
    place: Place, add: Add, judge: Judge, figures: dict[str, Any], other: dict[str, Any], why: str
) -> None:
    serving = add("ridge", GOOD)
    place.store().promote(serving, run="r")
    version = add("har", figures, **other)
    before = place.pointer(HISTORY), place.pointer(CHAMPIONS)
    with pytest.raises(PromotionRefused, match=why) as refused:
        promote(place.store(), version.name, judge, at=AT)
    assert "--force --reason TEXT" in str(refused.value)
    with pytest.raises(PromotionRefused, match="give --reason TEXT"):
        promote(place.store(), version.name, judge, at=AT, force=True)
    assert (place.pointer(HISTORY), place.pointer(CHAMPIONS)) == before
    done = promote(place.store(), version.name, judge, at=AT, force=True, reason="the source of ridge ends")
    assert done.objections and champion(place.store("b"), "2020-03-02") == version.name
    [_, line] = agree(place)
    assert (line["forced"], line["reason"], line["at"]) == ("yes", "the source of ridge ends", "2020-03-02T16:00:00Z")
    table = list_versions(place.store(), judge, pd.Timestamp("2020-03-02")).set_index("version")
    assert table.loc[version.name, "champion"] and not table.loc[serving.name, "champion"]
    words = "a person chose it on 2020-03-02 against the promotion rule: the source of ridge ends"
    assert table.loc[version.name, "why"] == words


def test_an_altered_version_or_one_of_a_later_session_is_promoted_by_nobody(
    place: Place, add: Add, judge: Judge
) -> None:
    version, later = add("ridge", GOOD), add("har", GOOD, day="2020-06-01")
    assert set(verify(place.store(), judge.horizons)["state"]) == {"ok"}
    alter(place, version, "model.json")
    words = r"ridge/1w/v0001 is not what was stored, and would not be served: model\.json"
    with pytest.raises(ModelStoreError, match=words):
        promote(place.store(), version.name, judge, at=AT, force=True, reason="all the same")
    with pytest.raises(ModelStoreError, match="trained as of 2020-06-01, after today"):
        promote(place.store(), later.name, judge, at=AT)
    found = verify(place.store(), judge.horizons).set_index("version")["state"]
    assert found.to_dict() == {version.name: "altered or gone: model.json", later.name: "ok"}
    with pytest.raises(ModelStoreError, match=r"no version 'rigde/1w/v0001'.* Did you mean ridge/1w/v0001\?"):
        promote(place.store(), "rigde/1w/v0001", judge, at=AT)
    assert place.store().history() == []


def alter(place: Place, version: Version, name: str) -> None:
    """Other bytes where a file of a version is stored; what this machine has of it stays."""
    store = place.store()
    if isinstance(store, FolderStore):
        (store.folder / version.name / name).write_bytes(b"{}")
        return
    from google.cloud.storage import Client

    bucket, prefix = place.uri.removeprefix("gs://").split("/", 1)
    blob = Client(project=None).bucket(bucket).get_blob(f"{prefix}/{version.name}/{name}")
    kept, blob = dict(blob.metadata), Client(project=None).bucket(bucket).blob(f"{prefix}/{version.name}/{name}")
    blob.metadata = kept
    blob.upload_from_string(b"{}")


def test_the_pre_flight_refuses_every_promotion_and_no_roll_back(place: Place, add: Add, judge: Judge) -> None:
    first, second = add("ridge", WORSE), add("har", GOOD)
    place.store().promote(first, run="r")
    grounded = replace(judge, objections=["MAPE of Python and of SQL differ by 0.7 points at 3m"])
    with pytest.raises(PromotionRefused, match=r"differ by 0\.7 points at 3m"):
        promote(place.store(), second.name, grounded, at=AT)
    promote(place.store(), second.name, judge, at=AT)
    assert roll_back(place.store(), "1w", grounded, at=AT).entry["version"] == first.number


def test_the_list_says_of_each_version_why_it_serves_or_not(place: Place, add: Add, judge: Judge) -> None:
    curve, ridge, har = add("curve", CURVE), add("ridge", GOOD), add("har", WORSE)
    poor, old = add("garch", BAD), add("drift", GOOD, day="2019-01-02")
    place.store().promote(ridge, run="run of 2020-01-02")
    table = list_versions(place.store(), judge, pd.Timestamp("2020-01-09")).set_index("version")
    assert table.index[0] == ridge.name and list(table["champion"]).count(True) == 1
    assert table["why"].to_dict() == {
        ridge.name: "the highest gain of those that met the promotion rule",
        har.name: f"it met the rule, with less gain than {ridge.name}",
        curve.name: f"the baseline: it serves where {ridge.name} cannot",
        poor.name: judge.refusal(poor, None),
        old.name: f"of an earlier training than {ridge.name}",
    }
    assert table.loc[ridge.name, "age_sessions"] == 5 and (table["bytes"] > 0).all()
    early = list_versions(place.store(), judge, pd.Timestamp("2019-06-03"))
    assert list(early["version"]) == [old.name], "what was trained later is not there yet"
    shown = show_version(place.store(), ridge.name, judge, pd.Timestamp("2020-01-09"))
    assert shown["champion"] and [one["version"] for one in shown["promotions"]] == ["v0001"]
    assert set(shown["files"]) == {"model.json", "members/har/calibration.json", "metrics.json", "metadata.json"}
    compared = compare_versions(place.store(), ridge.name, har.name, judge.horizons).set_index("figure")
    assert compared.loc["skill_pct", "difference"] == pytest.approx(1.0)
    with pytest.raises(ModelStoreError, match="no version 'ridge/1w/v0009'"):
        show_version(place.store(), "ridge/1w/v0009", judge, pd.Timestamp("2020-01-09"))


def test_a_shadow_lasts_its_sessions_and_its_state_outlives_two_writers(place: Place, add: Add, judge: Judge) -> None:
    one, other = add("ridge", GOOD), add("har", BAD)
    put_in_shadow(place.store("a"), one.name, judge, at=AT, count=3)
    put_in_shadow(place.store("b"), other.name, judge, at=AT, count=60)
    shadows = place.store("c").shadows()
    days = ("2020-02-28", "2020-03-02", "2020-03-04", "2020-03-05")
    assert [len(active(shadows, pd.Timestamp(day))) for day in days] == [0, 2, 2, 1]
    assert put_in_shadow(place.store(), other.name, judge, at=AT, count=0) is None
    assert active(place.store("b").shadows(), pd.Timestamp("2020-03-02")) == [one.name]
    table = list_versions(place.store(), judge, pd.Timestamp("2020-03-02")).set_index("version")
    assert table["shadow"].to_dict() == {one.name: True, other.name: False}


def test_pruning_keeps_what_serves_what_replays_need_and_what_is_in_shadow(
    place: Place, add: Add, judge: Judge
) -> None:
    days = ("2019-01-02", "2019-06-03", "2020-01-02", "2020-02-03")
    versions = {(family, day): add(family, GOOD, day=day) for day in days for family in ("curve", "ridge", "har")}
    for day in days[:1] + days[2:]:
        place.store().promote(versions["ridge", day], run=f"run of {day}")
    put_in_shadow(place.store(), versions["har", days[1]].name, judge, at=AT, count=5)
    plan = plan_prune(place.store(), judge.horizons, last=1).set_index("version")["keep"]
    expected = {
        ("curve", days[0]): "stands in for a champion in replays",
        ("ridge", days[0]): "serves replays of earlier sessions",
        ("har", days[0]): "",
        ("curve", days[1]): "",
        ("ridge", days[1]): "",
        ("har", days[1]): "in shadow, or was",
        ("curve", days[2]): "stands in for a champion in replays",
        ("ridge", days[2]): "serves replays of earlier sessions",
        ("har", days[2]): "",
        ("curve", days[3]): "stands in for a champion in replays",
        ("ridge", days[3]): "champion",
        ("har", days[3]): "rival of the champion",
    }
    assert plan.to_dict() == {versions[one].name: keep for one, keep in expected.items()}
    assert len(place.store().of_horizon("1w")) == 12, "a plan deletes nothing"
    served = {day: champion(place.store(), day) for day in ("2019-03-01", "2019-08-01", "2020-01-15", "2020-03-02")}
    for _ in range(2):
        prune(place.store(), judge.horizons, last=1)
        left = {version.name for version in place.store("b").of_horizon("1w")}
        assert left == {versions[one].name for one, keep in expected.items() if keep}
    assert {day: champion(place.store(), day) for day in served} == served
    assert set(verify(place.store(), judge.horizons)["state"]) == {"ok"}
    assert add("har", GOOD, day="2020-04-01").number == "v0005", "no number is given twice"


def test_verify_names_a_promoted_version_that_is_gone(place: Place, add: Add, judge: Judge) -> None:
    version = add("ridge", GOOD)
    place.store().promote(version, run="r")
    place.store().delete(version)
    [state] = verify(place.store(), judge.horizons)["state"]
    assert state.startswith("was promoted and is gone")
