"""Tables and text of a web page, in the order of the page. For sources that have only pages."""

from __future__ import annotations

from html.parser import HTMLParser

SKIPPED = ("script", "style")


class _Rows(HTMLParser):
    """Collects rows and their cells. A row or a cell that is not closed ends where the next one begins."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self._cell: list[str] | None = None
        self._skipping = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.end_cell()
            self.rows.append([])
        elif tag in ("td", "th"):
            self.end_cell()
            self._cell = []
        elif tag in SKIPPED:
            self._skipping = True
        elif tag == "br" and self._cell is not None:
            self._cell.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "tr", "table"):
            self.end_cell()
        elif tag in SKIPPED:
            self._skipping = False

    def handle_data(self, data: str) -> None:
        if self._cell is not None and not self._skipping:
            self._cell.append(data)

    def end_cell(self) -> None:
        """Keep the open cell, if there is one."""
        if self._cell is not None:
            if not self.rows:
                self.rows.append([])
            self.rows[-1].append(" ".join("".join(self._cell).split()))
            self._cell = None


def table_rows(page: str) -> list[list[str]]:
    """The cells of every table row of a page; runs of white space are one space. A page without tables has none."""
    reader = _Rows()
    reader.feed(page)
    reader.close()
    reader.end_cell()  # a page that breaks off inside a cell
    return [row for row in reader.rows if row]


class _Texts(HTMLParser):
    """Collects the pieces of text between tags."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._skipping = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skipping = self._skipping or tag in SKIPPED

    def handle_endtag(self, tag: str) -> None:
        self._skipping = self._skipping and tag not in SKIPPED

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self.pieces += [" ".join(line.split()) for line in data.splitlines() if line.strip()]


def texts(page: str) -> list[str]:
    """The lines of text between the tags of a page, wherever they are; runs of white space are one space."""
    reader = _Texts()
    reader.feed(page)
    reader.close()
    return reader.pieces
