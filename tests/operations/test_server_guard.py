"""Who may ask the Prefect server of a home: whoever has its password, and no other page of a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from flows.services import serve, server_environment
from tasks.errors import SettingsError
from tasks.operations.services import (
    PASSWORD,
    Service,
    answers,
    password_path,
    require_private,
    server_guard,
    server_password,
    stop,
)
from tasks.secrets import redact
from tasks.settings import Settings
from tasks.storage.zones import Zones

EVIL = "http://127.0.0.1:9999"


@pytest.fixture(autouse=True)
def no_password_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)


def test_a_home_generates_its_password_once_for_its_owner_only(zones: Zones) -> None:
    made = server_password(zones)
    assert server_password(zones) == made and made.startswith("cbi:") and len(made) > 20
    assert password_path(zones).stat().st_mode & 0o777 == 0o600
    assert redact(f"the server said {made}") == "the server said ***"
    assert made.split(":")[1] not in redact(f"password {made.split(':')[1]}")


@pytest.mark.parametrize("damaged", [b"", bytes(36), b"cbi:abcdefgh", b"\xff\xfe", b"cbi:"], ids=repr)
def test_a_damaged_password_is_generated_anew(zones: Zones, damaged: bytes) -> None:
    password_path(zones).parent.mkdir(parents=True)
    password_path(zones).write_bytes(damaged)
    made = server_password(zones)
    assert re.fullmatch(r"cbi:[\w-]{32}", made) and server_password(zones) == made
    assert password_path(zones).stat().st_mode & 0o777 == 0o600


def test_a_password_that_is_set_is_used(zones: Zones, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "reader:planted-password")
    assert server_password(zones) == "reader:planted-password" and not password_path(zones).exists()


@pytest.mark.parametrize("empty", [":", "user:", ":secret", "secret"])
def test_an_empty_password_is_none(empty: str) -> None:
    with pytest.raises(SettingsError, match="user:password"):
        require_private("127.0.0.1", empty)


def test_a_server_without_pages_allows_no_origin() -> None:
    assert "*" not in server_guard("a:b")["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]


def test_the_server_allows_its_own_pages(zones: Zones) -> None:
    told = server_environment(Settings(home=zones.home), "http://127.0.0.1:4300", "http://127.0.0.1:4300")
    allowed = told["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    assert allowed == ["http://127.0.0.1:4300", "http://localhost:4300"]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Zones, Service]]:
    zones = Zones(tmp_path_factory.mktemp("guarded") / "home")
    server = serve(Settings(home=zones.home), zones, "127.0.0.1", 0)
    yield zones, server
    stop(zones, "server")


@pytest.mark.more
def test_another_page_of_the_browser_can_neither_read_nor_run_anything(up: tuple[Zones, Service]) -> None:
    zones, server = up
    flow = {"name": "attack"}
    asked = [
        httpx.options(
            f"{server.address}/api/flows/",
            headers={"Origin": EVIL, "Access-Control-Request-Method": "POST"},
            timeout=30,
        ),
        httpx.post(f"{server.address}/api/flows/", json=flow, headers={"Origin": EVIL}, timeout=30),
        httpx.post(  # what a form of a page sends without asking first
            f"{server.address}/api/flows/",
            content=b'{"name": "attack"}',
            headers={"Origin": EVIL, "Content-Type": "text/plain"},
            timeout=30,
        ),
        httpx.post(f"{server.address}/api/flows/filter", json={}, headers={"Host": "attacker.example"}, timeout=30),
    ]
    assert [answer.status_code for answer in asked] == [400, 401, 401, 401]
    assert not any("access-control-allow-origin" in answer.headers for answer in asked)
    assert not answers(server.address, "cbi:wrong") and answers(server.address, server_password(zones))
    user, _, secret = server_password(zones).partition(":")
    found = httpx.post(f"{server.address}/api/flows/filter", json={}, auth=(user, secret), timeout=30)
    assert found.status_code == 200 and "attack" not in found.text
