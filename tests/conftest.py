"""Shared by every test: the recorded archive, the registry, and the archive staged once as of its last session.

Everything here is session-scoped and read-only: a test that changes a frame or a file works on a copy. What is dear is
made by one of pytest's processes and read by the others (``once``).
"""

from __future__ import annotations

import os
import pickle
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import pandas as pd
import pytest
import yaml
from filelock import FileLock
from hypothesis import settings

from tasks import http as http_module
from tasks.features.build import build_features
from tasks.labels import build_labels
from tasks.network import NetworkState
from tasks.outcome import DayResult
from tasks.panel.derived import with_derived
from tasks.panel.join import build_panel
from tasks.registry import (
    DataSources,
    DerivedSeries,
    FeatureRegistry,
    Horizons,
    JoinSpec,
    load_derived,
    load_features,
    load_horizons,
    load_join_spec,
    load_regime_calendar,
    load_sources,
)
from tasks.settings import PROJECT, load_settings
from tasks.sources.archive import silently, unpack
from tasks.sources.ingest import ingest_source
from tasks.staging.documents import documents_known_by
from tasks.staging.stage import Staged, stage_source
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tasks.warehouse.tables import tables
from tests.emulators import bigquery_server

pytest_plugins = ["tests.faults.page"]
settings.register_profile("busy", deadline=None)  # an example is slow on a busy machine, and right
settings.load_profile("busy")
AS_OF = pd.Timestamp("2023-12-29")
EARLY = "2011-12-30"  # early enough that a training run is short
# what tests' daily runs train: two naive ones, both members of the ensemble, and the one that explains
FEW = ("curve", "drift", "har", "ridge", "lightgbm")
ENSEMBLE = ("har", "ridge")
# how often a payload is damaged at random: a few times after every change, often in `make test-more`
DAMAGES = [40, pytest.param(200, marks=pytest.mark.more)]
T = TypeVar("T")


@dataclass(frozen=True)
class Registry:
    folder: Path
    sources: DataSources
    joins: JoinSpec
    derived: DerivedSeries
    features: FeatureRegistry
    horizons: Horizons
    regimes: pd.DataFrame


@dataclass(frozen=True)
class StagedArchive:
    zones: Zones
    by_source: dict[str, Staged]
    observations: pd.DataFrame
    quarantine: pd.DataFrame


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """The name of a value in a test's name: for a file's content its argument's name, to which pytest adds a number.

    A ZIP that is packed at import carries the second, so two of pytest's processes would collect tests of other names.
    """
    whole_file = isinstance(val, bytes) and (len(val) > 60 or not val.decode("latin-1").isprintable())
    return argname if whole_file or (isinstance(val, str) and len(val) > 120) else None


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[], Any]], Any]:
    """What a function makes, made by the first of pytest's processes that asks; the others wait for it and read it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)

    def get(name: str, make: Callable[[], T]) -> T:
        held = shared / f"{name}.pickle"
        with FileLock(shared / f"{name}.lock"):
            if held.exists():
                return pickle.loads(held.read_bytes())
            made = make()
            held.with_suffix(".part").write_bytes(pickle.dumps(made, protocol=5))
            held.with_suffix(".part").rename(held)
            return made

    return get


@pytest.fixture(scope="session")
def archive(once: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded payloads, unpacked once; copy one to a tmp_path to damage it."""
    home = Zones(tmp_path_factory.mktemp("recorded") / "home")
    return once("archive", lambda: unpack(load_settings().archive, home, silently).folder)


@pytest.fixture(scope="session")
def registry() -> Registry:
    folder = PROJECT / "registry"
    sources = load_sources(folder)
    return Registry(
        folder=folder,
        sources=sources,
        joins=load_join_spec(folder, sources),
        derived=load_derived(folder, sources),
        features=load_features(folder, sources),
        horizons=load_horizons(folder),
        regimes=load_regime_calendar(folder),
    )


@pytest.fixture(scope="session")
def staged(once: Any, archive: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> StagedArchive:
    """Every registered source landed and staged as of 2023-12-29."""
    return once("staged", lambda: _stage_all(Zones(tmp_path_factory.mktemp("archive") / "home"), archive, registry))


def _stage_all(zones: Zones, archive: Path, registry: Registry) -> StagedArchive:
    by_source = {}
    for name, spec in registry.sources.sources.items():
        ingest_source(zones, name, spec, origin=archive, as_of=AS_OF.date(), progress=lambda *step: None)
        by_source[name] = stage_source(zones, name, spec, as_of=AS_OF, code="tests")
    return StagedArchive(
        zones,
        by_source,
        observations=_together([held.observations for held in by_source.values()]),
        quarantine=_together([held.quarantine for held in by_source.values()]),
    )


def _together(frames: list[pd.DataFrame]) -> pd.DataFrame:
    joined = pd.concat(frames, ignore_index=True)
    return joined.astype(dict.fromkeys(frames[0].select_dtypes("category").columns, "category"))


@pytest.fixture(scope="session")
def documents(once: Any, staged: StagedArchive, registry: Registry) -> pd.DataFrame:
    return once("documents", lambda: documents_known_by(staged.zones, registry.sources, as_of=AS_OF))


@pytest.fixture(scope="session")
def panel(once: Any, staged: StagedArchive, registry: Registry, documents: pd.DataFrame) -> pd.DataFrame:
    return once("panel", lambda: panel_of(staged.observations, registry, documents, AS_OF))


def panel_of(
    observations: pd.DataFrame, registry: Registry, documents: pd.DataFrame | None, as_of: pd.Timestamp
) -> pd.DataFrame:
    """The panel as the daily flow makes it: derived series first."""
    held = with_derived(observations, registry.derived, as_of=as_of, documents=documents)
    return build_panel(held, registry.joins, as_of=as_of)


@pytest.fixture(scope="session")
def features(once: Any, panel: pd.DataFrame, registry: Registry) -> pd.DataFrame:
    return once("features", lambda: build_features(panel, registry.features))


@pytest.fixture(scope="session")
def labels(panel: pd.DataFrame, registry: Registry) -> pd.DataFrame:
    return build_labels(panel, registry.horizons)


@dataclass(frozen=True)
class Request:
    """What the local server was asked, and when (monotonic seconds)."""

    path: str
    query: dict[str, str]
    at: float
    body: bytes = b""


class LocalServer:
    """A real HTTP server on a free loopback port. ``script`` holds the answers in order; the last one repeats.

    An answer is ``(status, body)``, ``(status, body, headers)``, or a function of the request handler for the rest.
    ``by_request`` comes first: it may choose an answer by what was asked.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.script: list[Any] = [(404, b"nothing scripted")]
        self.by_request: Callable[[Request], Any] | None = None
        self.ending = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def _handler(outer) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            ending = outer.ending

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(unquote(parts.path), dict(parse_qsl(parts.query)), time.monotonic(), body)
                outer.requests.append(request)
                answer = outer.by_request(request) if outer.by_request else None
                if answer is None:
                    answer = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                with suppress(ConnectionError):  # the client may have given up, which is what some tests want
                    if callable(answer):
                        answer(self)
                    else:
                        status, body, *headers = answer
                        self.send_response(status)
                        for name, value in (headers[0] if headers else {}).items():
                            self.send_header(name, value)
                        self.send_header("Content-Length", str(len(body)))
                        self.end_headers()
                        self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture(autouse=True)
def a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test finds of the network is forgotten; whatever this machine has, a host that is gone is gone alone."""
    network = NetworkState()
    network.reached()
    monkeypatch.setattr(http_module, "NETWORK", network)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    local = LocalServer()
    yield local
    local.close()


@pytest.fixture
def zones(tmp_path: Path) -> Zones:
    return Zones(tmp_path / "home")


@dataclass(frozen=True)
class FinishedRun:
    """A daily run that trained. ``gate_artifact``: what it published as `zl-gates` on its Prefect server."""

    home: Path
    archive: Path
    registry: Path
    summary: DayResult
    gate_artifact: str


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    from prefect.settings import PREFECT_RUNNER_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=300),
        temporary_settings({PREFECT_RUNNER_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture(scope="session")
def few_families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registry, its daily budget cut to a few families: for what is not about the families."""
    return with_few_families(PROJECT / "registry", tmp_path_factory.mktemp("few") / "registry")


def with_few_families(registry: Path, folder: Path) -> Path:
    """A copy of a registry whose daily budget trains a few families."""
    shutil.copytree(registry, folder)
    models = yaml.safe_load((folder / "models.yaml").read_text())
    models["budgets"]["daily"]["families"], models["ensemble"] = list(FEW), list(ENSEMBLE)
    (folder / "models.yaml").write_text(yaml.safe_dump(models, sort_keys=False))
    return folder


@pytest.fixture(scope="session")
def run_daily(prefect_server: None, few_families: Path) -> Callable[..., DayResult]:
    """Run the daily flow in this process under a CBI_HOME of its own; a few families unless CBI_REGISTRY is given."""
    from flows.daily import daily

    def run(home: Path, origin: Path, as_of: str | None = EARLY, **settings: str) -> DayResult:
        changed = {"CBI_HOME": str(home), "CBI_REGISTRY": str(few_families), **settings}
        before = {name: os.environ.get(name) for name in changed}
        os.environ.update(changed)
        try:
            return daily(str(origin), as_of)
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)

    return run


@pytest.fixture(scope="session")
def first_run(
    request: pytest.FixtureRequest,
    once: Any,
    archive: Path,
    few_families: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> FinishedRun:
    def make() -> FinishedRun:
        from prefect.artifacts import Artifact

        run_daily = request.getfixturevalue("run_daily")  # where another process has made it, no server is needed
        home = tmp_path_factory.mktemp("first") / "home"
        summary, gates = run_daily(home, archive), Artifact.get("zl-gates")
        return FinishedRun(home, archive, few_families, summary, str(gates.data) if gates else "")

    return once("first_run", make)


@pytest.fixture
def copied_home(first_run: FinishedRun, tmp_path: Path) -> Path:
    """The first run's home again, for a test that goes on from it."""
    return Path(shutil.copytree(first_run.home, tmp_path / "home"))


def tables_of(home: Path) -> dict[str, pd.DataFrame]:
    """Every table as published, without the clock times of its rows, in key order."""
    warehouse = DuckDbWarehouse(Zones(home))
    found, published = {}, warehouse.row_counts()
    for name, table in tables().items():
        if name in published:
            keys = ", ".join(f"`{key}`" for key in table.key)
            rows = warehouse.query(f"SELECT * FROM {name} ORDER BY {keys}").drop(columns="created_at", errors="ignore")
            found[name] = _without_times(rows) if name == "forecasts.record_chain" else rows
    return found


def _without_times(links: pd.DataFrame) -> pd.DataFrame:
    """Links without the clock times of their rows, and so without the hashes, which depend on them."""
    texts = links["published_rows"].str.replace(r'"created_at": "[^"]*", ', "", regex=True)
    hashes = [name for name in links if name.endswith("_sha256")]
    return links.drop(columns=hashes).assign(published_rows=texts)


@pytest.fixture(scope="session")
def bigquery_server_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bigquery_server(tmp_path_factory.mktemp("bigquery")) as address:
        yield address


@pytest.fixture
def bigquery_emulator(bigquery_server_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """BigQuery on loopback, as Google's clients find it."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_server_address)
    return bigquery_server_address
