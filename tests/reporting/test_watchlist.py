"""docs/watchlist.md: every series asked for has a state, and the state is what registry and archive show."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
import yaml

from tasks.errors import RegistryError
from tasks.registry import load_derived
from tasks.registry.watchlist import load_watchlist, series_of
from tasks.reporting.watchlist import PATH, STATES, render

# what was asked for, in the words of the request, and where it stands in the list
ASKED = {
    "China's monthly soy imports": "Monthly soy imports",
    "customs by origin": "Imports by origin",
    "weekly purchase pace": "Weekly purchase pace",
    "Dalian against CBOT basis": "Dalian against CBOT basis",
    "state reserve actions": "State reserve actions",
    "crush margins": "Crush margins",
    "Dalian's listed contracts": "Dalian's listed contracts",
    "hog herd": "Hog herd",
    "ASF severity": "ASF severity",
    "tariff timeline": "Tariff timeline",
    "quota timeline": "Quota timeline",
    "Section 301 announcement and effective dates": "Section 301 announcement and effective dates",
    "exclusion lists": "Exclusion lists",
    "retaliatory schedules": "Retaliatory schedules",
    "trade-deal milestones": "Trade-deal milestones",
    "biodiesel production": "Biodiesel production",
    "renewable diesel production": "Renewable diesel production",
    "D4": "D4 RIN",
    "D5": "D5 RIN",
    "D6": "D6 RIN",
    "LCFS of California": "LCFS of California",
    "LCFS of Oregon": "LCFS of Oregon",
    "LCFS of Washington": "LCFS of Washington",
    "mandate path RFS": "Mandate path: RFS",
    "mandate path LCFS": "Mandate path: LCFS",
    "mandate path SAF": "Mandate path: SAF",
    "mandate path RenovaBio": "Mandate path: RenovaBio",
    "mandate path Indonesia": "Mandate path: Indonesia",
    "45Z": "45Z and the blender's credit",
    "FCPO": "FCPO",
    "MPOB": "MPOB",
    "sunflower": "Sunflower",
    "rapeseed Euronext": "Rapeseed, Euronext",
    "canola ICE": "Canola, ICE",
    "corn oil": "Corn oil",
    "cash soybean oil": "Cash soybean oil",
    "refining margin": "Refining margin",
    "FOB spreads": "FOB spreads",
    "NOPA": "NOPA",
    "NASS crush": "NASS crush",
    "INMET": "INMET",
    "NOAA": "NOAA",
    "Argentina's SMN": "Argentina's SMN",
    "Copernicus": "Copernicus",
    "Treasury": "Treasury",
    "central banks": "Central banks",
    "economic calendar": "Economic calendar",
    "shipping": "Freight by route",
    "freight": "Baltic dry index",
    "South American harvest": "South American harvest",
    "Conab": "South American harvest",
    "ComexStat": "ComexStat",
    "Abiove": "Abiove",
    "SAGyP or BCR": "SAGyP and BCR",
}


@pytest.fixture(scope="module")
def derived(registry):
    return load_derived(registry.folder, registry.sources)


@pytest.fixture(scope="module")
def entries(registry, derived):
    groups = load_watchlist(registry.folder, registry.sources, derived).groups
    found = [(what, entry) for group in groups.values() for what, entry in group.items()]
    assert len(dict(found)) == len(found), "each stands in one group"
    return dict(found)


def test_every_series_asked_for_has_a_state_and_the_page_is_the_registrys(registry, derived, entries):
    assert set(ASKED.values()) <= set(entries)
    page = PATH.read_text(encoding="utf-8")
    watchlist = load_watchlist(registry.folder, registry.sources, derived)
    assert page == render(watchlist, registry.sources, derived), "run `make docs` and commit the result"
    for what, entry in entries.items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {what} | ")]
        assert f"| {entry.state} |" in line and entry.state in STATES


def test_a_state_is_what_the_archive_shows(registry, derived, entries, staged, archive):
    recorded = pd.read_csv(archive / "MANIFEST.csv").groupby("source")["series"].agg(set)
    wrong = {}
    for what, entry in entries.items():
        pairs = [pair for name in entry.sources for pair in series_of(name, registry.sources, derived)]
        tables = {source for source, _ in pairs if registry.sources.source(source).tables}  # some lines are of later
        valued = [pair for pair in pairs if pair[0] in tables or _has_values(staged, *pair)]
        live = []
        for source, series in valued:
            spec = registry.sources.source(source)
            folders = recorded.get(spec.folder or source, set())
            if not (spec.tables or spec.disabled) and folders & (set(spec.feeds) or {series}):
                live.append((source, series))
        due = "missing" if not pairs else "built and untried" if not valued else "had live" if live else "had recorded"
        if entry.state != due:
            wrong[what] = (entry.state, due)
    assert not wrong, "state in registry/watchlist.yaml, and what it is"


def _has_values(staged, source: str, series: str) -> bool:
    observations = staged.by_source[source].observations
    return bool((observations["series"] == series).any())


@pytest.mark.parametrize(
    ("what", "change", "told"),
    [
        ("ASF severity", {"state": "had live"}, "has a source under `from`"),
        ("ASF severity", {"missing": []}, "name under `missing` why"),
        ("ASF severity", {"missing": ["china.hogs"]}, "no reason `china.hogs`"),
        ("Monthly soy imports", {"from": ["comtrade 156.M.0.1202"]}, "no series `156.M.0.1202`"),
        ("Crush margins", {"from": ["derived china.crush"]}, "no derived series `china.crush`"),
        ("Crush margins", {"state": "had"}, "state"),
    ],
)
def test_a_mistake_in_the_list_names_the_entry(registry, derived, tmp_path, what, change, told):
    folder = shutil.copytree(registry.folder, tmp_path / "registry")
    path = folder / "watchlist.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["groups"]["China"][what] |= change
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    with pytest.raises(RegistryError) as raised:
        load_watchlist(folder, registry.sources, derived)
    assert told in str(raised.value) and what in str(raised.value)
