"""One warm pytest process that tries mutants: modules are imported and shared fixtures built once. Each
mutant gets a forked child, which changes the loaded code and runs the tests that reach the changed function.

Started by `python -m evidence.mutants` in a copy of the tree; its tasks are files in a shared folder.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from _pytest.tmpdir import tmppath_result_key
from hypothesis import Phase, settings

from evidence.mutation import NOTHING, Mutant

KILLED, SURVIVED, TIMED_OUT, NOT_REACHED = "killed", "survived", "timed out", "not reached"
UNCHANGED_S = 5.0  # seconds of the tests that must pass without a change
SLOWEST_S = 40.0  # seconds, unmutated, of the tests per mutant, the quickest first
PATIENCE_S, PATIENCE = 60.0, 10  # a mutant's limit: seconds, plus a multiple of its tests' own time
PLAIN = (int, float, str, tuple, dict, frozenset, type(None))
OURS = ("tasks", "tests", "flows", "evidence")
PREFECT = {"prefect_server", "run_daily", "first_run", "copied_home"}  # tests of flows are in another folder


class Worker:
    """The plugin of a worker's pytest. ``folder``: tasks and results; ``first``: also measure what tests reach."""

    def __init__(self, root: Path, folder: Path, *, first: bool) -> None:
        self.root, self.folder, self.first = root, folder, first
        self.mutants = [
            Mutant(**{**one, "lines": tuple(one["lines"])}) for one in json.loads((folder / "mutants.json").read_text())
        ]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        settings.register_profile(
            "mutants",
            settings.get_profile("busy"),
            phases=(Phase.explicit, Phase.generate),
            database=None,
            derandomize=True,
        )
        settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if not PREFECT & set(item.fixturenames)]  # type: ignore[attr-defined]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        reached = self.folder / "reached.json"
        if self.first:
            _in_child(lambda: self._measure(session, reached), limit_s=3600, log=self.folder / "measure.log")
        if not reached.exists():
            raise SystemExit(f"no map of what tests reach; see {self.folder / 'measure.log'}")
        self.map = json.loads(reached.read_text())
        self._warm(session)
        for number, mutant in enumerate(self.mutants):
            try:
                (self.folder / f"{number}.claimed").open("x").close()
            except FileExistsError:
                continue
            start = time.perf_counter()
            result = self._try(session, number, mutant) | {"seconds": round(time.perf_counter() - start, 2)}
            part = self.folder / f"{number}.part"
            part.write_text(json.dumps(result))
            part.rename(self.folder / f"{number}.json")
        return True

    def _measure(self, session: pytest.Session, target: Path) -> None:
        """Run every test unmutated, and record its time, its functions and those of its fixtures."""
        watched = {str(self.root / path): path for path in {mutant.path for mutant in self.mutants}}
        tracer = _Tracer(watched)
        session.config.pluginmanager.register(tracer)
        tests = {}
        items = list(session.items)
        for place, item in enumerate(items):
            following = items[place + 1] if place + 1 < len(items) else None
            tracer.stack, tracer.used = [item.nodeid], set()
            start = time.perf_counter()
            with tracer.watching():
                passed = _passes(item, following)
            if not passed:
                print("fails unmutated:", item.nodeid, flush=True)
                continue
            tests[item.nodeid] = {"seconds": time.perf_counter() - start, "fixtures": sorted(_fixtures(item))}
        lines = {name: {path: sorted(found) for path, found in files.items()} for name, files in tracer.lines.items()}
        part = target.with_suffix(".part")
        part.write_text(json.dumps({"tests": tests, "lines": lines}))
        part.rename(target)

    def _warm(self, session: pytest.Session) -> None:
        """Set up every session fixture in this process, from the first worker's results."""
        done: set[str] = set()
        for item in session.items:
            wanted = {name for name in _fixtures(item) if name.startswith("session::")}
            if wanted - done and item.nodeid in self.map["tests"]:
                item._initrequest()  # type: ignore[attr-defined]
                session._setupstate.setup(item)
                item.stash.setdefault(tmppath_result_key, {})  # for reports, which nothing created
                session._setupstate.teardown_exact(_Root(session))  # type: ignore[arg-type]
                done |= wanted
        import gc

        gc.collect()
        gc.freeze()

    def _try(self, session: pytest.Session, number: int, mutant: Mutant) -> dict[str, Any]:
        chosen = self._chosen(mutant)
        if not chosen:
            return {"outcome": NOT_REACHED, "tests": 0}
        path = self.root / mutant.path
        source, stat = path.read_bytes(), path.stat()
        changed = mutant.applied(source)
        answer = self.folder / f"{number}.answer"
        answer.unlink(missing_ok=True)
        expected = sum(self.map["tests"][test]["seconds"] for test in chosen)

        def child() -> None:
            _graft_module(mutant.path, changed)
            items = [self.items[test] for test in chosen]
            for place, item in enumerate(items):
                following = items[place + 1] if place + 1 < len(items) else None
                if not _passes(item, following):
                    answer.write_text(item.nodeid)
                    return

        path.write_bytes(changed)  # for processes that a test starts
        try:
            over = _in_child(child, limit_s=PATIENCE_S + PATIENCE * expected, log=self.folder / f"{number}.log")
        finally:
            path.write_bytes(source)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        if over is None:
            return {"outcome": TIMED_OUT, "tests": len(chosen)}
        if over != 0 and not answer.exists():
            return {"outcome": KILLED, "tests": len(chosen), "by": f"the process ended with {over}"}
        if answer.exists():
            return {"outcome": KILLED, "tests": len(chosen), "by": answer.read_text()}
        return {"outcome": SURVIVED, "tests": len(chosen)}

    def _reaches(self, context: str, mutant: Mutant) -> bool:
        return not set(mutant.lines).isdisjoint(self.map["lines"].get(context, {}).get(mutant.path, ()))

    def _chosen(self, mutant: Mutant) -> list[str]:
        """Tests that run the function, also through fixtures of their module."""
        direct = []
        for test, facts in self.map["tests"].items():
            own = [test, *(name for name in facts["fixtures"] if not name.startswith("session::"))]
            if any(self._reaches(name, mutant) for name in own):
                direct.append(test)
        return self._quickest(direct, SLOWEST_S if mutant.kind != NOTHING else UNCHANGED_S)

    def _quickest(self, tests: list[str], limit_s: float) -> list[str]:
        ordered = sorted(tests, key=lambda test: self.map["tests"][test]["seconds"])
        total = 0.0
        kept: list[str] = []
        for test in ordered:
            total += self.map["tests"][test]["seconds"]
            if kept and total > limit_s:
                break
            kept.append(test)
        return kept


class _Root:
    """Only the root of pytest's tree: its setup stays when every test has been torn down."""

    def __init__(self, session: pytest.Session) -> None:
        self.session = session

    def listchain(self) -> list[pytest.Session]:
        return [self.session]


def _fixtures(item: Any) -> set[str]:
    """The fixtures that a test shares, named by scope and place."""
    names = set()
    for name, definitions in item._fixtureinfo.name2fixturedefs.items():
        scope = definitions[-1].scope
        if scope == "session":
            names.add(f"session::{name}")
        elif scope != "function":
            names.add(f"{definitions[-1].baseid}::{name}")
    return names


def _passes(item: Any, following: Any) -> bool:
    from _pytest.runner import runtestprotocol

    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=following))


class _Tracer:
    """The functions of the watched files that each test and shared fixture runs, as their lines.

    Functions, not single lines: tracing lines takes ten times as long as the tests themselves.
    """

    def __init__(self, watched: dict[str, str]) -> None:
        self.watched = watched
        self.stack: list[str] = []
        self.used: set[str] = set()
        self.lines: dict[str, dict[str, set[int]]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        if fixturedef.scope == "function":
            return (yield)
        place = "session" if fixturedef.scope == "session" else fixturedef.baseid
        self.stack.append(f"{place}::{fixturedef.argname}")
        try:
            return (yield)
        finally:
            self.stack.pop()

    @contextmanager
    def watching(self) -> Iterator[None]:
        import threading

        threading.settrace(self._call)
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)

    def _call(self, frame: types.FrameType, event: str, argument: object) -> Any:
        path = self.watched.get(frame.f_code.co_filename)
        if path is None:
            return None
        self.lines.setdefault(self.stack[-1], {}).setdefault(path, set()).update(_lines_of(frame.f_code))
        return None


@cache
def _lines_of(code: types.CodeType) -> frozenset[int]:
    """The lines of a function, including nested functions and comprehensions."""
    own = {line for _, _, line in code.co_lines() if line is not None}
    inner = [_lines_of(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return frozenset(own.union(*inner))


def _in_child(work: Callable[[], None], *, limit_s: float, log: Path) -> int | None:
    """Run ``work`` in a fork with its own process group. Returns its exit code, or None on a timeout."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setsid()
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    end = time.monotonic() + limit_s
    try:
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return None
            time.sleep(0.02)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # processes that the child left


def _graft_module(path: str, source: bytes) -> None:
    """Replace the code of the loaded module by ``source``, also in modules that imported from it."""
    name = path.removesuffix(".py").replace("/", ".")
    module = sys.modules.get(name)
    if module is None:
        return  # imported later, from the changed file
    fresh = types.ModuleType(name)
    fresh.__dict__.update({key: module.__dict__[key] for key in ("__file__", "__package__", "__spec__", "__loader__")})
    before = sys.modules[name]
    sys.modules[name] = fresh  # dataclasses look up their module
    try:
        exec(compile(source, module.__file__ or path, "exec"), fresh.__dict__)
    finally:
        sys.modules[name] = before
    for key, new in vars(fresh).items():
        if not key.startswith("__"):
            _graft(vars(module), key, new, name)


def _graft(home: dict[str, Any], key: str, new: Any, module: str) -> None:
    old = home.get(key)
    if isinstance(new, types.FunctionType) or hasattr(new, "__wrapped__"):
        if getattr(new, "__module__", "") == module:
            _graft_function(old, new)
    elif isinstance(new, type):
        if new.__module__ == module and isinstance(old, type):
            for name, value in list(vars(new).items()):
                _graft_member(old, name, value)
    elif isinstance(new, types.ModuleType):
        return
    elif repr(old) != repr(new):
        for name, loaded in list(sys.modules.items()):
            if name.split(".")[0] in OURS and vars(loaded).get(key, loaded) is old:
                setattr(loaded, key, new)


def _graft_function(old: Any, new: Any) -> None:
    while hasattr(new, "__wrapped__") and hasattr(old, "__wrapped__"):
        if hasattr(old, "cache_clear"):
            old.cache_clear()
        old, new = old.__wrapped__, new.__wrapped__
    if isinstance(old, types.FunctionType) and isinstance(new, types.FunctionType):
        if len(old.__code__.co_freevars) == len(new.__code__.co_freevars):
            old.__code__ = new.__code__
        old.__defaults__, old.__kwdefaults__ = new.__defaults__, new.__kwdefaults__
        for cell, other in zip(old.__closure__ or (), new.__closure__ or (), strict=False):
            if isinstance(other.cell_contents, int | float | str | tuple):  # a dataclass' defaults
                cell.cell_contents = other.cell_contents


def _graft_member(owner: type, name: str, new: Any) -> None:
    old: Any = vars(owner).get(name)
    if isinstance(new, types.FunctionType):
        _graft_function(old, new)
    elif isinstance(new, property) and isinstance(old, property):
        _graft_function(old.fget, new.fget)
    elif isinstance(new, classmethod | staticmethod) and isinstance(old, classmethod | staticmethod):
        _graft_function(old.__func__, new.__func__)
    elif hasattr(new, "func") and hasattr(old, "func"):
        _graft_function(old.func, new.func)
    elif not name.startswith("__") and isinstance(new, PLAIN) and repr(old) != repr(new):
        setattr(owner, name, new)


def main() -> int:
    """``python -m evidence.mutant_worker FOLDER BASETEMP first|later TEST...``."""
    folder, base, role, *tests = sys.argv[1:]
    root = Path.cwd()
    worker = Worker(root, Path(folder), first=role == "first")
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--timeout", "0"]
    options += ["-m", "not more and not long and not cloud", "--basetemp", base, "-o", "tmp_path_retention_policy=none"]
    return int(pytest.main([*options, *tests], plugins=[worker]))


if __name__ == "__main__":
    sys.exit(main())
