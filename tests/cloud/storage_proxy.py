"""What the storage emulator lacks, as a loopback proxy before it: ``if_generation_match``, and faults on demand."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass
class Fault:
    """``status``: answer so instead. ``cut``: ``before`` the request reaches the server, or ``after`` it was done.

    ``where`` is searched in "METHOD path?query" and, of an upload, " name"; ``times`` it happens, then no more.
    """

    where: str
    times: int = 1
    status: int = 0
    message: str = "injected"
    cut: str = ""
    happened: int = 0


@dataclass
class Proxy:
    """One loopback port before the emulator. Requests go through one at a time, as if each were a transaction."""

    port: int
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    watch: Callable[[str], None] | None = None
    _sessions: dict[str, tuple[str, str]] = field(default_factory=dict)
    _received: dict[str, int] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def clear(self) -> None:
        self.faults, self.requests, self.watch = [], [], None

    def _handler(proxy) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer in one piece: in two it waits 40 ms for an acknowledgement

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.answer(self, body)

            do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        told = f"{handler.command} {unquote(handler.path)} {self._uploaded(handler, body)}"
        self.requests.append(told)
        if self.watch:
            self.watch(told)
        with self._lock:
            fault = next((f for f in self.faults if f.happened < f.times and re.search(f.where, told)), None)
            if fault:
                fault.happened += 1
                if fault.status:
                    text = {"error": {"code": fault.status, "message": fault.message}}
                    return self._reply(handler, fault.status, json.dumps(text).encode())
                if fault.cut == "before":
                    return self._drop(handler)
            if refused := self._refused(handler, body):
                status, message = refused
                return self._reply(
                    handler, status, json.dumps({"error": {"code": status, "message": message}}).encode()
                )
            if again := self._sent_again(handler):
                return self._reply(handler, 308, b"", {"Range": f"bytes=0-{again - 1}"})
            status, headers, content = self.forward(handler.command, handler.path, dict(handler.headers), body)
            self._begun(handler, body, headers)
            self._received_up_to(handler, status)
        if fault and fault.cut == "after":
            return self._drop(handler)
        return self._reply(handler, status, content, headers)

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        kept = {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
        connection.connect()
        if hasattr(socket, "TCP_QUICKACK"):  # the emulator answers in two pieces
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        connection.request(method, path, body=body or None, headers=kept)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, dict(response.getheaders()), content

    def _reply(
        self, handler: BaseHTTPRequestHandler, status: int, content: bytes, headers: dict[str, str] | None = None
    ) -> None:
        handler.send_response_only(status)
        for name, value in (headers or {"Content-Type": "application/json"}).items():
            if name.lower() not in HOP_BY_HOP:
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    @staticmethod
    def _drop(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    # what the emulator does not do

    def _uploaded(self, handler: BaseHTTPRequestHandler, body: bytes) -> str:
        """The name of the object that a request uploads, if it does."""
        query = parse_qs(urlsplit(handler.path).query)
        if "upload_id" in query:
            return self._sessions.get(query["upload_id"][0], ("", ""))[0]
        if "uploadType" not in query:
            return ""
        if "name" in query:
            return query["name"][0]
        found = re.search(rb'"name":\s*"([^"]+)"', body[:4096])
        return found[1].decode() if found else ""

    def _refused(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, str] | None:
        parts = urlsplit(handler.path)
        query = parse_qs(parts.query)
        if "upload_id" in query:
            name, wanted = self._sessions.get(query["upload_id"][0], ("", ""))
        else:
            name, wanted = self._uploaded(handler, body), query.get("ifGenerationMatch", [""])[0]
        bucket = re.search(r"/b/([^/]+)/o", parts.path)
        if not name and (found := re.search(r"/o/(.+)$", parts.path)):
            name = unquote(found[1])
        if not bucket or not name or wanted == "":
            return None
        status, _, content = self.forward("GET", f"/storage/v1/b/{bucket[1]}/o/{quote(name, safe='')}", {}, b"")
        held = json.loads(content)["generation"] if status == 200 else "0"
        if held == wanted:
            return None
        return 412, f"At least one of the pre-conditions you specified did not hold: {held} is not {wanted}"

    def _begun(self, handler: BaseHTTPRequestHandler, body: bytes, headers: dict[str, str]) -> None:
        """Remember what a resumable upload was begun with: it holds when it ends, too."""
        query = parse_qs(urlsplit(handler.path).query)
        if query.get("uploadType") == ["resumable"] and "upload_id" not in query and "Location" in headers:
            session = parse_qs(urlsplit(headers["Location"]).query)["upload_id"][0]
            self._sessions[session] = (self._uploaded(handler, body), query.get("ifGenerationMatch", [""])[0])

    # Cloud Storage passes over bytes of a chunk that it has already; the emulator takes them for an error.

    @staticmethod
    def _range(handler: BaseHTTPRequestHandler) -> tuple[str, int, int] | None:
        session = parse_qs(urlsplit(handler.path).query).get("upload_id", [""])[0]
        found = re.match(r"bytes (\d+)-(\d+)/", handler.headers.get("Content-Range", ""))
        return (session, int(found[1]), int(found[2])) if session and found else None

    def _sent_again(self, handler: BaseHTTPRequestHandler) -> int:
        """How much of the upload is there, where the chunk came before; else 0."""
        chunk = self._range(handler)
        return self._received.get(chunk[0], 0) if chunk and chunk[1] < self._received.get(chunk[0], 0) else 0

    def _received_up_to(self, handler: BaseHTTPRequestHandler, status: int) -> None:
        if status == 308 and (chunk := self._range(handler)):
            self._received[chunk[0]] = chunk[2] + 1
