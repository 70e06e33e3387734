"""No network is found once, shared by all sources, and reported in one sentence."""

from __future__ import annotations

import logging
import time
from datetime import date

import pytest

from tasks import http as http_module
from tasks.errors import NoNetwork, SourceDown
from tasks.http import Http
from tasks.network import NetworkState
from tasks.registry import load_sources
from tasks.settings import PROJECT
from tasks.sources.ingest import ingest_source

GONE = "http://nowhere.invalid/data"  # a name that no name server will ever know (RFC 6761)


@pytest.fixture
def offline(monkeypatch) -> NetworkState:
    """A machine of which no host can be found, whatever the machine of this test has."""
    network = NetworkState(probes=("nowhere.invalid",), probe_s=3)
    monkeypatch.setattr(http_module, "NETWORK", network)
    return network


def test_no_network_is_found_at_the_first_request_and_no_source_asks_in_vain(offline, caplog):
    started = time.monotonic()
    said = []
    for source in ("one", "two", "three"):
        with Http(source, per_minute=60_000) as http, pytest.raises(NoNetwork) as raised:
            http.get(GONE)
        said.append(str(raised.value))
    assert len(set(said)) == 1 and said[0].startswith("no network: ") and "one" not in said[0].split()
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == said[:1]
    assert time.monotonic() - started < 10


def test_a_host_of_this_machine_is_asked_whatever_the_network_is(offline, server):
    server.script = [(200, b"here")]
    with Http("far", per_minute=60_000) as http, pytest.raises(NoNetwork):
        http.get(GONE)
    with Http("near", per_minute=60_000) as http:
        assert http.get(server.url) == b"here"


def test_one_host_that_is_gone_while_others_answer_is_that_hosts_own_trouble(monkeypatch):
    network = NetworkState(probes=("nowhere.invalid",))
    monkeypatch.setattr(http_module, "NETWORK", network)
    network.reached()
    limits = http_module.Limits(attempts=2, first_wait_s=0, longest_wait_s=0)
    with (
        Http("one", per_minute=60_000, limits=limits) as http,
        pytest.raises(SourceDown, match=r"2 attempts") as raised,
    ):
        http.get(GONE)
    assert not isinstance(raised.value, NoNetwork)


def test_a_source_without_a_network_says_so_once_for_all_of_its_series(offline, zones, caplog, monkeypatch):
    spec = load_sources(PROJECT / "registry").sources["fred"].model_copy(update={"endpoint": GONE})
    monkeypatch.delenv("FRED_API_KEY", raising=False)
    done = ingest_source(zones, "fred", spec, origin="live", as_of=date(2026, 2, 27), progress=lambda *step: None)
    assert done.status == "failed" and set(done.failures) == set(spec.series)
    assert done.message.count("no network") == 1 and done.no_network
    assert sum("no network" in record.message for record in caplog.records) == 1
