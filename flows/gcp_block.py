"""Google credentials from a block of Prefect: where a work pool keeps them (CBI_GCP_BLOCK)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect_gcp import GcpCredentials

if TYPE_CHECKING:
    from google.auth.credentials import Credentials


def credentials(name: str) -> Credentials:
    """The credentials of the GcpCredentials block ``name``; tasks/gcp.py finds this function as an entry point."""
    return GcpCredentials.load(name, _sync=True).get_credentials_from_service_account()
