"""Keys by name: which there are, where each is to be had, where one is set, and how one is stored. Never a value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from tasks.alerts.routes import NOTIFY
from tasks.errors import SettingsError
from tasks.registry import DataSources
from tasks.secrets import KEYCHAIN, key_file, remember_secret, secret_place
from tasks.storage.files import private_folder, write_private

UNSAFE = re.compile(r"[\"'`$\\]|[^ -~]")
"""Characters that systemd and python-dotenv read differently in a line of the key file."""
HEADER = "# Keys of CBI, written by `cbi setup`. Only you may read this file. systemd reads it too.\n"
SHORTEST_KEY = 4
PROBE = "cbi-doctor"


@dataclass(frozen=True)
class Key:
    """One key: the sources that use it, the page where a person gets it, and whether they do without it."""

    name: str
    sources: tuple[str, ...]
    titles: tuple[str, ...]
    page: str
    optional: bool

    @property
    def place(self) -> str | None:
        """Where it is set: ``environment``, ``keychain`` or ``key file``; None if nowhere."""
        return secret_place(self.name)


def keys_of(sources: DataSources) -> list[Key]:
    """Every key that the registry names, those that a source cannot do without first."""
    found: dict[str, Key] = {}
    for source, spec in sources.sources.items():
        for name in (*spec.secrets, *spec.optional_secrets):
            before = found.get(name)
            found[name] = Key(
                name,
                sources=(*(before.sources if before else ()), source),
                titles=(*(before.titles if before else ()), spec.title),
                page=spec.key_pages[name],
                optional=name in spec.optional_secrets and (before is None or before.optional),
            )
    return sorted(found.values(), key=lambda key: key.optional)


def key_problem(name: str, value: str) -> str:
    """Why a value cannot be this key; empty if it can. The message does not contain the value."""
    if any(not sign.isprintable() for sign in value):
        return f"{name} has a control character in it"
    if name != NOTIFY and (len(value) < SHORTEST_KEY or re.search(r"\s|[<>]", value)):
        return (
            f"{name} does not look like a key: it is shorter than {SHORTEST_KEY} characters, or has a blank or <> in it"
        )
    return ""


def keychain() -> tuple[ModuleType | None, str]:
    """The keychain's module, and why there is none that can be used."""
    try:
        keyring = import_module("keyring")
    except ImportError:
        return None, "the package keyring is not installed"
    try:
        keyring.get_password(KEYCHAIN, PROBE)
    except keyring.errors.NoKeyringError:
        return None, "this system has no keychain"
    except keyring.errors.KeyringError as error:
        return None, f"the keychain does not answer: {type(error).__name__}"
    return keyring, ""


def probe_keychain(keyring: ModuleType) -> str:
    """Store a value, read it and delete it. Returns why that failed; empty if it did not.

    To look for something that is not there proves nothing: a locked keychain answers that it is not there.
    """
    try:
        keyring.set_password(KEYCHAIN, PROBE, PROBE)
        same = keyring.get_password(KEYCHAIN, PROBE) == PROBE
        keyring.delete_password(KEYCHAIN, PROBE)
    except keyring.errors.KeyringError as error:
        return f"the keychain does not store a value: {type(error).__name__}"
    return "" if same else "the keychain did not return the value that was stored"


def store_key(name: str, value: str) -> str:
    """Store a key in the keychain, or in the key file where there is none. Returns the place.

    The value goes to the keychain through the system's interface: it is in no command line and no log.

    Raises:
        SettingsError: the value cannot be this key, or cannot be in the key file. It is not stored.
    """
    remember_secret(value)
    if problem := key_problem(name, value):
        raise SettingsError(f"{problem}. It was not stored")
    keyring, _ = keychain()
    if keyring is not None:
        try:
            keyring.set_password(KEYCHAIN, name, value)
            return "keychain"
        except keyring.errors.KeyringError as error:
            raise SettingsError(
                f"the keychain refused {name}: {type(error).__name__}. Unlock it and try again"
            ) from None
    if UNSAFE.search(value):
        raise SettingsError(
            f"{name} has a quotation mark, $, a backslash or a letter beyond ASCII, which {key_file()} cannot contain. "
            "Set it in the environment"
        )
    write_key(name, value)
    return "key file"


def write_key(name: str, value: str) -> None:
    """Set one line of the key file, atomically; other lines stay. Afterwards only its owner can read the file."""
    path = key_file()
    private_folder(path.parent)
    before = path.read_text(encoding="utf-8") if path.is_file() else HEADER
    write_private(path, with_line(before, name, f'{name}="{value}"').encode())


def with_line(text: str, name: str, line: str) -> str:
    """A file of ``NAME=value`` lines with ``line`` in the place of the last one of that name, else at its end."""
    lines = text.splitlines()
    places = [place for place, one in enumerate(lines) if re.match(rf"\s*(export\s+)?{re.escape(name)}\s*=", one)]
    lines = [one for place, one in enumerate(lines) if place not in places[:-1]]
    if places:
        lines[places[-1] - len(places) + 1] = line
    else:
        lines.append(line)
    return "\n".join(lines) + "\n"
