"""Which runs are replays, and so leave the current files alone; which origins are refused."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.errors import OriginError
from tasks.run import open_run
from tasks.settings import load_settings
from tasks.storage.files import write_json, write_parquet
from tasks.storage.zones import Zones


def test_an_earlier_session_is_a_replay_as_long_as_panel_or_training_files_tell_of_a_later_one(
    zones: Zones, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CBI_HOME", str(zones.home))
    zones.home.mkdir(parents=True)

    def is_replay(session: str) -> bool:
        return open_run(load_settings(), origin="live", as_of=session).is_replay

    panel, manifest = zones.panel / "panel.parquet", zones.exports / "manifest.json"
    assert not is_replay("2019-06-28"), "nothing was made yet"
    write_json(manifest, {"as_of": "2023-12-29"})
    assert is_replay("2019-06-28") and not is_replay("2023-12-29")
    write_parquet(panel, pd.DataFrame({"date": pd.to_datetime(["2023-12-28", "2023-12-29"]), "zl_close": 48.0}))
    manifest.unlink()
    assert is_replay("2019-06-28") and not is_replay("2023-12-29")
    panel.write_bytes(b"PAR1 cut")
    assert not is_replay("2019-06-28"), "a panel that cannot be read is made anew"


def test_the_packed_archive_is_no_folder_of_payloads(zones: Zones, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken for one it held nothing, and every source was told to have nothing."""
    monkeypatch.setenv("CBI_HOME", str(zones.home))
    settings = load_settings()
    with pytest.raises(OriginError, match="is a packed archive, not a folder of payloads; use `--origin recorded`"):
        open_run(settings, origin=str(settings.archive), as_of="2023-12-29")
