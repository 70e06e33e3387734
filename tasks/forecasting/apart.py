"""Models are read in a process of their own, so that one whose files crash a reader costs that model and no forecast.

LightGBM's, XGBoost's and torch's readers are C++: a damaged or altered file can abort the process, loop, or ask for all
memory. One process answers for all models of a day; once one has died, each model has its own.

``python -m tasks.forecasting.apart DESCRIPTOR SECONDS BYTES`` is that process: a line of JSON per question on its
standard input, a line per answer into the descriptor. What libraries print goes nowhere near them.
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

from tasks.forecasting.questions import EXPLAINED_BY, Answer, Question, answer
from tasks.models.catalogue import BASELINE
from tasks.secrets import quoted
from tasks.settings import PROJECT
from tasks.storage.files import UTF_8

LIMIT_S = 120
"""For one answer, the start of the process included; nets explain themselves in a few seconds."""
MEMORY_BYTES = 6 * 2**30
"""What models may ask for beyond what the process starts with (where the system knows such a limit: not on macOS)."""


class Models:
    """Model versions, asked about the features they are shown. Use ``models_apart``."""

    def __init__(self, folder: Path, *, limit_s: int, memory_bytes: int) -> None:
        self._folder = folder
        self._limits = (limit_s, memory_bytes)
        self._features = pd.DataFrame()
        self._shown = 0
        self._process: _Process | None = None
        self._one_by_one = False
        self._lost: dict[str, Answer] = {}

    def begin(self) -> None:
        """Start the process now, so that it has imported its libraries by the time of the first question."""
        if self._process is None:
            self._process = _Process(self._folder, *self._limits)

    def show(self, features: pd.DataFrame) -> None:
        """From now on questions are about the last session of these."""
        self._features = features
        self._lost = {}
        self._shown += 1
        self._path.with_name(f"{self._shown - 1}.arrow").unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._shown}.arrow"

    def ask(self, question: Question) -> Answer:
        """The answer; where the process died over it, an error that says how.

        The baseline is asked here: its file is numbers, and somebody must be left to serve.
        """
        if question.family == BASELINE:
            return answer(question, self._features)
        if not self._path.exists():
            table = pa.Table.from_pandas(self._features, preserve_index=False)
            with pa.OSFile(str(self._path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
        if question.folder in self._lost:
            return self._lost[question.folder]
        fresh = self._process is None
        told = self._ask(question)
        if isinstance(told, str) and not fresh and "took more" not in told:  # what it had read before may be to blame
            told = self._ask(question)
        if isinstance(told, Answer):
            return told
        self._lost[question.folder] = Answer(error=f"{question.folder} cannot be used: {told}")
        return self._lost[question.folder]

    def _ask(self, question: Question) -> Answer | str:
        self.begin()
        assert self._process is not None
        told = self._process.ask(question, self._path)
        if isinstance(told, str):
            self._one_by_one = True
        if isinstance(told, str) or self._one_by_one:
            self.close()
        return told

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.close()
            self._process = None


@contextmanager
def models_apart(*, limit_s: int = LIMIT_S, memory_bytes: int = MEMORY_BYTES) -> Iterator[Models]:
    """Models that are read in another process, which starts with the first question and ends here."""
    with tempfile.TemporaryDirectory(prefix="cbi-models-") as folder:
        models = Models(Path(folder), limit_s=limit_s, memory_bytes=memory_bytes)
        try:
            yield models
        finally:
            models.close()


class _Process:
    def __init__(self, folder: Path, limit_s: int, memory_bytes: int) -> None:
        self._limit_s = limit_s
        self._said = (folder / "said").open("w+b")
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tasks.forecasting.apart", str(writing), str(limit_s), str(memory_bytes)],
                cwd=PROJECT,
                env={**os.environ, **UTF_8},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                pass_fds=(writing,),
            )
        finally:
            os.close(writing)
        self._answers: IO[str] = os.fdopen(reading, "r", encoding="utf-8")

    def ask(self, question: Question, features: Path) -> Answer | str:
        """The answer, or how the process ended."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([asdict(question), str(features)]).encode() + b"\n")
            self._process.stdin.flush()
        line = self._answers.readline()
        if line.endswith("\n"):
            return Answer(**json.loads(line))
        return self._ended(self._process.wait())

    def _ended(self, status: int) -> str:
        if status == -signal.SIGALRM:
            return f"its reader took more than {self._limit_s} s"
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        self._said.seek(0)
        last = (self._said.read().decode(errors="replace").strip().splitlines() or [""])[-1]
        return f"its reader ended with {how}{f' ({quoted(last)})' if last else ''}"

    def close(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.kill()  # it holds nothing that is not answered
        self._process.wait()
        self._answers.close()
        self._said.close()


def main() -> None:
    """Answer until there is no further question."""
    descriptor, limit_s, memory_bytes = map(int, sys.argv[1:])
    signal.alarm(limit_s)
    with suppress(Exception):  # what most days need first; if it cannot be imported, the answer will say so
        import_module(f"tasks.models.{EXPLAINED_BY}")
    _limit_memory(memory_bytes)
    signal.alarm(0)  # the first question may take its time
    shown, features = "", pd.DataFrame()
    with os.fdopen(descriptor, "w", encoding="utf-8") as answers:
        for line in sys.stdin:
            signal.alarm(limit_s)  # its default action ends the process, inside a library too
            asked, path = json.loads(line)
            if path != shown:
                with pa.memory_map(path) as file:
                    features = pa.ipc.open_file(file).read_all().to_pandas()
                shown = path
            told = answer(Question(**{**asked, "quantiles": tuple(asked["quantiles"])}), features)
            answers.write(json.dumps(asdict(told)) + "\n")
            answers.flush()
            signal.alarm(0)


def _limit_memory(beyond_bytes: int) -> None:
    """No core dumps, a limit of memory, and first to go where the machine has none left."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + beyond_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main()
