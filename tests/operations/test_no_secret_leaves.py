"""A key of ours, planted where it could come from, is in no log, error, payload or support bundle."""

from __future__ import annotations

import importlib.util
import json
import logging
import stat
import subprocess
import sys
import tarfile
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest

from tasks import logs
from tasks.errors import SourceUnavailable, WarehouseError
from tasks.secrets import redact, redact_error
from tasks.settings import PROJECT
from tasks.sources.payloads import Fetched, land, landed
from tasks.storage.zones import Zones

KEY = "pl4nted/k3y+of=0urs"
SPELLED = (KEY, quote(KEY, safe=""), b64encode(f"{KEY}:".encode()).decode().rstrip("="))
NOW = pd.Timestamp("2024-01-02T12:00", tz="UTC")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRED_API_KEY", KEY)


def clean(text: str | bytes) -> bool:
    told = text if isinstance(text, bytes) else text.encode()
    return not any(form.encode() in told for form in SPELLED)


@pytest.fixture
def logger(zones: Zones):
    logger = logging.getLogger("tasks.planted")
    yield logger
    for handler in [held for held in logger.handlers if isinstance(held, logs.JsonLines)]:
        logger.removeHandler(handler)


def lines(zones: Zones, name: str = "*") -> list[dict[str, str]]:
    return [json.loads(line) for path in sorted(zones.logs.glob(name)) for line in path.read_text().splitlines()]


def test_a_log_line_tells_run_source_and_session_and_no_key(zones, logger):
    run = {"flow": "ingest-fred", "run": "a1", "as_of": "2023-12-29"}
    logs.keep_logs(zones, lambda record: run, ("tasks.planted",))
    logs.keep_logs(zones, lambda record: run, ("tasks.planted",))  # again changes nothing
    try:
        raise ValueError(f"refused {KEY}")
    except ValueError:
        with logs.about(source="fred"):
            logger.warning("asked %s", f"https://x.test/?a=1&k={quote(KEY, safe='')}", exc_info=True)
    logger.warning("%d", KEY)  # a record that does not fit its own format
    told = lines(zones)
    assert [line["message"] for line in told][:1] == ["asked https://x.test/?a=1&k=***"]
    assert {name: told[0][name] for name in ("flow", "run", "as_of", "source")} == {**run, "source": "fred"}
    assert "ValueError: refused ***" in told[0]["error"]
    held = next(zones.logs.iterdir())
    assert clean(held.read_bytes())
    assert [stat.S_IMODE(path.stat().st_mode) for path in (zones.logs, held)] == [0o700, 0o600]


def test_other_handlers_show_no_key_either(zones, logger, capsys):
    shown = logging.StreamHandler(sys.stderr)
    logger.addHandler(shown)
    try:
        logs.keep_logs(zones, lambda record: {}, ("tasks.planted",))
        logger.error("told %s", KEY)
    finally:
        logger.removeHandler(shown)
    assert capsys.readouterr().err == "told ***\n"


def test_a_log_that_has_grown_is_set_aside_and_the_oldest_piece_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MAX_BYTES", 20)
    for number in range(9):
        logs.append(tmp_path / "daily-2024-01-02.jsonl", f"line {number} of nine\n")
    held = {path.name: path.read_text().split()[1] for path in tmp_path.iterdir()}
    pieces = {f"daily-2024-01-02.{n}.jsonl": str(8 - n) for n in range(1, logs.PIECES_KEPT + 1)}
    assert held == {"daily-2024-01-02.jsonl": "8", **pieces}


def test_an_error_has_no_key_in_its_words_nor_in_those_of_its_causes():
    assert str(WarehouseError(f"could not ask with {KEY}")) == "could not ask with ***"
    assert clean(repr(WarehouseError(f"could not ask with {KEY}")))
    try:
        try:
            raise OSError(5, f"no answer to {KEY}")
        except OSError as cause:
            raise RuntimeError([f"header {SPELLED[2]}"]) from cause
    except RuntimeError as error:
        redact_error(error)
        assert (error.args, error.__cause__.args) == ((["header ***"],), (5, "no answer to ***"))


def test_what_stands_where_keys_stand_is_hidden_though_nobody_knows_it():
    assert redact("https://u:p4ss@x.test/?token=abc&n=1") == "https://***@x.test/?token=***&n=1"
    assert redact("{'Authorization': 'Bearer abc.def'}") == "{'Authorization': '***'}"


def test_an_answer_that_echoes_the_key_lands_without_it(zones, registry):
    spec = registry.sources.source("fred")
    body = f"observation_date,DFF\n2023-12-28,5.3\n# for {KEY} {quote(KEY, safe='')}\n".encode()
    fetched = Fetched("DFF", "csv", body, f"https://x.test/?api_key={KEY}&u={quote(KEY, safe='')}")
    payload = land(zones, "fred", fetched, spec, fetched_at=NOW)
    assert payload.path.read_bytes() == b"observation_date,DFF\n2023-12-28,5.3\n# for *** ***\n"
    assert land(zones, "fred", fetched, spec, fetched_at=NOW + pd.Timedelta("1d")) == payload, "the same again is one"
    assert all(clean(path.read_bytes()) for path in zones.raw.rglob("*") if path.is_file())


@pytest.mark.parametrize("streamed", [False, True], ids=["in memory", "streamed to disk"])
def test_a_file_that_is_no_text_and_echoes_the_key_is_not_landed(zones, registry, tmp_path, streamed):
    content: bytes | Path = b"PK\x03\x04\xff\xfe" + KEY.encode()
    if streamed:
        (tmp_path / "big.zip").write_bytes(bytes(2**24 - 5) + KEY.encode())  # across two pieces of the reading
        content = tmp_path / "big.zip"
    with pytest.raises(SourceUnavailable, match="contains our key"):
        land(zones, "fred", Fetched("DFF", "zip", content, "u"), registry.sources.source("fred"), fetched_at=NOW)
    assert (landed(zones, "fred"), (tmp_path / "big.zip").exists()) == ([], False)


def test_the_bundle_has_what_a_helper_needs_and_no_key(zones, monkeypatch, capsys):
    from cli.app import main

    zones.logs.mkdir(parents=True)
    planted = [*SPELLED, f"api_key={KEY}", json.dumps({"message": KEY})]
    (zones.logs / "daily-2024-01-02.jsonl").write_text("\n".join(planted))
    (zones.home / f"notes-{quote(KEY, safe='')}.txt").write_text(KEY)  # the audit tells file names
    monkeypatch.setenv("CBI_HOME", str(zones.home))
    monkeypatch.setenv("CBI_MODELS", f"gs://bucket/{KEY}")
    assert main(["support"]) == 0
    path = Path(capsys.readouterr().out.strip())
    with tarfile.open(path) as bundle:
        held = {member.name.partition("/")[2]: bundle.extractfile(member).read() for member in bundle}
    assert set(held) >= {f"{name}.json" for name in ("versions", "settings", "registry", "health", "audit", "gates")}
    assert all(map(clean, held.values()))
    assert held["logs/daily-2024-01-02.jsonl"].startswith(b"***\n***\n***\napi_key=***\n")
    assert json.loads(held["settings.json"])["settings"]["models"] == "gs://bucket/***"
    assert json.loads(held["settings.json"])["keys"]["FRED_API_KEY"] == "set"
    assert json.loads(held["audit.json"])["to do"][0]["name"] == "notes-***.txt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_bundle_has_neither_webhook_nor_password_nor_the_databases_address(zones, monkeypatch):
    from tasks.operations.support_bundle import write_bundle
    from tasks.run import open_run
    from tasks.settings import load_settings

    webhook = "https://hooks.test/services/T0pl4nt/B0/x9w8v7"
    database = "postgresql+asyncpg://cbi:d4t%2Fab4se@db.test/cbi"  # pragma: allowlist secret
    held = {"NOTIFY_URL": webhook, "PREFECT_API_DATABASE_CONNECTION_URL": database}
    for name, value in {
        **held,
        "PREFECT_SERVER_API_AUTH_STRING": "reader:s3rv3r-w0rd",
        "CBI_HOME": str(zones.home),
    }.items():
        monkeypatch.setenv(name, value)
    zones.logs.mkdir(parents=True)
    planted = [
        f"told {webhook}",
        f"on {database}",
        "as reader:s3rv3r-w0rd",
        "pass s3rv3r-w0rd",
        "d4t/ab4se d4t%2Fab4se",
    ]
    (zones.logs / "daily-2024-01-02.jsonl").write_text("\n".join(planted))
    with tarfile.open(write_bundle(open_run(load_settings(), origin="live", as_of=None), zones.home)) as bundle:
        read = {Path(member.name).name: bundle.extractfile(member).read().decode() for member in bundle}
    assert read["daily-2024-01-02.jsonl"].splitlines() == ["told ***", "on ***", "as ***", "pass ***", "*** ***"]


def test_no_bundle_is_written_when_a_key_is_left_in_it(zones, monkeypatch, capsys):
    from cli.app import main
    from tasks.operations import support_bundle

    monkeypatch.setenv("CBI_HOME", str(zones.home))
    monkeypatch.setattr(support_bundle, "_logs", lambda folder: {"logs/x": KEY.encode()})
    assert main(["support"]) == 1
    assert "SecretFound: logs/x would have contained a key" in capsys.readouterr().err
    assert not list(zones.home.rglob("*.tar.gz"))


@pytest.mark.skipif(importlib.util.find_spec("detect_secrets") is None, reason="detect-secrets is not installed")
def test_the_scan_finds_a_key_in_a_file_and_none_in_this_one(tmp_path):
    def scan(file: Path) -> int:
        hook = [
            sys.executable,
            "-m",
            "detect_secrets.pre_commit_hook",
            "--no-verify",
            "--baseline",
            ".secrets.baseline",
        ]
        return subprocess.run([*hook, str(file)], cwd=PROJECT, capture_output=True, check=False).returncode

    planted = tmp_path / "settings.py"
    planted.write_text('EIA_API_KEY = "' + "q8Zr2Lw9" * 4 + '"\n')
    assert (scan(planted), scan(Path("tasks/secrets.py"))) == (1, 0)
