"""The answer of `cbi what-if`: what the home holds, asked and shown."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd

from tasks.command_line import nearest
from tasks.errors import StaleSource, WrongWord
from tasks.features.build import build_features
from tasks.forecasting.apart import IsolatedModels, isolated_models
from tasks.forecasting.explain import Served
from tasks.forecasting.forecast import forecast_day
from tasks.forecasting.scenarios import State
from tasks.forecasting.what_if import Move, moves_of, what_if
from tasks.model_store.open import open_store
from tasks.registry import load_features, load_horizons, load_sources
from tasks.registry.scenarios import load_scenarios
from tasks.settings import Settings
from tasks.storage.files import read_parquet
from tasks.storage.zones import Zones
from tasks.units import signed


@dataclass(frozen=True)
class WhatIf:
    """The moves, the state of the forecasts before and after them, and one row per horizon."""

    as_of: pd.Timestamp
    moves: list[Move]
    before: State
    after: State
    rows: pd.DataFrame
    features_changed: int


def asked(settings: Settings, words: Sequence[str], horizon: str | None) -> WhatIf:
    """The answer from the newest panel of this home and the champions of its session.

    Raises:
        WrongWord: a word is wrong. StaleSource: there is no panel yet.
    """
    with isolated_models() as models:
        models.begin()  # its libraries are imported while the panel is read
        spec = load_scenarios(settings.registry)
        panel = newest_panel(settings)
        moves = moves_of(words, panel, spec)
        registry = load_features(settings.registry, load_sources(settings.registry))
        features = build_features(panel, registry)
        served = served_from(settings, panel, features, models, wanted=[] if horizon is None else [horizon])
        as_of = pd.Timestamp(panel["date"].iloc[-1])
        return WhatIf(as_of, moves, *what_if(panel, features, moves, served, models, registry))


def newest_panel(settings: Settings) -> pd.DataFrame:
    """The panel of this home's newest run.

    Raises:
        StaleSource: there is none yet.
    """
    zones = Zones(settings.home)
    path = zones.panel / "panel.parquet"
    if not path.exists():
        raise StaleSource(f"there is no panel in {zones.panel}; run `cbi daily` first")
    return read_parquet(path)


def served_from(
    settings: Settings,
    panel: pd.DataFrame,
    features: pd.DataFrame,
    models: IsolatedModels,
    *,
    wanted: Collection[str] = (),
) -> tuple[Served, ...]:
    """What the store serves at the panel's last session, at the wanted horizons, or at every one.

    Raises:
        WrongWord: there is no such horizon.
    """
    horizons = load_horizons(settings.registry)
    for horizon in wanted:
        if horizon not in horizons.horizons:
            known = horizons.horizons
            raise WrongWord(f"there is no horizon {horizon}.{nearest(horizon, known)} Horizons: {', '.join(known)}")
    if wanted:
        chosen = {name: entry for name, entry in horizons.horizons.items() if name in wanted}
        horizons = horizons.model_copy(update={"horizons": chosen})
    day = forecast_day(
        features,
        panel,
        open_store(settings),
        registry=load_features(settings.registry, load_sources(settings.registry)),
        horizons=horizons,
        as_of=pd.Timestamp(panel["date"].iloc[-1]),
        data_snapshot="",
        code_version="",
        models=models,
    )
    return day.served


def unmoved(rows: pd.DataFrame) -> str:
    """Why nothing moved, where every forecast that was computed is of the curve and none moved; else empty."""
    known = rows.dropna(subset=["centre"]) if "centre" in rows else rows.head(0)
    columns = ["scenario_centre", "scenario_p10", "scenario_p90"]
    still = known[columns].to_numpy() == known[["centre", "p10", "p90"]].to_numpy()
    if known.empty or not still.all() or not known["model_version"].str.startswith("curve/").all():
        return ""
    return (
        "Nothing moves: these forecasts come from the futures curve, which reads the price of soybean oil and of its "
        "contracts alone. Try `cbi what-if zl=+5%`"
    )


def shown(answer: WhatIf, *, as_json: bool) -> str:
    """The answer as text, or as JSON."""
    fires = [flag for flag in answer.after.fires if flag not in answer.before.fires]
    if as_json:
        rows = answer.rows.astype(object).where(answer.rows.notna(), None).to_dict("records")
        content = {
            "as_of": f"{answer.as_of:%Y-%m-%d}",
            "moves": [str(move) for move in answer.moves],
            "fires": fires,
            "features_changed": answer.features_changed,
            "regime": answer.after.regime,
            "horizons": rows,
        }
        return json.dumps(content, indent=1)
    lines = [f"As of {answer.as_of:%Y-%m-%d}, ZL {answer.before.last_price:.2f} cents/lb, and what if"]
    lines += [f"  {move}" for move in answer.moves]
    for row in answer.rows.to_dict("records"):
        if isinstance(note := row.get("note"), str):
            lines.append(f"{row['title']}: {note}")
            continue
        lines.append(
            f"{row['title']}: {row['centre']:.2f} to {row['scenario_centre']:.2f} "
            f"({signed(row['centre_change_cents_lb'])}); 4 of 5 outcomes in {row['p10']:.2f} to {row['p90']:.2f} "
            f"before, {row['scenario_p10']:.2f} to {row['scenario_p90']:.2f} after ({row['model_version']})"
        )
    if why := unmoved(answer.rows):
        lines.append(why)
    lines.append(f"Features that change: {answer.features_changed}")
    lines.append(f"Flags that fire: {', '.join(fires) or 'none beside those of today'}")
    lines.append(f"Regime: {answer.after.regime or 'not known'} (today {answer.before.regime or 'not known'})")
    return "\n".join(lines)
