"""The folders of data under CBI_HOME."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import SettingsError


@dataclass(frozen=True)
class Zones:
    """The folders under one CBI_HOME."""

    home: Path

    @property
    def raw(self) -> Path:  # noqa: D102
        return self.home / "raw"

    @property
    def recorded(self) -> Path:
        """The unpacked copy of the recorded archive."""
        return self.home / "recorded"

    @property
    def staging(self) -> Path:  # noqa: D102
        return self.home / "staging"

    @property
    def quarantine(self) -> Path:  # noqa: D102
        return self.home / "quarantine"

    @property
    def panel(self) -> Path:  # noqa: D102
        return self.home / "panel"

    @property
    def features(self) -> Path:  # noqa: D102
        return self.home / "features"

    @property
    def labels(self) -> Path:  # noqa: D102
        return self.home / "labels"

    @property
    def exports(self) -> Path:  # noqa: D102
        return self.home / "exports"

    @property
    def warehouse(self) -> Path:  # noqa: D102
        return self.home / "warehouse"

    @property
    def fits(self) -> Path:
        """The fits of training so far, one folder per fit."""
        return self.home / "fits"

    @property
    def search(self) -> Path:
        """Studies of options: one database per family, and its result."""
        return self.home / "search"

    @property
    def models(self) -> Path:  # noqa: D102
        return self.home / "models"

    @property
    def models_cache(self) -> Path:
        """This machine's cache of a model store in the cloud."""
        return self.home / "models-cache"

    @property
    def reports(self) -> Path:  # noqa: D102
        return self.home / "reports"

    @property
    def logs(self) -> Path:
        """The logs of runs, one JSON line per message (tasks/logs.py)."""
        return self.home / "logs"

    @property
    def pauses(self) -> Path:
        """The sources that a person has paused."""
        return self.home / "pauses"

    @property
    def locks(self) -> Path:  # noqa: D102
        return self.home / "locks"


# characters that no folder on the path to CBI_HOME may have in its name, and why
UNUSABLE = {
    "?": "DuckDB ends a file's name there and writes its log elsewhere",
    "\\": "DuckDB reads it as the border between two folders",
    "\0": "no system allows it",
    "\n": "no message, unit or plist could name it in one line",
    "\r": "no message, unit or plist could name it in one line",
}


def require_usable_home(home: Path) -> None:
    """Refuse a CBI_HOME that cannot work, before anything is written.

    Raises:
        SettingsError: it or a folder above it is a file, or has a character in its name that the warehouse cannot use.
    """
    name = str(home)
    for sign, why in UNUSABLE.items():
        if sign in name:
            raise SettingsError(
                f"CBI_HOME {name!r} has {sign!r} in its name: {why}. Set CBI_HOME to a folder without it"
            )
    if not name.isascii() and sys.getfilesystemencoding() != "utf-8":
        raise SettingsError(
            f"CBI_HOME {name!r} has letters beyond ASCII, and this process reads names as "
            f"{sys.getfilesystemencoding()}. Set PYTHONUTF8=1, or a UTF-8 locale such as LC_ALL=C.UTF-8"
        )
    there = next(place for place in (home, *home.parents) if os.path.lexists(place))
    if not there.is_dir():
        what = "is a file" if there.is_file() else "is no folder"
        raise SettingsError(f"CBI_HOME {home}: {there} {what}. Set CBI_HOME to a folder, or move the file away")
