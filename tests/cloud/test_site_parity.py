"""The site from BigQuery shows the numbers of the site from DuckDB."""

from __future__ import annotations

import secrets

import pytest

from tasks.reporting.site.build import PAGES, build_site
from tasks.settings import Settings
from tasks.storage.zones import Zones
from tasks.warehouse.bigquery.connection import BigQueryAddress
from tasks.warehouse.bigquery.warehouse import BigQueryWarehouse
from tests.reporting.site_home import AS_OF, NOW, frames, numbers_of, publish_home, wrong_numbers

pytestmark = pytest.mark.cloud


def test_both_warehouses_give_the_same_pages(bigquery_emulator, tmp_path):
    local = publish_home(tmp_path / "local")
    place = BigQueryAddress("test-project", prefix=f"t{secrets.token_hex(4)}_")
    remote = BigQueryWarehouse(place, Zones(tmp_path / "remote"), Settings(home=tmp_path / "remote"))
    remote.publish(frames(), as_of=AS_OF, staging=Zones(tmp_path / "local").staging)
    here = build_site(local, Zones(tmp_path / "local"), now=NOW)
    there = build_site(remote, Zones(tmp_path / "remote"), now=NOW)
    assert here.problems == there.problems == []
    shown = ("data-view", "data-column", "data-key", "data-form", "text")
    for page in PAGES:
        ours, theirs = (
            sorted(tuple(number[name] for name in shown) for number in numbers_of(site.folder / page.file))
            for site in (here, there)
        )
        assert ours == theirs, page.name
    assert wrong_numbers(there.folder, remote)[1] == []
