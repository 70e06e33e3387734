"""What the views show."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.errors import WarehouseError
from tasks.features import in_sql
from tasks.features.universe import feature_universe
from tasks.model_store.administration import promotions_table
from tasks.storage.files import write_parquet
from tasks.warehouse.daily_tables import sentiment
from tasks.warehouse.views import views

FORECASTS = "forecasts.zl_forecasts_daily"


def observation(available_at: str, value: float, **given) -> dict:
    instant = pd.Timestamp(available_at)
    row = {"source": "fred", "series": "DGS10", "observation_date": pd.Timestamp("2024-03-08"), "field": "value"}
    return {**row, "value": value, "unit": "pct", "available_at": instant, "fetched_at": instant, "vintage": 1, **given}


# 18:00 in Chicago is 00:00 UTC in winter, 23:00 UTC from the second Sunday of March (2024-03-10).
@pytest.mark.parametrize("as_of, seen", [("2024-03-07", []), ("2024-03-08", [1.0]), ("2024-03-11", [1.0, 2.0, 3.0])])
def test_staged_observations_are_cut_at_six_in_chicago(as_of, seen, publish, warehouse, zones):
    held = [
        observation("2024-03-09T00:00Z", 1.0),  # 18:00 CST on the 8th
        observation("2024-03-09T00:01Z", 2.0),
        observation("2024-03-11T23:00Z", 3.0),  # 18:00 CDT on the 11th
        observation("2024-03-11T23:01Z", 4.0),
    ]
    write_parquet(zones.staging / "fred" / "observations.parquet", pd.DataFrame(held[:2]))
    write_parquet(zones.staging / "noaa" / "observations.parquet", pd.DataFrame(held[2:]).assign(source="noaa"))
    publish({}, as_of=as_of)
    frame = warehouse.query("SELECT * FROM staging.observations ORDER BY value")
    assert frame["value"].tolist() == seen
    assert list(frame) == list(held[0])


def test_staging_views_are_there_before_any_file(publish, warehouse, zones):
    publish({})
    assert list(warehouse.query("SELECT * FROM staging.observations")) == list(observation("2024-01-01T00:00Z", 1.0))
    assert warehouse.query("SELECT rule, reason, payload, `row` FROM staging.quarantine").empty
    cell = observation("2024-03-09T00:00Z", -1.0, rule="range", reason="below 0", payload="a.csv")
    write_parquet(zones.quarantine / "fred" / "cells.parquet", pd.DataFrame([{**cell, "row": 7}]))
    assert publish({}).switched
    held = warehouse.query("SELECT source, rule, `row` FROM staging.quarantine")
    assert held.to_dict("records") == [{"source": "fred", "rule": "range", "row": 7}]


def test_the_regime_lookup_has_one_row_a_day(publish, warehouse):
    calendar = pd.DataFrame(
        {
            "regime": ["calm", "storm"],
            "start_date": pd.to_datetime(["2024-01-01", "2024-01-03"]),
            "end_date": pd.to_datetime(["2024-01-02", "2024-01-03"]),
            "training_weight": [100, 400],
        }
    )
    publish({"training.regime_calendar": calendar})
    held = warehouse.query("SELECT * FROM training.regime_lookup ORDER BY date")
    assert list(held) == ["date", "regime", "training_weight"]
    assert [(f"{d:%d}", r, w) for d, r, w in held.itertuples(index=False)] == [
        ("01", "calm", 100.0),
        ("02", "calm", 100.0),
        ("03", "storm", 400.0),
    ]


def test_training_views_split_on_a_known_target(publish, warehouse, features, training):
    other = features.assign(date=features["date"] + pd.Timedelta(days=60))
    tables = {f"training.zl_training_prod_allhistory_{h}": training for h in ("1w", "12m")}
    publish({"features.zl_daily_v1": pd.concat([features, other]), **tables})
    for horizon in ("1w", "12m"):
        held = warehouse.query(f"SELECT * FROM training.vw_zl_{horizon}_v1 ORDER BY date")
        assert held["split"].tolist() == ["train", "train", "serve"]
        assert list(held) == [*training, "split"]
    ready = warehouse.query("SELECT * FROM training.vw_training_features_ready ORDER BY date")
    assert ready["date"].tolist() == training["date"].tolist()[:2]
    assert list(ready) == list(features)
    assert "training.vw_zl_3m_v1" not in warehouse.row_counts()  # waits for its table


def test_the_latest_forecast_is_one_row_a_horizon_in_order(publish, warehouse, forecasts):
    later = pd.Timestamp("2024-01-03 09:00", tz="UTC")
    publish(
        {
            FORECASTS: forecasts(
                {"as_of": pd.Timestamp("2023-12-29"), "point": 1.0},
                {"horizon": "12m", "p10": 40.0, "p90": 60.0},
                {"horizon": "1m", "model_version": "naive/v1", "point": 50.0},
                {"horizon": "1m", "model_version": "lightgbm/v2", "point": 49.0, "created_at": later},
                {"horizon": "1w"},
            )
        }
    )
    held = warehouse.query("SELECT * FROM api.vw_latest_forecast")
    assert held["horizon"].tolist() == ["1w", "1m", "12m"]
    assert held["model_version"].tolist() == ["lightgbm/v1", "lightgbm/v2", "lightgbm/v1"]
    assert held["expected_change_pct"].round(9).tolist() == [2.0, -2.0, 2.0]
    assert held.loc[2, ["lower_80", "upper_80", "p10", "p90"]].tolist() == [40, 60, 40, 60]
    older = warehouse.query("SELECT * FROM predictions.zl_predictions ORDER BY date, horizon")
    assert list(older) == ["date", "horizon", "predicted_price", "confidence"]
    assert older["predicted_price"].tolist() == [1.0, 51.0, 49.0, 51.0]


def test_a_sound_forecast_is_shown_although_a_degraded_one_came_after_it(publish, warehouse, forecasts):
    """A champion was damaged after it had served the session, and is mended: its row is as old as it was."""
    later = pd.Timestamp("2024-01-03 09:00", tz="UTC")
    publish(
        {
            FORECASTS: forecasts(
                {"horizon": "1m", "model_version": "ridge/v1"},
                {"horizon": "1m", "model_version": "naive/v1", "created_at": later, "degraded": True, "point": 50.0},
            )
        }
    )
    assert warehouse.query("SELECT * FROM api.vw_latest_forecast")["model_version"].tolist() == ["ridge/v1"]
    assert warehouse.query("SELECT * FROM predictions.zl_predictions")["predicted_price"].tolist() == [51.0]


def test_the_champion_that_a_person_returned_to_is_shown_although_the_other_forecast_later(
    publish, warehouse, forecasts
):
    """Promoted, run again, rolled back, run again: the champion's row is as old as it was."""
    later, day = pd.Timestamp("2024-01-03 09:00", tz="UTC"), "2024-01-02"
    trained = {"horizon": "1m", "family": "ridge", "version": "v0001", "trained_as_of": "2024-01-01", "run": "r"}
    chosen = trained | {"family": "har", "by": "person", "at": f"{day}T15:00:00Z", "reason": "a try"}
    back = trained | {"by": "person", "at": f"{day}T16:00:00Z", "rolled_back": "har/1m/v0001"}
    rows = forecasts(
        {"horizon": "1m", "model_version": "ridge/1m/v0001"},
        {"horizon": "1m", "model_version": "har/1m/v0001", "created_at": later, "point": 49.0},
    )
    shown = []
    for history in ([], [trained], [trained, chosen], [trained, chosen, back]):
        published = {FORECASTS: rows}
        if history:
            published["performance.promotions"] = promotions_table(history).assign(created_at=later)
        publish(published)
        [name] = warehouse.query("SELECT * FROM api.vw_latest_forecast")["model_version"]
        [older] = warehouse.query("SELECT * FROM predictions.zl_predictions")["predicted_price"]
        assert older == (51.0 if name.startswith("ridge") else 49.0)
        shown.append(name.split("/")[0])
    assert shown == ["har", "ridge", "har", "ridge"]
    [champion] = warehouse.query("SELECT * FROM api.vw_champions").to_dict("records")
    assert (champion["model_version"], champion["promoted_by"]) == ("ridge/1m/v0001", "person")
    assert champion["rolled_back"] == "har/1m/v0001"


def test_a_sound_forecast_of_a_price_that_was_corrected_since_is_not_shown(publish, warehouse, forecasts):
    later = pd.Timestamp("2024-01-03 09:00", tz="UTC")
    corrected = {"data_snapshot": "corrected", "created_at": later, "degraded": True, "point": 50.0}
    publish(
        {
            FORECASTS: forecasts(
                {"horizon": "1m", "model_version": "ridge/v1"},
                {"horizon": "1m", "model_version": "naive/v1", **corrected},
            )
        }
    )
    assert warehouse.query("SELECT * FROM api.vw_latest_forecast")["model_version"].tolist() == ["naive/v1"]
    assert warehouse.query("SELECT * FROM predictions.zl_predictions")["predicted_price"].tolist() == [50.0]


def test_explainer_groups_add_up_their_features(publish, warehouse):
    base = {"as_of": pd.Timestamp("2024-01-02"), "horizon": "1w", "family": "lightgbm", "served": True}
    shap = [("palm", "oils", 0.5), ("rapeseed", "oils", -0.2), ("vix", "risk", 0.1)]
    frame = pd.DataFrame(
        [{**base, "feature": f, "group": g, "shap_cents_lb": s, "feature_value": 1.0} for f, g, s in shap]
    ).assign(model_version="v1", width_cents_lb=[np.nan, np.nan, 2.0])
    publish({"forecasts.zl_explainers_daily": frame})
    held = warehouse.query("SELECT * FROM api.vw_explainer_groups").set_index("group")
    assert held["shap_cents_lb"].round(9).to_dict() == {"oils": 0.3, "risk": 0.1}
    assert np.isnan(held.loc["oils", "width_cents_lb"]) and held.loc["risk", "width_cents_lb"] == 2.0


def test_a_signal_never_contradicts_its_forecast_and_has_its_model_s_figures(publish, warehouse, forecasts, rows_of):
    """Degraded or not measured is red, no view yellow; up and down are the side of the published chance."""
    cases = {
        "1w": {"direction_probability": 0.62},
        "1m": {"direction_probability": 0.41},
        "3m": {"direction_probability": np.nan, "direction_reason": "no better than a coin"},
        "6m": {"direction_probability": 0.7, "degraded": True},
        "12m": {"direction_probability": 0.52, "model_version": "new/v1"},
    }
    measured = [
        {"horizon": h, "model_version": v, "family": v, "mape_pct": 5.0 + n, "run": f"r{n}", "trained_as_of": day}
        for h in cases
        for n, (v, day) in enumerate(
            [("lightgbm/v1", "2023-01-02"), ("lightgbm/v1", "2024-01-02"), ("other/v1", "2024-01-02")]
        )
    ]
    base = {"degraded": False, "is_baseline": False}
    publish(
        {
            FORECASTS: forecasts(*({**base, "horizon": h, **given} for h, given in cases.items())),
            "performance.leaderboard": rows_of(
                "performance.leaderboard",
                *({**row, "trained_as_of": pd.Timestamp(row["trained_as_of"])} for row in measured),
            ),
        }
    )
    held = warehouse.query("SELECT * FROM api.vw_ultimate_adaptive_signal").set_index("horizon")
    assert held["signal"].to_dict() == {"1w": "up", "1m": "down", "3m": "neutral", "6m": "up", "12m": "up"}
    assert held["light"].to_dict() == {"1w": "green", "1m": "green", "3m": "yellow", "6m": "red", "12m": "red"}
    assert held.loc["1w", "mape_pct"] == 6.0 and np.isnan(held.loc["12m", "mape_pct"])


def test_news_shows_the_titles_behind_a_score_and_documents_without_one(publish, warehouse, rows_of):
    known = pd.Timestamp("2024-01-02 13:00", tz="UTC")
    document = {
        "source": "federal_register",
        "published": pd.Timestamp("2024-01-02"),
        "available_at": known,
        "vintage": 1,
    }
    documents = rows_of(
        "raw_intelligence.documents",
        {**document, "document_id": "1", "series": "soybeans", "title": "Duties"},
        {**document, "document_id": "1", "series": "biodiesel", "title": "Duties"},
        {**document, "document_id": "2", "series": "soybeans", "title": "A notice"},
    )
    score = {"source": "federal_register", "document_id": "1", "theme": "tariff", "available_at": known, "score": 1.0}
    scores = pd.DataFrame([{**score, "scorer": "lexicon-v1"}])
    publish({"raw_intelligence.documents": documents, "raw_intelligence.document_scores": scores})
    held = warehouse.query("SELECT * FROM api.vw_news").set_index("document_id")
    assert held.loc["1", ["topics", "title", "score", "scorer"]].tolist() == [
        "biodiesel, soybeans",
        "Duties",
        1.0,
        "lexicon-v1",
    ]
    assert held.loc["2", "title"] == "A notice" and np.isnan(held.loc["2", "score"]) and len(held) == 2


def test_alerts_are_current_from_the_newest_forecast_on(publish, warehouse, forecasts, rows_of):
    days = pd.to_datetime(["2023-12-29", "2024-01-02", "2024-01-03"])
    alerts = rows_of("ops.alerts", *[{"as_of": d, "kind": "stale", "subject": "cot", "level": "warn"} for d in days])
    publish({"ops.alerts": alerts})
    assert warehouse.query("SELECT is_current FROM api.vw_alerts")["is_current"].tolist() == [True] * 3
    publish({FORECASTS: forecasts({})})
    held = warehouse.query("SELECT as_of, is_current FROM api.vw_alerts")
    assert held["as_of"].tolist() == days[::-1].tolist()
    assert held["is_current"].tolist() == [True, True, False]


def test_a_view_that_cannot_be_made_leaves_nothing_written(publish, warehouse, features):
    publish({})
    with pytest.raises(WarehouseError, match=r"view training.vw_zl_1w_v1 cannot be created: .*target_log_return"):
        publish({"training.zl_training_prod_allhistory_1w": features.assign(weight=np.nan)})
    publish({"features.zl_daily_v1": features})
    assert "training.zl_training_prod_allhistory_1w" not in warehouse.row_counts()


@pytest.fixture
def registered(registry) -> pd.DataFrame:
    """A feature table of four sessions with every registered feature, each of another value."""
    dates = pd.to_datetime(["2023-12-27", "2023-12-28", "2023-12-29", "2024-01-02"])
    values = np.arange(4.0 * len(registry.features.features)).reshape(-1, 4).T
    return pd.DataFrame(values, columns=list(registry.features.features)).assign(date=dates)


BY_SUBJECT = {"correlations": 23, "moving_averages": 6, "regimes": 5}


def test_features_by_subject_are_those_of_the_feature_table(publish, warehouse, registered, features):
    registered = registered[sorted(set().union(*(view.columns for view in views())))]
    publish({"features.zl_daily_v1": features})
    assert not {f"features.zl_{subject}" for subject in BY_SUBJECT} & set(warehouse.row_counts()), "wait for columns"
    publish({"features.zl_daily_v1": registered})
    for subject, count in BY_SUBJECT.items():
        held = warehouse.query(f"SELECT * FROM features.zl_{subject} ORDER BY date")
        by_sql = in_sql.query(subject).features
        assert list(held)[: count + 1] == ["date", *by_sql] and len(by_sql) == count
        pd.testing.assert_frame_equal(held.drop(columns="date"), registered[list(held)].drop(columns="date"))


def test_sentiment_says_its_scorer_on_every_row(publish, warehouse, registered, registry):
    name = "features.zl_sentiment"
    publish({name: sentiment(registered, registry.features, registry.derived)})
    held = warehouse.query(f"SELECT * FROM {name} ORDER BY date")
    assert held["scorer"].tolist() == ["lexicon-v1"] * 4
    assert list(held) == ["date", *registry.features.categories["sentiment"], "scorer"]
    other = registry.derived.model_copy(update={"lexicon": registry.derived.lexicon.model_copy(update={"name": "x"})})
    assert publish({name: sentiment(registered, registry.features, other)}).changed == {name: 4}


def test_the_universe_has_a_row_a_feature_and_session_with_what_the_run_had(publish, warehouse, registered, registry):
    registered.loc[0, "zl_rsi_14d"] = registered.loc[2, "zl_rsi_14d"] = np.nan
    registered["nfci"] = np.nan
    name = "features.master_feature_universe"

    def published(session: str, **changes: object):
        made = feature_universe(registered.assign(**changes), registry.features)
        stamped = made.assign(as_of=pd.Timestamp(session), created_at=pd.Timestamp.now(tz="UTC"))
        return publish({name: stamped}, session=session).changed[name]

    count = len(registry.features.features)
    assert published("2024-01-02") == count and published("2024-01-02") == 0 and published("2024-01-03") == count
    assert published("2024-01-03", nfci=1.0) == 1
    held = warehouse.query(f"SELECT * FROM {name} WHERE as_of = '2024-01-02' ORDER BY place").set_index("feature")
    assert list(held.index) == list(registry.features.features)
    rsi = held.loc["zl_rsi_14d"]
    assert (rsi["first_date"], rsi["last_date"]) == (pd.Timestamp("2023-12-28"), pd.Timestamp("2024-01-02"))
    assert rsi["missing_share"] == pytest.approx(1 / 3) and rsi["made_in"] == "python" and rsi["in_production"]
    assert held.at["nfci", "missing_share"] == 1 and pd.isna(held.at["nfci", "first_date"])
    assert not held.at["nfci", "in_production"] and held.at["nfci", "point_in_time"] == "revised"
    assert held.loc[held["made_in"] == "python and sql", "category"].unique().tolist() == [
        "technical",
        "cross_asset",
        "regimes",
        "interactions",
    ]
    entry = registry.features.features["boho_usd_gal"]
    told = held.loc["boho_usd_gal", ["category", "unit", "formula", "sources"]].tolist()
    assert told == ["soy_complex", entry.unit, entry.formula, "; ".join(entry.sources)]


def test_a_feature_that_is_registered_no_more_leaves_its_sessions_universe(publish, warehouse, registered, registry):
    made = feature_universe(registered, registry.features).assign(
        as_of=pd.Timestamp("2024-01-02"), created_at=pd.Timestamp("2024-01-03", tz="UTC")
    )
    name = "features.master_feature_universe"
    publish({name: made}, session="2024-01-02")
    assert publish({name: made.iloc[1:]}, session="2024-01-02").changed == {name: 1}
    assert warehouse.row_counts()[name] == len(made) - 1
