"""Delivery to local servers, also to dead ones; and no text of an address anywhere."""

from __future__ import annotations

import json
import logging
import socket
from email import message_from_bytes
from email.message import Message
from email.policy import default
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import pandas as pd
import pytest

from tasks.alerts.routes import addresses, deliver, message_of
from tasks.alerts.rules import rows_of
from tasks.secrets import redact

AS_OF = pd.Timestamp("2023-12-29")
KEY = "s3cretTokenOfARoute"  # pragma: allowlist secret


class Mailbox:
    """A real SMTP server on loopback that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        box = self

        class Session(StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 local\r\n")
                while line := self.rfile.readline():
                    word = line.upper().split()[:1]
                    if word == [b"DATA"]:
                        self.wfile.write(b"354 go on\r\n")
                        lines = []
                        while (part := self.rfile.readline()) != b".\r\n":
                            lines.append(part)
                        box.messages.append(message_from_bytes(b"".join(lines), policy=default))
                    self.wfile.write(b"221 bye\r\n" if word == [b"QUIT"] else b"250 ok\r\n")
                    if word == [b"QUIT"]:
                        return

        self._server = ThreadingTCPServer(("127.0.0.1", 0), Session)
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.address = f"mailto://127.0.0.1:{self._server.server_address[1]}/?from=cbi@example.org&to=buyer@example.org"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def mailbox():
    box = Mailbox()
    yield box
    box.close()


def dead_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_alerts_arrive_by_mail_and_by_webhook_the_gravest_first(server, mailbox) -> None:
    server.script = [(200, b"ok")]
    alerts = rows_of([("stale", "cot", "old"), ("disk", "CBI_HOME", "full")]).assign(level=["warning", "critical"])
    subject, text = message_of(alerts, as_of=AS_OF)
    done = deliver(subject, text, to=(f"json{server.url.removeprefix('http')}/hook/{KEY}", mailbox.address))
    assert done.complete and done.sent == 2
    body = json.loads(server.requests[0].body)
    assert body["title"] == "CBI, ZL as of 2023-12-29: 2 alerts, critical"
    assert body["message"].splitlines()[:2] == ["CRITICAL disk CBI_HOME: full", "WARNING stale cot: old"]
    (mail,) = mailbox.messages
    assert mail["Subject"] == body["title"] and "CRITICAL disk" in mail.as_string()


def test_a_dead_server_is_named_by_its_kind_alone_and_the_other_route_gets_the_message(server, caplog) -> None:
    server.script = [(200, b"ok")]
    dead = (f"json://user:{KEY}@127.0.0.1:{dead_port()}/{KEY}", f"mailto://u:{KEY}@127.0.0.1:{dead_port()}/?to=b@x.org")
    with caplog.at_level(logging.DEBUG):
        done = deliver("s", "t", to=(*dead, f"json{server.url.removeprefix('http')}/hook"))
        none = deliver("s", "t", to=dead)
    assert (done.sent, done.failed) == (1, ("json", "mailto"))
    assert none.line() == "not delivered (json, mailto failed)"
    assert KEY not in caplog.text and KEY not in done.line()


def test_a_server_that_refuses_and_an_address_of_no_kind_are_failures(server) -> None:
    server.script = [(500, b"no")]
    done = deliver("s", "t", to=(f"json{server.url.removeprefix('http')}/x", f"nosuch://{KEY}", KEY))
    assert done.sent == 0 and KEY not in done.line() and len(done.failed) == 3


def test_configured_addresses_and_the_keys_in_them_are_redacted_from_every_text(monkeypatch) -> None:
    first, second = f"json://hooks.example.org/{KEY}", "tgram://123456789:abcdefghijk/42"  # pragma: allowlist secret
    monkeypatch.setenv("CBI_NOTIFY", f"{first}, {second}")
    assert addresses() == (first, second)
    assert KEY not in redact(f"connecting to hooks.example.org/{KEY}") and "hooks.example.org" in redact(
        f"to hooks.example.org/{KEY}"
    )
    assert "abcdefghijk" not in redact("token abcdefghijk was refused")
