"""What staging holds, in small tables: freshness of every series, refused cells by rule, a source's newest values."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.calendar import as_of_instant, sessions
from tasks.registry import DataSources, SourceSpec
from tasks.staging.rules import key_field

FALSE = (
    "range",
    "jump",
    "not_a_number",
    "duplicate",
)  # rules that say that a value is no price; not that there is none
RECENT_DATES = 63  # a quarter of sessions; of a monthly series five years


def summarise_series(
    sources: DataSources, observations: pd.DataFrame, quarantine: pd.DataFrame, *, as_of: pd.Timestamp
) -> pd.DataFrame:
    """One row a registered series: what is known of it by ``as_of``, how old that is, how much of it was refused.

    A series whose last observation is held, or a contract past its month, has ``ended``: no limit makes it stale.
    ``refused_dates`` counts dates whose key field was served and refused and has no accepted value from any payload;
    ``refused_share`` is their share of the newest 63 dates, so that what was refused long ago does not weigh for ever.
    ``recorded``: the home has anything of the series, accepted or refused; ``never_recorded``: it has not.
    ``critical_refused_share``: the refused share of a critical series, 0 for the others. ``critical_newest_refused``:
    why the newest value of a critical series was refused as false, where nothing after it is accepted.
    Of daily bars only CBOT sessions count: an empty row on a weekend or holiday is no loss.
    """
    instant = as_of_instant(as_of)
    rows = []
    accepted = dict(list(observations.groupby(["source", "series"], observed=True)))
    refused = dict(list(quarantine.groupby(["source", "series"], observed=True)))
    traded = sessions(last=as_of).to_numpy()
    for source, spec in sources.sources.items():
        key = key_field(spec)
        for series, entry in spec.series.items():
            held = accepted.get((source, series))
            last = held["observation_date"].max() if held is not None else pd.NaT
            bad = refused.get((source, series))
            if entry.ended and held is None and bad is None:
                continue  # a contract not listed yet, or gone before the source was first asked
            good = _dates(held, key)
            lost = np.setdiff1d(_dates(bad, key), good, assume_unique=True)
            if not len(good) and not len(lost):  # some payloads hold no key field, such as a fund's adjusted closes
                good = _dates(held, None)
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
                    "observations": 0 if held is None else len(held),
                    "first_date": held["observation_date"].min() if held is not None else pd.NaT,
                    "last_date": last,
                    "last_available_at": held["available_at"].max() if held is not None else pd.NaT,
                    "as_of_instant": instant,
                    "age_days": (as_of - last).days if pd.notna(last) else None,
                    "stale_limit_days": None if ended else entry.stale_limit_days,
                    "ended": ended,
                    "key_dates": dates,
                    "refused_dates": len(lost),
                    "recent_dates": len(newest),
                    "recent_refused": recent,
                    "refused_share": recent / len(newest) if dates else None,
                    "critical_refused_share": recent / len(newest) if dates and entry.critical else 0.0,
                    "critical_newest_refused": _newest_refused(bad, key, good) if entry.critical else None,
                    "recorded": held is not None or bad is not None,
                    "never_recorded": held is None and bad is None,
                    "max_refused_share": spec.max_quarantine_share,
                }
            )
    frame = pd.DataFrame(rows)
    frame["last_available_at"] = pd.to_datetime(frame["last_available_at"], utc=True).astype("datetime64[us, UTC]")
    kinds = {
        "first_date": "datetime64[us]",
        "last_date": "datetime64[us]",
        "age_days": "float64",
        "stale_limit_days": "float64",
        "refused_share": "float64",
        "critical_newest_refused": "object",
    }
    return frame.astype(kinds)


def _newest_refused(bad: pd.DataFrame | None, key: str, good: np.ndarray) -> str | None:
    """The date and reason of the newest value that was refused as false; None where a later one is accepted."""
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
    """One row a series and date of a source, newest vintage, one column a field: what the source's own suite guards."""
    held = observations[observations["source"] == source]
    newest = held.sort_values("vintage").drop_duplicates(["series", "observation_date", "field"], keep="last")
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
