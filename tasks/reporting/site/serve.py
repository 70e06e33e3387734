"""Serves the site on loopback."""

from __future__ import annotations

import webbrowser
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """A page that is read is no news."""


def server_of(folder: Path) -> ThreadingHTTPServer:
    """A server of the folder's files on a free port of 127.0.0.1; not started."""
    return ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))


def serve_site(folder: Path, *, opened: bool) -> None:
    """Serve until Ctrl-C, and open a browser where that is wanted."""
    with server_of(folder) as server, suppress(KeyboardInterrupt):
        address = f"http://127.0.0.1:{server.server_port}/"
        print(f"{address}   (Ctrl-C ends it)", flush=True)
        if opened:
            webbrowser.open(address)
        server.serve_forever()
