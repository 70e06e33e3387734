"""Who may ask, and how: every request passes these rules before anything is read."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.errors import Refused

MCP = "/mcp"
READS = ("GET", "HEAD")
MOST_QUERY_BYTES, MOST_BODY_BYTES = 2_000, 64_000
REQUEST_WITHIN_S = 60.0
SAFE_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


def hosts(port: int) -> frozenset[str]:
    """The Host headers of this door. Another name that leads here is a rebound one (DNS rebinding)."""
    return frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))


@dataclass(frozen=True)
class Guard:
    """Refuses what is not a request of this machine, with the token, that reads.

    ``within_s``: a request that takes longer is answered with 503.
    """

    app: ASGIApp
    token: str
    port: int
    within_s: float = REQUEST_WITHIN_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI request."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        begun = False

        async def safely(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": [*message.get("headers", ()), *SAFE_HEADERS]}
            await send(message)

        try:
            self.require(scope)
            await asyncio.wait_for(self.app(scope, receive, safely), self.within_s)
        except Refused as error:
            await refusal(error)(scope, receive, safely)
        except TimeoutError:
            if not begun:
                await refusal(Refused(f"no answer within {self.within_s:g} s", 503))(scope, receive, safely)

    def require(self, scope: Scope) -> None:
        """Check one request.

        Raises:
            Refused: the message says which rule it breaks.
        """
        headers = Headers(scope=scope)
        client = scope.get("client")
        if client and not ip_address(client[0]).is_loopback:
            raise Refused("this door answers this machine only", 403)
        if headers.getlist("host") not in [[host] for host in hosts(self.port)]:
            raise Refused(f"Host {headers.get('host')!r} is not this door; ask 127.0.0.1:{self.port}", 421)
        if (origin := headers.get("origin")) is not None and origin.removeprefix("http://") not in hosts(self.port):
            raise Refused(f"a page of {origin!r} may not ask this door", 403)
        if not self.knows(headers):
            raise Refused(
                "the token is missing or wrong: send it in the header `Authorization`, after the word Bearer", 401
            )
        path = unquote(unquote(scope["raw_path"].decode("latin-1")))
        if ".." in path.split("/") or set(path) & {"\\", "\0"} or "//" in path:
            raise Refused(f"{path!r} is no address of this door: it serves views, not files", 400)
        if len(scope["query_string"]) > MOST_QUERY_BYTES:
            raise Refused(f"the query has {len(scope['query_string'])} bytes, the limit is {MOST_QUERY_BYTES}", 414)
        allowed = ("POST",) if scope["path"] == MCP else READS
        if scope["method"] not in allowed:
            raise Refused(f"{scope['method']}: this door only reads; {scope['path']} takes {', '.join(allowed)}", 405)
        if "transfer-encoding" in headers:
            raise Refused("send the body with its Content-Length: one of unknown size is not read", 411)
        size = headers.get("content-length", "0")
        if size.isdecimal() and int(size) > MOST_BODY_BYTES:
            raise Refused(f"the body has {size} bytes, the limit is {MOST_BODY_BYTES}", 413)

    def knows(self, headers: Headers) -> bool:
        """Whether the request has the token. The comparison takes the same time for every wrong one."""
        kind, _, given = (headers.get("authorization") or "").partition(" ")
        same = hmac.compare_digest(digest(given.strip()), digest(self.token))
        return same and kind.lower() == "bearer"


def digest(text: str) -> bytes:
    """A text as bytes of one length, so that a comparison shows nothing of it."""
    return hashlib.sha256(text.encode()).digest()


def refusal(error: Refused) -> JSONResponse:
    """The answer to a request that is refused."""
    more: Mapping[str, str] = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    return JSONResponse({"error": str(error)}, status_code=error.status, headers=dict(more))
