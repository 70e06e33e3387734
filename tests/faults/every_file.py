"""Every kind of file that a home holds, damaged in one copy of it each; what the commands say then, and what heals.

Kinds are found by looking at a home, not in a list: a part of a name that is registered (a source, a series, a family,
a horizon) or that counts is left out of it, and what is left names the kind. A new kind of file is swept by itself.

Each copy is looked at by a process of its own, forked from one that has all modules in memory: it starts in no time,
remembers nothing of a sound file, and may die. Its daily run is the flow's own function with its steps called in order,
without Prefect.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from cli.app import main
from tasks.models.catalogue import FAMILIES
from tasks.registry import load_horizons, load_sources
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.record import CHAIN, check_record
from tests.conftest import tables_of

CRITICAL = ("ZL=F", "yahoo")
"""Where a kind has many files, the one of the price is damaged: without it there is no forecast."""
PRELOADED = [
    *("cli.app", "flows.daily", "flows.health", "tests.conftest"),
    *("tasks.operations.health", "tasks.operations.audit", "tasks.gates.expectations", "tasks.training.bake_off"),
    *(
        "tasks.forecasting.forecast",
        "tasks.reporting.publication",
        "tasks.models.boosted",
        "tasks.sources.policy_events",
    ),
    *("great_expectations", "lightgbm", "talib", "altair", "vl_convert"),
    *("pandas_market_calendars", "sqlglot.optimizer", "pandas.plotting", "polars"),
]
A_CHILD_S = 300.0
TOLD = (
    "SELECT degraded_reason AS told FROM forecasts.zl_forecasts_daily UNION ALL SELECT message AS told FROM ops.alerts"
)
QUERY = "SELECT horizon, point FROM api.vw_latest_forecast ORDER BY horizon"

FORECASTS = "forecasts.zl_forecasts_daily"


def registered_names(registry: Path) -> re.Pattern[str]:
    """Sources, series, families and horizons as whole words: what tells two files of one kind apart."""
    sources = load_sources(registry)
    names = {*sources.sources, *FAMILIES, *load_horizons(registry).horizons}
    for spec in sources.sources.values():
        names |= {*spec.series, *spec.fetched, *spec.replayed}
    longest_first = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.compile(rf"(?<![A-Za-z0-9])(?:{longest_first})(?![A-Za-z0-9])")


def kind_of(path: Path, home: Path, names: re.Pattern[str]) -> str:
    """Such as ``raw/*/*/#.csv``: ``*`` is a registered name, ``#`` a part that counts, dates or hashes."""

    def part(word: str) -> str:
        told = re.split(r"([._-]+)", names.sub("*", word))
        counted = ["#" if re.search(r"\d|^[a-f]{8,}$", piece) else piece for piece in told]
        return re.sub(r"#([._-]+#)+", "#", "".join(counted))

    return "/".join(map(part, path.relative_to(home).parts))


def kinds(home: Path, registry: Path) -> dict[str, Path]:
    """One file of each kind, relative to the home: that of the price where there is one, of several the newest."""
    names, found = registered_names(registry), dict[str, list[Path]]()
    for path in sorted(path for path in home.rglob("*") if path.is_file() and not path.is_symlink()):
        found.setdefault(kind_of(path, home, names), []).append(path.relative_to(home))
    return {
        kind: max(paths, key=lambda path: ([word in path.as_posix() for word in CRITICAL], path.as_posix()))
        for kind, paths in found.items()
    }


def truncate(path: Path) -> None:
    """Cut to half."""
    os.truncate(path, path.stat().st_size // 2)


def zero(path: Path) -> None:
    """As many bytes and the same time of change, each of them NUL: what a bad sector gives."""
    state = path.stat()
    path.write_bytes(bytes(state.st_size))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": truncate,
    "zeroed": zero,
    "emptied": lambda path: os.truncate(path, 0),
    "deleted": Path.unlink,
}


@dataclass(frozen=True)
class Asked:
    """A home to be looked at, and the daily run to be made in it. ``settings``: further names of the environment."""

    home: Path
    registry: Path
    origin: str
    as_of: str | None = None
    settings: tuple[tuple[str, str], ...] = ()


@dataclass
class Said:
    """How each command ended (``traceback`` for one), what it said, and how long the daily run took."""

    codes: dict[str, Any] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_s: float = 0.0
    differs: list[str] = field(default_factory=list)
    told: str = ""
    """What the forecasts and alerts that were published say of themselves."""

    @property
    def broke(self) -> list[str]:
        """Commands that ended otherwise than with a code and words of ours."""
        return [
            name
            for name, code in self.codes.items()
            if code not in (0, 1, 2) or "Traceback (most" in self.words.get(name, "")
        ]


class _Future:
    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            self._value = function(*args)
        except Exception as error:
            self._value = error

    def wait(self) -> None:
        pass

    def result(self, raise_on_failure: bool = True) -> Any:
        if raise_on_failure and isinstance(self._value, BaseException):
            raise self._value
        return self._value


class _Step:
    """A step of a flow, called where it stands."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def submit(self, *args: Any) -> _Future:
        return _Future(self._function, args)


def _without_prefect() -> None:
    """The daily flow's steps as plain calls: what is told here is what files do to them."""
    from flows import daily, report, training

    def as_step(function: Callable[..., Any], name: str, *, retries: int = 0) -> _Step:
        return _Step(function)

    daily.as_task = training.as_task = as_step  # type: ignore[assignment]
    training.as_completed = list  # type: ignore[assignment]
    daily.training = type("T", (), {"with_options": lambda self, **_: training.training.fn})()  # type: ignore[assignment]
    for name in ("create_table_artifact", "create_markdown_artifact", "create_image_artifact"):
        setattr(report, name, lambda **_: None)


@contextlib.contextmanager
def _words(said: Said, name: str) -> Iterator[None]:
    """What a command prints and how it ends."""
    held = io.StringIO()
    with contextlib.redirect_stdout(held), contextlib.redirect_stderr(held):
        try:
            yield
        except SystemExit as end:
            said.codes[name] = end.code
        except BaseException:
            said.codes[name] = "traceback"
            traceback.print_exc(file=held)
    said.words[name] = held.getvalue()


def _command(said: Said, name: str, *words: str) -> None:
    with _words(said, name):
        said.codes[name] = main([name, *words])


def _look(asked: Asked, answer: Path, wanted: dict[str, pd.DataFrame] | None) -> None:
    """In a process of its own: health, audit, query and bundle on the damaged home, a daily run, and audit again."""
    os.environ.update(CBI_HOME=str(asked.home), CBI_REGISTRY=str(asked.registry), **dict(asked.settings))
    from rich.console import Console

    from flows import daily
    from tasks.errors import CbiError
    from tasks.reporting.terminal import print_result

    _without_prefect()
    said = Said()

    def keep() -> None:
        answer.write_text(json.dumps(asdict(said)))

    _command(said, "health")
    _command(said, "audit")
    _command(said, "query", QUERY)
    said.codes["daily"] = "died"
    keep()
    began = time.monotonic()
    with _words(said, "daily"):
        try:
            run = daily.open_daily_run(asked.origin, asked.as_of)
            print_result(daily.daily.fn(run.origin, f"{run.as_of:%Y-%m-%d}"), Console(width=120))
            said.codes["daily"] = 0
        except CbiError as error:
            said.codes["daily"] = 1
            print(f"{type(error).__name__}: {error}")
    said.seconds = time.monotonic() - began
    if wanted is not None and said.codes["daily"] == 0:
        said.differs = differences(asked.home, wanted)
        told = DuckDbWarehouse(Zones(asked.home)).query(TOLD)
        said.told = "\n".join(told["told"].dropna().astype(str))
    said.cpu_s = time.process_time()
    keep()


def look(asked: Asked, answer: Path, wanted: dict[str, pd.DataFrame] | None = None) -> Said:
    """What the commands say of a home, and how its tables differ from ``wanted`` after the daily run."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    answer.unlink(missing_ok=True)
    process = context.Process(target=_look, args=(asked, answer, wanted))
    process.start()
    process.join(A_CHILD_S)
    if process.is_alive():
        process.kill()
        process.join()
    return Said(**json.loads(answer.read_text())) if answer.exists() else Said({"health": "died"})


def remedy(words: str, file: Path, whole: Path, environment: dict[str, str]) -> None:
    """What the words of a run ask a person to do, done: a command in it, or what they name deleted or restored.

    A training that they ask for is run, in ``environment``; the next daily run itself is not.

    Raises:
        AssertionError: they neither name the file nor say what to do.
    """
    commands = [told for told in re.findall(r"`([^`]+)`", words) if not re.match(r"cbi |make |df |fuser ", told)]
    if commands:
        subprocess.run(commands[0], shell=True, check=True)
        return
    assert file.name in words or file.parent.name in words, f"{file} is not named: {words}"
    if "delete" in words.casefold():
        named = {*map(Path, re.findall(r"delete (/\S+)", words))} & {file, *file.parents}
        for path in named or {file}:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if "`cbi train`" in words:
            subprocess.run([sys.executable, "-m", "cli", "train"], env=environment, check=True, capture_output=True)
    elif "restore" in words.casefold():
        shutil.copyfile(whole, file)
    else:
        assert "`cbi " in words, f"no remedy is told: {words}"


def damaged_copy(home: Path, to: Path, file: Path, how: str) -> Path:
    """A copy of a home in which one file is damaged."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(home, to, symlinks=True)
    DAMAGES[how](to / file)
    return to


def differences(home: Path, wanted: dict[str, pd.DataFrame]) -> list[str]:
    """Tables of a home that are not as they were, but for the diary of a run.

    A degraded forecast that was published while the fault lasted stays published, beside the sound one.
    """
    held, found = tables_of(home), []
    forecasts = held.get(FORECASTS)
    if forecasts is not None and FORECASTS in wanted:
        sound = forecasts["model_version"].isin(wanted[FORECASTS]["model_version"])
        held[FORECASTS] = forecasts[sound | ~forecasts["degraded"].astype(bool)].reset_index(drop=True)
    for name, frame in wanted.items():
        if name not in held:
            found.append(f"{name} is gone")
            continue
        if name == CHAIN:  # a link of what was published while the fault lasted stays too
            states = check_record(DuckDbWarehouse(Zones(home)))
            found += [f"record: {one.message}" for state in states for one in state.findings]
            continue
        try:
            pd.testing.assert_frame_equal(held[name], frame, obj=name)
        except AssertionError as error:
            found.append(f"{name}: {' '.join(str(error).split())[:300]}")
    return found
