"""Models run in a process of their own: files that crash a reader cost that model, and no other forecast.

The readers of LightGBM, XGBoost and torch are C++: a damaged file can abort the process, loop, or allocate all
memory. One process answers for all models of a library: two OpenMP runtimes in one process can crash it on macOS. After
a crash each model gets its own process.

``python -m tasks.forecasting.apart DESCRIPTOR SECONDS BYTES`` is that process. It reads one line of JSON per question
on standard input and writes one line per answer to the descriptor, apart from what libraries print.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa

from tasks.forecasting.questions import Answer, Question, answer
from tasks.models.catalogue import BASELINES, ENSEMBLE, LIBRARIES
from tasks.secrets import quoted
from tasks.settings import PROJECT
from tasks.storage.files import UTF_8, read_json

LIMIT_S = 120
"""Time limit of one answer, including the start of the process."""
REASONS_LIMIT_S = 60
"""Time limit of an answer about reasons: nobody waits longer for them, and the forecast is not published before."""
MEMORY_BYTES = 6 * 2**30
"""Memory that models may allocate beyond the process's start (where the system has such a limit: not on macOS)."""


class IsolatedModels:
    """Model versions in another process, which answers questions about the features. Use ``isolated_models``."""

    def __init__(self, folder: Path, *, limit_s: int, memory_bytes: int) -> None:
        self._folder = folder
        self._limits = (limit_s, memory_bytes)
        self._features = pd.DataFrame()
        self._shown = 0
        self._processes: dict[str, _Process] = {}
        self._one_by_one = False
        self._lost: dict[tuple[str, bool], Answer] = {}

    def begin(self, library: str = "") -> None:
        """Start the process of a library now, so that it is imported before the first question."""
        if library not in self._processes:
            self._processes[library] = _Process(self._folder, *self._limits)

    def show(self, features: pd.DataFrame) -> None:
        """Set the features. Questions are about their last session."""
        self._features = features
        self._lost = {}
        self._shown += 1
        self._path.with_name(f"{self._shown - 1}.arrow").unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._shown}.arrow"

    def ask(self, question: Question) -> Answer:
        """The answer. If the process died over it, an answer with an error that says how.

        The baseline runs in this process: its file is plain numbers, and it must always be available.
        """
        if question.family in BASELINES and question.wanted in ("forecast", "alternatives"):
            return answer(question, self._features)
        libraries = libraries_of(question)
        if len(libraries) > 1:
            return Answer(
                error=f"{question.folder} needs {' and '.join(sorted(libraries))}, which cannot share a process on "
                "macOS: choose other members in registry/models.yaml (ensemble) and run `cbi train`"
            )
        if not self._path.exists():
            table = pa.Table.from_pandas(self._features, preserve_index=False)
            with pa.OSFile(str(self._path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
        key, library = (question.folder, question.wanted == "forecast"), "".join(libraries)
        if key in self._lost:
            return self._lost[key]
        fresh = library not in self._processes
        result = self._ask(question, library)
        if isinstance(result, str) and not fresh and "took more" not in result:  # an earlier model may be the cause
            result = self._ask(question, library)
        if isinstance(result, Answer):
            return result
        self._lost[key] = Answer(error=f"{question.folder} cannot be used: {result}")
        return self._lost[key]

    def _ask(self, question: Question, library: str) -> Answer | str:
        self.begin(library)
        result = self._processes[library].ask(question, self._path)
        if isinstance(result, str):
            self._one_by_one = True
        if isinstance(result, str) or self._one_by_one:
            self._processes.pop(library).close()
        return result

    def close(self) -> None:
        """End every process."""
        while self._processes:
            self._processes.popitem()[1].close()


def libraries_of(question: Question) -> set[str]:
    """The libraries that a version needs and that want a process for themselves; those of an ensemble's members."""
    families = [question.family]
    if question.family == ENSEMBLE:
        weights = read_json(Path(question.folder) / "weights.json")
        members = weights.get("unknown") if isinstance(weights, dict) else None
        families = list(members) if isinstance(members, dict) else []
    return {LIBRARIES[family] for family in families if family in LIBRARIES}


@contextmanager
def isolated_models(*, limit_s: int = LIMIT_S, memory_bytes: int = MEMORY_BYTES) -> Iterator[IsolatedModels]:
    """Models in another process. It starts with the first question and ends with this context."""
    with tempfile.TemporaryDirectory(prefix="cbi-models-") as folder:
        models = IsolatedModels(Path(folder), limit_s=limit_s, memory_bytes=memory_bytes)
        try:
            yield models
        finally:
            models.close()


class _Process:
    def __init__(self, folder: Path, limit_s: int, memory_bytes: int) -> None:
        self._limit_s = limit_s
        self._stderr: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed with the process
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tasks.forecasting.apart", str(writing), str(limit_s), str(memory_bytes)],
                cwd=PROJECT,
                env={**os.environ, **UTF_8},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=(writing,),
            )
        finally:
            os.close(writing)
        self._answers: IO[str] = os.fdopen(reading, "r", encoding="utf-8")

    def ask(self, question: Question, features: Path) -> Answer | str:
        """The answer, or a text on how the process ended."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([asdict(question), str(features)]).encode() + b"\n")
            self._process.stdin.flush()
        line = self._answers.readline()
        if line.endswith("\n"):
            return Answer(**json.loads(line))
        of_reasons = question.wanted != "forecast"
        return self._ended(self._process.wait(), min(self._limit_s, REASONS_LIMIT_S) if of_reasons else self._limit_s)

    def _ended(self, status: int, limit_s: int) -> str:
        if status == -signal.SIGALRM:
            return f"its reader took more than {limit_s} s"
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        self._stderr.seek(0)
        last = (self._stderr.read().decode(errors="replace").strip().splitlines() or [""])[-1]
        return f"its reader ended with {how}{f' ({quoted(last)})' if last else ''}"

    def close(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.kill()  # every question is answered by now
        self._process.wait()
        self._answers.close()
        self._stderr.close()


def main() -> None:
    """Answer questions until standard input ends."""
    descriptor, limit_s, memory_bytes = map(int, sys.argv[1:])
    signal.alarm(limit_s)
    with suppress(Exception):  # the model that most days need first; an import error is reported with the answer
        import_module("tasks.models.ridge")
    _limit_memory(memory_bytes)
    signal.alarm(0)  # the wait for the first question has no limit
    shown, features = "", pd.DataFrame()
    with os.fdopen(descriptor, "w", encoding="utf-8") as answers:
        for line in sys.stdin:
            question, path = json.loads(line)
            forecast = question["wanted"] == "forecast"
            # its default action ends the process, inside a library too
            signal.alarm(limit_s if forecast else min(limit_s, REASONS_LIMIT_S))
            if path != shown:
                with pa.memory_map(path) as file:
                    features = pa.ipc.open_file(file).read_all().to_pandas()
                shown = path
            result = answer(Question(**{**question, "quantiles": tuple(question["quantiles"])}), features)
            answers.write(json.dumps(asdict(result)) + "\n")
            answers.flush()
            signal.alarm(0)


def _limit_memory(beyond_bytes: int) -> None:
    """No core dumps, a memory limit, and first choice of the kernel when the machine runs out of memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + beyond_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main()
