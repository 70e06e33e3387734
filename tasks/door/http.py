"""The door over HTTP: views as JSON under /v1, and the MCP server at /mcp where its package is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tasks.door.answers import ROWS, names, read_view
from tasks.door.guard import MCP, MOST_BODY_BYTES, Guard, refusal
from tasks.door.tools import AT_ONCE, Questions, mcp_server
from tasks.errors import CbiError, Refused

PARAMETERS = ("rows",)


def has_mcp() -> bool:
    """Whether the package of the MCP server is installed (the extra `serve`)."""
    return find_spec("mcp") is not None


def door(questions: Questions, *, token: str, port: int) -> Guard:
    """The whole application, behind its guard."""
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def index(request: Request) -> Response:
        tools = [question.__name__ for question in questions.all()] if has_mcp() else []
        return JSONResponse({"views": list(names()), "rows_at_once": questions.limits.rows, "mcp_tools": tools})

    async def rows(request: Request) -> Response:
        wanted = requested_rows(request)

        def read() -> dict[str, Any]:
            return read_view(questions.warehouse, request.path_params["view"], rows=wanted, limits=questions.limits)

        return JSONResponse(await anyio.to_thread.run_sync(read, limiter=limiter))

    routes = [Route("/", index), Route("/v1/views", index), Route("/v1/views/{view}", rows)]
    app = Starlette(routes=routes)
    if has_mcp():
        app = mcp_server(questions).streamable_http_app(
            streamable_http_path=MCP, json_response=True, stateless_http=True, max_request_body_size=MOST_BODY_BYTES
        )
        app.router.routes.extend(routes)
    app.add_exception_handler(CbiError, failed)
    app.add_exception_handler(404, nowhere)
    return Guard(app, token, port)


def requested_rows(request: Request) -> int:
    """The parameter ``rows``.

    Raises:
        Refused: it is no number, or there are other parameters.
    """
    if unknown := sorted(set(request.query_params) - set(PARAMETERS)):
        raise Refused(f"unknown parameter {unknown[0]!r}; known: {', '.join(PARAMETERS)}")
    given = request.query_params.get("rows", str(ROWS))
    if not given.isascii() or not given.isdecimal() or len(given) > 9:
        raise Refused(f"rows={given!r} is not a number of rows")
    return int(given)


async def failed(request: Request, error: Exception) -> Response:
    """A refusal as it is; any other error of ours as 503."""
    return refusal(error if isinstance(error, Refused) else Refused(str(error), 503))


async def nowhere(request: Request, error: Exception) -> Response:
    """There is no such address."""
    return refusal(Refused(f"{request.url.path!r} is no address of this door; views are listed at /v1/views", 404))
