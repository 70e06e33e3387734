"""``cbi serve``: the read-only door for programs."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.words import examples


@examples(
    "serve                  # JSON at /v1/views, MCP at /mcp",
    "serve --port 9000",
    "serve --stdio          # MCP for a program that starts it",
)
def serve(
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port on 127.0.0.1; 0: any free one.")
    ] = 8710,
    stdio: Annotated[
        bool, typer.Option("--stdio", help="MCP on standard input and output; no port, no token.")
    ] = False,
) -> None:
    """Answer programs of this machine: published views as JSON, and as an MCP server's tools. Nothing is written."""
    from tasks.door import run
    from tasks.settings import load_settings

    settings = load_settings()
    if stdio:
        run.serve_stdio(settings)
    else:
        run.serve(settings, port)
