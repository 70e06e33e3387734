"""The JSON door: what it answers, what is null and why, and everything that it refuses."""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pandas as pd
import pytest

from cli.app import main
from tasks.door.answers import Limits, names, read_view
from tasks.door.run import TOKEN as TOKEN_NAME
from tasks.door.run import token_of, token_path
from tasks.errors import Refused, SettingsError, WarehouseError
from tasks.forecasting.forecast import NO_VIEW
from tasks.secrets import redact
from tasks.storage.zones import Zones
from tasks.warehouse.duckdb import DuckDbWarehouse
from tests.door.conftest import Served

AS_OF = "2024-01-05"


def ask(served: Served, path: str, **given) -> httpx.Response:
    return httpx.get(f"{served.url}{path}", headers=given.pop("headers", served.headers), timeout=60, **given)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(one): (one.stat().st_mtime_ns, one.stat().st_size) for one in folder.rglob("*") if one.is_file()}


def test_a_view_is_answered_as_the_warehouse_has_it_and_a_null_says_why(served, home):
    _, warehouse = home
    answer = ask(served, "/v1/views/api.vw_latest_forecast")
    assert answer.status_code == 200
    body = answer.json()
    stored = warehouse.query("SELECT * FROM api.vw_latest_forecast")
    assert body["as_of"] == AS_OF and body["columns"] == list(stored) and not body["truncated"]
    assert [row["point"] for row in body["rows"]] == list(stored["point"])
    nearest = next(row for row in body["rows"] if row["horizon"] == "1w")
    assert nearest["direction_probability"] is None
    reasons = {one["column"]: one for one in body["missing"]}
    direction = [one for one in body["missing"] if one["column"] == "direction_probability"]
    assert direction[0] == {"column": "direction_probability", "rows": 1, "reason": NO_VIEW}
    assert [one["rows"] for one in direction] == [1, 1], "each reason is counted by itself"
    assert reasons["degraded_reason"]["reason"] == "the forecast is not degraded"
    nulls = {column for row in body["rows"] for column, value in row.items() if value is None}
    assert nulls == set(reasons), "every null has its reason, and no reason is without a null"


def test_every_view_of_api_is_answered_and_nothing_is_written(served):
    before = tree(served.home)
    listed = ask(served, "/v1/views").json()["views"]
    assert listed == list(names()) and "api.vw_curve" in listed
    for view in listed:
        answer = ask(served, f"/v1/views/{view}?rows=5")
        assert answer.status_code == 200, (view, answer.text)
        assert len(answer.json()["rows"]) <= 5
    assert tree(served.home) == before


def test_rows_beyond_those_requested_are_announced(served):
    body = ask(served, "/v1/views/vw_price_history?rows=7").json()
    assert len(body["rows"]) == 7 and body["truncated"]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1/views/vw_price_history?rows=999999", 400, "999999 rows were requested; between 1 and 10000"),
        ("/v1/views/vw_price_history?rows=0", 400, "between 1 and"),
        ("/v1/views/vw_price_history?rows=1e9", 400, "is not a number of rows"),
        ("/v1/views/vw_price_history?rows=" + "9" * 3000, 414, "the limit is 2000"),
        ("/v1/views/vw_price_history?sql=DROP", 400, "unknown parameter 'sql'"),
        ("/v1/views/api.vw_latest_forecst", 404, "Did you mean api.vw_latest_forecast?"),
        ("/v1/views/forecasts.zl_forecasts_daily", 404, "no view"),
        ("/v1/views/api.vw_curve;DROP TABLE x", 404, "no view"),
        ("/v1/views/..%2f..%2fcbi.duckdb", 400, "serves views, not files"),
        ("/v1/views/%252e%252e%252fetc%252fpasswd", 400, "serves views, not files"),
        ("/v1/views/..%5Csecrets.env", 400, "serves views, not files"),
        ("//etc/passwd", 400, "serves views, not files"),
        ("/etc/passwd", 404, "no address of this door"),
    ],
)
def test_a_path_a_wrong_name_and_a_huge_query_are_refused_in_words(served, path, status, words):
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as raw:  # a client would tidy up the path
        auth = served.headers["Authorization"]
        given = path.replace(" ", "%20")
        raw.sendall(f"GET {given} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nAuthorization: {auth}\r\n"
                    "Connection: close\r\n\r\n".encode())  # fmt: skip
        answer = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
    assert answer.split()[1] == str(status), answer
    assert words in answer.replace('\\"', '"')


def test_a_path_with_dots_is_refused_before_any_route(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as raw:
        auth = served.headers["Authorization"]
        raw.sendall(f"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: localhost:{served.port}\r\nAuthorization: {auth}\r\n"
                    "Connection: close\r\n\r\n".encode())  # fmt: skip
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert b" 400 " in answer.splitlines()[0] and b"not files" in answer


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_write_is_refused(served, method):
    answer = httpx.request(method, f"{served.url}/v1/views/vw_curve", headers=served.headers, json={}, timeout=60)
    assert answer.status_code == 405 and "this door only reads" in answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"Authorization": ""}, 401, "the token is missing or wrong"),
        ({"Authorization": "Bearer wrong"}, 401, "the token is missing or wrong"),
        ({"Authorization": "Basic a-token-of-the-tests-that-is-long-enough"}, 401, "the token is missing or wrong"),
        ({"Host": "evil.example"}, 421, "is not this door"),
        ({"Host": "127.0.0.1"}, 421, "is not this door"),
        ({"Origin": "http://evil.example"}, 403, "may not ask this door"),
        ({"Origin": "null"}, 403, "may not ask this door"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/views/vw_curve", "/mcp", "/"])
def test_a_stranger_is_refused_at_every_address(served, headers, status, words, path):
    answer = ask(served, path, headers=served.headers | headers)
    assert answer.status_code == status and words in answer.json()["error"]
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


def test_a_page_of_its_own_origin_and_another_loopback_name_are_answered(served):
    own = {"Origin": served.url, "Host": f"localhost:{served.port}"}
    answer = ask(served, "/v1/views", headers=served.headers | own)
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"


def test_it_listens_on_loopback_only(served):
    name = socket.gethostbyname(socket.gethostname())
    if name.startswith("127."):
        pytest.skip("this machine's name leads to loopback: no other address to try")
    with pytest.raises(OSError):
        socket.create_connection((name, served.port), timeout=5).close()


def test_a_larger_answer_than_the_limit_is_refused(serving: Callable[..., Served]):
    answer = ask(serving(Limits(size_bytes=2_000)), "/v1/views/vw_price_history?rows=500")
    assert answer.status_code == 413 and "request fewer rows" in answer.json()["error"]


def test_a_query_that_takes_too_long_is_stopped(home):
    _, warehouse = home
    endless = "SELECT COUNT(*) AS n FROM api.vw_price_history a, api.vw_price_history b, api.vw_price_history c, " \
              "api.vw_price_history d"  # fmt: skip
    with pytest.raises(WarehouseError, match=r"took longer than 0\.3 s and was stopped"):
        warehouse.query(endless, within_s=0.3)
    assert len(warehouse.query("SELECT * FROM api.vw_curve", within_s=60)), "the next query is not affected"


def test_a_request_that_takes_too_long_is_answered_so(serving, monkeypatch):
    import time

    monkeypatch.setattr("tasks.door.http.read_view", lambda *_, **__: time.sleep(1) or {})
    answer = ask(serving(within_s=0.2), "/v1/views/vw_curve")
    assert answer.status_code == 503 and "no answer within 0.2 s" in answer.json()["error"]


def test_a_home_that_published_nothing_says_so(tmp_path):
    with pytest.raises(WarehouseError, match="nothing is published"):
        read_view(DuckDbWarehouse(Zones(tmp_path)), "vw_curve")


def test_a_value_that_no_row_has_is_refused_with_those_there_are(home):
    with pytest.raises(Refused, match=r"has no horizon '2w'; known: 12m, 1m, 1w, 3m, 6m"):
        read_view(home[1], "vw_latest_forecast", where={"horizon": "2w"})


def test_no_number_of_an_answer_is_infinite_or_nan():
    from tasks.door.answers import missing, plain_rows

    frame = pd.DataFrame({"a": [1.0, float("inf"), float("nan")], "n": pd.array([1, None, 3], dtype="Int64")})
    assert plain_rows(frame) == [{"a": 1.0, "n": 1}, {"a": None, "n": None}, {"a": None, "n": 3}]
    assert [(one["column"], one["rows"]) for one in missing("api.vw_curve", frame)] == [("a", 2), ("n", 1)]


def test_the_token_is_generated_once_for_its_owner_and_one_that_others_could_read_is_replaced(zones, monkeypatch):
    monkeypatch.delenv(TOKEN_NAME, raising=False)
    token = token_of(zones)
    path = token_path(zones)
    assert token_of(zones) == token and len(token) == 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and redact(f"x {token}") == "x ***"
    path.chmod(0o644)
    assert token_of(zones) != token and stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setenv(TOKEN_NAME, "too-short")
    with pytest.raises(SettingsError, match="has 9 characters"):
        token_of(zones)
    monkeypatch.setenv(TOKEN_NAME, "t" * 40)
    assert token_of(zones) == "t" * 40


def test_a_port_that_is_taken_is_named_with_one_that_is_free(served, monkeypatch, capsys):
    monkeypatch.setenv("CBI_HOME", str(served.home))
    assert main(["serve", "--port", str(served.port)]) == 1
    assert f"port {served.port} is taken by another program; `cbi serve --port " in capsys.readouterr().err
