"""Opens the model store of the settings: a folder or Cloud Storage. Callers need not know which."""

from __future__ import annotations

from tasks.model_store.protocol import ModelStore
from tasks.settings import Settings
from tasks.storage.zones import Zones


def open_store(settings: Settings) -> ModelStore:
    """The store of ``CBI_MODELS``: a folder under CBI_HOME, or a place in Cloud Storage with a cache under CBI_HOME.

    Raises:
        SettingsError: the setting is neither.
    """
    zones = Zones(settings.home)
    if settings.models == "folder":
        from tasks.model_store.folder import FolderStore

        return FolderStore(zones.models)
    from tasks.model_store.gcs import GcsStore
    from tasks.storage.bucket import Bucket

    return GcsStore(Bucket(settings.models, settings), zones)
