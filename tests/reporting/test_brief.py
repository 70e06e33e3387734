"""The brief: one page with its fonts inside, and a mail that reads well without pictures."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from cli.app import main
from tasks.reporting.brief import Brief, changed, read_brief
from tasks.reporting.brief_pages import html, markdown, text, write_pdf
from tasks.run import open_run
from tasks.settings import load_settings
from tasks.warehouse.duckdb import DuckDbWarehouse
from tests.alerts.test_routes import Mailbox, dead_port
from tests.conftest import EARLY, FinishedRun

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("daily")]


@pytest.fixture
def settled(copied_home: Path, first_run: FinishedRun, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CBI_HOME", str(copied_home))
    monkeypatch.setenv("CBI_REGISTRY", str(first_run.registry))
    monkeypatch.delenv("CBI_NOTIFY", raising=False)
    return copied_home


@pytest.fixture
def brief(settled: Path) -> Brief:
    run = open_run(load_settings(), origin="live", as_of=EARLY)
    return read_brief(run, DuckDbWarehouse(run.zones))


def pages(path: Path) -> int:
    (count,) = re.findall(rb"/Type\s*/Pages\s*/Count (\d+)", path.read_bytes())
    return int(count)


def test_the_brief_is_one_page_with_its_fonts_inside_and_the_same_each_time(brief: Brief, tmp_path: Path) -> None:
    first, again = write_pdf(brief, tmp_path / "a.pdf"), write_pdf(brief, tmp_path / "b.pdf")
    content = first.read_bytes()
    assert content == again.read_bytes() and pages(first) == 1
    named = set(re.findall(rb"/BaseFont\s*/([A-Z]{6}\+[\w-]+)", content))
    fonts = {font.removesuffix(b"-Identity-H") for font in named}  # each is named twice
    assert fonts and all(b"Libertinus" in font for font in fonts) and content.count(b"/FontFile") >= len(fonts)
    assert b"http" not in content.replace(b"http://www.w3.org", b"").replace(b"http://ns.adobe.com", b"").replace(
        b"http://purl.org", b""
    ).replace(b"http://www.aiim.org", b"")


def test_the_next_reports_are_due_by_their_usual_gap(brief: Brief) -> None:
    (cot,) = [line for line in brief.due if "COT (CFTC)" in line]
    assert cot.endswith(": COT (CFTC) is expected, by its usual gap")
    assert pd.Timestamp(EARLY) < pd.Timestamp(cot[:10]) <= pd.Timestamp(EARLY) + pd.Timedelta(days=8)


def test_a_full_brief_still_fits_one_page(brief: Brief, tmp_path: Path) -> None:
    many = [f"{number}: {'a line that is long and goes on to the next one ' * 3}" for number in range(40)]
    full = replace(brief, decision=many, drivers=many, changes=many, warnings=many, due=many)
    assert pages(write_pdf(full, tmp_path / "full.pdf")) == 1
    assert text(full).count("and 32 more") == 5, "what does not fit is counted"


def test_every_form_says_the_same(brief: Brief, first_run: FinishedRun) -> None:
    forms = (text(brief), re.sub(r"<[^>]+>", " ", html(brief)), markdown(brief).replace("\\", ""))
    for form in forms:
        for row in first_run.summary.forecasts.to_dict("records"):
            assert f"{row['p10']:.2f} to {row['p90']:.2f}" in form and f"{row['target_date']:%Y-%m-%d}" in form
        for words in ("52.09 cents/lb", "Decision for example", "not a live price", "Needs attention", "Due soon"):
            assert words in form
        assert "nan" not in form.lower().split() and "None" not in form
    assert not re.search(r"<(img|script|link)|https?:", html(brief)), "nothing is loaded from outside"


def test_the_changes_are_one_line_per_horizon_with_their_largest_parts() -> None:
    rows = [
        ("1w", "price", None, 0.5),
        ("1w", "data", "palm", -0.2),
        ("1w", "model", None, 0.001),
        ("1m", "x", None, None),
    ]
    table = pd.DataFrame(rows, columns=["horizon", "part", "subject", "centre_cents_lb"])
    table["note"] = [None, None, None, "curve/1m/v0001 of 2023-12-28 cannot forecast again"]
    lines = changed(table, pd.DataFrame({"horizon": ["1w", "1m"]}))
    assert lines == ["1w +0.30: the price +0.50, palm -0.20", "Curve/1m/v0001 of 2023-12-28 cannot forecast again."]


def test_the_command_mails_html_with_a_text_part_and_the_page(settled, monkeypatch, capsys) -> None:
    box = Mailbox()
    try:
        monkeypatch.setenv("CBI_NOTIFY", box.address)
        assert main(["brief", "--mail"]) == 0
    finally:
        box.close()
    (mail,) = box.messages
    parts = {part.get_content_type(): part for part in mail.walk()}
    assert list(parts) == ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/pdf"]
    assert mail["Subject"] == f"Soybean oil (CBOT ZL): 52.09 cents/lb, {EARLY}"
    plain = parts["text/plain"].get_content()
    assert re.search(r"^1m 20\d\d-\d\d-\d\d \d+\.\d\d \d+\.\d\d to \d+\.\d\d ", plain, re.MULTILINE)
    assert "- Decision for example" in plain and "<" not in plain
    assert parts["application/pdf"].get_payload(decode=True)[:5] == b"%PDF-"
    assert f"brief_{EARLY}.pdf" in capsys.readouterr().out


def test_without_a_route_or_with_a_dead_one_the_command_says_so_and_the_page_is_there(settled, monkeypatch, capsys):
    assert main(["brief", "--mail"]) == 1
    assert "CBI_NOTIFY is not set" in capsys.readouterr().err
    assert (settled / "reports" / f"brief_{EARLY}.pdf").exists()
    monkeypatch.setenv("CBI_NOTIFY", f"mailto://u:longenough@127.0.0.1:{dead_port()}/?to=b@example.org")
    assert main(["brief", "--mail"]) == 1
    out = capsys.readouterr()
    assert "alerts were not delivered" not in out.out and "not delivered (mailto failed)" in out.out
    assert "longenough" not in out.out + out.err


def test_a_session_without_a_forecast_has_no_brief(settled, capsys) -> None:
    assert main(["brief", "--as-of", "2011-12-29"]) == 1
    assert "no forecast of 2011-12-29 is published; run `cbi daily --as-of 2011-12-29`" in capsys.readouterr().err


def test_the_scheduled_brief_is_sent_once_and_says_when_nobody_is_told(settled, server, monkeypatch) -> None:
    from flows.scheduled import brief as scheduled

    state = scheduled.fn()
    assert state.name == "Skipped" and "CBI_NOTIFY is not set" in state.message
    server.script = [(503, b"down"), (200, b"ok")]
    monkeypatch.setenv("CBI_NOTIFY", f"json{server.url.removeprefix('http')}/hook")
    assert scheduled.fn().name == "Failed"
    assert scheduled.fn().name == "Completed" and scheduled.fn().name == "Skipped"
    assert len(server.requests) == 2 and b"52.09 cents/lb" in server.requests[1].body
