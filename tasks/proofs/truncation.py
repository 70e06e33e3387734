"""Nothing at session t changes when the future is removed: from payloads to features, cell by cell.

Each sampled day is built twice, from all stored data and from what was published by 18:00 Chicago of that day.
This module decides by its own comparison what was published, so that the product's comparisons are checked and not
trusted. Restaged observations, the panel of all observations, derived series and every feature must equal their twins.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instant, at_clock, sessions
from tasks.features.build import build_features
from tasks.panel import derived, join
from tasks.registry import Availability, DataSources, DerivedSeries, FeatureRegistry, JoinSpec
from tasks.sources.payloads import Payload
from tasks.staging import documents, gather, stage

FINDINGS = ["stage", "cut", "column", "date", "with_future", "without_future", "cells"]
KEY = ["source", "series", "field", "observation_date", "vintage"]
TEXT_KEY = ["source", "series", "document_id", "vintage"]


@dataclass(frozen=True)
class ProofInputs:
    """The inputs of the proof, as of the last session.

    ``observations`` and ``documents`` are the staged rows of every source (not yet cut, nothing derived). ``payloads``
    returns a source's landed payloads; it is called for restaged days only. ``build`` is the feature build.
    """

    observations: pd.DataFrame
    documents: pd.DataFrame
    sources: DataSources
    joins: JoinSpec
    derived: DerivedSeries
    features: FeatureRegistry
    as_of: pd.Timestamp
    payloads: Callable[[str], Iterable[Payload]]
    build: Callable[[pd.DataFrame, FeatureRegistry], pd.DataFrame] = field(default=build_features)

    @property
    def used(self) -> list[str]:
        """The sources that the panel and the derived series read."""
        names = {entry.source for entry in (*self.joins.joins, *self.derived.inputs)} | derived.read_whole(self.derived)
        return sorted(names & set(self.sources.sources))

    def relevant(self, observations: pd.DataFrame) -> pd.DataFrame:
        """The rows of the series and fields that a join or a derived series reads: all that can reach a column."""
        wanted = {
            (entry.source, *target.rsplit(".", 1))
            for entry in (*self.joins.joins, *self.derived.inputs)
            for target in entry.columns.values()
        }
        groups = observations.groupby(["source", "series", "field"], observed=True, sort=False)
        number = groups.ngroup().to_numpy()
        keys = observations.loc[groups.head(1).index, ["source", "series", "field"]].astype(str)
        read = {number[observations.index.get_loc(i)] for i, key in keys.iterrows() if tuple(key) in wanted}
        whole = observations["source"].isin(derived.read_whole(self.derived)).to_numpy()
        return observations[np.isin(number, list(read)) | whole]


def sample_days(count: int, *, last: pd.Timestamp, seed: str = "truncation") -> list[pd.Timestamp]:
    """Random sessions to cut at: one from each of ``count`` equal parts of the history."""
    parts = np.array_split(np.arange(len(sessions("2002-01-02", last)) - 1), count)
    days, chance = sessions("2002-01-02", last), random.Random(seed)  # noqa: S311 a sample, no secret
    return [days[chance.choice(list(part))] for part in parts]


def truncation_proof(
    inputs: ProofInputs,
    days: Iterable[pd.Timestamp],
    *,
    restaged: int,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> pd.DataFrame:
    """Cut at each of ``days`` and compare all columns of all rows up to it.

    Args:
        restaged: number of days, evenly spread, that start from the payloads; the others start from observations.

    Returns:
        one row per stage, cut and column that differ: ``stage, cut, column, date`` (the first that differs), both
        values and the number of ``cells``. Empty if the proof passes.
    """
    days = sorted(days)
    from_payloads = {days[i] for i in np.linspace(0, len(days) - 1, restaged).astype(int)} if restaged else set()
    relevant = inputs.relevant(inputs.observations)
    whole = _everything(inputs, relevant, inputs.documents, inputs.as_of)
    found = [early_stamps(inputs.observations, inputs.sources)]
    for number, day in enumerate(days, start=1):
        known, texts = _published(relevant, day), _published(inputs.documents, day)
        product_cut = stage.known_by(relevant, day)
        if not product_cut.index.equals(known.index):
            found.append(_differences("known_by", day, product_cut, known))
        if day in from_payloads:
            of_used = inputs.observations[inputs.observations["source"].isin(inputs.used)]
            known, again = _restaged(inputs, day)
            found.append(_differences("staging", day, _published(of_used, day), known))
            found.append(_differences("documents", day, _wording(texts), _wording(again), key=TEXT_KEY))
            known, texts = inputs.relevant(known), again
        cut = _everything(inputs, known, texts, day)
        found += [
            _differences(name, day, frame[frame["date"] <= day], cut[name], key=["date"])
            for name, frame in whole.items()
        ]
        progress(number, len(days), f"{day:%Y-%m-%d}")
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=FINDINGS)


def early_stamps(observations: pd.DataFrame, sources: DataSources) -> pd.DataFrame:
    """Observations whose ``available_at`` is before the earliest release by their series' rule, or out of order.

    A value stamped too early looks the same with and without the future. So the rule is applied again here, date by
    date and in the simplest way, without holidays and delays: these only make a release later.
    """
    rows: list[dict[str, object]] = []
    read: dict[Availability, pd.Series] = {}
    for (source, series), part in observations.groupby(["source", "series"], observed=True, sort=False):
        if source not in sources.sources or str(series) not in sources.source(str(source)).series:
            continue
        spec = sources.source(str(source))
        rule = spec.series[str(series)].availability or spec.availability
        dates = pd.DatetimeIndex(part["observation_date"].unique())
        if rule not in read or not dates.isin(read[rule].index).all():
            met = dates.union(pd.DatetimeIndex(read[rule].index)) if rule in read else dates
            read[rule] = _earliest(met, rule)
        earliest = read[rule]
        stamped = part["available_at"].astype("int64").to_numpy()
        early = part[stamped < earliest.reindex(part["observation_date"]).to_numpy()]
        early = early[(early["vintage"] == 1) & (rule.rule != "recorded")] if not spec.projected_days else early[:0]
        unordered = part[:0]
        if (part["vintage"] > 1).any():
            ordered = part.sort_values([*KEY[2:4], "vintage"])
            again = ordered.duplicated(KEY[2:4]).to_numpy()
            unordered = ordered[again & (ordered["available_at"] < ordered["available_at"].shift()).to_numpy()]
        for what, wrong in (
            ("known before its release", early),
            ("a revision known before what it revises", unordered),
        ):
            if len(wrong):
                first = wrong.iloc[0]
                rows.append(
                    {
                        "stage": "availability",
                        "cut": pd.NaT,
                        "column": f"{source} {series}: {what}",
                        "date": first["observation_date"],
                        "with_future": f"{first['available_at']:%Y-%m-%d %H:%M} UTC",
                        "without_future": _earliest_text(earliest[first["observation_date"]]),
                        "cells": len(wrong),
                    }
                )
    return pd.DataFrame(rows, columns=FINDINGS)


def _earliest(dates: pd.DatetimeIndex, rule: Availability) -> pd.Series:
    days = pd.DatetimeIndex([_first_release(day.date(), rule) for day in dates], dtype="datetime64[us]")
    return pd.Series(at_clock(days, rule.time, rule.timezone).asi8, index=dates)


def _earliest_text(instant_us: int) -> str:
    return f"{pd.Timestamp(instant_us, unit='us'):%Y-%m-%d %H:%M} UTC at the earliest"


def _first_release(day: date, rule: Availability) -> date:
    if rule.rule == "day_of_month":
        months = day.year * 12 + day.month - 1 + rule.months_after
        return date(months // 12, months % 12 + 1, rule.day)
    if rule.rule == "days_after":
        return day + timedelta(days=rule.min_days)
    if rule.rule == "next_business_day":
        return day + timedelta(days=1)
    if rule.rule == "weekday_after":
        release = day + timedelta(days=rule.min_days)
        while f"{release:%A}".lower() != rule.weekday:
            release += timedelta(days=1)
        return release
    return day


def _published(rows: pd.DataFrame, day: pd.Timestamp) -> pd.DataFrame:
    """The proof's own cut: 18:00 Chicago time of that day."""
    evening = pd.Timestamp(f"{day:%Y-%m-%d} 18:00", tz="America/Chicago")
    return rows[(rows["available_at"] <= evening).to_numpy()]


def _restaged(inputs: ProofInputs, day: pd.Timestamp) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Observations and documents staged again from the payloads, through that day."""
    parts, texts = [], []
    for name in inputs.used:
        spec, through = inputs.sources.source(name), as_of_instant(day)
        payloads = list(inputs.payloads(name))
        parts.append(stage.stage_payloads(name, spec, payloads, through=through)[0])
        if spec.kind == "documents":
            texts.append(documents.stage_documents(name, spec, stage.named(payloads), through=through)[0])
    return gather.stack(parts), documents.gather_documents(texts, as_of=day)


def _wording(texts: pd.DataFrame) -> pd.DataFrame:
    return texts.drop(columns="fetched_at").rename(columns={"published": "date"})


def _everything(
    inputs: ProofInputs, observations: pd.DataFrame, texts: pd.DataFrame, day: pd.Timestamp
) -> dict[str, pd.DataFrame]:
    known = derived.with_derived(observations, inputs.derived, as_of=day, documents=texts)
    panel = join.build_panel(known, inputs.joins, as_of=day)
    own = known[known["source"] == derived.SOURCE]
    wide = own.pivot(index="observation_date", columns="series", values="value")
    wide.columns = wide.columns.astype(str)
    wide = (
        wide.reindex(columns=list(inputs.derived.series)).reindex(pd.DatetimeIndex(panel["date"])).rename_axis("date")
    )
    return {"derived": wide.reset_index(), "panel": panel, "features": inputs.build(panel, inputs.features)}


def _differences(
    name: str, day: pd.Timestamp, full: pd.DataFrame, cut: pd.DataFrame, *, key: list[str] | None = None
) -> pd.DataFrame:
    """The differences between the twins, one row per column. Rows of only one of them are column ``rows``."""
    key = key or KEY
    left, right = _in_order(full, key), _in_order(cut, key)
    if len(left) != len(right) or not all((left[k].to_numpy() == right[k].to_numpy()).all() for k in key):
        both = left[key].merge(right[key], how="outer", indicator=True)
        alone = both[both["_merge"] != "both"].astype({"_merge": str})
        if len(alone):
            first = alone.iloc[0]
            counts = {"with_future": len(left), "without_future": len(right), "cells": len(alone)}
            where = " ".join(str(first[k]) for k in key[:-2])
            row = {"stage": name, "cut": day, "column": f"rows {where}".strip(), "date": first[key[-2:][0]], **counts}
            return pd.DataFrame([row], columns=FINDINGS)
    rows = []
    dates = left["date"] if "date" in left else left["observation_date"]
    for column in [c for c in left.columns if c not in key]:
        if column not in right:
            rows.append((name, day, column, pd.NaT, "held", "missing", len(left)))
            continue
        one, other = left[column].to_numpy(), right[column].to_numpy()
        apart = np.flatnonzero((one != other) & ~(pd.isna(one) & pd.isna(other)))
        if len(apart):
            i = apart[0]
            rows.append((name, day, column, dates.iloc[i], one[i], other[i], len(apart)))
    return pd.DataFrame(rows, columns=FINDINGS)


def _in_order(frame: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    named = [c for c in ("source", "series", "field") if c in frame and "value" in frame]
    if named:  # of staged rows only values matter: not the coding of categories, nor the run that fetched them
        frame = frame[[*KEY, "value", "available_at"]]
        codes = {c: frame[c].astype(str) for c in named}
        frame = frame.assign(**codes)
    return frame.sort_values(key, kind="stable").reset_index(drop=True)
