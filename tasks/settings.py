"""Typed settings: environment, then `.env`, then the defaults below. A misspelt `CBI_…` name is refused."""

from __future__ import annotations

import os
from pathlib import Path

from dotenv import dotenv_values
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.errors import SettingsError

PROJECT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Everything that may differ between two machines running the same commit."""

    model_config = SettingsConfigDict(env_prefix="CBI_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(default=PROJECT / "var", description="all state: zones, warehouse, models, Prefect's database")
    archive: Path = Field(default=PROJECT.parent / "shared" / "archive", description="recorded source data")
    registry: Path = Field(default=PROJECT / "registry", description="what the product knows about the world")
    expectations: Path = Field(default=PROJECT / "expectations", description="gate suites, JSON")
    workers: int = Field(default=max(1, min(4, os.cpu_count() or 1)), ge=1, description="parallel training processes")
    warehouse: str = Field(default="duckdb", description="`duckdb`, or bigquery://PROJECT?location=us-central1&prefix=")
    warehouse_mode: str = Field(
        default="full", pattern="^(full|thin)$", description="what a BigQuery warehouse holds: all, or what is read"
    )
    query_limit_gb: float = Field(default=10, gt=0, description="BigQuery: what one query may be billed for at most")
    month_limit_gb: float = Field(default=1000, gt=0, description="BigQuery: what one calendar month may be billed for")
    models: str = Field(default="folder", description="`folder` (under CBI_HOME), or gs://BUCKET/PREFIX")
    gcp_block: str | None = Field(
        default=None, description="Prefect's GcpCredentials block; without it, Google's default"
    )
    finbert: Path | None = Field(default=None, description="folder of FinBERT's weights; without it the lexicon scores")
    device: str = Field(default="auto", pattern="^(auto|mps|cuda|cpu)$", description="where nets are trained")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")


def load_settings() -> Settings:
    """Read the settings of this process.

    Raises:
        SettingsError: an unknown ``CBI_`` variable or a value that does not fit, with its name.
    """
    known = {f"CBI_{name.upper()}" for name in Settings.model_fields}
    given = {*os.environ, *dotenv_values(".env")}
    unknown = sorted(name for name in given if name.startswith("CBI_") and name not in known)
    if unknown:
        raise SettingsError(
            f"unknown setting {', '.join(unknown)}; known: {', '.join(sorted(known))} (see .env.example)"
        )
    try:
        settings = Settings()
    except ValidationError as error:
        problems = "; ".join(f"CBI_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"{problems}. Mend it in the environment or in .env") from None
    return settings.model_copy(
        update={
            name: getattr(settings, name).expanduser().resolve()
            for name in ("home", "archive", "registry", "expectations", "finbert")
            if getattr(settings, name) is not None
        }
    )
