"""The promotion history, the same for every store, and the champions that follow from it.

An entry of a training counts from the session that its model was trained as of. A person's entry (``by: person``)
counts from the exchange's date on which it was written (``at``). The champion of a session is the entry that counts
from the latest date not after it; of several of one date, the last written. So a person's choice serves until a person
chooses again or a training as of a later session promotes, and no replay of an earlier session sees it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from tasks.calendar import CHICAGO
from tasks.errors import ModelStoreError
from tasks.storage.hashes import fingerprint

if TYPE_CHECKING:
    from tasks.model_store.protocol import Version

HISTORY, CHAMPIONS, AUDIT, SHADOWS = "history.jsonl", "champions.json", "leakage_audit.json", "shadows.json"
TRAINING, PERSON = "training", "person"

Entry = dict[str, str]
"""``horizon, family, version, trained_as_of, run, metadata``; of a person also ``by, at, reason`` and, where they
apply, ``forced`` (``yes``: it was refused, and the reason says why it serves all the same) and ``rolled_back`` (the
version that it replaced). Lines written before these names existed are trainings'."""
Decide = Callable[[Sequence[Entry]], Sequence[Entry]]
"""What to add to a history. Called again if another process changed the history meanwhile."""


def entry_of(version: Version, *, run: str) -> Entry:
    """A promotion as an entry of the history."""
    return {
        "horizon": version.horizon,
        "family": version.family,
        "version": version.number,
        "trained_as_of": f"{version.trained_as_of:%Y-%m-%d}",
        "run": run,
        "metadata": digest_of(version),
    }


def persons_entry(
    version: Version, *, at: pd.Timestamp, reason: str = "", forced: bool = False, rolled_back: str = ""
) -> Entry:
    """A person's promotion as an entry of the history. ``at``: the instant, UTC. ``rolled_back``: the version left."""
    notes = {"reason": reason, "forced": "yes" if forced else "", "rolled_back": rolled_back}
    own = {"by": PERSON, "at": f"{at.tz_convert('UTC'):%Y-%m-%dT%H:%M:%SZ}"}
    return (
        entry_of(version, run=str(version.metadata["run"])) | own | {name: text for name, text in notes.items() if text}
    )


def name_of(entry: Entry) -> str:
    """The version that an entry names: family/horizon/version."""
    return f"{entry['family']}/{entry['horizon']}/{entry['version']}"


def is_persons(entry: Entry) -> bool:
    """Whether a person wrote the entry."""
    return entry.get("by") == PERSON


def counts_from(entry: Entry) -> pd.Timestamp:
    """The first date on which an entry counts: see the top of this module."""
    if not is_persons(entry):
        return pd.Timestamp(entry["trained_as_of"])
    return pd.Timestamp(entry["at"]).tz_convert(CHICAGO).tz_localize(None).normalize()


def digest_of(version: Version) -> str:
    """A hash of a version's metadata, which includes the hashes of its files."""
    return fingerprint(json.loads(json.dumps(version.metadata, sort_keys=True)))


def verified(version: Version, entry: Entry, place: str) -> Version:
    """The version, if it is the one that was promoted.

    Raises:
        ModelStoreError: another version is in its place, or its metadata was altered since.
    """
    own = entry_of(version, run=entry["run"])
    own = {name: value for name, value in own.items() if name in entry}  # the oldest promotions have no digest
    differs = [name for name in own if own[name] != entry[name]]
    if differs:
        name = differs[0]
        raise ModelStoreError(
            f"{place} is not the version that was promoted: its {name} is {own[name]!r}, promoted was {entry[name]!r}; "
            "restore it from a backup, or run `cbi train`"
        )
    return version


def with_promotions(history: Sequence[Entry], entries: Sequence[Entry]) -> list[Entry]:
    """The history after promotions.

    Not added again: a training's champion of its contest (horizon and day), so that a training that is repeated
    overrules nobody; and a person's choice that a person took on the same day already. (On a later day it is added: the
    family's control chart begins anew.)
    """
    lines = list(history)
    for entry in entries:
        if is_persons(entry):
            champion = current_champions(lines).get(entry["horizon"], {})
            is_known = {**champion, **_what_is_new(entry)} == champion and counts_from(champion) == counts_from(entry)
        else:
            contest = [line for line in lines if not is_persons(line) and _contest(line) == _contest(entry)]
            is_known = bool(contest) and all(contest[-1][name] == entry.get(name) for name in contest[-1])
        if not is_known:
            lines.append(entry)
    return lines


def _what_is_new(entry: Entry) -> Entry:
    return {name: entry[name] for name in ("by", "family", "version", "metadata")}


def _contest(entry: Entry) -> tuple[str, str]:
    return entry["horizon"], entry["trained_as_of"]


def current_champions(history: Sequence[Entry]) -> dict[str, Entry]:
    """The champion of each horizon: among the entries that count from the latest date, the one written last."""
    found: dict[str, Entry] = {}
    for entry in history:
        champion = found.get(entry["horizon"])
        if champion is None or counts_from(champion) <= counts_from(entry):
            found[entry["horizon"]] = entry
    return found


def champion_by(history: Sequence[Entry], horizon: str, as_of: pd.Timestamp) -> Entry | None:
    """The champion of a horizon at ``as_of``: no model trained later, and no choice taken later."""
    return current_champions(_known(history, horizon, as_of)).get(horizon)


def in_order(history: Sequence[Entry], horizon: str, as_of: pd.Timestamp) -> list[Entry]:
    """The entries of a horizon that count by ``as_of``, in the order in which they count; the last one serves."""
    return sorted(_known(history, horizon, as_of), key=counts_from)  # stable: of one date, as written


def tenures(history: Sequence[Entry], horizon: str, as_of: pd.Timestamp) -> list[Entry]:
    """The champions that a run as of any date up to ``as_of`` serves, oldest first."""
    last_of_date = {counts_from(entry): entry for entry in in_order(history, horizon, as_of)}
    return list(last_of_date.values())


def before_current(history: Sequence[Entry], horizon: str, as_of: pd.Timestamp) -> Entry | None:
    """The entry to which a roll-back returns: the last that named another version than the champion.

    A roll-back undoes what it left, so that a second one goes one further back and not forth again.
    """
    stack: list[Entry] = []
    for entry in in_order(history, horizon, as_of):
        if "rolled_back" in entry:
            while stack and name_of(stack[-1]) != name_of(entry):
                stack.pop()
            stack = stack[:-1]
        stack.append(entry)
    return next((entry for entry in reversed(stack) if name_of(entry) != name_of(stack[-1])), None)


def family_serves_since(history: Sequence[Entry], horizon: str, as_of: pd.Timestamp) -> pd.Timestamp | None:
    """Since when the champion's family has served without a break; a person's choice begins anew.

    A training that promotes another version of the family does not: it is the same method, a little later.
    """
    since = None
    family = ""
    for entry in tenures(history, horizon, as_of):
        if entry["family"] != family or is_persons(entry):
            since, family = counts_from(entry), entry["family"]
    return since


def _known(history: Sequence[Entry], horizon: str, as_of: pd.Timestamp) -> list[Entry]:
    return [
        entry
        for entry in history
        if entry["horizon"] == horizon and counts_from(entry) <= as_of and pd.Timestamp(entry["trained_as_of"]) <= as_of
    ]


def to_lines(history: Sequence[Entry]) -> bytes:
    """A history as the content of its file."""
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in history).encode()


def of_lines(content: bytes | str, place: str) -> list[Entry]:
    """A history from the content of its file.

    Raises:
        ModelStoreError: a line is not readable.
    """
    text = content if isinstance(content, str) else content.decode(errors="replace")
    return list(_lines(text, place))


def _lines(text: str, place: str) -> Iterator[Entry]:
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            entry = json.loads(line)
            pd.Timestamp(entry["trained_as_of"])
            counts_from(entry)
            if not all(isinstance(entry[name], str) for name in ("horizon", "family", "version", "run")):
                raise TypeError
            yield entry
        except (ValueError, TypeError, KeyError):
            raise ModelStoreError(
                f"{place}, line {number} is not readable; restore the file from a backup or its earlier generation"
            ) from None
