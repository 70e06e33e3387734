"""The promotion history, the same for every store, and the champions that follow from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pandas as pd

from tasks.errors import ModelStoreError
from tasks.model_store.protocol import Version
from tasks.storage.hashes import fingerprint

HISTORY, CHAMPIONS, AUDIT = "history.jsonl", "champions.json", "leakage_audit.json"

Entry = dict[str, str]


def entry_of(version: Version, *, run: str) -> Entry:
    """A promotion as an entry of the history."""
    return {
        "horizon": version.horizon,
        "family": version.family,
        "version": version.number,
        "trained_as_of": f"{version.trained_as_of:%Y-%m-%d}",
        "run": run,
        "metadata": _digest(version),
    }


def _digest(version: Version) -> str:
    """A hash of a version's metadata, which includes the hashes of its files."""
    return fingerprint(json.loads(json.dumps(version.metadata, sort_keys=True)))


def verified(version: Version, entry: Entry, place: str) -> Version:
    """The version, if it is the one that was promoted.

    Raises:
        ModelStoreError: another version is in its place, or its metadata was altered since.
    """
    own = {**entry_of(version, run=entry["run"])}
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
    """The history after promotions. A champion of its contest (horizon and day) is not added again."""
    lines = list(history)
    for entry in entries:
        contest = [line for line in lines if _contest(line) == _contest(entry)]
        if not contest or any(contest[-1][name] != entry.get(name) for name in contest[-1]):
            lines.append(entry)
    return lines


def _contest(entry: Entry) -> tuple[str, str]:
    return entry["horizon"], entry["trained_as_of"]


def current_champions(history: Sequence[Entry]) -> dict[str, Entry]:
    """The champion of each horizon: among those trained last, the one promoted last."""
    found: dict[str, Entry] = {}
    for entry in history:
        champion = found.get(entry["horizon"])
        if champion is None or champion["trained_as_of"] <= entry["trained_as_of"]:
            found[entry["horizon"]] = entry
    return found


def champion_by(history: Sequence[Entry], horizon: str, as_of: pd.Timestamp) -> Entry | None:
    """The champion of a horizon among models trained by ``as_of``."""
    known = [
        entry for entry in history if entry["horizon"] == horizon and pd.Timestamp(entry["trained_as_of"]) <= as_of
    ]
    return current_champions(known).get(horizon)


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
            if not all(isinstance(entry[name], str) for name in ("horizon", "family", "version", "run")):
                raise TypeError
            yield entry
        except (ValueError, TypeError, KeyError):
            raise ModelStoreError(
                f"{place}, line {number} is not readable; restore the file from a backup or its earlier generation"
            ) from None
