"""``cbi setup``: what a machine is asked once: the home, keys, who is notified, the time zone. It may be run again.

Nothing that is set is shown, and Enter keeps it. Keys go to the keychain, or to the key file where there is none.
"""

from __future__ import annotations

import os
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dotenv import dotenv_values

from tasks.alerts.routes import NOTIFY, is_usable
from tasks.command_line import nearest
from tasks.errors import CbiError, SettingsError
from tasks.operations.doctor import openmp, try_to_write
from tasks.operations.keys import key_problem, keys_of, store_key, with_line
from tasks.operations.machine import Machine, next_daily_run, wake_command, zone_name
from tasks.operations.volume import MAC_VOLUMES, require_volume, volume_of
from tasks.registry import load_sources
from tasks.secrets import key_file, remember_secret, secret_place
from tasks.settings import load_settings
from tasks.storage.files import write_private
from tasks.storage.zones import require_usable_home

HOME, TIME_ZONE = "CBI_HOME", "TIME_ZONE"
NOT_MEASURED = "not measured: it was never run against the live sources"


@dataclass(frozen=True)
class Question:
    """One thing that is asked.

    ``state``: what is set, without the value of a secret. ``secret``: the answer is typed without being shown.
    ``take``: stores an answer and returns a line on what was done. It raises a CbiError and stores nothing otherwise.
    """

    name: str
    words: str
    state: str
    secret: bool
    take: Callable[[str], str]


Asker = Callable[[Question], str]


def questions(machine: Machine) -> Iterator[Question]:
    """Everything that is asked, in order. Each is put together when its turn comes."""
    yield home_question(machine)
    try:
        registry = load_settings(machine.project).registry
    except SettingsError:  # the first question is how it is corrected
        registry = machine.project / "registry"
    for key in keys_of(load_sources(registry)):
        use = f"{'; '.join(key.titles)}{' (works without the key, with less data)' if key.optional else ''}"
        words = f"{key.name}, for: {use}\n  Get it at {key.page}"
        yield Question(key.name, words, where(key.name), True, storing(key.name))
    words = (
        f"{NOTIFY}: who is notified of alerts. Addresses with blanks between them, in Apprise's form, such as\n"
        "  mailtos://USER:PASSWORD@smtp.example.org?to=buyer@example.org"  # pragma: allowlist secret
        " (https://github.com/caronc/apprise/wiki)"
    )
    yield Question(NOTIFY, words, where(NOTIFY), True, notify_taken)
    yield Question(
        TIME_ZONE,
        "The time zone of this machine, such as Europe/Berlin. It is compared, not changed",
        zone_name(),
        False,
        partial(time_zone_taken, machine=machine),
    )


def ask_all(machine: Machine, ask: Asker) -> Iterator[str]:
    """Put every question, and yield one line per question. An empty answer keeps what is set.

    Raises:
        CbiError: an answer is refused. Those before it are stored.
    """
    for question in questions(machine):
        answer = ask(question).strip()
        if not answer:
            yield f"{question.name}: {question.state}"
            continue
        if question.secret:
            remember_secret(answer)
        yield f"{question.name}: {question.take(answer)}"


def where(name: str) -> str:
    """Where a secret is set, never its value."""
    place = secret_place(name)
    return f"set ({place})" if place else "not set"


def storing(name: str) -> Callable[[str], str]:
    """Stores a key of that name."""

    def store(value: str) -> str:
        place = store_key(name, value)
        if os.environ.get(name):
            return f"stored in the {place}; the environment has another one, which counts first: `unset {name}`"
        return f"stored in the {place}" + (f" {key_file()}" if place == "key file" else "")

    return store


def notify_taken(value: str) -> str:
    """Store the addresses of alerts, if each is one. Nothing is sent."""
    for place, one in enumerate(value.replace(",", " ").split(), 1):
        remember_secret(one)
        if not is_usable(one):
            raise SettingsError(
                f"{NOTIFY}: address {place} is not one that Apprise knows; see https://github.com/caronc/apprise/wiki"
            )
    return storing(NOTIFY)(value)


def home_question(machine: Machine) -> Question:
    """Where all state goes."""
    try:
        now = str(load_settings(machine.project).home)
    except SettingsError as error:
        now = f"refused: {error}"
    drives = sorted(path.name for path in MAC_VOLUMES.glob("*") if path.is_dir()) if machine.is_mac else []
    hint = f" Drives: {', '.join(drives)}" if drives else ""
    words = f"{HOME}: the folder for all data, such as /Volumes/Data/cbi on an external drive.{hint}"
    return Question(HOME, words, now, False, partial(home_taken, machine=machine))


def home_taken(answer: str, *, machine: Machine) -> str:
    """Set CBI_HOME in the project's `.env`, if a run can write there.

    Raises:
        SettingsError: the folder cannot be used. VolumeMissing: its drive is not mounted.
    """
    folder = Path(answer).expanduser()
    if not folder.is_absolute():
        raise SettingsError(f"{HOME} {answer!r} is relative: write the whole path, beginning with / or ~")
    folder = folder.resolve()
    require_usable_home(folder)
    require_volume(folder, volume_of(folder))
    there = next(place for place in (folder, *folder.parents) if place.exists())
    problem, remedy = try_to_write(there)
    if problem:
        raise SettingsError(f"{HOME} {folder}: {there} {problem}. {remedy}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    set_in_env(machine.project / ".env", HOME, str(folder))
    volume = volume_of(folder)
    place = f"on the volume {volume}" if volume else "on the system's disk"
    if (given := os.environ.get(HOME)) and Path(given).expanduser().resolve() != folder:
        return f"{folder}, {place}; the environment has another one, which counts first: `unset {HOME}`"
    return f"{folder}, {place}"


def set_in_env(file: Path, name: str, value: str) -> None:
    """Set one line of a `.env`, atomically; other lines stay. Afterwards only its owner can read it."""
    before = file.read_text(encoding="utf-8") if file.is_file() else ""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    write_private(file, with_line(before, name, f"{name}='{escaped}'").encode())


def time_zone_taken(answer: str, *, machine: Machine) -> str:
    """Compare the answer with the machine's zone. It is not changed: that needs an administrator.

    Raises:
        SettingsError: there is no such time zone.
    """
    known = zoneinfo.available_timezones()
    if answer not in known:
        raise SettingsError(f"no time zone {answer!r}; write it as Europe/Berlin.{nearest(answer, known)}")
    if answer == zone_name():
        return f"{answer}, as this machine has it"
    change = (
        f"System Settings, General, Date & Time, or `sudo systemsetup -settimezone {answer}`"
        if machine.is_mac
        else f"`sudo timedatectl set-timezone {answer}`"
    )
    return f"this machine has {zone_name()}; to change it: {change}"


def next_steps(machine: Machine) -> list[str]:
    """What to do now, and how long it takes where that was measured."""
    found = openmp(machine)
    due = next_daily_run(machine.now())
    keep = "make install-mac" if machine.is_mac else "make install-linux"
    wake = [f"4. `{wake_command(machine.now())}`: wakes this Mac for each daily run."] if machine.is_mac else []
    return [
        found.line if found.next else f"libomp: {found.text}",
        "",
        "Next:",
        "1. `cbi doctor`: what is still missing, each with its remedy.",
        "2. `make daily`: the first run fetches the history of every source, GDELT's 31 days at a time. This is the "
        f"first backfill. How long it takes is {NOT_MEASURED}. It may be ended and started again: what arrived stays.",
        f"3. `{keep}`: keeps it running. The next daily run is due {due:%a %H:%M}, local time.",
        *wake,
        "`make demo` needs none of this: recorded payloads, no keys, no network.",
    ]


def answers_in(file: Path) -> Mapping[str, str]:
    """The answers of a file: lines NAME=value, of the questions' names.

    Raises:
        SettingsError: it cannot be read, or others may read it: it has keys in it.
    """
    try:
        if file.stat().st_mode & 0o077:
            raise SettingsError(f"others may read {file}, and it has keys in it: `chmod 600` it first")
        lines = dotenv_values(file, encoding="utf-8", interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {type(error).__name__}") from None
    return {name: value for name, value in lines.items() if value}


def asker_of(answers: Mapping[str, str], machine: Machine) -> Asker:
    """Answers every question from a mapping; what it does not name is kept.

    Raises:
        SettingsError: a name is none of the questions, or a value cannot be a key. Nothing is stored then.
    """
    asked = {question.name: question for question in questions(machine)}
    for name, value in answers.items():
        if name not in asked:
            raise SettingsError(f"{name} is not one of the questions.{nearest(name, asked)} Known: {', '.join(asked)}")
        if asked[name].secret:
            remember_secret(value)
            if problem := key_problem(name, value):
                raise SettingsError(f"{problem}. Nothing was stored")
    return lambda question: answers.get(question.name, "")


def asker_here(read: Callable[[str], str], read_hidden: Callable[[str], str], show: Callable[[str], None]) -> Asker:
    """Asks at a terminal. A secret is typed without being shown."""

    def ask(question: Question) -> str:
        show(f"\n{question.words}\n  now: {question.state}")
        return (read_hidden if question.secret else read)("  new value, or Enter to keep: ")

    return ask


def ask_here(machine: Machine, ask: Asker, show: Callable[[str], None]) -> None:
    """Put every question at a terminal. An answer that is refused is asked for again; Enter keeps what is set."""
    for question in questions(machine):
        while answer := ask(question).strip():
            if question.secret:
                remember_secret(answer)
            try:
                show(f"  {question.take(answer)}")
                break
            except CbiError as error:
                show(f"  {type(error).__name__}: {error}")
