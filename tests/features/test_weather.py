"""Regional weather: sums by hand, normals of earlier years only, gaps that stay gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.features.weather import features
from tasks.panel.weather import (
    columns,
    normal,
    region_figures,
    station_figures,
    weather_known,
    years_back,
)
from tasks.registry import WeatherRegion

SUMMER = ((10, 1), (3, 31))
FIELDS = ("precipitation_mm", "temperature_max_c", "temperature_min_c")


@pytest.fixture(scope="module")
def weather_regions(registry):
    return registry.derived.weather_regions


@pytest.fixture(scope="module")
def built(panel) -> pd.DataFrame:
    return pd.DataFrame(features(panel)).set_axis(panel["date"])


def chance_days(first: str, last: str, seed: int = 1) -> pd.DataFrame:
    days, chance = pd.date_range(first, last), np.random.default_rng(seed)
    rain = np.where(chance.random(len(days)) < 0.4, chance.gamma(1, 10, len(days)).round(1), 0.0)
    warm = 25 + 5 * np.cos(2 * np.pi * days.dayofyear / 365) + chance.normal(size=len(days))
    return pd.DataFrame(dict(zip(FIELDS, (rain, warm, warm - 10), strict=True)), index=days)


def staged_days(daily: pd.DataFrame, series: str, source: str, lag: int = 2) -> pd.DataFrame:
    long = daily.melt(ignore_index=False, var_name="field").dropna().rename_axis("observation_date").reset_index()
    known = (long["observation_date"] + pd.Timedelta(days=lag, hours=12)).dt.tz_localize("UTC")
    long["observation_date"] = long["observation_date"].dt.as_unit("us")
    return long.assign(source=source, series=series, vintage=1, available_at=known.dt.as_unit("us"))


def known(observations: pd.DataFrame, regions: dict[str, WeatherRegion], days: pd.DatetimeIndex) -> pd.DataFrame:
    sessions = pd.Series(days).astype("datetime64[us]")
    return weather_known(observations, regions, sessions, sessions.dt.tz_localize("UTC") + pd.Timedelta(hours=23))


def test_a_week_of_rain_in_curitiba(built):
    """Conventional station, 2010-01-25 to 31: 0.6 + 15.5 + 21.1 + 34.3 + 58.3 + 21.5 + 0.0 mm, known on 2 February."""
    by_hand = 0.6 + 15.5 + 21.1 + 34.3 + 58.3 + 21.5 + 0.0
    row = built.loc["2010-02-02"]
    assert row["parana_stations"] == 1
    assert row["parana_rain_7d_mm"] == pytest.approx(by_hand)
    assert row["parana_rain_7d_z"] > 2


def test_chicagos_heat_wave_of_july_2012(built):
    """35.6 to 39.4 degC on six days, 2 to 7 July; with 2 days' lag the last of them counts from the 9th."""
    heat = built["us_midwest_heat_days"]
    assert heat["2012-07-09"] - heat["2012-07-03"] == 6
    assert built.at[pd.Timestamp("2012-07-09"), "us_midwest_rain_30d_z"] < -0.5
    assert heat["2012-12-01":"2013-04-30"].isna().all(), "out of season"


def test_figures_of_one_station_against_plain_pandas():
    daily = chance_days("2010-01-01", "2016-06-30")
    figures = station_figures(daily, SUMMER)
    day = pd.Timestamp("2016-01-15")
    assert figures.at[day, "rain_7d"] == pytest.approx(daily["precipitation_mm"]["2016-01-09":day].sum())
    assert figures.at[day, "rain_30d"] == pytest.approx(daily["precipitation_mm"]["2015-12-17":day].sum())
    mean = daily[["temperature_max_c", "temperature_min_c"]].mean(axis=1)
    season = mean["2015-10-01":day]
    assert figures.at[day, "growing_degree_days"] == pytest.approx((season - 10).clip(lower=0).sum())
    assert figures.at[day, "heat_days"] == (daily["temperature_max_c"]["2015-10-01":day] > 35).sum()
    wet = daily["precipitation_mm"][:day]
    assert figures.at[day, "dry_spell"] == (day - wet[wet >= 1].index[-1]).days
    sums = daily["precipitation_mm"].rolling(30).sum()
    past = pd.concat([sums[f"{y - 1}-12-31" : f"{y}-01-30"] for y in range(2011, 2016)])
    by_hand = (figures.at[day, "rain_30d"] - past.mean()) / past.std(ddof=0)
    assert figures.at[day, "rain_30d_z"] == pytest.approx(by_hand)
    crop = ["growing_degree_days", "growing_degree_days_z", "season_rain_z", "heat_days", "dry_spell"]
    assert figures.loc["2015-04-01":"2015-09-30", crop].isna().all(axis=None)
    assert figures["rain_30d_z"].first_valid_index() == pd.Timestamp("2013-01-27"), "half of a month in three years"


def test_a_normal_knows_earlier_years_only():
    values = chance_days("2010-01-01", "2016-06-30")["precipitation_mm"]
    changed = values.where(values.index < "2015-07-01", 999.0)
    earlier = years_back(pd.DatetimeIndex(values.index))
    before, after = (normal(v, earlier, around=15)[0] for v in (values, changed))
    pd.testing.assert_series_equal(before[:"2016-06-15"], after[:"2016-06-15"], check_exact=True)
    assert not before.equals(after), "the month around a day of a year before is seen"


def test_the_day_of_years_before_is_the_28th_for_a_leap_day():
    days = pd.date_range("2011-01-01", "2016-12-31")
    earlier = years_back(days)
    at = days.get_loc(pd.Timestamp("2016-02-29"))
    assert days[earlier[:5, at]].strftime("%Y-%m-%d").tolist() == [
        "2015-02-28",
        "2014-02-28",
        "2013-02-28",
        "2012-02-29",
        "2011-02-28",
    ]
    assert (earlier[5:, at] == -1).all()


def test_a_gap_is_missing_and_not_dry():
    daily = chance_days("2014-01-01", "2015-03-01")
    daily.loc["2015-01-10":"2015-01-13"] = np.nan
    figures = station_figures(daily, SUMMER)
    assert figures.loc["2015-01-10":"2015-01-19", "rain_7d"].isna().all()
    assert np.isfinite(figures.at[pd.Timestamp("2015-01-20"), "rain_7d"])
    assert figures.loc["2015-01-13":"2015-02-08", "rain_30d"].isna().all()
    assert np.isnan(figures.at[pd.Timestamp("2015-01-13"), "dry_spell"])


def test_a_region_is_the_mean_of_those_that_reported_and_missing_below_its_minimum():
    two = {
        name: station_figures(chance_days("2010-01-01", "2015-03-01", seed), SUMMER)
        for name, seed in (("a", 1), ("b", 2))
    }
    two["b"].loc["2015-01-01":] = np.nan
    region = region_figures(two, least=2)
    day = pd.Timestamp("2014-11-05")
    assert region["rain_30d"][day] == pytest.approx((two["a"].at[day, "rain_30d"] + two["b"].at[day, "rain_30d"]) / 2)
    assert region["stations"][day] == 2 and region["stations"]["2015-02-01"] == 1
    assert region["rain_30d"]["2015-01-01":].isna().all()
    assert region["rain_30d_z"]["2015-01-01":].notna().all(), "against its own normal one station is enough"


def test_the_model_never_fills_a_station_and_has_a_name_of_its_own(weather_regions):
    daily = chance_days("2010-01-01", "2015-03-01")
    held = pd.concat(
        [
            staged_days(daily[:"2014-12-31"], "ghcnd.AR000087480", "ghcnd"),
            staged_days(daily, "ar_rosario", "open_meteo", lag=5),
        ]
    )
    regions = {name: weather_regions[name] for name in ("argentina", "argentina_model")}
    days = pd.date_range("2015-01-05", "2015-02-20", freq="B")
    told = known(held, regions, days)
    assert told["weather.argentina.rain_30d"][days >= "2015-01-13"].isna().all(), "ten days after the station's last"
    model = told["weather.argentina_model.rain_7d"]
    assert model.notna().all()
    assert model.iloc[-1] == pytest.approx(daily["precipitation_mm"]["2015-02-09":"2015-02-15"].sum()), "five days late"
    assert set(told) <= set(columns(weather_regions))


def test_a_station_that_reports_late_does_not_change_what_was_known(weather_regions):
    daily = chance_days("2014-01-01", "2015-03-01")
    on_time = staged_days(daily, "ghcnd.AR000087480", "ghcnd")
    late = staged_days(chance_days("2014-01-01", "2015-03-01", 9), "ghcnd.AR000087344", "ghcnd", lag=6)
    regions, days = {"argentina": weather_regions["argentina"]}, pd.date_range("2014-06-02", "2015-02-27", freq="B")
    alone, both = known(on_time, regions, days), known(pd.concat([on_time, late]), regions, days)
    pd.testing.assert_frame_equal(alone, both)


def test_without_payloads_everything_is_missing(weather_regions, panel):
    assert (
        known(
            staged_days(chance_days("2014-01-01", "2014-02-01"), "x", "ghcnd"),
            weather_regions,
            pd.date_range("2014-03-03", periods=3),
        )
        .isna()
        .all(axis=None)
    )
    alone = panel.assign(**{c: np.nan for c in panel if c.startswith("weather_")})
    assert pd.DataFrame(features(alone)).isna().all(axis=None)


@pytest.mark.parametrize("day", ["2008-02-14", "2023-10-05"])
def test_what_was_known_is_the_same_whether_or_not_later_days_exist(weather_regions, staged, panel, day):
    held = staged.observations
    until = panel["date"] <= day
    instant = panel["as_of_instant"][until].iloc[-1]
    regions = {name: weather_regions[name] for name in ("parana", "brazil_center_west", "us_midwest")}
    whole = weather_known(held, regions, panel["date"], panel["as_of_instant"])[until]
    cut = held[held["available_at"] <= instant]
    alone = weather_known(cut, regions, panel["date"][until], panel["as_of_instant"][until])
    pd.testing.assert_frame_equal(whole, alone, check_exact=True)
