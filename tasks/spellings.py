"""Every way in which a key may be spelled in a text, and the places of a text where one stands, whole or cut.

A letter may have either case. A character may be itself, or escaped for an address (``%2b``, ``%252B``), for JSON or
Python (``\\u002b``, ``\\x2b``) or for a page (``&#43;``). All of it may be base64, after a user name of any length.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from html import unescape
from urllib.parse import quote, quote_plus, unquote

SHORTEST = 6  # a shorter value is not a key, and it would be found in many words
URLSAFE = {"+": "-", "/": "_"}
NAMED = {"&": ["amp;"], "<": ["lt;"], ">": ["gt;"], '"': ["quot;"], "'": ["apos;"]}

_CUT_AFTER = re.compile(r"""\Z|["'`…)\]<,]|\.(?:\s|\.|\Z)""")
_CUT_BEFORE = re.compile(r"""(?:\A|["'`…(\[>]|\.\.)\Z""")
_ESCAPED = re.compile(r"\\+(?:u00|x)([0-9a-fA-F]{2})")
_PADDING = re.compile(r"[A-Za-z0-9+/_-]{0,2}(?:=|%3[dD]){0,2}")


@dataclass(frozen=True)
class Word:
    """A key, or the part of its base64 that does not depend on the text before and after it."""

    text: str
    units: tuple[re.Pattern[str], ...]
    head: re.Pattern[str]
    tail: re.Pattern[str]
    is_base64: bool

    def may_stand_in(self, flat: str) -> bool:
        """Whether its beginning or its end stands in a text whose escapes are decoded."""
        word = self.text.lower()
        return word[:SHORTEST] in flat or word[-SHORTEST:] in flat

    def places(self, text: str, *, halves: bool) -> Iterator[tuple[int, int]]:
        """Where it stands in ``text``; with ``halves`` also where six or more characters of it do, cut at one end."""
        halves = (
            halves and len(self.units) > SHORTEST and " " not in self.text
        )  # a key has no spaces: these are words of a document
        for found in self.head.finditer(text):
            end, number = found.end(), min(SHORTEST, len(self.units))
            while number < len(self.units) and (more := self.units[number].match(text, end)):
                end, number = more.end(), number + 1
            if number == len(self.units):
                padding = _PADDING.match(text, end) if self.is_base64 else None
                yield found.start(), padding.end() if padding else end
            elif halves and _CUT_AFTER.match(text, end):
                yield found.start(), end
        if halves:
            for found in self.tail.finditer(text):
                start, number = found.start(), len(self.text) - SHORTEST
                while start and number and text[start - 1].lower() == self.text[number - 1].lower():
                    start, number = start - 1, number - 1
                if _CUT_BEFORE.search(text, max(0, start - 2), start):
                    yield start, found.end()


@lru_cache(maxsize=1024)
def _unit(sign: str, twin: str) -> re.Pattern[str]:
    """One character in all its spellings; ``twin`` counts as the same character.

    The pattern begins with a character set, which `re` searches for fast.
    """
    same = [one for one in dict.fromkeys((sign, sign.lower(), sign.upper(), twin)) if len(one) == 1]
    codes = [ord(one) for one in same]
    plain = "".join(map(re.escape, same)) + ("+" if sign == " " else "")
    in_address = [r"%(?:25)*".join(map(_hex, one.encode(errors="replace"))) for one in same]
    in_json = [f"u{_hex(code >> 8)}{_hex(code & 255)}" for code in codes if code < 2**16]
    in_json += [f"x{_hex(code)}" for code in codes if code < 256]
    in_json += [] if sign.isalnum() else [f"[{plain}]"]
    on_page = [f"#0*{code};|#[xX]0*{code:x};|#[xX]0*{code:X};" for code in codes] + NAMED.get(sign, [])
    return re.compile(
        rf"[{plain}%\\&](?:(?<=%)(?:25)*(?:{'|'.join(in_address)})|(?<=\\)\\*(?:{'|'.join(in_json)})"
        rf"|(?<=&)(?:amp;)*(?:{'|'.join(on_page)})|(?<=[{plain}]))"  # itself last: `&` begins its own escape
    )


def _hex(byte: int) -> str:
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{byte:02x}")


def _word(text: str, *, is_base64: bool = False) -> Word:
    units = tuple(_unit(sign, URLSAFE.get(sign, "") if is_base64 else "") for sign in text)
    head = "".join(unit.pattern for unit in units[:SHORTEST])
    tail = "".join(unit.pattern for unit in units[-SHORTEST:])
    return Word(text, units, re.compile(head), re.compile(tail), is_base64)


@lru_cache(maxsize=256)
def _words(secret: str) -> tuple[Word, ...]:
    words = [_word(secret)]
    if len(secret) >= SHORTEST:
        words += [_word(core, is_base64=True) for core in cores(secret) if len(core) >= SHORTEST]
    return tuple(words)


def cores(secret: str) -> list[str]:
    """The base64 of a key at each of its three possible offsets, without the characters that its neighbours change.

    It finds the key in ``user:key`` of a Basic header, whatever the user name is.
    """
    content = secret.encode(errors="replace")
    found = []
    for before in range(3):
        whole = b64encode(b"\0" * before + content + b"\0\0").decode()
        found.append(whole[-(-before * 8 // 6) : (before + len(content)) * 8 // 6])
    return found


def hide(text: str, secrets: Iterable[str], hidden: str, *, halves: bool) -> str:
    """``text`` with ``hidden`` in place of every secret; with ``halves`` also in place of cut secrets."""
    if not (words := [word for secret in secrets if secret for word in _words(secret)]):
        return text
    flat = _flat(text)
    plain = flat.replace("-", "+").replace("_", "/")
    near = [word for word in words if word.may_stand_in(plain if word.is_base64 else flat)]
    places = sorted(place for word in near for place in word.places(text, halves=halves))
    parts, at = [], 0
    for start, end in places:
        if start >= at:
            parts += [text[at:start], hidden]
        at = max(at, end)
    return "".join([*parts, text[at:]])


def _flat(text: str) -> str:
    """``text`` in lower case with its escapes decoded: a fast first check for which keys the patterns are tried."""
    for _ in range(4):
        if "%" not in text or (plain := unquote(text)) == text:
            break
        text = plain
    if "\\" in text:
        text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text).replace("\\", "")
    for _ in range(2):
        text = unescape(text) if "&" in text else text
    return text.lower()


def forms(secret: str) -> set[bytes]:
    """The usual spellings of a key in lower case, to search for in bytes of any length."""
    plain = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]}
    plain |= {repr(secret)[1:-1], quote(quote(secret, safe=""), safe="")}
    if len(secret) >= SHORTEST:
        for core in cores(secret):
            plain |= {core, core.replace("+", "-").replace("/", "_"), quote(core, safe="")}
    return {form.lower().encode(errors="replace") for form in plain if form}
