"""Google Cloud for the warehouse and the model store: credentials, and errors with advice."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoints, entry_points
from typing import TYPE_CHECKING

from tasks.errors import CloudError
from tasks.secrets import quoted
from tasks.settings import Settings

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

ENTRY_POINT = "cbi.google_credentials"
"""The group of entry points (pyproject.toml) with the function that turns a block's name into credentials."""
LOGIN = "`gcloud auth application-default login`, or name a GcpCredentials block of Prefect in CBI_GCP_BLOCK"


def credentials(settings: Settings, *, emulator: str) -> Credentials:
    """The credentials: none for an emulator, else the block in settings, else application default credentials.

    Args:
        settings: ``gcp_block`` names a GcpCredentials block of Prefect.
        emulator: the environment variable that holds an emulator's address, as Google's clients read it.

    Raises:
        CloudError: there are no credentials, or the block cannot be read.
    """
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import GoogleAuthError

    if os.environ.get(emulator):
        return AnonymousCredentials()
    if settings.gcp_block:
        return _of_block(settings.gcp_block, entry_points(group=ENTRY_POINT))
    try:
        found, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    except GoogleAuthError as error:
        raise CloudError(f"no Google credentials on this machine ({one_line(error)}). Run {LOGIN}") from None
    return found


def _of_block(name: str, loaders: EntryPoints) -> Credentials:
    """The credentials of a block, by whoever knows blocks: an entry point of the installed package.

    Raises:
        CloudError: no loader is installed, or it finds no credentials.
    """
    try:
        (loader,) = loaders
    except ValueError:
        raise CloudError("CBI_GCP_BLOCK is set, but this installation has no loader of blocks: `make setup`") from None
    try:
        found: Credentials = loader.load()(name)
        return found
    except Exception as error:  # the loader's, pydantic or google.auth: any error means that it gives no credentials
        raise CloudError(
            f"the block gcp-credentials/{name} of CBI_GCP_BLOCK gives no credentials ({one_line(error)}). "
            "`prefect block ls` lists the blocks there are; unset CBI_GCP_BLOCK to use Google's default"
        ) from None


def one_line(error: Exception) -> str:
    """Google's message on one line, cut to a length."""
    text = str(getattr(error, "message", None) or error)
    return quoted(text, most=300)


def explained(error: Exception, what: str) -> CloudError:
    """An error of Google's clients as ours: what was attempted, their message, what to do next.

    Args:
        error: the exception of the client.
        what: what was attempted, e.g. "BigQuery job on project p".
    """
    from google.api_core import exceptions as api
    from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
    from requests import RequestException

    says = one_line(error)
    if isinstance(error, RefreshError):
        advice = f"The credentials have expired or were revoked: run {LOGIN}"
    elif isinstance(error, (TransportError, api.RetryError, RequestException, ConnectionError, TimeoutError)):
        advice = "Google did not answer, retries included: check the network and run again; nothing was left half done"
    elif isinstance(error, GoogleAuthError):
        advice = f"No usable credentials: run {LOGIN}"
    elif isinstance(error, api.Unauthorized):
        advice = f"The credentials are not accepted: run {LOGIN}"
    elif isinstance(error, api.Forbidden) and ("quota" in says.lower() or "limit" in says.lower()):
        advice = "A quota is used up: wait for its reset, or raise it (IAM & Admin > Quotas), then run again"
    elif isinstance(error, api.Forbidden):
        advice = "A role is missing: docs/google_cloud.md lists the roles, and deploy/gcp grants them"
    elif isinstance(error, api.NotFound) and "location" in says.lower():
        advice = "The dataset is in another location: set its location in CBI_WAREHOUSE (?location=…)"
    elif isinstance(error, api.NotFound):
        advice = "Project, dataset or bucket is missing: check CBI_WAREHOUSE and CBI_MODELS, or run deploy/gcp"
    elif isinstance(error, api.TooManyRequests):
        advice = "Too many requests: wait a minute and run again; nothing was left half done"
    elif isinstance(error, api.ServerError):
        advice = "Google has an outage, retries included: run again later; nothing was left half done"
    else:
        advice = "See docs/google_cloud.md"
    return CloudError(f"{what}: {says}. {advice}")
