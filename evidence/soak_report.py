"""Report of a soak: consecutive sessions in one home with kills and in one without, and whether the two end equal.

Invariants: two homes are equal if every warehouse table has the same checksum without ``created_at``, which is
the time when a row was written; nothing else is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from evidence.machine import stamp
from evidence.page import frame_table, shown, table, write_page
from tasks.reporting.drawing import COLORS, LINE_COLORS, dates, write_picture
from tasks.sources.payloads import RECORDED
from tasks.storage.files import TEMPORARY, read_json, write_json
from tasks.storage.zones import Zones
from tasks.warehouse.checksum import checksum
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.tables import STAMP, tables


@dataclass(frozen=True)
class SoakDay:
    """One session's run. ``rss_mb`` and ``open_files`` are those of the process after the run, in MB and handles.

    ``peak_mb`` is the process's highest memory so far: it never falls during the process.

    ``killed_after_s`` has the seconds until each kill; ``lost_s`` is the time of the killed tries.
    """

    session: str
    seconds: float
    cpu_s: float
    rss_mb: float
    peak_mb: float
    open_files: int
    threads: int
    server_rss_mb: float
    server_open_files: int
    commit: str = ""
    killed_after_s: tuple[float, ...] = ()
    lost_s: float = 0.0

    @property
    def tries(self) -> int:
        """The number of starts."""
        return 1 + len(self.killed_after_s)


def _days_path(home: Path) -> Path:
    return home.with_name(f"{home.name}-days.json")


def write_days(home: Path, days: Sequence[SoakDay]) -> None:
    """Store the results of a home's days so far, beside the home."""
    write_json(_days_path(home), [asdict(day) for day in days])


def days_over(home: Path) -> list[SoakDay]:
    """The stored results of a home's days."""
    stored = read_json(_days_path(home)) or []
    return [SoakDay(**day | {"killed_after_s": tuple(day["killed_after_s"])}) for day in stored]


def table_checksums(home: Path) -> dict[str, str]:
    """The checksum of each published table of a home's warehouse."""
    warehouse = DuckDbWarehouse(Zones(home))
    counts = warehouse.row_counts()
    words = {}
    for name, declared in tables().items():
        if name in counts:
            rows = warehouse.read(name)
            kept = rows.drop_columns([STAMP]) if STAMP in rows.column_names else rows
            words[name] = checksum(kept, declared.key)
    return words


def differences(one: Path, other: Path) -> list[str]:
    """The differences of two homes: tables, and temporary files that a killed writer left. Empty if equal."""
    first, wanted = table_checksums(one), table_checksums(other)
    differ = [name for name in sorted({*first, *wanted}) if first.get(name) != wanted.get(name)]
    return differ + [str(path) for path in (one / "warehouse").rglob(f"{TEMPORARY}*")]


def trend(values: Sequence[float]) -> tuple[float, float]:
    """Least-squares slope over the second half of ``values``, when caches are warm, and its standard error.

    NaN and NaN for fewer than six values: two points have no error.
    """
    late = np.asarray(values[len(values) // 2 :], dtype="float64")
    if len(late) < 3:
        return float("nan"), float("nan")
    (slope, _), covariance = np.polyfit(np.arange(len(late)), late, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0]))


@dataclass(frozen=True)
class Soak:
    """The results so far. ``found``: the differences of the two homes after the last compared session."""

    seed: int
    wanted: int
    kills: Sequence[str]
    killed: Sequence[SoakDay]
    undisturbed: Sequence[SoakDay]
    tables: int
    rows: int
    found: Sequence[str]
    origin: str = RECORDED


def write_report(path: Path, soak: Soak) -> Path:
    """docs/results/soak.md: every figure is measured by the run that writes it."""
    runs = {"with kills": soak.killed, "undisturbed": soak.undisturbed}
    frames = {name: _frame(days) for name, days in runs.items()}
    settings = {
        "sessions": f"{len(soak.killed)} of {soak.wanted}, {soak.killed[0].session} to {soak.killed[-1].session}",
        "commit of the days": ", ".join(dict.fromkeys(day.commit for day in soak.undisturbed)),
        "kills, and the seed of their moments": f"{len(soak.kills)}, {soak.seed}",
        "tables compared": f"{soak.tables} with {soak.rows:,} rows",
        "tables that differ": ", ".join(soak.found) or "none",
    }
    picture = _draw(path.with_suffix(".png"), frames)
    return write_page(
        path,
        "A soak: consecutive sessions through the real daily flow, with kills",
        stamp("make soak", None if soak.origin == RECORDED else soak.origin),
        table(("", "of both"), settings.items()),
        table(("", *frames), [(what, *(text(frame[of]) for frame in frames.values())) for what, of, text in FIGURES]),
        f"![Memory, open files and seconds of each session]({picture.name})",
        "A kill is `kill -9` of the process that runs the flow, at a random moment of its run.",
        "Each day is the real flow `daily`: ingest, all five gates, panel, features, labels, the ten training files, "
        "forecast, publish, charts and gate page, against one Prefect server that lives through it all. What is done "
        "once and not daily: the models are trained as of the session before the first; the recorded payloads are "
        "staged up to the last session, and each day reads them through its own cut; the flow's process is started "
        "once, and again after each kill and where the soak itself was stopped and gone on with. Both homes run side "
        "by side on this machine.",
        "Compared are the checksums of all warehouse tables in both homes, every column except `created_at`, which is "
        "the clock's.",
        "## By session",
        frame_table(_by_session(soak)),
        f"Killed: {'; '.join(soak.kills) or 'none'}.",
    )


def _by_session(soak: Soak) -> pd.DataFrame:
    rows = [
        (
            one.session,
            f"{one.seconds:.1f}",
            f"{one.rss_mb:.0f}",
            one.open_files,
            f"{one.server_rss_mb:.0f}",
            one.server_open_files,
            one.tries,
            f"{calm.seconds:.1f}",
            f"{calm.rss_mb:.0f}",
            calm.open_files,
        )
        for one, calm in zip(soak.killed, soak.undisturbed, strict=True)
    ]
    head = ["session", "s", "MB", "files", "server MB", "server files", "tries"]
    return pd.DataFrame(rows, columns=[*head, "s undisturbed", "MB undisturbed", "files undisturbed"])


def _frame(days: Sequence[SoakDay]) -> pd.DataFrame:
    """One row per day, with the number of kills and the seconds lost per kill."""
    frame = pd.DataFrame(days).assign(tries=[day.tries for day in days])
    kills = frame["tries"] - 1
    return frame.assign(kills=kills, lost_each_s=(frame["lost_s"] / kills).where(kills > 0))


def _median(values: pd.Series) -> str:
    return shown(values.median(), "{:.1f}")


def _slope(values: pd.Series) -> str:
    slope, error = trend(values.tolist())
    return f"{slope:+.2f} ± {error:.2f}" if np.isfinite(slope) else "too few days"


def _by_fifths(values: pd.Series) -> str:
    return ", ".join(f"{part.max():.0f}" for part in np.array_split(values, min(5, len(values))))


def _ends(values: pd.Series) -> str:
    """First and last measured value."""
    known = values.dropna()
    return f"{known.iloc[0]:.0f}, {known.iloc[-1]:.0f}" if len(known) else "not measured"


def _ends_and_most(values: pd.Series) -> str:
    return f"{_ends(values)}, {values.max()}"


FIGURES: tuple[tuple[str, str, Callable[[pd.Series], str]], ...] = (
    ("seconds a day, median", "seconds", _median),
    ("seconds a day, 95th percentile", "seconds", lambda values: f"{values.quantile(0.95):.1f}"),
    ("processor seconds a day, median", "cpu_s", _median),
    ("killed runs", "kills", lambda values: f"{values.sum()}"),
    ("seconds lost to a kill, its run and its restart, median", "lost_each_s", _median),
    ("memory of the process, MB, first, last day", "rss_mb", _ends),
    ("memory of the process, MB a day over the second half, and its standard error", "rss_mb", _slope),
    ("memory of the process, MB, highest in each fifth of the days", "rss_mb", _by_fifths),
    ("most memory that the process ever used, MB, by the end of each fifth", "peak_mb", _by_fifths),
    ("open files of the process, first, last, most", "open_files", _ends_and_most),
    ("threads of the process, first, last", "threads", _ends),
    ("memory of the server, MB, first, last day", "server_rss_mb", _ends),
    ("open files of the server, first, last, most", "server_open_files", _ends_and_most),
)


def _draw(path: Path, frames: Mapping[str, pd.DataFrame]) -> Path:
    """Memory and open files after each session and the seconds that it took, kills marked, as a PNG."""
    import altair as alt

    days = pd.concat([frame.assign(run=name) for name, frame in frames.items()])
    days = days.assign(session=pd.to_datetime(days["session"]))
    x = dates("session", days["session"])
    colors = alt.Scale(domain=list(frames), range=[COLORS[name] for name in LINE_COLORS[1::-1]])
    killed = days[(days["run"] == "with kills") & (days["tries"] > 1)]
    panels = []
    for column, title, height in (
        ("rss_mb", "memory, MB", 220),
        ("open_files", "open files", 90),
        ("seconds", "seconds", 150),
    ):
        lines = (
            alt.Chart(days)
            .mark_line(strokeWidth=1.1)
            .encode(x=x, y=alt.Y(f"{column}:Q", title=title), color=alt.Color("run:N", scale=colors))
        )
        kills = alt.Chart(killed).mark_rule(color=COLORS["band"], opacity=0.25).encode(x=x)
        panels.append(alt.layer(kills, lines).properties(width=980, height=height))
    return write_picture(
        path,
        alt.vconcat(*panels).to_dict(),
        "Memory, open files and seconds of each session",
        ["A vertical line marks a session whose run was killed, once or more"],
    )
