"""Policy on dated facts: registry/policy_events.csv, tariff_timeline.csv, mandate_volumes.csv and the recorded feed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.features import policy, sentiment
from tasks.panel.derived import known_total
from tasks.registry import Lexicon, Theme
from tasks.texts.lexicon import score_documents


@pytest.fixture(scope="module")
def built(panel) -> pd.DataFrame:
    return pd.DataFrame(policy.features(panel) | sentiment.features(panel)).set_axis(panel["date"])


def on(built: pd.DataFrame, day: str, name: str) -> float:
    return float(built.at[pd.Timestamp(day), name])


def test_days_since_an_event_count_from_its_announcement(built):
    """Indonesia's ban was announced on Friday 2022-04-22 and lifted on 2022-05-19; list 3 came late on 2018-09-17."""
    assert np.isnan(on(built, "2022-04-21", "policy_days_since_export_ban"))
    assert [on(built, d, "policy_days_since_export_ban") for d in ("2022-04-22", "2022-04-25")] == [0, 3]
    assert on(built, "2022-05-19", "policy_days_since_export_ban") == 0
    assert on(built, "2018-09-17", "policy_days_since_tariff") == 41, "since 7 August: 23:59 is after the session"
    assert on(built, "2018-09-18", "policy_days_since_tariff") == 1


def test_events_are_counted_in_their_window(built):
    """2018-07-06: the 90 days hold that day only, the 180 days 22 March and 4 April too; 4 January is the 183rd."""
    assert on(built, "2018-07-05", "policy_events_tariff_180d") == 2 + 0
    assert on(built, "2018-07-06", "policy_events_tariff_180d") == 3
    assert on(built, "2018-07-06", "policy_events_90d") == 1
    assert on(built, "2018-07-06", "policy_events_365d") == 6, "those, 4 January, 22 August and 30 November 2017"
    assert built["policy_events_tariff_180d"].first_valid_index() == pd.Timestamp("2018-02-20"), (
        "180 days after the first"
    )


def test_a_window_of_days_leaves_out_the_day_it_is_counted_from():
    date = pd.Series(pd.to_datetime(["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-08", "2020-01-10"]))
    total = pd.Series([1.0, 2.0, 4.0, 8.0, 16.0])
    gained = policy.change_over_days(total, date, 5)
    np.testing.assert_array_equal(gained, [np.nan, np.nan, np.nan, 8 - 2, 16 - 2], "5 days before the 10th is a Sunday")


def test_tariff_and_mandate_in_force(built):
    assert np.isnan(on(built, "2018-07-05", "china_added_tariff_pct"))
    assert [on(built, d, "china_added_tariff_pct") for d in ("2018-07-06", "2019-09-03", "2020-02-14")] == [
        25,
        30,
        27.5,
    ]
    assert [on(built, d, "china_added_tariff_age_days") for d in ("2018-07-06", "2019-08-30", "2019-09-03")] == [
        0,
        420,
        2,
    ]
    assert on(built, "2023-06-20", "biomass_mandate_billion_gal") == 2.76
    assert on(built, "2023-06-22", "biomass_mandate_billion_gal") == 2.82
    assert on(built, "2023-06-22", "biomass_mandate_ahead_billion_gal") == pytest.approx(3.35 - 2.82)


def test_documents_of_a_window_by_hand(built, documents):
    held = documents[documents["series"] == "section_301"].drop_duplicates("document_id")
    day = pd.Timestamp("2020-04-30")
    by_hand = held["published"].between(day - pd.Timedelta(days=89), day).sum()
    assert on(built, "2020-04-30", "register_section_301_90d") == by_hand > 10


def test_a_hole_in_the_feed_is_missing_not_zero(built):
    """Recorded are no documents from 2020-05 to 2020-12 and from 2021-05-08 to 2022-01-11."""
    for window in (slice("2020-06-10", "2021-01-29"), slice("2021-06-15", "2022-02-08")):
        assert built.loc[window].filter(regex="^(register|text)_").isna().all().all()
    assert (built["register_section_301_30d"] == 0).any(), "and a topic of which a running feed says nothing is 0"


def test_a_corrected_count_takes_the_place_of_the_earlier_one():
    days = pd.to_datetime(["2020-01-02", "2020-01-03", "2020-01-02"])
    rows = pd.DataFrame({"series": "x", "field": "n", "observation_date": days, "value": [2.0, 1.0, 5.0]})
    rows["available_at"] = pd.to_datetime(["2020-01-02", "2020-01-03", "2020-01-10"], utc=True).as_unit("us")
    rows["vintage"] = [1, 1, 2]
    at = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-05", "2020-01-10"], utc=True).as_unit("us").asi8
    total = known_total(rows, ("x",), "n", at, first=rows["available_at"].min())
    np.testing.assert_array_equal(total, [np.nan, 2, 3, 6])


def documents_of(*texts: tuple[str, str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(texts, columns=["document_id", "title", "abstract"]).assign(source="federal_register")
    return frame.assign(available_at=pd.date_range("2020-01-01", periods=len(frame), tz="UTC"))


def test_real_titles_are_scored_as_a_reader_would(registry, documents):
    scored = score_documents(documents, registry.derived.lexicon)
    titles = documents.drop_duplicates("document_id").set_index("document_id")["title"]
    said = scored.assign(title=scored["document_id"].map(titles)).set_index(["theme", "title"])["score"]
    denial = "April 2022 Denial of Petitions for Small Refinery Exemptions Under the Renewable Fuel Standard Program"
    waiver = "Notice of Receipt of Petitions for a Waiver of the 2019 and 2020 Renewable Fuel Standards"
    india = "Organic Soybean Meal From India: Final Affirmative Countervailing Duty Determination"
    assert said["mandate", denial] == 1, "the refusal of an exemption is no exemption"
    assert said["mandate", waiver] == -1
    assert said["tariff", india] == 1
    exclusions = said["tariff"][said["tariff"].index.str.startswith("Notice of Product Exclusion")]
    assert len(exclusions) > 10 and (exclusions == -1).all(), "whatever duties their abstracts retell"
    assert 60 < scored["document_id"].nunique() < len(titles)


def test_a_text_that_says_nothing_has_no_score_and_both_sides_cancel():
    theme = Theme(title="t", up=("imposed",), down=("lifted",))
    lexicon = Lexicon(name="lexicon-v1", themes={"tariff": theme})
    held = documents_of(
        ("a", "Duties IMPOSED!", "lifted"), ("b", "Palm", "lifted"), ("c", "Palm", "oil"), ("d", "imposed, lifted", "")
    )
    scored = score_documents(held, lexicon).set_index("document_id")["score"]
    assert scored.to_dict() == {"a": 1.0, "b": -1.0, "d": 0.0}


def test_the_mean_score_is_that_of_the_documents_in_the_window(built, documents, registry):
    scored = score_documents(documents, registry.derived.lexicon).query("theme == 'tariff'")
    day = pd.Timestamp("2021-04-30", tz="UTC")
    held = scored[scored["available_at"].between(day - pd.Timedelta(days=89), day + pd.Timedelta(hours=20))]
    assert on(built, "2021-04-30", "text_tariff_documents_90d") == len(held) > 3
    assert on(built, "2021-04-30", "text_tariff_score_90d") == pytest.approx(held["score"].mean())


@pytest.mark.parametrize("rows", [2100, 5100, 5600])
def test_nothing_looks_ahead(panel, built, rows):
    cut = panel.iloc[:rows]
    made = pd.DataFrame(policy.features(cut) | sentiment.features(cut))
    pd.testing.assert_frame_equal(made, built.reset_index(drop=True).iloc[:rows], check_exact=True)
