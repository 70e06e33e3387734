"""The MCP server, asked by the official client over loopback and over standard input and output."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tasks.settings import PROJECT
from tests.door.conftest import Served
from tests.door.test_json import tree

mcp = pytest.importorskip("mcp")
TOOLS = ("latest_forecast", "curve", "decision", "drivers", "track_record", "data_freshness")
WITHIN_S = 120


def over_http(served: Served, ask: Callable[[Any], Awaitable[Any]], token: str | None = None) -> Any:
    """Open the official client on the door, and ask."""
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    headers = served.headers if token is None else {"Authorization": f"Bearer {token}"}

    async def session() -> Any:
        async with httpx2.AsyncClient(headers=headers, timeout=WITHIN_S) as web:
            transport = streamable_http_client(f"{served.url}/mcp", http_client=web)
            async with mcp.Client(transport, read_timeout_seconds=WITHIN_S) as client:
                return await ask(client)

    return asyncio.run(asyncio.wait_for(session(), WITHIN_S))


def test_the_official_client_finds_six_tools_that_only_read(served):
    async def ask(client: Any) -> Any:
        return (await client.list_tools()).tools

    tools = over_http(served, ask)
    assert tuple(tool.name for tool in tools) == TOOLS
    assert all(tool.annotations.read_only_hint and tool.description for tool in tools)
    assert set(tools[0].input_schema["properties"]) == {"horizon"}


@pytest.mark.parametrize(
    ("tool", "given", "parts"),
    [
        ("latest_forecast", {}, ["forecast"]),
        ("latest_forecast", {"horizon": "3m"}, ["forecast"]),
        ("curve", {}, ["curve"]),
        ("decision", {}, ["decision"]),
        ("drivers", {"most": 2}, ["drivers", "words"]),
        ("track_record", {"horizon": "1m"}, ["skill", "by_year"]),
        ("data_freshness", {}, ["sources"]),
        ("data_freshness", {"source": "cftc"}, ["series"]),
    ],
)
def test_each_tool_answers_with_the_rows_of_its_views(served, home, tool, given, parts):
    before = tree(served.home)

    async def ask(client: Any) -> Any:
        return await client.call_tool(tool, given)

    result = over_http(served, ask)
    assert not result.is_error, result.content
    assert list(result.structured_content) == parts
    for part in result.structured_content.values():
        stored = home[1].query(f"SELECT COUNT(*) AS n FROM {part['view']}")["n"].iloc[0]
        assert bool(part["rows"]) or part["empty"], "an answer without rows says why"
        assert len(part["rows"]) <= stored
        for row in part["rows"]:
            assert set(given) - {"most"} <= {name for name in given if row.get(name) == given[name]} | {"most"}
    assert tree(served.home) == before


def test_an_answer_has_the_prices_that_are_published(served, home):
    async def ask(client: Any) -> Any:
        return await client.call_tool("latest_forecast", {"horizon": "12m"})

    [row] = over_http(served, ask).structured_content["forecast"]["rows"]
    stored = home[1].query("SELECT * FROM api.vw_latest_forecast WHERE horizon = '12m'").iloc[0]
    assert (row["point"], row["p10"], row["p90"]) == (stored["point"], stored["p10"], stored["p90"])
    assert row["as_of"] == "2024-01-05"


@pytest.mark.parametrize(
    ("tool", "given", "words"),
    [
        ("latest_forecast", {"horizon": "2w"}, "has no horizon '2w'; known: 12m, 1m, 1w, 3m, 6m"),
        ("latest_forecast", {"horizon": "1w' OR 1=1 --"}, "1 validation error"),
        ("drivers", {"most": 10_000_000}, "1 validation error"),
        ("curve", {"contract": "../../etc/passwd"}, "has no contract '../../etc/passwd'"),
        ("publish", {"rows": []}, "Unknown tool: publish"),
    ],
)
def test_a_wrong_value_a_huge_one_and_a_tool_that_writes_are_refused(served, tool, given, words):
    async def ask(client: Any) -> Any:
        return await client.call_tool(tool, given)

    result = over_http(served, ask)
    assert result.is_error and words in result.content[0].text


def test_a_huge_call_is_refused_before_it_is_read(served):
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x" * 100_000}}
    answer = httpx.post(f"{served.url}/mcp", json=call, headers=served.headers, timeout=60)
    assert answer.status_code == 413 and "the limit is 64000" in answer.json()["error"]


def test_a_body_of_unknown_size_is_not_read(served):
    answer = httpx.post(f"{served.url}/mcp", content=iter([b"{}"]), headers=served.headers, timeout=60)
    assert answer.status_code == 411 and "Content-Length" in answer.json()["error"]


def test_a_client_without_the_token_gets_nothing(served):
    async def ask(client: Any) -> Any:
        return await client.list_tools()

    with pytest.raises(ExceptionGroup):
        over_http(served, ask, token="wrong")
    assert over_http(served, ask).tools, "the same question with the token is answered"


def test_over_standard_input_and_output_a_program_starts_it_itself(served, monkeypatch):
    from mcp import StdioServerParameters

    started = StdioServerParameters(
        command=sys.executable,
        args=["-m", "cli", "serve", "--stdio"],
        env={"CBI_HOME": str(served.home), "PYTHONPATH": str(PROJECT)},
        cwd=str(PROJECT),
    )

    async def session() -> Any:
        async with mcp.Client(started, read_timeout_seconds=WITHIN_S) as client:
            return await client.call_tool("latest_forecast", {"horizon": "1w"})

    result = asyncio.run(asyncio.wait_for(session(), WITHIN_S))
    assert json.loads(result.content[0].text)["forecast"]["rows"][0]["horizon"] == "1w"
