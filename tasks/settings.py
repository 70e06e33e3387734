"""Typed settings: environment, then the project's `.env`, then the defaults below. A misspelt `CBI_…` name is refused.

`cbi project setting NAME` prints one setting; make uses it and does not read `.env` itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import SettingsError
from tasks.storage.zones import require_usable_home

PROJECT = Path(__file__).resolve().parent.parent
PREFIX = "CBI_"
CLOCK = "CBI_NOW"
SECRETS = ("CBI_NOTIFY", "CBI_SERVE_TOKEN")
"""Names with our prefix that are no settings: tasks/secrets.py reads them, and never from a file."""


class Settings(BaseModel):
    """Everything that may differ between two machines that run the same commit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    home: Path = Field(default=PROJECT / "var", description="all state: zones, warehouse, models, Prefect's database")
    archive: Path = Field(
        default=PROJECT / "recorded", description="recorded payloads: packed files, or a folder laid out as a raw zone"
    )
    registry: Path = Field(
        default=PROJECT / "registry", description="sources, joins, features, horizons, models, calendars"
    )
    expectations: Path = Field(default=PROJECT / "expectations", description="gate suites, JSON")
    workers: int = Field(default=max(1, min(4, os.cpu_count() or 1)), ge=1, description="parallel training processes")
    warehouse: str = Field(default="duckdb", description="`duckdb`, or bigquery://PROJECT?location=us-central1&prefix=")
    warehouse_mode: str = Field(
        default="full",
        pattern="^(full|thin)$",
        description="what a BigQuery warehouse stores: all tables, or only those that are read",
    )
    query_limit_gb: float = Field(default=10, gt=0, description="BigQuery: the most that one query may be billed for")
    month_limit_gb: float = Field(
        default=1000, gt=0, description="BigQuery: the most that one calendar month may be billed for"
    )
    models: str = Field(default="folder", description="`folder` (under CBI_HOME), or gs://BUCKET/PREFIX")
    backup: str | None = Field(
        default=None,
        description="the backup of what cannot be computed again: a folder, gs://BUCKET/PREFIX, or `none`",
    )
    gcp_block: str | None = Field(
        default=None, description="Prefect's GcpCredentials block; without it, Google's default"
    )
    finbert: Path | None = Field(default=None, description="folder of FinBERT's weights; without it the lexicon scores")
    device: str = Field(default="auto", pattern="^(auto|mps|cuda|cpu)$", description="where nets are trained")
    now: str | None = Field(
        default=None, description="rehearsal: the instant this process starts at, 2023-11-03T18:30-05:00 (environment)"
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    def extras(self) -> tuple[str, ...]:
        """The extras of pyproject.toml that these settings need beyond the base."""
        needed = {
            "cloud": self.warehouse.startswith("bigquery:")
            or self.models.startswith("gs:")
            or (self.backup or "").startswith("gs:"),
            "train": self.finbert is not None,
        }
        return tuple(extra for extra, wanted in needed.items() if wanted)


PATHS = tuple(name for name, field in Settings.model_fields.items() if "Path" in str(field.annotation))


def load_settings(project: Path = PROJECT) -> Settings:
    """Read the settings of this process. An empty value counts as not set.

    Args:
        project: the folder whose `.env` is read, whatever the working directory. A relative path in `.env` is relative
            to this folder; one in the environment is relative to the working directory.

    Raises:
        SettingsError: an unknown ``CBI_`` variable or an invalid value; the message names it.
    """
    file = project / ".env"
    given = {name: (value, project) for name, value in _written_in(file).items()}
    given |= {name: (value, Path.cwd()) for name, value in os.environ.items() if _is_setting(name) and value}
    known = {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}
    if unknown := sorted(set(given) - set(known)):
        raise SettingsError(
            f"unknown setting {', '.join(unknown)}; known: {', '.join(sorted(known))} (see .env.example)"
        )
    values: dict[str, Any] = {
        known[name]: folder / Path(value).expanduser() if known[name] in PATHS else value
        for name, (value, folder) in given.items()
    }
    if "backup" in values and values["backup"] != "none" and not values["backup"].startswith("gs:"):
        written, folder = given[f"{PREFIX}BACKUP"]
        values["backup"] = str((folder / Path(written).expanduser()).resolve())
    try:
        settings = Settings(**values)
    except ValidationError as error:
        problems = "; ".join(f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"{problems}. Correct it in the environment or in {file}") from None
    settings = settings.model_copy(
        update={name: path.resolve() for name in PATHS if (path := getattr(settings, name)) is not None}
    )
    require_usable_home(settings.home)
    for name in ("archive", "registry", "expectations", "finbert"):
        if name in values and not getattr(settings, name).is_dir():
            raise SettingsError(
                f"{PREFIX}{name.upper()}: {getattr(settings, name)} is not a folder. Correct it in the environment "
                f"or in {file}, or remove the setting: then the project's own is used"
            )
    return settings


def _written_in(file: Path) -> dict[str, str]:
    """The ``CBI_`` lines of a `.env` that have a value."""
    try:
        lines = dotenv_values(file, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}. Save it as UTF-8 text") from None
    given = {name: value for name, value in lines.items() if name.startswith(PREFIX) and value}
    if CLOCK in given:
        raise SettingsError(f"{file}: {CLOCK} rehearses another day and belongs in the environment of one command")
    if kept := [name for name in SECRETS if name in given]:
        raise SettingsError(f"{file}: {kept[0]} has keys in it: delete the line, and store it with `cbi setup`")
    return given


def _is_setting(name: str) -> bool:
    return name.startswith(PREFIX) and name not in SECRETS
