"""A key is taken out of every spelling it may have, whole or cut; nothing is cut before it was looked through."""

from __future__ import annotations

import html
import json
import time
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest

from tasks.secrets import end_of, quoted, redact, without_secrets
from tasks.spellings import cores

KEY = "Pl4nted/k3y+of=0urs&Th&n"
RANDOM = "Zq8vW3nR7tYb2LmX"


@pytest.fixture(autouse=True, params=[KEY, RANDOM], ids=["with signs", "letters"])
def key(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FRED_API_KEY", request.param)
    return request.param


def every_escape(text: str, form: str) -> str:
    return "".join(form.format(ord(sign)) for sign in text)


SPELLED = {
    "plain": lambda key: key,
    "upper": str.upper,
    "lower": str.lower,
    "swapped": str.swapcase,
    "address": lambda key: quote(key, safe=""),
    "address, path": quote,
    "address, lower": lambda key: quote(key, safe="").lower(),
    "form": quote_plus,
    "address twice": lambda key: quote(quote(key, safe=""), safe=""),
    "address thrice": lambda key: quote(quote(quote(key, safe=""), safe=""), safe=""),
    "every sign of an address": lambda key: every_escape(key, "%{:02x}"),
    "every sign of an address, upper": lambda key: every_escape(key, "%{:02X}"),
    "JSON": lambda key: json.dumps(key)[1:-1],
    "JSON with slashes": lambda key: key.replace("/", "\\/"),
    "JSON in JSON": lambda key: json.dumps(json.dumps({"k": key}))[1:-1].partition(": ")[2][2:-3],
    "JSON, every sign": lambda key: every_escape(key, "\\u{:04x}"),
    "JSON, every sign, upper": lambda key: every_escape(key, "\\u{:04X}"),
    "JSON of JavaScript": lambda key: key.replace("&", "\\u0026").replace("=", "\\u003d").replace("+", "\\u002B"),
    "Python": lambda key: every_escape(key, "\\x{:02x}"),
    "page": html.escape,
    "page, numbers": lambda key: every_escape(key, "&#{};"),
    "page, hex": lambda key: every_escape(key, "&#x{:x};"),
    "address in lower case of a key in upper": lambda key: quote(key.upper(), safe="").lower(),
}


@pytest.mark.parametrize("spelled", SPELLED)
def test_a_spelling_of_a_key_is_hidden_whole_and_nothing_beside_it(key: str, spelled: str) -> None:
    told = SPELLED[spelled](key)
    assert redact(f"before {told} behind") == "before *** behind"
    assert without_secrets(f"{told}|{told}") == "***|***"


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode], ids=["base64", "of addresses"])
@pytest.mark.parametrize("escape", [str, lambda text: quote(text, safe=""), lambda text: json.dumps(text)[1:-1]])
def test_base64_of_a_key_is_hidden_wherever_in_it_the_key_begins(key: str, encode, escape) -> None:
    for user in ("", ":", "u:", "us:", "user:", "somebody:", "a longer name:"):
        for behind in ("", ":", "\n", " and more"):
            told = redact(f"Basic-like {escape(encode(f'{user}{key}{behind}'.encode()).decode())} behind")
            assert "***" in told and told.endswith(" behind")
            assert not halves_of(key, told)


def halves_of(key: str, told: str) -> list[str]:
    """Six signs or more of a key, or of a spelling of it, that stand in a text."""
    forms = {key, key.lower(), quote(key, safe=""), json.dumps(key)[1:-1], *cores(key)}
    pieces = {form[at : at + 6] for form in forms for at in range(len(form) - 5)}
    return sorted(piece for piece in pieces if piece in told)


@pytest.mark.parametrize("cut", [60, 200])
def test_what_others_cut_keeps_no_half_of_a_key(key: str, cut: int) -> None:
    for before in range(cut - len(key) - 8, cut + 2):
        text = "." * before + key + " and so on" * 40
        for told in (f"{text[:cut]!r}", f"'{text[:cut]}…", f"{text[:cut]}", f"told {text[:cut]}. Stored data is kept"):
            assert not halves_of(key, redact(told)), (before, told)
        tail = text[before + 2 :]
        for told in (f"{tail!r}", tail, f"…{tail}", f"...{tail}"):
            assert not halves_of(key, redact(told)), (before, told)
        assert not halves_of(key, quoted(text, most=cut))
        assert not halves_of(key, end_of("x" * 500 + key + "y" * before, most=cut))


def test_python_cuts_a_number_that_is_none_and_no_half_of_a_key_stays(key: str) -> None:
    for before in range(170, 202):
        with pytest.raises(ValueError, match="invalid literal") as raised:
            int("." * before + key + "." * 100)
        assert not halves_of(key, redact(str(raised.value)))


def test_words_beside_a_key_stay() -> None:
    said = "Planted trees, 100 % of them: https://x.test/?a=%2f&id=1 \\u0041 &amp; 'placed' …"
    assert redact(said) == said == without_secrets(said)


def test_what_is_kept_loses_whole_keys_only(key: str) -> None:
    assert without_secrets(f"'{key[:9]}' {key}") == f"'{key[:9]}' ***"


def test_redaction_of_a_log_line_costs_less_than_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        monkeypatch.setenv(f"S{number}_API_KEY", f"{number}-{RANDOM}-{number * 7919}")
    line = "yahoo: ZL=F: HTTP 403: <html>https://x.test/?a=%20b&id=1 \\u0041 'x' " * 3
    redact(line)
    took = []
    for _ in range(20):
        started = time.perf_counter()
        redact(line)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.001
