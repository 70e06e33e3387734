"""``cbi serve``: the door in this terminal, until Ctrl-C."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.door.http import door, has_mcp
from tasks.door.tools import Questions, mcp_server
from tasks.errors import SettingsError
from tasks.operations.services import free_port, generated_secret
from tasks.secrets import find_secret
from tasks.settings import Settings
from tasks.storage.files import in_shell
from tasks.storage.zones import Zones
from tasks.warehouse.open import open_warehouse

if TYPE_CHECKING:
    import uvicorn

HOST, PORT = "127.0.0.1", 8710
TOKEN = "CBI_SERVE_TOKEN"  # noqa: S105 a name
SHORTEST_TOKEN = 24
GENERATED = re.compile(r"[A-Za-z0-9_-]{43}")
CONNECTIONS = 32
INSTALL = ".venv/bin/python -m pip install --constraint constraints.txt --editable '.[serve]'"


def token_path(zones: Zones) -> Path:
    """Where the generated token is stored, mode 0600."""
    return zones.home / "services" / "serve-token"


def token_of(zones: Zones) -> str:
    """The token that a request must have: CBI_SERVE_TOKEN (environment or keychain), else one that is generated once.

    A token file that others may read is replaced: whoever read it is shut out.

    Raises:
        SettingsError: the given token is too short to keep anyone out.
    """
    if given := find_secret(TOKEN):
        if len(given) < SHORTEST_TOKEN:
            raise SettingsError(f"{TOKEN} has {len(given)} characters; give it {SHORTEST_TOKEN} or more, or unset it")
        return given
    path = token_path(zones)
    if path.is_file() and path.stat().st_mode & 0o077:
        path.unlink()
    return generated_secret(zones, path, GENERATED, lambda: secrets.token_urlsafe(32))


def serve(settings: Settings, port: int) -> None:
    """Serve over HTTP on loopback until Ctrl-C.

    Raises:
        SettingsError: the port is taken.
    """
    import uvicorn

    zones = Zones(settings.home)
    chosen = free_port(HOST, port)
    if port and chosen != port:
        raise SettingsError(f"port {port} is taken by another program; `cbi serve --port {chosen}` is free")
    app = door(Questions(open_warehouse(settings)), token=token_of(zones), port=chosen)
    print(f"http://{HOST}:{chosen}/v1/views   (Ctrl-C ends it)")
    given = bool(find_secret(TOKEN))
    print(f"token: {TOKEN}" if given else f"token: in {token_path(zones)}")
    token = f"${TOKEN}" if given else f"$(cat {in_shell(token_path(zones))})"
    print(f'try: curl -H "Authorization: Bearer {token}" http://{HOST}:{chosen}/v1/views')
    print(
        f"MCP: http://{HOST}:{chosen}/mcp" if has_mcp() else f"MCP: not served; its package is missing: {INSTALL}",
        flush=True,
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(configured(app, chosen)).run()


def configured(app: object, port: int) -> uvicorn.Config:
    """The settings of its HTTP server: loopback only, few connections, no websocket, no log of requests."""
    import uvicorn

    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=HOST,
        port=port,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=16_384,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
    )


def serve_stdio(settings: Settings) -> None:
    """The MCP server on standard input and output, for a program that starts it. It needs no token.

    Raises:
        SettingsError: the package of the MCP server is missing.
    """
    if not has_mcp():
        raise SettingsError(f"the MCP server needs its package: {INSTALL}")
    mcp_server(Questions(open_warehouse(settings))).run("stdio")
