"""Every live adapter against a server in trouble: what it asks for again, what it never lands, what it never says."""

from __future__ import annotations

import json
import logging
from datetime import date
from urllib.parse import urlsplit, urlunsplit

import pandas as pd
import pytest

from tasks.http import Limits
from tasks.registry import SourceSpec, load_sources
from tasks.settings import PROJECT
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import landed
from tasks.staging.stage import stage_source

SECRET = "s3cr3t-key-1234"
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
ALL = load_sources(PROJECT / "registry").sources
# yahoo's are asked through yfinance, which has its own address (test_yahoo_live.py); tables and disabled sources have
# none
THROUGH_YFINANCE = ("yahoo", "yahoo_contracts")
ASKED = [name for name, spec in ALL.items() if not (name in THROUGH_YFINANCE or spec.tables or spec.disabled)]


def local(spec: SourceSpec, url: str) -> SourceSpec:
    """The source with its address here and the rest of it as registered."""
    here = urlsplit(url)

    def moved(address: str) -> str:
        return urlunsplit(urlsplit(address)._replace(scheme=here.scheme, netloc=here.netloc)) if address else ""

    changed = {"endpoint": moved(spec.endpoint), "keyed_endpoint": moved(spec.keyed_endpoint)}
    return spec.model_copy(update={**changed, "rate_limit_per_minute": 60_000, "burst": 1000})


@pytest.fixture(params=ASKED)
def ask(request, server, zones, monkeypatch, caplog):
    name, spec = request.param, ALL[request.param]
    caplog.set_level(logging.INFO)
    for key in (*spec.secrets, *spec.optional_secrets):
        monkeypatch.setenv(key, SECRET)

    def run(answer):
        server.by_request, here = answer, local(spec, server.url)
        given = {"as_of": date(2026, 2, 27), "progress": lambda *step: None, "limits": QUICK}
        return ingest_source(zones, name, here, origin="live", series=here.fetched[:1], **given)

    run.keyed = bool(spec.secrets or spec.optional_secrets)
    return run


def nothing_landed_and_no_secret_told(done, zones, caplog) -> None:
    assert done.status == "failed", done
    assert done.payloads == done.new_payloads == 0
    files = [path for path in zones.raw.rglob("*") if path.is_file() and ".downloads" not in path.parts]
    assert files == []
    assert SECRET not in done.message + caplog.text


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_is_asked_again_and_then_left_alone(ask, server, zones, caplog, status):
    done = ask(lambda request: (status, b"busy", {"Retry-After": "0"}))
    nothing_landed_and_no_secret_told(done, zones, caplog)
    assert len(server.requests) == QUICK.attempts
    assert str(status) in done.message


def test_an_answer_that_breaks_off_is_never_landed(ask, server, zones, caplog):
    def cut(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "5000")
        handler.end_headers()
        handler.wfile.write(b'{"observations": [')
        handler.close_connection = True

    nothing_landed_and_no_secret_told(ask(lambda request: cut), zones, caplog)


def test_a_page_in_place_of_data_is_said_and_never_landed(ask, server, zones, caplog):
    page = f"<!DOCTYPE html><html><body>We have moved, {SECRET if ask.keyed else 'sorry'}</body></html>".encode()
    done = ask(lambda request: (200, page))
    nothing_landed_and_no_secret_told(done, zones, caplog)


def test_a_refused_key_is_no_reason_to_ask_again(ask, server, zones, caplog):
    done = ask(lambda request: (403, b"invalid key"))
    nothing_landed_and_no_secret_told(done, zones, caplog)
    asked = [(r.path, tuple(sorted(r.query.items())), r.body) for r in server.requests]
    assert len(asked) == len(set(asked)), "no request was made twice"


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'[{"date": {}}, 7, [[]]]',
        b'{"daily": [], "data": 7, "observations": [7], "results": "x", "response": [], "articles": {}}',
        b"PK\x03\x04\xff\xfe\x00,\x00\n",
    ],
    ids=["deep", "mixed rows", "wrong types", "no text"],
)
def test_an_odd_answer_is_a_failure_of_its_source_or_a_payload_in_quarantine_and_never_a_traceback(
    ask, server, zones, body
):
    done = ask(lambda request: (200, body))
    files = {path for path in (zones.raw / done.source).rglob("*") if path.is_file() and ".downloads" not in path.parts}
    payloads = landed(zones, done.source)
    assert {payload.path for payload in payloads} == {path for path in files if not path.name.endswith(".sidecar.json")}
    assert payloads or done.message
    staged = stage_source(zones, done.source, ALL[done.source], as_of=pd.Timestamp("2026-02-27"), code="t")
    assert staged.observations.empty and len(staged.quarantine) >= len(payloads)


CUTS = [200, pytest.param(60, marks=pytest.mark.more), pytest.param(120, marks=pytest.mark.more),
        pytest.param(300, marks=pytest.mark.more), pytest.param(500, marks=pytest.mark.more)]  # fmt: skip


@pytest.mark.parametrize("cut", CUTS)
def test_a_key_that_an_answer_echoes_where_it_would_be_cut_is_told_by_no_half(ask, server, zones, caplog, cut):
    if not ask.keyed:
        pytest.skip("it has no key")
    pieces = {SECRET[at : at + 6] for at in range(len(SECRET) - 5)}
    for before in range(cut - len(SECRET) - 40, cut + 1, 4):
        text = "." * before + SECRET + "." * 600
        names = ("error", "message", "error_message", "Information", "Note", "detail", "data", "count", "observations")
        for status, body in ((403, text), (200, text), (200, json.dumps(dict.fromkeys(names, text)))):
            caplog.clear()
            done = ask(lambda request, status=status, body=body: (status, body.encode()))
            told = done.message + caplog.text
            assert not [piece for piece in pieces if piece in told], told
    staged = stage_source(zones, done.source, ALL[done.source], as_of=pd.Timestamp("2026-02-27"), code="t")
    reasons = " ".join(staged.quarantine.astype(str).to_numpy().ravel())
    assert not [piece for piece in pieces if piece in reasons], reasons
