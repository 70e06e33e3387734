"""Keys of sources, looked up by their environment name, and redaction: the one place that removes keys from text."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

from dotenv import dotenv_values

from tasks.spellings import SHORTEST, forms, hide

KEYCHAIN = "cbi"
HIDDEN = "***"
LONGEST_QUOTE = 200  # characters of a server's own words in a message

_NAMED_LIKE_ONE = re.compile(r"(?i)(^|_)(api_?key|key|token|secret|password|auth_string|credentials_json)$")
_PARAMETER = re.compile(r"(?i)\b(api_?key|registrationkey|key|token|apikey)=[^&\s\"']+")
_HEADER = re.compile(r"(?i)\b(authorization[\"']?\s*[:=]\s*[\"']?)(?:(?:basic|bearer)\s+)?[^\s\"',}]+")
_IN_ADDRESS = re.compile(r"://[^/\s:@]*:[^/\s@]+@")

_MARKUP = re.compile(r"(?is)<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>")

_USER_AND_PASSWORD = re.compile(r"(?:^|://)[^/\s:@]*:([^/\s@]+)(?:@|$)")

_found: set[str] = set()


def find_secret(name: str) -> str | None:
    """The value from the environment, else from the keychain, else from the key file, else None. `cbi setup` stores."""
    value, _ = _looked_up(name)
    if value:
        remember_secret(value)
    return value


def secret_place(name: str) -> str | None:
    """Where the value is: ``environment``, ``keychain`` or ``key file``; None if it is nowhere."""
    value, place = _looked_up(name)
    return place if value else None


def _looked_up(name: str) -> tuple[str | None, str]:
    if value := os.environ.get(name, "").strip():
        return value, "environment"
    if stored := _from_keychain(name):
        return stored, "keychain"
    return stored_keys().get(name), "key file"


def key_file() -> Path:
    """The file of keys of a machine without a keychain, one NAME="value" per line, mode 0600. systemd reads it too."""
    return Path.home() / ".config" / "cbi" / "secrets.env"


def stored_keys() -> dict[str, str]:
    """The keys in the key file. A file that others may read counts as no key: `cbi doctor` names the remedy."""
    path = key_file()
    try:
        if path.stat().st_mode & 0o077:
            return {}
        lines = dotenv_values(path, encoding="utf-8", interpolate=False)
    except (OSError, UnicodeDecodeError):
        return {}
    return {name: value.strip() for name, value in lines.items() if value and value.strip()}


def remember_secret(value: str) -> None:
    """Redact ``value``, and the password in it, from every text from now on."""
    _found.update(part for part in (value, *_password_in(value)) if len(part) >= SHORTEST)


def _password_in(value: str) -> Iterator[str]:
    """The password alone, of `user:password` and of an address that contains one."""
    if found := _USER_AND_PASSWORD.search(value):
        yield from {found[1], unquote(found[1])}


def _from_keychain(name: str) -> str | None:
    try:
        keyring = import_module("keyring")
    except ImportError:  # optional: useful only on a machine with a keychain
        return None
    try:
        return (keyring.get_password(KEYCHAIN, name) or "").strip() or None
    except keyring.errors.KeyringError:  # locked, or no keychain on this machine
        return None


@lru_cache(maxsize=1024)
def _is_named_like_one(name: str) -> bool:
    return bool(_NAMED_LIKE_ONE.search(name))


def known_secrets() -> set[str]:
    """Every known secret value: those looked up so far, and environment variables whose name looks like a key's."""
    named = {value.strip() for name, value in os.environ.items() if _is_named_like_one(name)}
    return _found | {value for value in named if len(value) >= SHORTEST and not os.path.exists(value)}  # noqa: PTH110


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` with ``***`` for every secret: those given, those known, and any value in the place of a key.

    Parts of a secret are replaced too, where other code cut the text, such as Python's own errors.
    """
    text = hide(text, {*secrets, *known_secrets()}, HIDDEN, halves=True)
    text = _IN_ADDRESS.sub(f"://{HIDDEN}@", text)
    text = _HEADER.sub(lambda match: match.group(1) + HIDDEN, text)
    return _PARAMETER.sub(lambda match: match.group(0).split("=")[0] + "=" + HIDDEN, text)


def quoted(answer: bytes | str, secrets: Iterable[str] = (), *, most: int = LONGEST_QUOTE) -> str:
    """Foreign text for a message: one line of at most ``most`` characters, redacted first and then cut.

    Cutting first would leave half a key, so every foreign text must be shortened with this function. Markup is removed
    from a page that does not fit; control characters are escaped.
    """
    text = answer[: 2**20].decode(errors="backslashreplace") if isinstance(answer, bytes) else answer[: 2**20]
    line = " ".join(redact(text, secrets).split())
    if len(line) > most:
        line = " ".join(_MARKUP.sub(" ", line).split())
    line = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line[: 2 * most])
    return line if len(line) <= most else line[: most - 1] + "…"


def end_of(text: str, *, most: int) -> str:
    """The last ``most`` characters of a program's output, redacted first and then cut."""
    return redact(text)[-most:]


def without_secrets(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` with ``***`` for each whole secret, given or known, and nothing else changed: for stored text."""
    return hide(text, {*secrets, *known_secrets()}, HIDDEN, halves=False)


def redact_values(value: object) -> object:
    """``value`` with every text in it redacted, at any depth of lists and mappings."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact_values(name): redact_values(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redact_values(item) for item in value)
    return value


def redact_error(error: BaseException) -> None:
    """Redact an error's arguments, and those of the errors that caused it, in place."""
    visited: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in visited:
            continue
        visited.add(id(one))
        clean = redact_values(one.args)
        if clean != one.args:
            one.args = clean  # type: ignore[assignment]
        todo += [one.__cause__, one.__context__]
        todo += one.exceptions if isinstance(one, BaseExceptionGroup) else []


def spelled_in(content: bytes, secrets: Iterable[str] = ()) -> bool:
    """Whether ``content`` contains a secret, given or known, in one of its usual spellings."""
    lower = content.lower()
    return any(form in lower for secret in {*secrets, *known_secrets()} if secret for form in forms(secret))
