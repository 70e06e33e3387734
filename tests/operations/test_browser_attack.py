"""A page in a real browser that attacks this home's server: whatever a page can send is refused, and the UI works.

The page comes from another port of this machine, and, as after a DNS rebinding, from a foreign name on the server's own
port. docs/threats.md has the table of a run.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from flows.services import serve
from tasks.operations.services import PASSWORD, Service, server_password, stop
from tasks.settings import Settings
from tasks.storage.zones import Zones

BROWSER = next((path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), "")
MARK = "attack-of-a-page"
PAGE = Path(__file__).parent / "pages" / "attack.html"

pytestmark = [
    pytest.mark.more,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine (`apt-get install chromium`)"),
]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Zones, Service]]:
    zones = Zones(tmp_path_factory.mktemp("attacked") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(PASSWORD, raising=False)
        patch.delenv("PREFECT_API_AUTH_STRING", raising=False)
        server = serve(Settings(home=zones.home), zones, "127.0.0.1", 0)
        yield zones, server
        stop(zones, "server")


@contextmanager
def browser(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Headless Chromium with a profile of its own; ended with all its processes."""
    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--no-proxy-server", "--disable-background-networking", f"--user-data-dir={folder}", *arguments,
    ]  # fmt: skip
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield started
    finally:
        started.terminate()
        with suppress(subprocess.TimeoutExpired):
            started.wait(20)
        if started.poll() is None:
            started.kill()
            started.wait()


class Attacker:
    """A server with the page that attacks ``servers``; what the page saw comes back by POST."""

    def __init__(self, servers: list[str], marker: Path) -> None:
        self.told: dict[str, str] = {}
        self.done = threading.Event()
        attacker = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path == "/attack"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(attacker.page if found else b"")

            def do_POST(self) -> None:
                attacker.told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()
                attacker.done.set()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        words = {"SERVERS": json.dumps(servers), '"MARKER"': json.dumps(str(marker)), "MARK": MARK}
        page = PAGE.read_text().replace("TOLD", f"{self.address}/told")
        for word, value in words.items():
            page = page.replace(word, value)
        self.page = page.encode()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Rebound:
    """What a foreign name comes to after a rebinding: its page first, then the server itself, byte for byte.

    It listens at the server's own port on another loopback address, so that page and server are one origin.
    """

    def __init__(self, page: bytes, port: int) -> None:
        self.page, self.port = page, port
        self.asked: list[str] = []
        self.answered: list[int] = []
        self._listener = socket.create_server(("127.0.0.2", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, browser: socket.socket) -> None:
        with browser, suppress(OSError):
            begins = browser.recv(2**16)
            if begins.startswith(b"GET /attack "):
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(self.page)}\r\n"
                browser.sendall(f"{head}Connection: close\r\n\r\n".encode() + self.page)
                return
            with socket.create_connection(("127.0.0.1", self.port)) as server:
                back = threading.Thread(target=self._pass, args=(server, browser), daemon=True)
                back.start()
                self._note(begins)
                server.sendall(begins)
                self._pass(browser, server)
                back.join()

    def _pass(self, come: socket.socket, go: socket.socket) -> None:
        with suppress(OSError):
            while piece := come.recv(2**16):
                self._note(piece)
                go.sendall(piece)
        with suppress(OSError):
            go.shutdown(socket.SHUT_WR)

    def _note(self, piece: bytes) -> None:
        first, _, rest = piece.partition(b"\r\n")
        if first.startswith(b"HTTP/1.1 "):
            self.answered.append(int(first.split()[1]))
        elif first.endswith(b" HTTP/1.1") and b"attacker.example" in rest:
            self.asked.append(first.decode())

    def close(self) -> None:
        self._listener.close()


def asked(up: tuple[Zones, Service], path: str) -> list[dict[str, object]]:
    """What the server tells whoever has its password."""
    zones, server = up
    user, _, password = server_password(zones).partition(":")
    answer = httpx.post(f"{server.address}/api{path}", json={}, auth=(user, password), timeout=60).raise_for_status()
    found = answer.json()
    return found["events"] if isinstance(found, dict) else found


def nothing_was_made(up: tuple[Zones, Service], marker: Path) -> None:
    for path in ("/flows/filter", "/deployments/filter", "/flow_runs/filter", "/events/filter"):
        assert MARK not in json.dumps(asked(up, path)), path
    assert not marker.exists()


def test_a_page_of_another_port_can_neither_read_nor_make_anything(
    up: tuple[Zones, Service], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    port, marker = urlsplit(up[1].address).port, tmp_path / "ran"
    attacker = Attacker([f"http://{name}:{port}" for name in ("127.0.0.1", "localhost")], marker)
    try:
        with browser(tmp_path / "profile", f"{attacker.address}/attack"):
            assert attacker.done.wait(300), "the page ended its attempts"
    finally:
        attacker.close()
    record_property("told", json.dumps(attacker.told, indent=1))
    print(json.dumps(attacker.told, indent=1))
    assert len(attacker.told) == 48
    for attempt, seen in attacker.told.items():
        name = attempt.partition(" ")[2]
        if name.startswith("fetch no-cors"):
            assert seen == "opaque", attempt  # sent, refused by the server, and not shown
        elif name.startswith(("fetch", "XML")):
            assert seen.startswith(("TypeError: Failed to fetch", "Error: refused")), (attempt, seen)
        elif name.startswith(("form", "frame")):
            assert seen == "hidden", (attempt, seen)
        elif name.startswith(("image", "script")):
            assert seen == "error", (attempt, seen)
        elif name.startswith("socket"):
            assert ("auth_success" not in seen and "closed 1006" in seen) or "closed 1008" in seen, (attempt, seen)
    nothing_was_made(up, marker)


def test_a_page_under_a_foreign_name_on_the_servers_own_port_has_no_password(
    up: tuple[Zones, Service], tmp_path: Path
) -> None:
    port, marker = urlsplit(up[1].address).port or 0, tmp_path / "ran"
    attacker = Attacker([f"http://attacker.example:{port}"], marker)
    try:
        rebound = Rebound(attacker.page, port)
    except OSError:
        attacker.close()
        pytest.skip("127.0.0.2 is no address of this machine")
    try:
        rule = "--host-resolver-rules=MAP attacker.example 127.0.0.2"
        with browser(tmp_path / "profile", rule, f"http://attacker.example:{port}/attack"):
            assert attacker.done.wait(300), "the page ended its attempts"
    finally:
        attacker.close()
        rebound.close()
    print(json.dumps(attacker.told, indent=1))
    assert any(asked.startswith("POST /api/flows/ ") for asked in rebound.asked), "the server was asked, as one origin"
    for attempt, seen in attacker.told.items():
        name = attempt.partition(" ")[2]
        if name.startswith(("fetch", "XML")):
            assert seen.startswith("401"), (attempt, seen)
        elif name.startswith("form"):
            assert "Unauthorized" in seen, (attempt, seen)
        elif name.startswith("socket"):
            assert "auth_success" not in seen and ("closed 1006" in seen or "closed 1008" in seen), (attempt, seen)
    nothing_was_made(up, marker)


def test_the_ui_itself_works_in_the_browser_with_the_password(up: tuple[Zones, Service], tmp_path: Path) -> None:
    from websockets.sync.client import connect

    zones, server = up
    user, _, password = server_password(zones).partition(":")
    httpx.post(
        f"{server.address}/api/flows/", json={"name": "ours"}, auth=(user, password), timeout=60
    ).raise_for_status()
    port = socket.create_server(("127.0.0.1", 0))
    debugging = port.getsockname()[1]
    port.close()
    with browser(tmp_path / "profile", f"--remote-debugging-port={debugging}", f"{server.address}/flows"):
        tab = _until(lambda: _tab(debugging))
        with connect(tab, max_size=None) as line:
            ask = _asking(line)
            login = _until(lambda: ask("document.querySelector('input') && document.body.innerText"))
            assert "ours" not in login, "without the password nothing is shown"
            key = json.dumps(f"{user}:{password}")
            ask(f"localStorage.setItem('prefect-password', btoa({key})); location.href = '/flows'; 1")
            shown = _until(lambda: "ours" in str(ask("document.body.innerText")) and ask("document.body.innerText"))
    assert "ours" in shown


def _tab(port: int) -> str:
    with suppress(httpx.HTTPError):
        for tab in httpx.get(f"http://127.0.0.1:{port}/json", timeout=5).json():
            if tab["type"] == "page":
                return str(tab["webSocketDebuggerUrl"])
    return ""


def _asking(line: object) -> Callable[[str], object]:
    numbers = iter(range(1, 10_000))

    def ask(expression: str) -> object:
        number = next(numbers)
        sent = {"id": number, "method": "Runtime.evaluate", "params": {"expression": expression, "returnByValue": True}}
        line.send(json.dumps(sent))
        while (heard := json.loads(line.recv(30))).get("id") != number:
            pass
        return heard.get("result", {}).get("result", {}).get("value")  # none while the page changes

    return ask


def _until(look: Callable[[], object], within_s: float = 90) -> str:
    ends_at = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < ends_at, "the browser showed nothing of it"
        time.sleep(0.3)
    return str(seen)
