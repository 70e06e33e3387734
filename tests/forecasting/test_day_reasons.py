"""A planted failure in each part of the explanations leaves the forecast, and the other parts, as they are."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from tasks.forecasting import day_reasons
from tasks.forecasting.day_reasons import DayReasons, reasons_of_day, session_before
from tasks.forecasting.forecast import DayForecast
from tasks.registry import DerivedSeries
from tasks.settings import load_settings
from tests.conftest import Registry
from tests.forecasting.market import AS_OF, Market, ReadHere

PARTS = {
    "load_explanations": ("explained", "no explanations: "),
    "explain_day": ("explained", "no explanations: "),
    "changes_of": ("changes", "no changes at 1m: "),
    "load_scenarios": ("scenarios", "no scenarios: "),
    "scenarios_of_day": ("scenarios", "no scenarios: "),
    "surface_rows": ("surface", "no response surface: "),
    "document_scores": ("document_scores", "no scores of documents: "),
}


@dataclass(frozen=True)
class Session:
    """What the explanations of a session are made of."""

    run: Any
    day: Any
    forecasted: DayForecast
    store: Any
    yesterday: pd.DataFrame
    documents: pd.DataFrame

    def reasons(self) -> DayReasons:
        models = ReadHere()
        models.show(self.day.features)
        return reasons_of_day(
            self.run,
            self.day,
            self.forecasted,
            models,
            self.store,
            published=lambda session: self.yesterday,
            documents=lambda: self.documents,
        )


@pytest.fixture(scope="module")
def session(
    market: Market,
    labels: pd.DataFrame,
    registry: Registry,
    documents: pd.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
) -> Session:
    store = market.served_by("ridge", tmp_path_factory.mktemp("reasons") / "store")
    derived: DerivedSeries = registry.derived
    run = SimpleNamespace(
        settings=load_settings().model_copy(update={"registry": registry.folder}),
        features=registry.features,
        derived=derived,
        as_of=AS_OF,
    )
    days = {
        name: table[table["date"] <= AS_OF].reset_index(drop=True)
        for name, table in {"features": market.features, "panel": market.panel, "labels": labels}.items()
    }
    yesterday = market.whole_day(store, session_before(AS_OF)).forecasts
    return Session(run, SimpleNamespace(**days), market.whole_day(store), store, yesterday, documents)


@pytest.fixture(scope="module")
def whole(session: Session) -> DayReasons:
    return session.reasons()


def test_every_part_is_there_on_a_sound_day(session: Session, whole: DayReasons) -> None:
    assert whole.notices == () and set(whole.surface["horizon"]) == {"1m", "every"}
    assert len(whole.explained.drivers) > 10 and len(whole.explained.sentences) == 1
    assert set(whole.changes["part"]) == {"revision", "price", "curve", "data", "model", "calibration"}
    known = whole.scenarios.set_index("scenario")["note"]
    assert known.isna().sum() == 2 and known["vix_spike"].startswith("its episode ends on 2020-03-16")
    assert (
        set(whole.document_scores["scorer"]) == {"lexicon-v1"} and whole.document_scores["score"].between(-1, 1).all()
    )


@pytest.mark.parametrize("part", PARTS)
def test_a_planted_failure_costs_its_own_part(
    part: str, session: Session, whole: DayReasons, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = session.forecasted.forecasts.copy()

    def fails(*given: Any, **named: Any) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(day_reasons, part, fails)
    found = session.reasons()
    pd.testing.assert_frame_equal(session.forecasted.forecasts, before)
    field, notice = PARTS[part]
    assert [text for text in found.notices if text.startswith(notice) and "ZeroDivisionError: planted" in text]
    for other in ("scenarios", "document_scores"):
        if other != field:
            pd.testing.assert_frame_equal(getattr(found, other), getattr(whole, other))
    if field == "explained":
        assert found.explained.drivers.empty and found.changes.empty
    else:
        pd.testing.assert_frame_equal(found.explained.drivers, whole.explained.drivers)


def test_a_warehouse_that_cannot_be_read_costs_the_changes_alone(session: Session, whole: DayReasons) -> None:
    models = ReadHere()
    models.show(session.day.features)

    def unreadable(session: pd.Timestamp) -> pd.DataFrame:
        raise OSError("the file is locked")

    found = reasons_of_day(
        session.run,
        session.day,
        session.forecasted,
        models,
        session.store,
        published=unreadable,
        documents=lambda: session.documents,
    )
    assert found.notices == ("no changes since the session before: OSError: the file is locked",)
    pd.testing.assert_frame_equal(found.explained.sentences, whole.explained.sentences)


def test_a_first_day_says_that_there_is_none_before(session: Session) -> None:
    first = Session(session.run, session.day, session.forecasted, session.store, pd.DataFrame(), session.documents)
    changes = first.reasons().changes
    assert changes["note"].tolist() == ["no forecast of 2014-12-29 is published, the session before"]


def test_the_scored_documents_are_those_behind_the_sentiment_features(
    whole: DayReasons, documents: pd.DataFrame
) -> None:
    named = documents.drop_duplicates("document_id").set_index("document_id")["title"]
    tariff = whole.document_scores[whole.document_scores["theme"] == "tariff"]
    assert tariff["document_id"].isin(named.index).all() and len(tariff) > 10
    assert not tariff.duplicated(["source", "document_id", "theme", "available_at"]).any()
