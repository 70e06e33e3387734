"""What a server says reaches the message: its words, without our key, and what to do about them."""

from __future__ import annotations

from datetime import date

import pytest

from tasks.errors import SourceDown, SourceUnavailable
from tasks.http import Http, Limits
from tasks.registry import load_sources
from tasks.secrets import quoted
from tasks.settings import PROJECT
from tasks.sources.ingest import ingest_source

SECRET = "s3cr3t-key-1234"  # pragma: allowlist secret
QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=0)
ALL = load_sources(PROJECT / "registry").sources

# the reported case http-error-words: what four sources answer
CASES = [
    (
        "fred",
        "NFCI",
        400,
        b'{"error_code":400,"error_message":"Bad Request.  The value for variable api_key is not registered."}',
        "The value for variable api_key is not registered.",
        "Check FRED_API_KEY (get it at https://fredaccount.stlouisfed.org/apikeys",
    ),
    ("eia", "PET.WCESTUS1.W", 403, b'{"error":{"code":"API_KEY_INVALID"}}', "API_KEY_INVALID", "Check EIA_API_KEY"),
    (
        "open_meteo",
        None,
        429,
        b'{"error":true,"reason":"Daily API request limit exceeded. Please try again tomorrow."}',
        "Daily API request limit exceeded. Please try again tomorrow.",
        "cbi ingest open_meteo",
    ),
    (
        "comtrade",
        None,
        403,
        b'{"message":"Out of call volume quota. Quota will be replenished in 10:11:12."}',
        "Out of call volume quota. Quota will be replenished in 10:11:12.",
        "Check COMTRADE_API_KEY",
    ),
]


@pytest.mark.parametrize(("source", "series", "status", "body", "words", "advice"), CASES, ids=[c[0] for c in CASES])
def test_the_sources_own_words_and_what_to_do_reach_the_message(
    server, zones, monkeypatch, source, series, status, body, words, advice
):
    spec = ALL[source]
    for key in (*spec.secrets, *spec.optional_secrets):
        monkeypatch.setenv(key, SECRET)
    moved = {"endpoint": server.url, "keyed_endpoint": server.url, "rate_limit_per_minute": 60_000}
    here = spec.model_copy(update=moved)
    server.script = [(status, body + SECRET.encode())]
    done = ingest_source(
        zones,
        source,
        here,
        origin="live",
        as_of=date(2026, 2, 27),
        progress=lambda *step: None,
        limits=QUICK,
        series=[series or here.fetched[0]],
    )
    assert done.status == "failed"
    assert f"HTTP {status}" in done.message and words in done.message and advice in done.message
    assert SECRET not in done.message
    assert ("later" in done.message) == (status == 429)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_key_that_is_not_set_is_named_with_the_place_to_get_it(server, status):
    server.script = [(status, b"no")]
    pages = {"SOME_KEY": "https://example.org/keys, free"}
    with (
        Http("one", per_minute=60_000, limits=QUICK, key_pages=pages) as http,
        pytest.raises(SourceUnavailable) as told,
    ):
        http.get(server.url)
    assert "Set SOME_KEY (get it at https://example.org/keys, free)" in str(told.value)
    assert "later" not in str(told.value) and not isinstance(told.value, SourceDown)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_of_a_keyless_source_names_no_key_and_promises_nothing(server, status):
    server.script = [(status, b"<html><head><style>b{}</style>" + b"<br>" * 99 + b"</head><h1>Go</h1> away</html>")]
    with Http("one", per_minute=60_000, limits=QUICK) as http, pytest.raises(SourceUnavailable) as told:
        http.get(server.url)
    assert f"HTTP {status}: Go away." in str(told.value) and "later" not in str(told.value)
    assert "KEY" not in str(told.value)


def test_words_are_redacted_before_they_are_cut():
    for before in range(170, 205):
        told = quoted("x" * before + SECRET + "y" * 300, [SECRET])
        assert len(told) <= 200
        assert not any(SECRET[:length] in told for length in range(4, len(SECRET)))


def test_a_refusal_of_many_megabytes_is_read_in_part_and_quoted_in_short(server):
    server.script = [(404, b"gone " * 1_000_000)]
    with Http("one", per_minute=60_000, limits=QUICK) as http, pytest.raises(SourceUnavailable) as told:
        http.get(server.url)
    assert len(str(told.value)) < 500


def test_every_key_of_the_registry_has_a_page_where_it_is_to_be_had():
    for spec in ALL.values():
        assert set(spec.key_pages) == {*spec.secrets, *spec.optional_secrets}
        assert all(page.startswith("https://") for page in spec.key_pages.values())
