"""The HTTP client against a real server: what it retries, how long it waits, what it never says."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest

from tasks.errors import SourceDown, SourceUnavailable
from tasks.http import Http, Limits
from tasks.secrets import redact

SECRET = "s3cr3t-key-1234"
# generous times: on a busy machine an answer of a few bytes can take half a second
QUICK = Limits(attempts=3, connect_s=9, read_s=9, total_s=30, max_bytes=2000, first_wait_s=0.01, longest_wait_s=0.05)
HASTY = Limits(attempts=3, connect_s=9, read_s=2, total_s=3.5, first_wait_s=0.01, longest_wait_s=0.05)


def client(limits: Limits = QUICK, **given) -> Http:
    return Http("somewhere", limits=limits, **{"per_minute": 60_000, **given})


def gaps(server) -> list[float]:
    at = [request.at for request in server.requests]
    return [later - earlier for earlier, later in pairwise(at)]


def test_the_body_comes_back_whole(server):
    server.script = [(200, b"x" * 1999)]
    with client() as http:
        assert http.get(server.url + "/data", {"id": "DFF"}) == b"x" * 1999
    assert [(r.path, r.query) for r in server.requests] == [("/data", {"id": "DFF"})]


def test_retry_after_in_seconds_is_obeyed(server):
    server.script = [(429, b"", {"Retry-After": "1"}), (200, b"ok")]
    with client(Limits(attempts=2, first_wait_s=0.01, longest_wait_s=60)) as http:
        assert http.get(server.url) == b"ok"
    assert 1.0 <= gaps(server)[0] < 30, "and not the longest wait there is"


def test_retry_after_as_a_date_is_obeyed(server):
    until = datetime.now(UTC) + timedelta(seconds=3)
    server.script = [(503, b"", {"Retry-After": format_datetime(until, usegmt=True)}), (200, b"ok")]
    with client(Limits(attempts=2, first_wait_s=0.01, longest_wait_s=60)) as http:
        assert http.get(server.url) == b"ok"
    assert 0.9 <= gaps(server)[0] < 30, "the date has whole seconds, so up to one is lost"


def test_more_patience_than_a_run_has_ends_it_at_once_and_says_how_much(server):
    server.script = [(429, b"", {"Retry-After": "86400"}), (200, b"ok")]
    with client() as http, pytest.raises(SourceDown, match="HTTP 429; it asks to wait 86400 s"):
        http.get(server.url)
    assert len(server.requests) == 1, "asking before that would not obey it"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_can_pass_is_retried(server, status):
    server.script = [(status, b"busy"), (status, b"busy"), (200, b"ok")]
    with client() as http:
        assert http.get(server.url) == b"ok"


@pytest.mark.parametrize("status", [500, 503])
def test_after_all_attempts_the_source_is_unavailable_and_the_message_says_what_to_do(server, status):
    server.script = [(status, b"busy")]
    with client() as http, pytest.raises(SourceUnavailable) as raised:
        http.get(server.url + "/data")
    assert len(server.requests) == 3
    for part in ("somewhere", "/data", f"HTTP {status}", "3 attempt", "Stored data is kept", "cbi ingest somewhere"):
        assert part in str(raised.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410])
def test_what_a_retry_cannot_mend_is_asked_once(server, status):
    server.script = [(status, b"no")]
    with client() as http, pytest.raises(SourceUnavailable, match=rf"HTTP {status}: no\. Stored data is kept"):
        http.get(server.url)
    assert len(server.requests) == 1


def test_a_server_that_never_answers_meets_the_read_limit(server, caplog):
    server.script = [lambda handler: handler.ending.wait(30)]
    started = time.monotonic()
    with client(HASTY) as http, pytest.raises(SourceDown, match=r"TooLong: no whole answer within the 3\.5 s"):
        http.get(server.url)
    assert "attempt 1: ReadTimeout" in caplog.text
    assert len(server.requests) == 2, "the limit of all attempts together comes before the third"
    assert time.monotonic() - started < 28, "and the server would have gone on for thirty seconds"


@pytest.mark.faults
def test_a_slow_drip_meets_the_total_limit_although_no_read_is_late(server):
    def drip(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(300):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            if handler.ending.wait(0.1):
                return

    server.script = [drip]
    started = time.monotonic()
    with client(Limits(attempts=1, read_s=9, total_s=0.5)) as http, pytest.raises(SourceUnavailable, match="TooLong"):
        http.get(server.url)
    assert time.monotonic() - started < 28, "and the server would have gone on for thirty seconds"


def test_a_truncated_body_is_never_taken_for_a_whole_one(server):
    def truncated(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"DATE,DFF\n2020-01-01,1.55\n")

    server.script = [truncated, (200, b"whole")]
    with client() as http:
        assert http.get(server.url) == b"whole"
    server.script = [truncated]
    with client() as http, pytest.raises(SourceUnavailable):
        http.get(server.url)


def test_too_large_a_body_is_refused_at_once_and_not_read_to_its_end(server):
    sent = []

    def endless(handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(2000):
            handler.wfile.write(b"x" * 10_000)
            sent.append(10_000)

    server.script = [endless]
    with client() as http, pytest.raises(SourceUnavailable, match="more than 2000 bytes"):
        http.get(server.url)
    assert len(server.requests) == 1
    server.close()
    assert sum(sent) < 20_000_000


def test_when_its_time_is_up_a_client_asks_no_more_and_no_adapter_takes_that_for_a_file_that_is_not_there(server):
    server.script = [(200, b"ok")]
    with client(Limits(run_s=0)) as http, pytest.raises(SourceDown, match="not requested: the 0 minutes"):
        http.get(server.url)
    assert server.requests == []


def test_nobody_listening_is_unavailable():
    with client() as http, pytest.raises(SourceUnavailable, match="ConnectError"):
        http.get("http://127.0.0.1:9/")


def test_requests_are_spaced_by_the_rate_limit_after_the_burst(server):
    server.script = [(200, b"ok")]
    began = time.monotonic()
    with client(per_minute=600) as http:
        for _ in range(9):
            http.get(server.url)
    at = [request.at - began for request in server.requests]
    assert len(at) == 9 and all(at[4 + n] >= n * 0.1 for n in range(5))


def test_retries_count_against_the_rate_limit(server):
    server.script = [(503, b"")]
    patient = Limits(attempts=9, first_wait_s=0, longest_wait_s=0)
    began = time.monotonic()
    with client(patient, per_minute=600) as http, pytest.raises(SourceUnavailable):
        http.get(server.url)
    assert server.requests[8].at - began >= 0.4


def oversized(handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"x" * 5000)


@pytest.mark.parametrize(
    "answer", [(503, b"busy"), (404, b"no"), oversized, lambda handler: handler.ending.wait(30)],
    ids=["retried", "refused", "too large", "hanging"],
)  # fmt: skip
def test_a_secret_is_in_no_message_and_no_log(server, caplog, answer):
    caplog.set_level(logging.DEBUG)
    server.script = [answer]
    limits = Limits(attempts=2, read_s=1, max_bytes=2000, longest_wait_s=0.01)
    with client(limits, secrets=(SECRET,)) as http, pytest.raises(SourceUnavailable) as raised:
        http.get(f"{server.url}/{SECRET}/data", {"api_key": SECRET, "id": "DFF"})
    assert server.requests[0].query["api_key"] == SECRET, "the server does get it"
    assert SECRET not in str(raised.value)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("name", ["api_key", "apikey", "API_KEY", "registrationkey", "key", "token"])
def test_a_parameter_named_like_a_secret_is_redacted_unasked(name):
    assert redact(f"https://x.test/a?{name}=abc123&id=DFF") == f"https://x.test/a?{name}=***&id=DFF"


def ranged(content: bytes, cut_at: list[int], *, etag: str = '"v1"', seen: list[str] | None = None):
    """Answers with the part asked for, as a server does that can resume; the first answers break off after so many."""

    def answer(request):
        def serve(handler) -> None:
            asked, condition = handler.headers.get("Range", ""), handler.headers.get("If-Range", "")
            if seen is not None:
                seen.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and condition == etag else 0
            handler.send_response(206 if start else 200)
            if start:
                handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            handler.send_header("ETag", etag)
            handler.send_header("Content-Length", str(len(content) - start))
            handler.end_headers()
            end = start + cut_at.pop(0) if cut_at else len(content)
            handler.wfile.write(content[start:end])
            handler.close_connection = True

        return serve

    return answer


PATIENT = Limits(attempts=5, first_wait_s=0.01, longest_wait_s=0.05)
BIG = bytes(range(256)) * 4000


def test_a_cut_download_goes_on_where_it_stopped(server, tmp_path):
    seen: list[str] = []
    server.by_request = ranged(BIG, [300_000, 400_000], seen=seen)
    with client(PATIENT, downloads=tmp_path) as http:
        file = http.download(f"{server.url}/big.zip")
    assert file.read_bytes() == BIG
    assert seen[0] == "" and len(seen) == 3 and all(s.startswith("bytes=") for s in seen[1:])
    assert [path for path in tmp_path.iterdir()] == [file], "nothing else is left"


def test_a_later_run_goes_on_with_what_an_earlier_one_got_unless_the_file_has_changed(server, tmp_path):
    url, seen = f"{server.url}/big.zip", []
    with client(Limits(attempts=1), downloads=tmp_path) as http:
        server.by_request = ranged(BIG, [300_000])
        with pytest.raises(SourceDown):
            http.download(url)
        server.by_request = ranged(BIG[::-1], [], etag='"v2"', seen=seen)
        assert http.download(url).read_bytes() == BIG[::-1]
    assert seen == [seen[0]] and seen[0].startswith("bytes=")


def test_a_server_that_cannot_resume_is_asked_for_the_whole_again(server, tmp_path):
    def cut(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BIG)))
        handler.end_headers()
        handler.wfile.write(BIG[:1000])
        handler.close_connection = True

    server.script = [cut, (200, BIG)]
    with client(PATIENT, downloads=tmp_path) as http:
        assert http.download(f"{server.url}/big.zip").read_bytes() == BIG


def test_a_download_beyond_the_limit_is_refused(server, tmp_path):
    server.script = [(200, BIG)]
    limits = Limits(attempts=2, first_wait_s=0, longest_wait_s=0, max_download_bytes=100_000)
    with client(limits, downloads=tmp_path) as http, pytest.raises(SourceUnavailable) as told:
        http.download(f"{server.url}/big.zip?api_key=s3cret")
    assert "more than 100000 bytes" in str(told.value) and "s3cret" not in str(told.value)
    assert len(server.requests) == 1


def test_a_key_in_a_header_does_not_follow_a_redirect(server):
    server.script = [(302, b"", {"Location": f"{server.url}/elsewhere"}), (200, b"caught")]
    with client() as http, pytest.raises(SourceUnavailable, match="HTTP 302"):
        http.get(server.url, headers={"API_KEY": SECRET})
    assert [request.path for request in server.requests] == ["/"]


@pytest.mark.parametrize("left", [b"", b'{"valid', b"[1]", b'{"validator": 7}', b'{"validator": "\\u00e9"}'])
def test_an_unreadable_note_of_a_killed_run_is_no_note(server, tmp_path, left):
    url, seen = f"{server.url}/big.zip", []
    with client(Limits(attempts=1), downloads=tmp_path) as http:
        server.by_request = ranged(BIG, [300_000])
        with pytest.raises(SourceDown):
            http.download(url)
        next(tmp_path.glob("*.json")).write_bytes(left)
        server.by_request = ranged(BIG, [], seen=seen)
        assert http.download(url).read_bytes() == BIG
    assert seen == [""], "the download begins anew"


@pytest.mark.parametrize("asked", ["²", "٣", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999", "soon", "-1"])
def test_a_retry_after_that_is_no_number_and_no_date_is_none(server, asked):
    server.script = [(429, b"", {"Retry-After": asked.encode("utf-8").decode("latin-1")}), (200, b"ok")]
    with client() as http:
        assert http.get(server.url) == b"ok"
