"""Markets: spreads and margins, positions, weather, USDA's revisions and policy."""

from __future__ import annotations

import pandas as pd

from tasks.reporting.site import charts
from tasks.reporting.site.charts import Chart
from tasks.reporting.site.figures import rows_of
from tasks.reporting.site.frames import Content, Frames, newest_day

VIEWS = (
    "api.vw_market_history",
    "api.vw_positioning",
    "api.vw_weather",
    "api.vw_wasde_revisions",
    "api.vw_policy_timeline",
)
SPREADS = (
    ("crush", "Board crush", {"board_crush_usd_bu": "board crush"}, "USD/bu"),
    ("oil_share", "Oil's share of the crush value", {"oil_share_pct": "oil share"}, "%"),
    ("palm", "Soybean oil less palm oil", {"oil_less_palm_usd_t": "soybean oil less palm"}, "USD/t"),
    (
        "dalian",
        "Dalian's soybean oil less its palm",
        {
            "dalian_soyoil_less_palm_cents_lb": "Dalian: soybean oil less palm",
            "dalian_soyoil_premium_cents_lb": "Dalian less Chicago soybean oil",
            "oil_less_dalian_palm_cents_lb": "Chicago soybean oil less Dalian palm",
        },
        "cents/lb",
    ),
    ("boho", "Soybean oil less heating oil (BOHO)", {"boho_usd_gal": "BOHO"}, "USD/gal"),
)
CLASSES = {
    "commercial_net": "commercial",
    "noncommercial_net": "large speculators",
    "nonreportable_net": "small traders",
}
YEARS_SHOWN = 5
MAIN_REPORT = "soybean_oil.us.ending_stocks"


def content(frames: Frames) -> Content:
    """Charts of the last years, and tables of the newest values."""
    wasde = _newest_of_year(frames["api.vw_wasde_revisions"])
    weather = _newest_weather(frames["api.vw_weather"])
    values = {
        "weather": rows_of("api.vw_weather", weather, "date", "region"),
        "wasde": rows_of("api.vw_wasde_revisions", wasde, "series", "marketing_year", "released"),
        "policy": rows_of("api.vw_policy_timeline", frames["api.vw_policy_timeline"], "date", "kind"),
    }
    drawn = [
        *_spreads(frames["api.vw_market_history"]),
        *_positions(frames["api.vw_positioning"]),
        *_weather(frames["api.vw_weather"], weather),
        *_wasde(frames["api.vw_wasde_revisions"]),
        *_policy(frames["api.vw_policy_timeline"]),
    ]
    return Content(values, drawn)


def _recent(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["date"] > frame["date"].max() - pd.DateOffset(years=YEARS_SHOWN)] if len(frame) else frame


def _spreads(frame: pd.DataFrame) -> list[Chart]:
    drawn = []
    for name, title, columns, unit in SPREADS:
        first = next(iter(columns))
        known = frame.dropna(subset=list(columns), how="all") if len(frame) else frame
        if known.empty or known[first].dropna().empty:
            continue
        value, usual = known[first].dropna().iloc[-1], known[first].median()
        side = "above" if value > usual else "below"
        of = "%" if unit == "%" else f" {unit}"
        drawn.append(
            Chart(
                name=name,
                finding=f"{title}: {value:,.2f}{of}, {side} its median since {known['date'].min():%Y} of {usual:,.2f}",
                unit=f"{unit}, week ends",
                source="api.vw_market_history",
                as_of=newest_day(known),
                data=known[["date", *columns]],
                specification=charts.lines(
                    charts.steps_of(_recent(known), list(columns), every="W"), columns, unit=unit, height=200
                ),
            )
        )
    return drawn


def _positions(frame: pd.DataFrame) -> list[Chart]:
    if frame.empty:
        return []
    last = frame.iloc[-1]
    way = "long" if last["noncommercial_net"] > 0 else "short"
    return [
        Chart(
            name="cot",
            finding=f"Large speculators are net {way} {abs(last['noncommercial_net']):,.0f} contracts of soybean oil",
            unit="contracts, net (CFTC Commitments of Traders, futures only), by the day that is reported",
            source="api.vw_positioning",
            as_of=newest_day(frame),
            data=frame,
            specification=charts.lines(_recent(frame), CLASSES, unit="contracts, net", rule=0),
        )
    ]


def _newest_weather(frame: pd.DataFrame) -> pd.DataFrame:
    """The newest row of each region with any value."""
    if frame.empty:
        return frame
    known = frame.dropna(subset=["rain_30d_mm", "rain_30d_z", "temperature_anomaly_c"], how="all")
    return known.sort_values("date").drop_duplicates("region", keep="last").sort_values("region")


def _weather(frame: pd.DataFrame, newest: pd.DataFrame) -> list[Chart]:
    if newest.empty:
        return []
    label = [
        f"{row['region']}: {row['rain_30d_z']:+.1f} σ ({row['date']:%Y-%m-%d})"
        if pd.notna(row["rain_30d_z"])
        else f"{row['region']}: normal not known ({row['date']:%Y-%m-%d})"
        for row in newest.to_dict("records")
    ]
    dry, wet, unknown = charts.SIDES
    side = newest["rain_30d_z"].map(lambda value: unknown if pd.isna(value) else dry if value < 0 else wet)
    places = newest.assign(label=label, side=side)
    known = newest.dropna(subset=["rain_30d_z"])
    finding = "No region's rain can be compared with normal today"
    if len(known):
        far = known.iloc[int(known["rain_30d_z"].abs().to_numpy().argmax())]
        finding = (
            f"{far['region']}: rain of 30 days is {abs(far['rain_30d_z']):.1f} standard deviations "
            f"{'above' if far['rain_30d_z'] > 0 else 'below'} normal ({far['date']:%Y-%m-%d})"
        )
    return [
        Chart(
            name="weather",
            finding=finding,
            unit="standard deviations from the normal rain of the season, each region's newest day; a point is the "
            "middle of a region",
            source="api.vw_weather",
            as_of=newest_day(newest),
            data=newest,
            specification=charts.weather_map(places[["latitude", "longitude", "side", "label"]]),
        )
    ]


def _newest_of_year(frame: pd.DataFrame) -> pd.DataFrame:
    """The newest estimate of each series for its newest marketing year."""
    if frame.empty:
        return frame
    ordered = frame.sort_values(["series", "marketing_year", "released"])
    return ordered.drop_duplicates("series", keep="last")


def _wasde(frame: pd.DataFrame) -> list[Chart]:
    part = frame[frame["series"] == MAIN_REPORT] if len(frame) else frame
    if part.empty:
        return []
    years = sorted(part["marketing_year"].unique())[-3:]
    shown = part[part["marketing_year"].isin(years)]
    wide = shown.assign(
        year=shown["marketing_year"].dt.strftime("%Y/") + (shown["marketing_year"].dt.year + 1).astype(str)
    )
    names = sorted(wide["year"].unique())
    wide = wide.pivot_table(index="released", columns="year", values="value").reset_index(names="date")
    last = shown.sort_values(["marketing_year", "released"]).iloc[-1]
    return [
        Chart(
            name="wasde",
            finding=f"USDA expects US soybean-oil stocks of {last['value']:,.0f} {last['unit']} at the end of "
            f"{names[-1]}",
            unit=f"{last['unit']}, ending stocks by release",
            source="api.vw_wasde_revisions",
            as_of=newest_day(shown, "released"),
            data=part,
            specification=charts.lines(wide, {name: name for name in names}, unit=str(last["unit"]), step=True),
        )
    ]


def _policy(frame: pd.DataFrame) -> list[Chart]:
    if frame.empty:
        return []
    way = frame["direction"].map(lambda value: "supports prices" if value > 0 else "weighs on prices")
    shown = frame.assign(way=way.where(frame["direction"].fillna(0) != 0, "no direction"))
    return [
        Chart(
            name="policy",
            finding=f"{int(frame['events'].sum())} policy events are recorded, the newest of {newest_day(frame)}",
            unit="events by kind and day",
            source="api.vw_policy_timeline",
            as_of=newest_day(frame),
            data=frame,
            specification=charts.events(shown[["date", "kind", "way"]], "date", "kind", "way"),
        )
    ]
