"""Federal Register: every document of a window once, split by date under the cap; topics by what a document says."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pandas as pd
import pytest

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http, Limits
from tasks.sources import federal_register
from tasks.sources.ingest import ingest_source
from tasks.sources.origins import recorded_files
from tasks.sources.payloads import Payload, Window, landed
from tasks.sources.texts import topics_of
from tasks.staging.stage import stage_source

QUICK = Limits(attempts=2, read_s=9, total_s=20, first_wait_s=0, longest_wait_s=2)
WINDOW = Window(date(2023, 12, 1), date(2023, 12, 29))
AS_OF = pd.Timestamp("2023-12-29")


def document(number: str, day: str = "2023-12-20", title: str = "United States Standards for Soybeans", abstract="A."):
    link = f"https://www.federalregister.gov/documents/{day.replace('-', '/')}/{number}"
    return {
        "document_number": number,
        "title": title,
        "abstract": abstract,
        "publication_date": day,
        "html_url": link,
    }


def page(*documents, count: int | None = None, pages: int = 1) -> bytes:
    total = len(documents) if count is None else count
    return json.dumps({"count": total, "total_pages": pages, "results": list(documents)}).encode()


@pytest.fixture
def spec(registry, server):
    spec = registry.sources.source("federal_register")
    series = {name: spec.series[name] for name in ("soybeans", "trade_remedies", "other")}
    return spec.model_copy(update={"endpoint": f"{server.url}/api/v1/documents.json", "series": series})


@pytest.fixture
def ask(spec):
    def run(window: Window = WINDOW):
        with Http("federal_register", per_minute=60_000, limits=QUICK) as http:
            return json.loads(next(federal_register.fetch("documents", window, spec, http)).content)["results"]

    return run


@pytest.fixture(scope="module")
def feed(archive) -> Payload:
    (payload,) = recorded_files(archive, "federal_register", "documents")
    return payload


def test_a_topics_query_is_asked_for_page_by_page_with_the_documented_parameters(ask, server):
    first, second = document("2023-1"), document("2023-2", day="2023-12-05")
    server.script = [(200, page(first, count=2, pages=2)), (200, page(second, count=2, pages=2))]
    assert ask() == [first, second], "newest first"
    assert [request.path for request in server.requests] == ["/api/v1/documents.json"] * 2
    assert server.requests[0].query == {
        "conditions[term]": "soybean",
        "conditions[publication_date][gte]": "2023-12-01",
        "conditions[publication_date][lte]": "2023-12-29",
        "fields[]": "html_url",
        "per_page": "1000",
        "page": "1",
        "order": "newest",
    }
    assert server.requests[1].query["page"] == "2"


def test_a_query_over_the_cap_is_split_by_date_until_every_document_can_be_had(ask, server, monkeypatch):
    monkeypatch.setattr(federal_register, "CAP", 3)
    days = [WINDOW.start + timedelta(days=n) for n in range(29)]
    served = [document(f"2023-{n}", day=str(day)) for n, day in enumerate(days)]

    def answer(request):
        low, high = (request.query[f"conditions[publication_date][{end}]"] for end in ("gte", "lte"))
        found = [one for one in served if low <= one["publication_date"] <= high]
        return 200, page(*found[:3], count=len(found))

    server.by_request = answer
    assert ask() == served[::-1]
    asked = {request.query["conditions[publication_date][gte]"] for request in server.requests}
    assert len(asked) > 8, "it was split"


def test_a_day_that_is_over_the_cap_by_itself_is_said_not_cut(ask, server):
    server.script = [(200, page(document("2023-1"), count=2001))]
    with pytest.raises(SourceUnavailable, match=r"2001 documents on 2023-12-29"):
        ask()


def test_a_document_that_two_queries_find_is_there_once(registry, server):
    spec = registry.sources.source("federal_register").model_copy(update={"endpoint": server.url})
    server.script = [(200, page(document("2023-1")))]
    with Http("federal_register", per_minute=60_000, limits=QUICK) as http:
        (fetched,) = federal_register.fetch("documents", WINDOW, spec, http)
    queries = {entry.query for entry in spec.series.values()} - {""}
    assert {request.query["conditions[term]"] for request in server.requests} == queries and len(queries) > 3
    assert len(json.loads(fetched.content)["results"]) == 1


@pytest.mark.parametrize(
    "script",
    [
        [(200, page(document("2023-1"), count=2))],
        [(200, page(document("2023-1"), count=2, pages=2)), (503, b"busy")],
        [(200, page(count=0))],
        [(200, b'{"errors": ["conditions"]}')],
        [(200, b'{"count": 1, "results": [1]}')],
        [(200, b"<html>down</html>")],
        [(400, b"{}")],
        [(200, page(document("2023-1"))[:60])],
    ],
    ids=["short", "half", "nothing", "refused", "numbers", "html", "bad-request", "cut"],
)
def test_less_than_every_document_is_unavailable_and_lands_nothing(spec, zones, server, script):
    server.script = script
    asked = {"origin": "live", "as_of": AS_OF.date(), "limits": QUICK, "progress": lambda *step: None}
    done = ingest_source(zones, "federal_register", spec, **asked)
    assert done.status == "failed" and "federal_register" in done.message
    assert landed(zones, "federal_register") == []


def test_a_busy_server_is_asked_again_after_the_wait_it_asks_for(ask, server):
    server.script = [(429, b"", {"Retry-After": "1"}), (200, page(document("2023-1")))]
    assert len(ask()) == 1
    assert server.requests[1].at - server.requests[0].at >= 1
    server.script = [(502, b""), (200, page(document("2023-1")))]
    assert len(ask()) == 1


def test_a_document_belongs_to_every_topic_it_names_and_to_other_when_it_names_none(registry):
    spec = registry.sources.source("federal_register")
    remedy = "Organic Soybean Meal From India: Final Affirmative Countervailing Duty Determination"
    assert topics_of(remedy, spec) == ["soybeans", "trade_remedies"]
    assert topics_of("Extension of Exclusions: China’s Acts, Policies, and Practices", spec) == ["section_301_china"]
    assert topics_of("Tariff–Rate Quotas; Biomass-Based Diesel", spec) == ["biodiesel", "tariff_rate_quotas"]
    assert topics_of("Request for Comments: 2024 Special 301 Review", spec) == ["other"]
    assert topics_of("RFSX and soybeanlike", spec) == ["other"], "whole words"


def test_the_recorded_feed_keeps_each_of_its_197_documents_known_at_its_publication(staged, feed, archive):
    manifest = pd.read_csv(archive / "MANIFEST.csv").set_index("file")
    listed = manifest.loc["federal_register/documents/2026-02-05.json"]
    held = staged.by_source["federal_register"]
    texts = held.documents
    assert texts["document_id"].nunique() == listed["rows"] == len(json.loads(feed.path.read_bytes())["results"])
    assert [f"{day:%Y-%m-%d}" for day in (texts["published"].min(), texts["published"].max())] == [
        listed["first_date"],
        listed["last_date"],
    ]
    assert held.quarantine.empty and (texts["vintage"] == 1).all()
    known = texts["available_at"].dt.tz_convert("America/New_York")
    assert (known.dt.strftime("%H:%M") == "08:45").all()
    assert (known.dt.strftime("%Y-%m-%d") == texts["published"].dt.strftime("%Y-%m-%d")).all()
    counts = held.observations.set_index(["series", "observation_date"])["value"]
    assert counts.loc[("section_301", "2021-03-31")] == 7
    assert counts.min() == 1, "a day without documents has no row, not a zero"
    of_texts = texts.groupby(["series", "published"]).size().astype("float64")
    assert counts.sort_index().tolist() == of_texts.sort_index().tolist()


def test_a_live_answer_stages_as_the_recorded_one_does(spec, server, zones):
    server.script = [(200, page(document("2023-1"), document("2023-2", title="Pesticide Tolerances", abstract=None)))]
    ingest_source(
        zones,
        "federal_register",
        spec,
        origin="live",
        as_of=AS_OF.date(),
        limits=QUICK,
        progress=lambda *step: None,
    )
    held = stage_source(zones, "federal_register", spec, as_of=AS_OF, code="t")
    shown = held.documents[["series", "document_id", "publisher"]].to_numpy().tolist()
    assert shown == [
        ["other", "2023-12-20/2023-2", "Federal Register"],
        ["soybeans", "2023-12-20/2023-1", "Federal Register"],
    ]
    assert held.documents["abstract"].isna().tolist() == [True, False], "a missing abstract stays missing"
    assert held.observations["value"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [(b'"title"', b'"headline"', "title"), (b'"results"', b'"items"', "results"), (b'"A."', b"5", "abstract")],
)
def test_a_renamed_or_retyped_column_is_drift_that_says_which(spec, feed, tmp_path, old, new, named):
    path = tmp_path / "2026-02-05.json"
    path.write_bytes(page(document("2023-1")).replace(old, new))
    payload = Payload("federal_register", "documents", path, "", 0, "", feed.fetched_at, True)
    with pytest.raises(SchemaDrift, match=named):
        federal_register.parse(payload, spec)
