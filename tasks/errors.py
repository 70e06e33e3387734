"""The product's own errors: each says what, where, how much, and what to do next."""

from __future__ import annotations

from tasks.command_line import visible
from tasks.secrets import redact_values


class CbiError(Exception):
    """Base of every error the product raises on purpose.

    Whoever shows its words, there is no secret in them and no sign that a terminal would obey.
    """

    def __init__(self, *parts: object) -> None:
        clean = (redact_values(part) for part in parts)
        super().__init__(*(visible(part) if isinstance(part, str) else part for part in clean))


class SettingsError(CbiError):
    """A setting is unknown or has a bad value."""


class RegistryError(CbiError):
    """An entry of registry/ is misspelt, missing or contradictory."""


class OriginError(CbiError):
    """The place payloads should come from is missing or empty."""


class SourceUnavailable(CbiError):
    """A source did not answer usefully; what is held stays in place."""


class SourceDown(SourceUnavailable):
    """Nothing answered at all, so asking for the next series is vain."""


class NoNetwork(SourceDown):
    """No host can be reached from this machine, so asking any source is vain."""


class NothingNew(SourceUnavailable):
    """The source answered as it should, and it has nothing for the dates requested."""


class SchemaDrift(CbiError):
    """A payload does not have the columns its adapter knows."""


class StaleSource(CbiError):
    """A critical series is older than its limit."""


class NothingStored(CbiError):
    """What a command is to look at has not been made yet."""


class GateFailed(CbiError):
    """A blocking expectation failed; nothing after the gate was written."""


class StorageFailed(CbiError):
    """A folder under CBI_HOME takes no more: the disk is full, or it may not be written to."""


class ZoneBusy(CbiError):
    """Another run holds the lock of a zone."""


class ManifestMismatch(CbiError):
    """A file is not the one its manifest describes."""


class ModelStoreError(CbiError):
    """A model version is missing, half-written or does not fit the features served."""


class WarehouseError(CbiError):
    """The warehouse refused a write or a query."""


class CloudError(CbiError):
    """Google Cloud refused or did not answer; the message says which setting, role or command mends it."""


class CloudUnreachable(CloudError):
    """Google Cloud did not answer, retries included; what is held here may serve meanwhile."""


class TrainingFailed(CbiError):
    """A model family's process ended without a result."""


class ServiceFailed(CbiError):
    """The server or the worker of this home is not up, or did not come up."""


class ServerGone(ServiceFailed):
    """The Prefect server went away under a run, which had begun; what it wrote by then is whole."""


class BackupFailed(CbiError):
    """The second place takes no backup, or holds another home's; what is published stands."""


class ReportFailed(CbiError):
    """The forecasts are published, but a chart or page of them could not be written."""


class VolumeMissing(CbiError):
    """The volume that CBI_HOME lies on is not mounted."""


class Unhealthy(CbiError):
    """Something that runs every day fails; the message says what."""


class SecretFound(CbiError):
    """A file that leaves this machine would have held a key; it was not written."""
