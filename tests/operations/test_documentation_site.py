"""The documentation as a site (`make docs-site`): it builds without a warning, and no page asks another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from tasks.settings import PROJECT

pytest.importorskip("material", reason="needs the extra `docs`")
LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}
"""Elements that a browser loads by itself, and the attribute that says from where."""
NAVIGATION = {"canonical", "next", "prev", "alternate"}


class Loaded(HTMLParser):
    """The addresses that a page loads, and those that it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        if tag in LOADS and own.get("rel") not in NAVIGATION:
            self.loaded.append(own.get(LOADS[tag], ""))
        if tag == "a":
            self.linked.append(own.get("href", ""))


@pytest.fixture(scope="module")
def documentation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documentation")
    built = build(PROJECT / "mkdocs.yml", folder)
    assert built.returncode == 0, built.stderr
    return folder


def build(configuration: Path, to: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs-site` builds it, to another folder."""
    [recipe] = re.findall(r"^docs-site:.*\n.*/mkdocs (build .*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", *recipe.split(), "--config-file", str(configuration), "--site-dir", str(to)],
        cwd=PROJECT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def read(page: Path) -> Loaded:
    reader = Loaded()
    reader.feed(page.read_text(encoding="utf-8"))
    return reader


def test_every_page_of_docs_is_in_the_site(documentation: Path) -> None:
    pages = [path.relative_to(PROJECT / "docs") for path in (PROJECT / "docs").rglob("*.md")]
    built = [path.with_name("index.html") if path.name == "README.md" else path.with_suffix(".html") for path in pages]
    assert [str(path) for path in built if not (documentation / path).exists()] == []
    assert (documentation / "search" / "search_index.js").exists(), "search works in pages opened from disk"


def test_every_page_is_in_the_navigation(documentation: Path) -> None:
    """A page that only a link reaches is found by nobody."""
    front = {link.partition("#")[0] for link in read(documentation / "index.html").linked}
    for path in sorted((PROJECT / "docs").glob("*.md")):
        assert ("index.html" if path.name == "README.md" else f"{path.stem}.html") in front, path.name


def test_no_page_loads_anything_from_another_host(documentation: Path) -> None:
    outside = {
        f"{page.relative_to(documentation)}: {address}"
        for page in documentation.rglob("*.html")
        for address in read(page).loaded
        if re.match(r"(\w+:)?//", address)
    }
    assert outside == set()
    for sheet in documentation.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)]*", text), sheet.name
    # the theme's script loads Mermaid from a host where a page has a diagram of it: no page may have one
    pages = [page for page in documentation.rglob("*.html") if 'class="mermaid"' in page.read_text(encoding="utf-8")]
    assert pages == []


def test_links_out_of_docs_lead_to_copies(documentation: Path) -> None:
    links = read(documentation / "installed_services.html").linked
    copies = [link for link in links if "repository/" in link]
    assert len(copies) >= 3 and all((documentation / link.partition("#")[0]).exists() for link in copies)
    copied = (documentation / "repository/deploy/launchd/cbi.plist.in.html").read_text(encoding="utf-8")
    assert "KeepAlive" in copied
    assert (documentation / "repository" / "index.html").exists(), "the README"


def test_the_links_of_every_page_lead_somewhere(documentation: Path) -> None:
    lost = set()
    for page in documentation.rglob("*.html"):
        if page.name == "404.html":
            continue
        for link in read(page).linked:
            path = link.partition("#")[0]
            if path and not re.match(r"\w+:", path) and not (page.parent / path).resolve().exists():
                lost.add(f"{page.relative_to(documentation)}: {link}")
    assert lost == set()


@pytest.mark.parametrize(
    ("page", "why"), [("[a](nowhere.md)", "nowhere.md"), ("# One\n[a](README.md#two)", "#two"), ("[a](#one)", "#one")]
)
def test_a_link_that_leads_nowhere_fails_the_build(page: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "README.md").write_text(page, encoding="utf-8")
    own = {
        "INHERIT": str(PROJECT / "mkdocs.yml"),
        "docs_dir": str(tmp_path / "pages"),
        "hooks": [str(PROJECT / "deploy" / "documentation" / "hooks.py")],
        "nav": [{"Start": ["README.md"]}],
        "extra_css": [],
        "extra_javascript": [],
    }
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(own), encoding="utf-8")
    built = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert built.returncode != 0 and why in built.stderr, built.stderr
