"""The product's own errors: each says what, where, how much, and what to do next."""

from __future__ import annotations

from tasks.command_line import visible
from tasks.secrets import redact_values


class CbiError(Exception):
    """Base of every error the product raises on purpose.

    Its text has no secrets and no control characters, wherever it is shown.
    """

    def __init__(self, *parts: object) -> None:
        clean = (redact_values(part) for part in parts)
        super().__init__(*(visible(part) if isinstance(part, str) else part for part in clean))


class SettingsError(CbiError):
    """A setting is unknown or has a bad value."""


class RegistryError(CbiError):
    """An entry of registry/ is misspelt, missing or contradictory."""


class OriginError(CbiError):
    """The folder that payloads are read from is missing or empty."""


class SourceUnavailable(CbiError):
    """A source gave no usable answer; stored data is kept."""


class SourceDown(SourceUnavailable):
    """The source did not answer at all, so requesting its next series is pointless."""


class NoNetwork(SourceDown):
    """No host can be reached from this machine, so requesting any source is pointless."""


class NothingNew(SourceUnavailable):
    """The source answered correctly and has nothing for the requested dates."""


class SchemaDrift(CbiError):
    """A payload does not have the columns its adapter knows."""


class StaleSource(CbiError):
    """A critical series is older than its limit."""


class NothingStored(CbiError):
    """The data that a command needs does not exist yet."""


class GateFailed(CbiError):
    """A blocking expectation failed; nothing after the gate was written."""


class StorageFailed(CbiError):
    """A folder under CBI_HOME cannot be written: the disk is full, or permission is missing."""


class ZoneBusy(CbiError):
    """Another run holds the lock of a zone."""


class ManifestMismatch(CbiError):
    """A file is not the one its manifest describes."""


class ModelStoreError(CbiError):
    """A model version is missing, half-written, or does not fit the features that are served."""


class PromotionRefused(CbiError):
    """A version does not meet the promotion rule, and nobody forced it with a reason."""


class DecisionFailed(CbiError):
    """A buyer's decision cannot be computed; the published forecast is unaffected."""


class PurchaseError(CbiError):
    """A purchase, or a line of a file of purchases, is invalid; the ledger is unchanged."""


class WarehouseError(CbiError):
    """The warehouse refused a write or a query."""


class CloudError(CbiError):
    """Google Cloud refused or did not answer; the message says which setting, role or command fixes it."""


class CloudUnreachable(CloudError):
    """Google Cloud did not answer, even after retries; local data may be used meanwhile."""


class TrainingFailed(CbiError):
    """The process of a model family ended without a result."""


class ServiceFailed(CbiError):
    """The server or the worker of this home is not running, or did not start."""


class ServerGone(ServiceFailed):
    """The Prefect server stopped during a run; everything the run had written by then is complete."""


class BackupFailed(CbiError):
    """The backup place cannot be written, or belongs to another home; published data is unaffected."""


class ReportFailed(CbiError):
    """The forecasts are published, but one of their charts or pages could not be written."""


class VolumeMissing(CbiError):
    """The volume that CBI_HOME lies on is not mounted."""


class Unhealthy(CbiError):
    """A daily job fails; the message says which."""


class SecretFound(CbiError):
    """A file that would leave this machine contained a key; it was not written."""


class WrongWord(CbiError):
    """A word of a command line names nothing, or says nothing that can be done."""


class Refused(CbiError):
    """The read-only door refuses a request; ``status`` is the HTTP status of the answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
