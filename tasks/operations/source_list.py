"""What each source is, what it feeds, whether it is fetched, and what it would take to have it. Nothing is fetched."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from tasks.calendar import as_of_instant
from tasks.registry import DerivedSeries, FeatureRegistry, JoinSpec, SourceSpec, load_surface
from tasks.run import RunContext
from tasks.secrets import find_secret
from tasks.sources.ingest import why_disabled
from tasks.sources.pauses import pauses
from tasks.staging.rules import key_field
from tasks.staging.stage import read_staged

LIVE, TABLES, NEEDS_KEY, DISABLED, PAUSED = "live", "registry table", "needs a key", "disabled", "paused"


@dataclass(frozen=True)
class Feeds:
    """What is computed from a source: columns of the panel, derived series, features, and those models serve."""

    columns: tuple[str, ...]
    derived: tuple[str, ...]
    features: tuple[str, ...]
    production: tuple[str, ...]


@dataclass(frozen=True)
class SourceFacts:
    """One source. ``newest``: one row per series with a stored value, the newest first."""

    name: str
    spec: SourceSpec
    state: str
    why: str
    takes: tuple[str, ...]
    feeds: Feeds
    newest: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """Plain values for a program."""
        spec, newest = self.spec, self.newest.astype(object)
        return {
            "source": self.name,
            "title": spec.title,
            "endpoint": spec.endpoint,
            "licence": spec.licence,
            "state": self.state,
            "why": self.why,
            "takes": list(self.takes),
            "keys": {key: find_secret(key) is not None for key in (*spec.secrets, *spec.optional_secrets)},
            "feeds": {name: list(values) for name, values in asdict(self.feeds).items()},
            "series": len(spec.series),
            "newest": newest.where(newest.notna(), None).to_dict("records"),
        }


def feeds_of(name: str, joins: JoinSpec, derived: DerivedSeries, features: FeatureRegistry) -> Feeds:
    """What is computed from the source ``name``, directly or through derived series and fallbacks."""
    columns = [
        column
        for join in joins.joins
        for column in join.columns
        if name in (join.source, join.fallbacks[column].source if column in join.fallbacks else "")
    ]
    inputs = {column for join in derived.inputs if join.source == name for column in join.columns}
    series = [one for one, entry in derived.series.items() if inputs & set(entry.inputs)]
    own = {f"derived {one}" for one in series}
    fed = [
        feature
        for feature, entry in features.features.items()
        if any(part.partition(" ")[0] == name or part in own for part in entry.sources)
    ]
    return Feeds(tuple(columns), tuple(series), tuple(fed), ())


def state_of(spec: SourceSpec, paused_line: str) -> tuple[str, str]:
    """Whether a source is fetched live, and why not."""
    if paused_line:
        return PAUSED, paused_line
    if spec.disabled:
        return DISABLED, spec.disabled
    if why := why_disabled(spec):
        return NEEDS_KEY, why
    return TABLES if spec.tables else LIVE, ""


def what_it_takes(spec: SourceSpec) -> tuple[str, ...]:
    """What a person has to do to have it: keys that are not set, or the reason why there is no live source."""
    lines = [spec.disabled] if spec.disabled else []
    for key in spec.secrets:
        if find_secret(key) is None:
            lines.append(f"set {key}: get it at {spec.key_pages[key]}")
    for key in spec.optional_secrets:
        if find_secret(key) is None:
            lines.append(f"{key} is not needed and extends the data: get it at {spec.key_pages[key]}")
    if not any(find_secret(key) is None for key in spec.secrets) and not spec.disabled:
        lines.insert(0, "nothing: it is part of the registry" if spec.tables else "nothing: a live run fetches it")
    return tuple(lines)


def source_facts(run: RunContext, name: str) -> SourceFacts:
    """Everything about one source, as of the run's session.

    Raises:
        RegistryError: no such source. ManifestMismatch: what is stored of it, or the list of pauses, is not readable.
    """
    spec = run.sources.source(name)
    pause = pauses(run.zones).get(name)
    state, why = state_of(spec, pause.line if pause else "")
    feeds = feeds_of(name, run.joins, run.derived, run.features)
    surface = load_surface(run.settings.registry, run.features).features
    served = tuple(feature for feature in feeds.features if feature in surface)
    feeds = Feeds(feeds.columns, feeds.derived, feeds.features, served)
    takes = (f"`cbi sources resume {name}`",) if pause else ()
    return SourceFacts(name, spec, state, why, (*takes, *what_it_takes(spec)), feeds, newest_of(run, name))


def newest_of(run: RunContext, name: str) -> pd.DataFrame:
    """``series, date, value, unit, known`` of the newest stored value of each series, by the run's session."""
    columns = ["series", "date", "value", "unit", "known"]
    stored = read_staged(run.zones, name)
    if stored is None or stored.observations.empty:
        return pd.DataFrame(columns=columns)
    spec, rows = run.sources.source(name), stored.observations
    rows = rows[rows["available_at"] <= as_of_instant(run.as_of)]
    keyed = rows[rows["field"] == key_field(spec)]
    rest = rows[~rows["series"].isin(set(keyed["series"]))]  # some payloads have no key field
    order = pd.concat([keyed, rest]).sort_values(["observation_date", "vintage"], kind="stable")
    newest = order.drop_duplicates("series", keep="last").iloc[::-1]
    return pd.DataFrame(
        {
            "series": newest["series"].astype(str),
            "date": newest["observation_date"].dt.strftime("%Y-%m-%d"),
            "value": newest["value"].astype("float64"),
            "unit": newest["unit"].astype(str),
            "known": newest["available_at"].dt.strftime("%Y-%m-%d %H:%M"),
        }
    ).reset_index(drop=True)


def list_of_sources(run: RunContext) -> pd.DataFrame:
    """One row per source: ``source, state, why, series, newest, features, served``."""
    paused, rows = pauses(run.zones), []
    surface = load_surface(run.settings.registry, run.features).features
    for name, spec in run.sources.sources.items():
        state, why = state_of(spec, paused[name].line if name in paused else "")
        feeds, newest = feeds_of(name, run.joins, run.derived, run.features), newest_of(run, name)
        rows.append(
            {
                "source": name,
                "state": state,
                "why": why,
                "series": f"{len(newest)} of {len(spec.series)}",
                "newest": newest["date"].max() if len(newest) else None,
                "features": len(feeds.features),
                "served": sum(feature in surface for feature in feeds.features),
            }
        )
    return pd.DataFrame(rows)
