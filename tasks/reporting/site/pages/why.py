"""Why: what each group of features adds, over time and today; regime and correlations."""

from __future__ import annotations

import pandas as pd

from tasks.reporting.site import charts
from tasks.reporting.site.charts import Chart
from tasks.reporting.site.figures import grouped, rows_of
from tasks.reporting.site.frames import Content, Frames, newest_day, sentences_shown
from tasks.reporting.site.words import group_title, horizon_title

VIEWS = (
    "api.vw_latest_forecast",
    "api.vw_explainer_groups",
    "api.vw_explanations",
    "api.vw_drivers",
    "api.vw_regime_history",
    "api.vw_correlation_map",
)
MARKETS = (
    "soybeans", "soybean_meal", "corn", "wti_crude", "heating_oil", "palm_oil", "dalian_soybean_oil",
    "dalian_palm_oil", "gold", "copper", "sp500", "real_per_dollar", "ringgit_per_dollar", "dollar_index",
)  # fmt: skip
FEATURES_SHOWN = 12
LEAST_SESSIONS = 3
"""Published sessions from which on groups are drawn over time."""


def content(frames: Frames) -> Content:
    """Groups per horizon, the features behind them with their values, and the correlation map."""
    drivers = frames["api.vw_drivers"]
    shown = [
        (horizon, rows[:FEATURES_SHOWN])
        for horizon, rows in grouped(
            rows_of("api.vw_drivers", drivers, "as_of", "horizon", "feature", "family"), "horizon"
        )
    ]
    as_of = frames["api.vw_latest_forecast"]["as_of"].iloc[0]
    values = {
        "features": shown,
        "sentences": rows_of("api.vw_explanations", sentences_shown(frames)),
        "correlations": rows_of("api.vw_correlation_map", frames["api.vw_correlation_map"], "year"),
        "markets": MARKETS,
    }
    drawn = [*_groups(frames["api.vw_explainer_groups"], as_of), *_over_time(frames["api.vw_explainer_groups"])]
    if len(regimes := frames["api.vw_regime_history"]):
        drawn += _regimes(regimes)
    return Content(values, drawn)


def _groups(frame: pd.DataFrame, as_of: pd.Timestamp) -> list[Chart]:
    if frame.empty:
        return []
    today = frame[(frame["as_of"] == as_of) & frame["served"].astype("boolean").fillna(False)]
    order = [name for name in ("1w", "1m", "3m", "6m", "12m") if name in set(today["horizon"])]
    drawn = []
    for column, name, what in (
        ("shap_cents_lb", "centre", "the middle differ from today's price"),
        ("width_cents_lb", "width", "the 80% band as wide as it is"),
    ):
        part = today.dropna(subset=[column])
        part = part[part[column] != 0].assign(
            title=lambda rows: rows["horizon"].map(horizon_title), named=lambda rows: rows["group"].map(group_title)
        )
        part = part.sort_values("group").sort_values(
            "horizon", key=lambda column: column.map(order.index), kind="stable"
        )
        if part.empty:
            continue
        largest = part.iloc[int(part[column].abs().to_numpy().argmax())]
        drawn.append(
            Chart(
                name=f"groups_{name}",
                finding=f"What makes {what}: {largest['named']} at {largest['title']} is largest, "
                f"{largest[column]:+.2f} cents/lb",
                unit="cents/lb",
                source="api.vw_explainer_groups",
                as_of=f"{as_of:%Y-%m-%d}",
                data=part[["as_of", "horizon", "group", column, "family"]],
                specification=charts.bars(
                    part[["title", "named", column]], "named", column, unit="cents/lb", form="+.2f", panel="title"
                ),
            )
        )
    return drawn


def _over_time(frame: pd.DataFrame) -> list[Chart]:
    """The groups of the farthest horizon over the published sessions; none until there are some."""
    if frame.empty or frame["as_of"].nunique() < LEAST_SESSIONS:
        return []
    far = next(name for name in ("12m", "6m", "3m", "1m", "1w") if name in set(frame["horizon"]))
    part = frame[(frame["horizon"] == far) & frame["served"].astype("boolean").fillna(False)]
    wide = part.pivot_table(index="as_of", columns="group", values="shap_cents_lb", aggfunc="sum").dropna(how="all")
    top = wide.abs().mean().sort_values(ascending=False).index[:5]
    if wide.empty:
        return []
    shown = wide[top].reset_index(names="date")
    return [
        Chart(
            name="groups_over_time",
            finding=f"{horizon_title(far)}: {group_title(str(top[0]))} moved the middle most over {len(wide)} sessions",
            unit="cents/lb",
            source="api.vw_explainer_groups",
            as_of=newest_day(shown),
            data=shown,
            specification=charts.lines(shown, {name: group_title(str(name)) for name in top}, unit="cents/lb", rule=0),
        )
    ]


def _regimes(frame: pd.DataFrame) -> list[Chart]:
    columns = ["regime_prob_calm", "regime_prob_tense", "regime_prob_crisis"]
    thinned = charts.steps_of(frame, columns, every="ME").dropna(subset=columns)
    if thinned.empty:
        return []
    last = frame.dropna(subset=columns).iloc[-1]
    name, chance = max(zip(("calm", "tense", "crisis"), last[columns], strict=True), key=lambda pair: pair[1])
    return [
        Chart(
            name="regimes",
            finding=f"The market's regime is {name} with {100 * chance:.0f}% probability",
            unit="probability, month ends",
            source="api.vw_regime_history",
            as_of=newest_day(frame),
            data=thinned,
            specification=charts.lines(
                thinned, dict(zip(columns, ("calm", "tense", "crisis"), strict=True)), unit="probability", zero=True
            ),
        )
    ]
