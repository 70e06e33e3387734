"""Small tables of the staged data: freshness per series, refused cells by rule, a source's newest values."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.api.typing import NaTType

from tasks.calendar import as_of_instant, days_outside, sessions
from tasks.registry import DataSources, SeriesSpec, SourceSpec
from tasks.staging.rules import key_field

FALSE = (
    "range",
    "jump",
    "not_a_number",
    "duplicate",
)  # rules of a false value, not of a missing one
CELL = ("source", "series", "field")
COUNTS = ("cells", "refused_cells", "year_cells", "year_refused")
RECENT_DATES = 63  # a quarter of sessions, or five years of a monthly series
YEAR_DAYS = 365  # before the as_of date; older refusals count only in the share of all history


def summarise_series(
    sources: DataSources, observations: pd.DataFrame, quarantine: pd.DataFrame, *, as_of: pd.Timestamp
) -> pd.DataFrame:
    """One row per registered series: what is known of it by ``as_of``, how old that is, how much of it was refused.

    A series with its last observation, or a contract past its month, has ``ended``: it is never stale. Days outside a
    series' season are added to its ``stale_limit_days``: nothing is due then.
    ``refused_dates``: dates whose key field was refused and has no accepted value from any payload.
    ``refused_share``: their share of the newest 63 dates, so old refusals do not count forever.
    ``recorded``: the home has any cell of the series, accepted or refused; ``never_recorded``: it has none.
    ``critical_refused_share``: the refused share of a critical series, 0 for the others. ``critical_newest_refused``:
    why the newest value of a critical series was refused as false, if no later value is accepted.
    Of daily bars only CBOT sessions count: an empty row on a weekend or holiday is not a loss.
    Dates are counted by their key field; ``cells`` to ``worst_field`` count every field (``summarise_fields``).
    """
    instant = as_of_instant(as_of)
    rows = []
    accepted = dict(list(observations.groupby(["source", "series"], observed=True)))
    refused = dict(list(quarantine.groupby(["source", "series"], observed=True)))
    traded = sessions(last=as_of).to_numpy()
    for source, spec in sources.sources.items():
        key = key_field(spec)
        for series, entry in spec.series.items():
            known = accepted.get((source, series))
            last = known["observation_date"].max() if known is not None else pd.NaT
            bad = refused.get((source, series))
            if entry.ended and known is None and bad is None:
                continue  # a contract not listed yet, or expired before the first fetch
            good = _dates(known, key)
            lost = np.setdiff1d(_dates(bad, key), good, assume_unique=True)
            if not len(good) and not len(lost):  # some payloads have no key field, such as a fund's adjusted closes
                good = _dates(known, None)
            lost = lost[np.isin(lost, traded)] if spec.kind == "bars" else lost
            dates = len(good) + len(lost)
            newest = np.sort(np.concatenate([good, lost]))[-RECENT_DATES:]
            recent = int(np.isin(newest, lost, assume_unique=True).sum())
            end = pd.Timestamp(entry.ended) if entry.ended else pd.Timestamp.max
            ended = as_of > end and (bool(spec.contracts) or last >= end)
            rows.append(
                {
                    "source": source,
                    "series": series,
                    "priority": spec.priority,
                    "critical": entry.critical,
                    "observations": 0 if known is None else len(known),
                    "first_date": known["observation_date"].min() if known is not None else pd.NaT,
                    "last_date": last,
                    "last_available_at": known["available_at"].max() if known is not None else pd.NaT,
                    "as_of_instant": instant,
                    "age_days": (as_of - last).days if pd.notna(last) else None,
                    "stale_limit_days": None if ended else _stale_limit_days(entry, last, as_of),
                    "ended": ended,
                    "key_dates": dates,
                    "refused_dates": len(lost),
                    "recent_dates": len(newest),
                    "recent_refused": recent,
                    "refused_share": recent / len(newest) if dates else None,
                    "critical_refused_share": recent / len(newest) if dates and entry.critical else 0.0,
                    "critical_newest_refused": _newest_refused(bad, key, good) if entry.critical else None,
                    "recorded": known is not None or bad is not None,
                    "never_recorded": known is None and bad is None,
                    "max_refused_share": spec.max_quarantine_share,
                }
            )
    frame = pd.DataFrame(rows)
    frame["last_available_at"] = pd.to_datetime(frame["last_available_at"], utc=True).astype("datetime64[us, UTC]")
    fields = summarise_fields(sources, observations, quarantine, as_of=as_of)
    frame = frame.merge(_by_series(fields), how="left", on=["source", "series"])
    frame[list(COUNTS)] = frame[list(COUNTS)].fillna(0).astype("int64")
    kinds = {
        "first_date": "datetime64[us]",
        "last_date": "datetime64[us]",
        "age_days": "float64",
        "stale_limit_days": "float64",
        "refused_share": "float64",
        "critical_newest_refused": "object",
        "worst_field": "object",
        "worst_refused_share": "float64",
    }
    return frame.astype(kinds)


def _stale_limit_days(entry: SeriesSpec, last: pd.Timestamp | NaTType, as_of: pd.Timestamp) -> int | None:
    if entry.season is None or entry.stale_limit_days is None or isinstance(last, NaTType):
        return entry.stale_limit_days
    return entry.stale_limit_days + days_outside(entry.season, last, as_of)


def summarise_fields(
    sources: DataSources, observations: pd.DataFrame, quarantine: pd.DataFrame, *, as_of: pd.Timestamp
) -> pd.DataFrame:
    """One row per field of each series with any served cell: how many of its cells were refused.

    A cell is one date of one field, over all vintages and payloads. ``refused_cells`` have no accepted value from any
    payload; ``cells`` counts these and the accepted ones. ``year_...`` counts the dates of the year to ``as_of``. Of
    daily bars a refused cell counts on CBOT sessions only: a padding row on a weekend or holiday is not a loss.

    ``critical``: the key field of a critical series; ``critical_year_refused_share`` is 0 for every other row.
    ``dates_refused_share``: the year's refused share of the series' key field.
    """
    accepted, refused = (_typed_cells(frame) for frame in (observations, quarantine))
    names = [
        np.array(sorted({*accepted[name].cat.categories, *refused[name].cat.categories}), dtype=object) for name in CELL
    ]
    first = min((f["observation_date"].min() for f in (accepted, refused) if len(f)), default=as_of)
    days = (
        int((max((f["observation_date"].max() for f in (accepted, refused) if len(f)), default=as_of) - first).days) + 1
    )
    kept, refusals = (_distinct(_keys(frame, names, first, days)) for frame in (accepted, refused))
    lost = refusals[~np.isin(refusals, kept, assume_unique=True, kind="sort")]
    bars = np.isin(names[0], [name for name, spec in sources.sources.items() if spec.kind == "bars"])
    lost_dates = first.to_datetime64() + (lost % days).astype("timedelta64[D]")
    padding = bars[lost // days // (len(names[1]) * len(names[2]))] & ~np.isin(
        lost_dates.astype("datetime64[D]"), sessions(last=as_of).to_numpy().astype("datetime64[D]")
    )
    lost = lost[~padding]
    since = (as_of - pd.Timedelta(days=YEAR_DAYS) - first).days  # dates after this one are of the year
    counts = pd.DataFrame(
        {
            "accepted": _per_field(kept, days),
            "refused_cells": _per_field(lost, days),
            "year_accepted": _per_field(kept[kept % days > since], days),
            "year_refused": _per_field(lost[lost % days > since], days),
        }
    )
    counts = counts.fillna(0).astype("int64").sort_index()
    where = np.unravel_index(counts.index.to_numpy(dtype="int64"), [len(part) for part in names])
    table = pd.DataFrame({name: part[at] for name, part, at in zip(CELL, names, where, strict=True)})
    table["cells"] = (counts["accepted"] + counts["refused_cells"]).to_numpy()
    table["refused_cells"] = counts["refused_cells"].to_numpy()
    table["refused_share"] = table["refused_cells"] / table["cells"]
    table["year_cells"] = (counts["year_accepted"] + counts["year_refused"]).to_numpy()
    table["year_refused"] = counts["year_refused"].to_numpy()
    table["year_refused_share"] = table["year_refused"] / table["year_cells"].where(table["year_cells"] > 0)
    keys = {name: key_field(spec) for name, spec in sources.sources.items()}
    critical = {(name, s) for name, spec in sources.sources.items() for s, e in spec.series.items() if e.critical}
    is_key = table["field"] == table["source"].map(keys)
    table["critical"] = is_key & pd.Series(
        [pair in critical for pair in zip(table["source"], table["series"], strict=True)], dtype=bool
    )
    table["critical_year_refused_share"] = table["year_refused_share"].where(table["critical"], 0.0)
    by_date = table[is_key].set_index(["source", "series"])["year_refused_share"].rename("dates_refused_share")
    table = table.join(by_date, on=["source", "series"])
    limits = {name: spec.max_quarantine_share for name, spec in sources.sources.items()}
    return table.assign(max_refused_share=table["source"].map(limits).astype("float64"))


def _typed_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """The cells with a date; source, series and field as categories."""
    dated = frame.loc[frame["observation_date"].notna(), [*CELL, "observation_date"]]
    return dated.astype(dict.fromkeys(CELL, "category"))


def _keys(cells: pd.DataFrame, names: list[np.ndarray], first: pd.Timestamp, days: int) -> np.ndarray:
    """Each cell as one integer: field, times the number of days, plus the day since ``first``."""
    key = np.zeros(len(cells), dtype="int64")
    for name, every in zip(CELL, names, strict=True):
        places = np.searchsorted(every, cells[name].cat.categories.to_numpy(dtype=object))
        key = key * len(every) + places[cells[name].cat.codes.to_numpy()] if len(places) else key
    return key * days + (cells["observation_date"] - first).dt.days.to_numpy(dtype="int64")


def _distinct(keys: np.ndarray) -> np.ndarray:
    """Sorted, each once: many times as fast as ``np.unique``, whose hash tables meet runs of neighbours badly."""
    ordered = np.sort(keys)
    return ordered[np.diff(ordered, prepend=ordered[:1] - 1) > 0]


def _per_field(keys: np.ndarray, days: int) -> pd.Series:
    fields, cells = np.unique(keys // days, return_counts=True)
    return pd.Series(cells, index=fields, dtype="int64")


def _by_series(fields: pd.DataFrame) -> pd.DataFrame:
    """Cell counts per series over all fields, and the field with the largest refused share of the year."""
    totals = fields.groupby(["source", "series"])[list(COUNTS)].sum()
    worst = fields.sort_values("year_refused_share", kind="stable").dropna(subset="year_refused_share")
    worst = worst[worst["year_refused"] > 0].drop_duplicates(["source", "series"], keep="last")
    worst = worst.set_index(["source", "series"])[["field", "year_refused_share"]]
    return totals.join(worst.set_axis(["worst_field", "worst_refused_share"], axis=1)).reset_index()


def _newest_refused(bad: pd.DataFrame | None, key: str, good: np.ndarray) -> str | None:
    """The newest value that was refused as false, its date and reason; None if a later one is accepted."""
    if bad is None:
        return None
    false = bad[(bad["field"] == key) & bad["rule"].isin(FALSE)]
    if len(good):
        false = false[false["observation_date"] > good.max()]
    if false.empty:
        return None
    newest = false.sort_values("observation_date").iloc[-1]
    return f"{newest['value']:g} of {newest['observation_date']:%Y-%m-%d}: {newest['reason']}"


def summarise_quarantine(quarantine: pd.DataFrame, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """Refused cells by source, series, field and rule: rows of ``ops.quarantine_summary``."""
    keys = ["source", "series", "field", "rule"]
    grouped = quarantine.assign(**{name: quarantine[name].astype(str) for name in keys}).groupby(keys)
    summary = grouped.agg(
        cells=("row", "size"),
        first_date=("observation_date", "min"),
        last_date=("observation_date", "max"),
        reason=("reason", "first"),
    )
    return summary.reset_index().assign(as_of=as_of, reason=lambda frame: frame["reason"].astype(str))


def newest_values(observations: pd.DataFrame, source: str, spec: SourceSpec) -> pd.DataFrame:
    """One row per series and date of a source, newest vintage, one column per field: for the source's own suite."""
    own = observations[observations["source"] == source]
    newest = own.sort_values("vintage").drop_duplicates(["series", "observation_date", "field"], keep="last")
    wide = newest.assign(series=newest["series"].astype(str), field=newest["field"].astype(str)).pivot(
        index=["series", "observation_date"], columns="field", values="value"
    )
    wide.columns.name = None
    return wide.reindex(columns=list(spec.fields)).astype("float64").reset_index()


def _dates(cells: pd.DataFrame | None, field: str | None) -> np.ndarray:
    """The distinct dates of a field's cells, of all cells for None."""
    if cells is None:
        return np.array([], dtype="datetime64[us]")
    dates = cells["observation_date"] if field is None else cells.loc[cells["field"] == field, "observation_date"]
    return dates.dropna().drop_duplicates().to_numpy(dtype="datetime64[us]")
