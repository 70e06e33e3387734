"""GDELT: whole days, each article title once, no faster than it allows, and never an error taken for news."""

from __future__ import annotations

import json
import time
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, Limits
from tasks.sources import gdelt
from tasks.sources.ingest import ingest_source
from tasks.sources.payloads import Payload, Window, landed
from tasks.staging.arrivals import judged
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=2)
DAY = Window(date(2023, 12, 20), date(2023, 12, 20))
AS_OF = pd.Timestamp("2023-12-29")
TOPIC = "palm_oil"


def article(seen: str, title: str = "Palm oil climbs", domain: str = "example.com", url: str = "https://example.com/1"):
    return {
        "url": url,
        "url_mobile": "",
        "title": title,
        "seendate": seen,
        "socialimage": "",
        "domain": domain,
        "language": "English",
        "sourcecountry": "Malaysia",
    }


def answer(*articles) -> bytes:
    return json.dumps({"articles": list(articles)} if articles else {}).encode()


@pytest.fixture
def spec(registry, server):
    spec = registry.sources.source("gdelt")
    changed = {"endpoint": f"{server.url}/api/v2/doc/doc", "series": {TOPIC: spec.series[TOPIC]}}
    return spec.model_copy(update=changed | {"rate_limit_per_minute": 60_000, "first_date": date(2023, 12, 18)})


@pytest.fixture
def ask(spec):
    def run(window: Window = DAY, **changed):
        with Http("gdelt", per_minute=60_000, limits=QUICK) as http:
            (fetched,) = gdelt.fetch(TOPIC, window, spec.model_copy(update=changed), http)
        return json.loads(fetched.content)["articles"]

    return run


@pytest.fixture
def ingest(spec, zones):
    def run():
        return ingest_source(
            zones, "gdelt", spec, origin="live", as_of=AS_OF.date(), limits=QUICK, progress=lambda *step: None
        )

    return run


def test_a_day_is_asked_for_with_the_documented_parameters(ask, server, spec):
    server.script = [(200, answer(article("20231220T101500Z")))]
    assert [one["domain"] for one in ask()] == ["example.com"]
    (request,) = server.requests
    assert request.path == "/api/v2/doc/doc"
    assert request.query == {
        "query": '"palm oil" sourcelang:english',
        "mode": "artlist",
        "format": "json",
        "maxrecords": "250",
        "startdatetime": "20231220000000",
        "enddatetime": "20231220235959",
    }


def test_a_full_answer_is_split_until_every_article_is_there_once(ask, server, monkeypatch):
    monkeypatch.setattr(gdelt, "FULL", 4)
    noon = ["20231220T115959Z"]  # where the day's first half ends
    stamps = sorted([f"20231220T{hour:02d}0000Z" for hour in range(24)] + noon)

    def answered(request):
        low, high = request.query["startdatetime"], request.query["enddatetime"]
        found = [stamp for stamp in stamps if low <= stamp.replace("T", "").rstrip("Z") <= high]
        return 200, answer(*[article(stamp) for stamp in found[:4]])

    server.by_request = answered
    assert [one["seendate"] for one in ask()] == stamps


def test_more_than_can_be_had_of_one_batch_is_said_not_cut(ask, server, monkeypatch):
    monkeypatch.setattr(gdelt, "FULL", 1)
    server.script = [(200, answer(article("20231220T101500Z")))]
    with pytest.raises(SourceUnavailable, match="more are not available"):
        ask()


def test_a_run_takes_so_many_days_and_the_next_goes_on_from_there(ask, server):
    server.script = [(200, answer(article("20231201T101500Z")))]
    ask(Window(date(2023, 1, 1), date(2023, 12, 29)), days_at_once=8)
    assert [r.query["startdatetime"][:8] for r in server.requests] == [f"2023010{n}" for n in range(1, 9)]


def test_a_day_that_is_not_over_is_not_asked_for(ask, server):
    now = pd.Timestamp.now(tz="UTC")
    yesterday = (now - pd.Timedelta(days=1)).date()
    server.script = [(200, answer(article(f"{yesterday:%Y%m%d}T101500Z")))]
    ask(Window(yesterday, now.date()))
    assert [r.query["startdatetime"][:8] for r in server.requests] == [f"{yesterday:%Y%m%d}"]


def after(began: float, server) -> list[float]:
    """How long after the earliest time that 300 a minute without a burst allow, each request arrived [s].

    The wait from one arrival to the next is no measure: a busy machine may serve the first one late.
    """
    return [request.at - began - n * 60 / 300 for n, request in enumerate(server.requests)]


def test_requests_are_five_seconds_apart_from_the_first_one_on(registry, server):
    asked = registry.sources.source("gdelt")
    assert 60 / asked.rate_limit_per_minute >= 5 and asked.burst == 1
    server.script = [(200, b"{}")]
    began = time.monotonic()
    with Http("gdelt", per_minute=300, burst=asked.burst, limits=QUICK) as http:
        for _ in range(4):
            http.get(server.url)
    assert min(after(began, server)) >= 0


def test_ingest_keeps_to_the_registrys_burst(spec, server, zones):
    slow = spec.model_copy(update={"rate_limit_per_minute": 300, "first_date": date(2023, 12, 27)})
    server.script = [(200, answer(article("20231227T101500Z")))]
    began = time.monotonic()
    ingest_source(zones, "gdelt", slow, origin="live", as_of=AS_OF.date(), limits=QUICK, progress=lambda *step: None)
    late = after(began, server)
    assert len(late) == 3 and min(late) >= 0


@pytest.mark.parametrize(
    "script",
    [
        [(200, b"Please limit requests to one every 5 seconds or contact the GDELT Project.")],
        [(200, b"Parentheses may only be used around OR'd statements.")],
        [(200, b"{}")],
        [(200, b'{"articles": [1]}')],
        [(200, b'{"error": "x"}')],
        [(200, answer(article("20231220T101500Z"))[:40])],
        [(503, b"busy")],
    ],
    ids=["limit", "syntax", "nothing", "numbers", "other", "cut", "down"],
)
def test_an_error_in_words_is_unavailable_and_lands_nothing(ingest, server, zones, script):
    server.script = script
    done = ingest()
    assert done.status == "failed" and TOPIC in done.message + done.failures.popitem()[0]
    assert landed(zones, "gdelt") == []


def test_a_busy_server_is_asked_again_after_the_wait_it_asks_for(ask, server):
    server.script = [(429, b"", {"Retry-After": "1"}), (200, answer(article("20231220T101500Z")))]
    assert len(ask()) == 1
    assert server.requests[1].at - server.requests[0].at >= 1


def test_one_title_under_many_addresses_is_one_document_known_with_its_first_batch(ingest, spec, server, zones):
    server.script = [
        (
            200,
            answer(
                article("20231218T230000Z", "Palm Oil climbs!", "b.com"),
                article("20231218T101500Z", "Palm oil climbs", "a.com"),
                article("20231218T111500Z", "Indonesia &amp; palm oil", "c.com"),
            ),
        ),
        (200, b"{}"),
    ]
    ingest()
    held = stage_source(zones, "gdelt", spec, as_of=AS_OF, code="t")
    texts = held.documents.sort_values("available_at")
    assert texts["publisher"].tolist() == ["a.com", "c.com"] and texts["abstract"].isna().all()
    assert texts["available_at"].iloc[0] == pd.Timestamp("2023-12-18 10:30", tz="UTC")
    (count,) = held.observations.itertuples()
    assert count.value == 2 and count.available_at == pd.Timestamp("2023-12-19 01:00", tz="UTC")


def test_a_date_that_cannot_be_read_and_a_missing_title_are_refused_with_their_rule(ingest, spec, server, zones):
    server.script = [
        (200, answer(article("yesterday", "Palm one"), article("20231218T101500Z", " "), article("20991218T101500Z"))),
        (200, b"{}"),
    ]
    ingest()
    held = stage_source(zones, "gdelt", spec, as_of=AS_OF, code="t")
    refused = held.quarantine[held.quarantine["field"] == "document"]
    assert sorted(refused["rule"]) == ["bad_date", "empty_title"], "what is dated later than as_of is not there yet"
    assert held.documents.empty
    later = stage_source(zones, "gdelt", spec, as_of=pd.Timestamp("2100-01-04"), code="t")
    rules = later.quarantine[later.quarantine["field"] == "document"].set_index("rule")
    assert sorted(rules.index) == ["bad_date", "empty_title", "future_date"]
    assert rules.loc["empty_title", "row"] == 2 and later.documents.empty


def test_a_renamed_column_is_drift_that_says_which(spec, tmp_path):
    path = tmp_path / "2023-12-21.json"
    path.write_bytes(answer(article("20231220T101500Z")).replace(b"seendate", b"seenat"))
    payload = Payload("gdelt", TOPIC, path, "", 0, "", pd.Timestamp("2023-12-21", tz="UTC"), True)
    with pytest.raises(SchemaDrift, match="seendate"):
        gdelt.parse(payload, spec)


ODD = (Path(__file__).parent / "answers" / "gdelt-bad-escape.json").read_bytes()


def by_day(bad: dict[str, bytes]):
    """A sound article a day, but for the days of ``bad``."""

    def choose(request):
        day = request.query["startdatetime"][:8]
        return 200, bad.get(day) or answer(article(f"{day}T101500Z", f"Palm oil on {day}"))

    return choose


@pytest.fixture
def arrive(spec, zones):
    def run(as_of: pd.Timestamp):
        wide = spec.model_copy(update={"first_date": date(2026, 1, 15)})
        done = ingest_source(
            zones, "gdelt", wide, origin="live", as_of=as_of.date(), limits=QUICK, progress=lambda *step: None
        )
        staged = stage_source(zones, "gdelt", wide, as_of=as_of, code="t")
        return judged(done, staged.quarantine, wide), staged

    return run


def test_a_backslash_that_escapes_nothing_is_itself_and_costs_no_day(arrive, server):
    server.by_request = by_day({"20260120": ODD})
    done, staged = arrive(pd.Timestamp("2026-01-23"))
    assert (done.status, done.message) == ("ok", "")
    days = staged.observations.query("field == 'documents'")["observation_date"]
    assert sorted(f"{day:%d}" for day in days) == [f"{n}" for n in range(15, 23)]
    assert "Soybean oil \\- prices rise" in set(staged.documents["title"])


@pytest.mark.parametrize(
    "bad",
    [
        b'{"articles": [{"url": "u", "title": "cut by its own sign\\", "seendate": "20260120T120000Z"}]}',
        b"Your query was too long for this day",
        answer(article("20260120T101500Z"))[:60],
        b'{"articles": 7}',
    ],
    ids=["quote", "words", "cut", "shape"],
)
def test_a_day_that_cannot_be_read_costs_that_day_and_is_reported_every_time(arrive, server, bad):
    server.by_request = by_day({"20260120": bad})
    for as_of in ("2026-01-23", "2026-01-26"):
        done, staged = arrive(pd.Timestamp(as_of))
        days = [f"{day:%d}" for day in staged.observations["observation_date"]]
        assert sorted(set(days)) == [f"{n}" for n in range(15, int(as_of[-2:])) if n != 20]
        assert done.status == "partial" and "2026-01-20: expected the articles" in done.message
    (lost, *_) = staged.quarantine[staged.quarantine["rule"] == "part"].itertuples()
    assert f"{lost.observation_date:%Y-%m-%d}" == "2026-01-20"
    server.by_request = by_day({})
    done, staged = arrive(pd.Timestamp("2026-01-26"))
    assert (done.status, done.message) == ("ok", "")
    assert len(staged.observations) == 10, "the day that arrives late is known when it arrives, months after"


def test_what_is_wrong_with_an_answer_is_said_with_its_place(arrive, server):
    server.by_request = by_day({"20260120": b'{"articles": [{"title": "a" "b"}]}'})
    done, _ = arrive(pd.Timestamp("2026-01-23"))
    assert "delimiter at byte 28" in done.message


def test_an_article_that_is_none_costs_itself(arrive, server):
    odd = json.dumps({"articles": [7, article("20260120T101500Z"), {"title": "no more"}, {**article("x"), "title": 3}]})
    server.by_request = by_day({"20260120": odd.encode()})
    done, staged = arrive(pd.Timestamp("2026-01-23"))
    assert len(staged.observations) == 8
    refused = staged.quarantine[staged.quarantine["rule"] == "record"]
    assert len(refused) == 3 and done.status == "ok" and "3 records refused, first: " in done.message


def test_an_outage_in_the_middle_keeps_the_days_before_and_the_next_run_goes_on(arrive, server):
    served = by_day({})
    server.by_request = lambda r: (503, b"busy") if r.query["startdatetime"] >= "20260119" else served(r)
    done, staged = arrive(pd.Timestamp("2026-01-23"))
    assert done.status == "failed" and "503" in done.message and len(staged.observations) == 4
    server.by_request = served
    done, staged = arrive(pd.Timestamp("2026-01-23"))
    assert done.status == "ok" and len(staged.observations) == 8


def test_an_outage_in_words_from_a_day_on_keeps_the_days_before_and_stops_asking(arrive, server):
    served = by_day({})
    server.by_request = lambda r: (200, b"Please limit") if r.query["startdatetime"] >= "20260119" else served(r)
    done, staged = arrive(pd.Timestamp("2026-01-23"))
    assert done.status == "failed" and "Please limit" in done.message and len(staged.observations) == 4
    assert len(server.requests) == 4 + 2 * 2
