"""A small published warehouse with a row or more of everything that the site shows, and the numbers of its pages."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.forecasting.forecast import NO_VIEW
from tasks.reporting.site.figures import FORMS, plain, written
from tasks.storage.files import write_parquet
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.protocol import Warehouse
from tasks.warehouse.tables import FEATURES, tables
from tasks.warehouse.views import views

AS_OF = pd.Timestamp("2024-01-05")
STAMP = pd.Timestamp("2024-01-06 00:05", tz="UTC")
NOW = pd.Timestamp("2024-01-06 00:30", tz="UTC")
HORIZONS = {"1w": 5, "1m": 21, "3m": 63, "6m": 126, "12m": 252}
HOSTILE = '<script>window.pwned = 1</script><img src=x onerror="window.pwned = 2">'


SETTLED = (
    "settled_pounds", "settled_paid_usd", "even_usd", "signal_usd", "saved_against_even_usd",
    "saved_against_signal_usd",
)  # fmt: skip


class Counter:
    """Values that are all different, so that a column in the place of another is noticed."""

    def __init__(self) -> None:
        self.count = 0

    def row(self, table: str, **given: Any) -> dict[str, Any]:
        """A row with a value in every column of a table."""
        found: dict[str, Any] = {}
        for name, kind in tables()[table].columns.items():
            self.count += 1
            kinds = {
                "FLOAT64": 0.01 + self.count * 0.0137,
                "INT64": self.count,
                "STRING": f"{name} {self.count}",
                "BOOL": False,
                "DATE": AS_OF,
                "TIMESTAMP": STAMP,
            }
            found[name] = given.get(name, kinds[kind])
        return found


def publish_home(
    folder: Path,
    *,
    degraded: str | None = None,
    forecast: bool = True,
    without: tuple[str, ...] = (),
    **given: pd.DataFrame,
) -> DuckDbWarehouse:
    """Publish the small warehouse under ``folder``.

    Args:
        degraded: why the forecasts are degraded. forecast: whether there is one. without: tables that have no row.
        given: rows of tables in the place of the small warehouse's, by the name after the dot.
    """
    zones, warehouse = Zones(folder), DuckDbWarehouse(Zones(folder))
    write_parquet(zones.staging / "mixed" / "observations.parquet", observations())
    tables_of_day = frames(degraded=degraded, forecast=forecast)
    tables_of_day |= {name: given[short] for name in tables() if (short := name.split(".")[1]) in given}
    shown = {name: frame for name, frame in tables_of_day.items() if name not in without}
    warehouse.publish(shown, as_of=AS_OF, staging=zones.staging)
    return warehouse


def observations() -> pd.DataFrame:
    """Reports of the CFTC, USDA and EIA, and policy events."""
    days = pd.date_range("2023-10-03", periods=14, freq="7D")
    given: list[tuple[str, str, str, pd.Timestamp, float]] = []
    for count, day in enumerate(days):
        for place, name in enumerate(("commercial", "noncommercial", "nonreportable")):
            given.append(("cftc", "6dca-aqww.007601", f"{name}_long", day, 1000.0 * place + 17 * count))
            given.append(("cftc", "6dca-aqww.007601", f"{name}_short", day, 900.0 * place + 23 * count))
        given.append(("cftc", "6dca-aqww.007601", "open_interest", day, 5000.0 + count))
        given.append(("eia", "PET.WCESTUS1.W", "value", day, 400.0 + count))
    given += [
        ("policy_events", "event.tariff", name, days[3], value) for name, value in (("events", 2), ("direction", -1))
    ]
    rows = [
        {"source": s, "series": n, "field": f, "observation_date": day, "value": float(value), "vintage": 1,
         "available_at": (day + pd.Timedelta(days=3)).tz_localize("UTC")}
        for s, n, f, day, value in given
    ]  # fmt: skip
    for vintage, released in enumerate(pd.date_range("2023-09-12", periods=4, freq="30D"), 1):
        rows.append(
            {"source": "usda_wasde", "series": "soybean_oil.us.ending_stocks", "field": "value", "vintage": vintage,
             "observation_date": pd.Timestamp("2023-10-01"), "value": 1800.0 - 37 * vintage,
             "available_at": released.tz_localize("UTC")}
        )  # fmt: skip
    for day, prices in (("2023-12-04", (51.0, 52.5)), ("2022-12-30", (66.4, 65.6))):
        for place, leg in enumerate(("price", "forward")):
            delivers = 100 * (202403 + 2 * place if day > "2023" else 202303 + 2 * place)
            for field, value in ((leg, prices[place]), (f"{leg}_contract", delivers)):
                rows.append(
                    {"source": "pysystemtrade", "series": "SOYOIL", "field": field, "vintage": 1, "value": float(value),
                     "observation_date": pd.Timestamp(day),
                     "available_at": pd.Timestamp(day, tz="UTC") + pd.Timedelta(days=3)}
                )  # fmt: skip
    return pd.DataFrame(rows).assign(unit="units", fetched_at=STAMP)


def feature_frame() -> pd.DataFrame:
    """Every column that a view reads of the feature table, over 600 sessions."""
    days = pd.bdate_range(end=AS_OF, periods=600)
    names = sorted({column for view in views() for column in view.columns} - {"date"})
    columns = {name: [0.1 + 0.01 * place + 0.003 * day for day in range(600)] for place, name in enumerate(names)}
    for place, name in enumerate(name for name in names if "correlation" in name):
        columns[name] = [((37 * place + day) % 200 - 100) / 100 for day in range(600)]
    frame = pd.DataFrame({"date": days, **columns})
    frame["zl_close_cents_lb"] = [45 + (day % 50) / 7 for day in range(600)]
    frame.loc[frame.index[-1], "brazil_center_west_rain_30d_z"] = None
    return frame


def frames(*, degraded: str | None = None, forecast: bool = True) -> dict[str, pd.DataFrame]:
    """The tables of one session."""
    count = Counter()
    given: dict[str, list[dict[str, Any]]] = {}

    def add(table: str, **values: Any) -> None:
        given.setdefault(table, []).append(count.row(table, as_of=AS_OF, origin="recorded", **values))

    for horizon, ahead in HORIZONS.items() if forecast else ():
        target = AS_OF + pd.Timedelta(days=int(ahead * 1.45))
        version = f"har/{horizon}/v0001"
        prices = {name: 48.0 + step for name, step in zip(
            ("p05", "p10", "p25", "p50", "p75", "p90", "p95"), (-9, -6, -3, 0.4, 3, 7, 11), strict=True
        )}  # fmt: skip
        add(
            "forecasts.zl_forecasts_daily", horizon=horizon, target_date=target, last_price=47.91, point=48.4, **prices,
            direction_probability=None if horizon in ("1w", "3m") else 0.53, family="har", model_version=version,
            degraded=degraded is not None, degraded_reason=degraded, contract="ZLF24",
            regime="normal", roll_date=AS_OF + pd.Timedelta(days=9),
            direction_reason={"1w": NO_VIEW, "3m": f"its chances {HOSTILE}"}.get(horizon),
        )  # fmt: skip
        for group in ("curve", "technical"):
            add("forecasts.zl_explainers_daily", horizon=horizon, feature=f"{group}_feature", group=group, family="har",
                served=True, model_version=version)  # fmt: skip
        add(
            "forecasts.zl_explanations_daily",
            horizon=horizon,
            model_version=version,
            centre_sentence=f"{horizon}: 48.40",
        )
        add("forecasts.zl_changes_daily", horizon=horizon, part="data", subject="yahoo ZS=F", note=None)
        add("forecasts.zl_scenarios_daily", scenario="vix_spike", horizon=horizon, title="VIX spike", note=None,
            overrides="vix_override_flag", analogues=7)  # fmt: skip
        add("performance.leaderboard", trained_as_of=AS_OF, horizon=horizon, family="har", run="r1",
            model_version=version, best_naive="curve", champion=True)  # fmt: skip
        add("performance.leaderboard", trained_as_of=AS_OF, horizon=horizon, family="ridge", run="r1",
            model_version=f"ridge/{horizon}/v0001", best_naive="curve")  # fmt: skip
        add("performance.promotions", counts_from=AS_OF, horizon=horizon, entry=f"e{horizon}", model_version=version,
            trained_as_of=AS_OF, promoted_by="training")  # fmt: skip
        for past in range(1, 5):
            day = AS_OF - pd.Timedelta(days=300 * past)
            row = count.row("performance.forecast_outcomes", origin="replay", replay="champions", as_of=day,
                            horizon=horizon, model_version=version, target_date=day + pd.Timedelta(days=ahead),
                            session_number=100 * past, sessions_ahead=ahead, direction_probability=0.4 + 0.05 * past,
                            inside_80=past % 2 == 0, inside_50=False, inside_90=True, direction_hit=True)  # fmt: skip
            given.setdefault("performance.forecast_outcomes", []).append(row)
    if forecast:
        given["forecasts.zl_surface_daily"] = surface()
    for contract, end in (("ZLF24", "2024-01-12"), ("ZLH24", "2024-03-14")) if forecast else ():
        for horizon in ("1w", "last"):
            add("forecasts.zl_contracts_daily", contract=contract, horizon=horizon, last_trading_day=pd.Timestamp(end),
                target_date=pd.Timestamp(end), price_date=AS_OF)  # fmt: skip
    for month in ("all", "2024-02") if forecast else ():
        add("forecasts.zl_decisions_daily", need=f"mayonnaise {HOSTILE}", month=month, signal="ladder", reason=None,
            unit="USD/t", unit_per_cent_lb=22.0462, is_example=False)  # fmt: skip
    for month, settled in (("2024-01", 1.0), ("2024-02", None)) if forecast else ():
        amounts = {name: None for name in SETTLED} if settled is None else {}
        add("forecasts.zl_purchases_daily", need=f"mayonnaise {HOSTILE}", month=month, is_example=False, **amounts)
    for source in ("cftc", "usda_wasde"):
        add("ops.ingest_runs", run="r1", source=source, status="ok", message=None)
    for name, met in (("unique", True), ("between", False)):
        add("ops.gate_results", run="r1", gate="POST_STAGING", suite="staging.cells", expectation=f"expect_{name}",
            column_name="value", on_fail="warn", success=met,
            examples=json.dumps([{"series": HOSTILE, "value": 1.5}]))  # fmt: skip
    add("ops.quarantine_summary", source="yahoo", series="ZL=F", field="high", rule="range", reason="out of range")
    for year in (2022, 2023):
        add("ops.feature_coverage", category="price", year=year, share=0.5 + 0.1 * (year - 2022))
    add("ops.alerts", kind="stale", subject="yahoo", level="warning", message=HOSTILE)
    document = {"source": "federal_register", "document_id": "d1", "available_at": STAMP}
    add("raw_intelligence.documents", series="other", title=HOSTILE, abstract="", publisher="Federal Register",
        vintage=1, url="javascript:window.pwned = 3", **document)  # fmt: skip
    add("raw_intelligence.document_scores", theme="tariff", score=-0.5, **document)
    add("features.master_feature_universe", feature="zl_close_cents_lb", category="price", in_production=True)
    found = {name: pd.DataFrame(rows) for name, rows in given.items()}
    dates = feature_frame()
    return {**found, FEATURES: dates}


def surface() -> list[dict[str, Any]]:
    """A response surface: palm and the VIX move the forecasts, the dollar none; 1w reacts to nothing.

    6m has no answer at one point, 12m none at all; the real has no value.
    """
    axes = {"palm": ("percent", (-20, -10, 10, 20)), "vix": ("percent", (-40, 100)), "dollar": ("percent", (-8, 8))}
    blank = dict.fromkeys(tables()["forecasts.zl_surface_daily"].columns) | {"as_of": AS_OF}
    rows: list[dict[str, Any]] = []

    def add(horizon: str, *moved: tuple[str, float]) -> None:
        palm, vix = (dict(moved).get(name, 0.0) / 100 if horizon != "1w" else 0.0 for name in ("palm", "vix"))
        median = 48.4 * math.exp(0.3 * palm - 0.05 * vix + 0.2 * palm * vix)
        prices: dict[str, Any] = {"p10": median * 0.8 - vix, "p50": median, "p90": median * 1.3 + 2 * abs(vix)}
        if horizon == "6m" and moved == (("vix", 100.0),):
            prices = dict.fromkeys(prices)
        row = blank | prices | {"horizon": horizon, "model_version": f"ridge/{horizon}/v0002", "surface": f"s{horizon}"}
        row["point"] = ", ".join(f"{name} {move:+g}" for name, move in moved) or "today"
        for (name, move), prefix in zip(moved, ("", "other_"), strict=False):
            row |= {f"{prefix}input": name, f"{prefix}move": move, f"{prefix}value": 100.0 + move}
        if len(moved) == 1:
            row |= {"title": f"{moved[0][0]} {HOSTILE}", "unit": "USD/t", "moved_by": "percent", "start_value": 100.0}
            row["known_on"] = AS_OF - pd.Timedelta(days=2) if moved[0][0] == "vix" else None
        rows.append(row)

    for horizon in [name for name in HORIZONS if name != "12m"]:
        add(horizon)
        for name, (_, moves) in axes.items():
            for move in moves:
                add(horizon, (name, float(move)))
        for palm, vix in product((-20.0, 20.0), (-40.0, 100.0)):
            add(horizon, ("palm", palm), ("vix", vix))
    rows.append(blank | {"horizon": "12m", "point": "today", "model_version": "x", "note": "no forecast without beans"})
    rows.append(
        blank
        | {"horizon": "every", "point": "brl", "input": "brl", "title": "BRL per USD", "unit": "BRL"}
        | {"note": "brl: brl_last and dexbzus have no value in 21 sessions"}
    )
    return rows


class Numbers(HTMLParser):
    """The numbers of a page: text and attributes of each ``data`` element; and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []
        self.tags: set[str] = set()
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "data":
            self.found.append({name: value or "" for name, value in attrs} | {"text": ""})
            self._open = True

    def handle_data(self, data: str) -> None:
        if self._open:
            self.found[-1]["text"] += data

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag != "data"


def numbers_of(page: Path) -> list[dict[str, str]]:
    """Every number of a page with where it is from."""
    parser = Numbers()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.found


def wrong_numbers(folder: Path, warehouse: Warehouse) -> tuple[int, list[str]]:
    """How many numbers the pages of a site show, and those that differ from the warehouse's."""
    rows: dict[str, list[dict[str, Any]]] = {}
    total, wrong = 0, []
    index: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for page in sorted(folder.glob("*.html")):
        for number in numbers_of(page):
            total += 1
            view, key = number["data-view"], json.loads(number["data-key"])
            if view not in rows:
                rows[view] = warehouse.query(f"SELECT * FROM {view}").to_dict("records")
            names = tuple(key)
            place = (view, json.dumps(names))
            if place not in index:
                index[place] = {}
                for row in rows[view]:
                    cells = json.dumps([written(plain(row[name])) for name in names])
                    index[place].setdefault(cells, []).append(row)
            found = index[place].get(json.dumps(list(key.values())), [])
            values = {
                float(row[number["data-column"]]) for row in found if plain(row[number["data-column"]]) is not None
            }
            expected = float(number["value"])
            if values != {expected} or FORMS[number["data-form"]](expected) != number["text"]:
                wrong.append(f"{page.name}: {number} against {values}")
    return total, wrong
