"""What a hostile or sick server costs: no more memory than the limit, no more time than the deadline, no thread."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tasks import http as http_module
from tasks.errors import SourceDown, SourceUnavailable
from tasks.http import Http, Limits
from tests.conftest import LocalServer

MIB = 2**20
LIMITS = Limits(attempts=1, read_s=9, total_s=30, max_bytes=2 * MIB, download_total_s=30, max_download_bytes=2 * MIB)
SLOW = Limits(attempts=1, connect_s=9, read_s=9, total_s=0.4, download_total_s=0.4)


def client(limits: Limits = LIMITS, **given: object) -> Http:
    return Http("somewhere", per_minute=60_000, limits=limits, **given)


def encoded(content: bytes, encoding: str) -> tuple[int, bytes, dict[str, str]]:
    return 200, content, {"Content-Encoding": encoding}


# --- encodings


def test_only_gzip_is_asked_for_and_a_download_asks_for_none(server: LocalServer, tmp_path: Path) -> None:
    asked = []

    def serve(handler) -> None:
        asked.append(handler.headers["Accept-Encoding"])
        handler.send_response(200)
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"ok")

    server.script = [serve]
    with client(downloads=tmp_path) as http:
        http.get(server.url)
        http.post(server.url, {})
        http.download(server.url)
    assert asked == ["gzip", "gzip", "identity"]


@pytest.mark.parametrize("size", [0, 1, 2**18 - 1, 2**18, 2**18 + 1, 3 * 2**18, 1_500_000])
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_a_gzip_answer_is_read_whole(server: LocalServer, size: int, encoding: str) -> None:
    content = bytes(n * n % 251 for n in range(1000)) * (size // 1000) + b"x" * (size % 1000)
    server.script = [encoded(gzip.compress(content), encoding)]
    with client() as http:
        assert http.get(server.url) == content


@pytest.mark.parametrize("tail", [b"", b"\0" * 512, gzip.compress(b", and more")], ids=["one", "padded", "two members"])
def test_members_of_a_gzip_follow_one_another_and_zeros_are_none(server: LocalServer, tail: bytes) -> None:
    server.script = [encoded(gzip.compress(b"a" * 300_000) + tail, "gzip")]
    with client() as http:
        assert http.get(server.url) == b"a" * 300_000 + (b", and more" if tail[:1] == b"\x1f" else b"")


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "gzip, gzip, gzip", "br, gzip", "rot13"])
@pytest.mark.parametrize("ask", ["get", "post", "download"])
@pytest.mark.faults
def test_an_encoding_that_was_not_asked_for_or_several_are_refused_unread(
    server: LocalServer, tmp_path: Path, encoding: str, ask: str
) -> None:
    server.script = [encoded(gzip.compress(gzip.compress(gzip.compress(b"0" * 10_000))), encoding)]
    with client(downloads=tmp_path) as http, pytest.raises(SourceUnavailable, match=f"encoded as '{encoding}'"):
        http.post(server.url, {}) if ask == "post" else getattr(http, ask)(server.url)
    assert len(server.requests) == 1, "asking again would bring the same"


def test_two_encoding_headers_are_two_encodings(server: LocalServer) -> None:
    def serve(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        handler.wfile.write(gzip.compress(gzip.compress(b"0")))

    server.script = [serve]
    with client() as http, pytest.raises(SourceUnavailable, match="encoded as 'gzip, gzip'"):
        http.get(server.url)


def test_a_gzip_that_is_cut_is_asked_for_again_and_one_that_is_none_is_not(server: LocalServer) -> None:
    whole = gzip.compress(bytes(range(256)) * 100)
    again = Limits(attempts=2, first_wait_s=0, longest_wait_s=0)
    server.script = [encoded(whole[:-9], "gzip"), encoded(whole, "gzip")]
    with client(again) as http:
        assert http.get(server.url) == bytes(range(256)) * 100
    for wrong in (b"no gzip at all", whole + b"behind it", zlib.compress(b"deflate")):
        server.requests.clear()
        server.script = [encoded(wrong, "gzip")]
        with client(again) as http, pytest.raises(SourceUnavailable, match="not a complete gzip"):
            http.get(server.url)
        assert len(server.requests) == 1


CHILD = """
import gzip, http.server, resource, sys, threading, zlib
from pathlib import Path
from tasks.errors import SourceUnavailable
from tasks.http import Http, Limits

def zeros(mib):
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(pack.compress(bytes(2**20)) for _ in range(mib)) + pack.flush()
def bomb(layers):
    packed = ZEROS
    for _ in range(layers - 1):
        packed = gzip.compress(packed)
    return packed

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = bomb({layers})
        self.send_response({status})
        self.send_header("Content-Encoding", ", ".join(["gzip"] * {layers}))
        self.send_header("Location", "/next") if {status} == 302 else None
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *said): pass

ZEROS = zeros(160)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
scale = 1 if sys.platform == "darwin" else 1024
bomb({layers})
with Http("somewhere", per_minute=60000, limits=Limits(attempts=1, max_bytes=2**21)) as http:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
    try:
        {ask}
    except SourceUnavailable as error:
        print(str(error))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale - before)
"""


@pytest.mark.faults
@pytest.mark.parametrize(
    ("layers", "status", "ask", "told"),
    [
        (1, 200, "http.get(address)", "more than 2097152 bytes"),
        (3, 200, "http.get(address)", "encoded as 'gzip, gzip, gzip'"),
        (1, 200, "http.download(address)", "encoded as 'gzip'"),
        (1, 500, "http.get(address)", "HTTP 500"),
        (1, 302, "http.get(address)", "more than 10 redirects"),
    ],
    ids=["one encoding", "stacked", "download", "error body", "body of a redirect"],
)
def test_an_answer_that_inflates_to_hundreds_of_megabytes_costs_a_few(
    layers: int, status: int, ask: str, told: str
) -> None:
    # 160 MiB of zeros in 160 kB: one raw read of 64 KiB inflates to 64 MiB at once
    here = '"http://127.0.0.1:%d/" % server.server_address[1]'
    code = CHILD.format(layers=layers, status=status, ask=ask.replace("address", here))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=True
    )
    *said, grown = done.stdout.splitlines()
    assert told in "".join(said)
    assert int(grown) < 24 * MIB, f"{int(grown) / MIB:.0f} MiB more than before the request"


# --- time


@contextmanager
def raw_server(
    answer: Callable[[socket.socket, threading.Event], None], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """A server that answers each connection, once its request has come, byte by byte as ``answer`` likes."""
    ending = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    threads = []

    def one(connection: socket.socket) -> None:
        with suppress(OSError), tls.wrap_socket(connection, server_side=True) if tls else connection as connection:
            try:
                connection.recv(65_536)
                answer(connection, ending)
            except OSError:
                pass

    def accept() -> None:
        while not ending.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=one, args=(connection,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ending.set()
        accepting.join()
        for thread in threads:
            thread.join()
        listener.close()


def dripping(begins: bytes, drip: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def answer(connection: socket.socket, ending: threading.Event) -> None:
        connection.sendall(begins)
        while not ending.wait(0.05):
            connection.sendall(drip)

    return answer


def redirecting(connection: socket.socket, ending: threading.Event) -> None:
    ending.wait(0.1)
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /on\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


DRIPS = {
    "nothing at all": lambda connection, ending: ending.wait(20),
    "status line": dripping(b"HTTP/1.1 ", b"2"),
    "one header": dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "many headers": dripping(b"HTTP/1.1 200 OK\r\n", b"X-Slow: x\r\n"),
    "interim answers": dripping(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "chunks": dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "chunk extension": dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
    "empty gzip blocks": dripping(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 100000\r\n\r\n"
        + gzip.compress(b"")[:10], b"\0\0\0\xff\xff"),
    "redirects": redirecting,
    "body of a redirect": dripping(b"HTTP/1.1 302 Found\r\nLocation: /on\r\nContent-Length: 100000\r\n\r\n", b"x"),
}  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        *(("get", kind) for kind in DRIPS),
        *((a, k) for a in ("post", "download") for k in ("one header", "body")),
        ("post", "redirects"),
        ("download", "redirects"),
    ],
)
def test_the_time_of_a_request_counts_everything_and_no_thread_is_left(tmp_path: Path, ask: str, kind: str) -> None:
    with raw_server(DRIPS[kind]) as address, client(SLOW, downloads=tmp_path) as http:
        threads, started = set(threading.enumerate()), time.monotonic()
        with pytest.raises(SourceUnavailable) as raised:
            http.post(address, {}) if ask == "post" else getattr(http, ask)(address)
        took = time.monotonic() - started
        ours = {thread for thread in set(threading.enumerate()) - threads if "one" not in thread.name}
    assert took < 1.4, "the limit is 0.4 s, and a busy machine is slow"
    assert not ours
    if ask == "post" and "redirect" in kind:  # not followed: a body goes to whom it is meant for
        assert "HTTP 302" in str(raised.value)
    elif kind == "body of a redirect":  # nobody reads it
        assert "redirects" in str(raised.value)
    else:
        assert "TooLong: no whole answer within the 0.4 s" in str(raised.value)


def test_an_error_that_drips_its_reason_is_told_with_what_came_of_it() -> None:
    slow = Limits(attempts=1, read_s=0.5, total_s=20)
    answer = dripping(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100000\r\n\r\nno entry ", b".")
    with raw_server(answer) as address, client(slow) as http:
        started = time.monotonic()
        with pytest.raises(SourceUnavailable, match=r"HTTP 403: no entry \.\."):
            http.get(address)
    assert time.monotonic() - started < 5


def test_a_second_request_after_one_that_took_too_long_has_its_whole_time(server: LocalServer) -> None:
    server.script = [lambda handler: handler.ending.wait(5), (200, b"ok")]
    with client(SLOW) as http:
        with pytest.raises(SourceDown, match="TooLong"):
            http.get(server.url)
        assert http.get(server.url) == b"ok"


def test_attempts_and_the_waits_between_them_share_the_time_of_the_request(server: LocalServer) -> None:
    server.script = [(503, b"busy", {"Retry-After": "1"})]
    started = time.monotonic()
    with client(Limits(attempts=9, total_s=1.5, longest_wait_s=60)) as http, pytest.raises(SourceDown, match="503"):
        http.get(server.url)
    assert time.monotonic() - started < 2.5 and len(server.requests) == 2


def test_nobody_accepting_a_connection_meets_the_deadline() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = []
    try:
        for _ in range(4):  # a queue that is full: further connections are not answered
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(listener.getsockname())
        started = time.monotonic()
        with client(SLOW) as http, pytest.raises(SourceDown):
            http.get(f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert time.monotonic() - started < 1.4
    finally:
        for one in (*waiting, listener):
            one.close()


# --- redirects


def test_a_redirect_is_followed_without_its_body_and_a_loop_ends(server: LocalServer, tmp_path: Path) -> None:
    server.script = [(302, b"x" * 5000, {"Location": "/next"}), (200, b"there")]
    small = Limits(attempts=1, max_bytes=100)
    with client(small) as http:
        assert http.get(server.url, {"id": "1"}) == b"there"
    assert [request.path for request in server.requests] == ["/", "/next"]
    server.script = [(302, b"", {"Location": "/"})]
    for ask in ("get", "download"):
        server.requests.clear()
        with client(downloads=tmp_path) as http, pytest.raises(SourceUnavailable, match="more than 10 redirects"):
            getattr(http, ask)(server.url)
        assert len(server.requests) == 11, "and it is not asked again"


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/x", "file:///etc/passwd", "gopher://127.0.0.1:70/x"])
def test_a_redirect_to_another_scheme_goes_nowhere(server: LocalServer, place: str) -> None:
    server.script = [(302, b"", {"Location": place})]
    with client(Limits(attempts=3, first_wait_s=0)) as http, pytest.raises(SourceUnavailable, match="Unsupported"):
        http.get(server.url)
    assert len(server.requests) == 1


def test_connections_through_the_proxy_of_the_environment_meet_the_deadline_too(monkeypatch) -> None:
    with raw_server(DRIPS["one header"]) as address:
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with client(SLOW) as http, pytest.raises(SourceDown, match="TooLong"):
            http.get("http://source.invalid/data")


def test_a_handshake_of_tls_that_never_ends_meets_the_deadline() -> None:
    with raw_server(dripping(b"\x16\x03\x03\x40\x00", b"\x02")) as address, client(SLOW) as http:
        started = time.monotonic()
        with pytest.raises(SourceDown, match="TooLong"):
            http.get(address.replace("http:", "https:"))
    assert time.monotonic() - started < 1.4


@pytest.fixture
def over_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ssl.SSLContext:
    """A certificate for 127.0.0.1 that clients made from now on trust."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem = signed.public_bytes(Encoding.PEM)
    (tmp_path / "both.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem)
    monkeypatch.setattr(http_module, "_certificates", lambda: ssl.create_default_context(cadata=pem.decode()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    return context


@pytest.mark.parametrize("ask", ["get", "download"])
def test_a_redirect_from_https_to_http_is_not_followed(
    server: LocalServer, over_tls: ssl.SSLContext, tmp_path: Path, ask: str
) -> None:
    def leads_away(connection: socket.socket, ending: threading.Event) -> None:
        answer = f"HTTP/1.1 302 Found\r\nLocation: {server.url}/data\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(answer.encode())

    told = "it redirects from https to http://127"
    with (
        raw_server(leads_away, over_tls) as address,
        client(downloads=tmp_path) as http,
        pytest.raises(SourceUnavailable, match=told),
    ):
        getattr(http, ask)(address.replace("http:", "https:"))
    assert server.requests == []
