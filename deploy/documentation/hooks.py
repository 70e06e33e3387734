"""Hooks of ``mkdocs build``: what GitHub shows by itself and MkDocs does not.

A link from a page to a file outside docs/ leads to a copy of that file in the site, below ``repository/``. Lists and
tables may begin right after a paragraph, as on GitHub. Decisions and results are listed from their folders.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
COPIES = "repository"
"""The folder of the site that has the copies of files outside docs/."""
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)(#[^)\s]*)?(\))")
BLOCK = re.compile(r"([-*+] |\d+\. |\|)")
LANGUAGES = {".py": "python", ".sh": "bash", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".in": "ini"}


def on_config(config: Any) -> Any:
    """Fill the chapters Decisions and Results of the navigation from their folders."""
    for chapter in config["nav"]:
        for title, pages in chapter.items():
            if isinstance(pages, list) and pages and isinstance(pages[0], str) and pages[0].endswith("/README.md"):
                folder = DOCS / Path(pages[0]).parent
                own = sorted(path.name for path in folder.glob("*.md") if path.name != "README.md")
                chapter[title] = [pages[0], *(f"{folder.name}/{name}" for name in own)]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add a copy of each file outside docs/ that a page links to, and of those that the copies link to."""
    from mkdocs.structure.files import File

    waiting = [(page.src_uri, Path(page.abs_src_path)) for page in files.documentation_pages()]
    added: set[str] = set()
    while waiting:
        page, path = waiting.pop()
        for target in outside(page, path.read_text(encoding="utf-8")):
            uri, source = copy_of(target), PROJECT / target
            if uri in added:
                continue
            if source.suffix == ".md":
                files.append(File.generated(config, uri, content=source.read_text(encoding="utf-8")))
                waiting.append((uri, source))
            elif source.is_dir():
                files.append(File.generated(config, uri, content=_listing(source)))
            elif source.suffix == ".png":
                files.append(File.generated(config, uri, abs_src_path=str(source)))
            else:
                files.append(File.generated(config, uri, content=_as_page(source)))
            added.add(uri)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point links at the copies, and separate lists and tables from the paragraph before them."""
    here = page.file.src_uri

    def replaced(found: re.Match[str]) -> str:
        target = target_of(here, found[2])
        if target is None:
            return found[0]
        to = target.removeprefix("docs/") if target.startswith("docs/") else copy_of(target)
        if (DOCS / to).is_dir():
            to += "/README.md"
        return f"{found[1]}{posixpath.relpath(to, posixpath.dirname(here) or '.')}{found[3] or ''}{found[4]}"

    return _separated(LINK.sub(replaced, markdown))


def outside(page: str, markdown: str) -> list[str]:
    """The files outside docs/ that a page links to, as paths in the repository."""
    found = (target_of(page, link[2]) for link in LINK.finditer(markdown))
    return sorted({target for target in found if target and not target.startswith("docs/")})


def target_of(page: str, link: str) -> str | None:
    """Where a relative link leads that leaves the page's tree, as a path in the repository; None for any other.

    Args:
        page: path of the page in the site's sources; copies begin with ``repository/``.
        link: the link without its anchor.
    """
    if re.match(r"[a-z]+:", link) or link.startswith("/"):
        return None
    copied = page.startswith(f"{COPIES}/")
    origin = page.removeprefix(f"{COPIES}/") if copied else f"docs/{page}"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))
    if not copied and target.startswith("docs/"):
        return None
    return target if (PROJECT / target).exists() else None


def copy_of(target: str) -> str:
    """The place in the site of a copy: a page, or a picture as it is. MkDocs leaves out names that begin with a dot."""
    visible = "/".join(part.lstrip(".") for part in target.split("/"))
    return f"{COPIES}/{visible}" if target.endswith((".md", ".png")) else f"{COPIES}/{visible}.md"


def _as_page(source: Path) -> str:
    text = source.read_text(encoding="utf-8").rstrip("\n")
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`{3,}", text)), default=2))
    language = LANGUAGES.get(source.suffix, "text")
    return f"# {source.relative_to(PROJECT).as_posix()}\n\n{fence}{language}\n{text}\n{fence}\n"


def _listing(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith((".", "__")))
    return f"# {folder.relative_to(PROJECT).as_posix()}/\n\n" + "".join(f"- `{name}`\n" for name in names)


def _separated(markdown: str) -> str:
    lines: list[str] = []
    fenced = False
    for line in markdown.split("\n"):
        before = lines[-1] if lines else ""
        begins = BLOCK.match(line) and before.strip() and not BLOCK.match(before) and not before.startswith((" ", "\t"))
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif begins and not fenced:
            lines.append("")
        lines.append(line)
    return "\n".join(lines)
