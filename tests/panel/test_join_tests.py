"""The declared tests of the panel: they pass on the archive, and each one fails on what it is there for."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from tasks.panel.join_tests import check_joins, find_failures

from tasks.errors import JoinTestsFailed, RegistryError
from tasks.panel import join as panel_join
from tasks.panel.derived import with_derived
from tasks.panel.join import AGE, build_panel
from tasks.registry import JOIN_TESTS, PANEL_TESTS, load_join_spec
from tests.conftest import AS_OF


@pytest.fixture(scope="module")
def observations(staged, registry, documents) -> pd.DataFrame:
    return with_derived(staged.observations, registry.derived, as_of=AS_OF, documents=documents)


@pytest.fixture(scope="module")
def failures(observations, registry):
    def found(panel: pd.DataFrame, **changed) -> list[str]:
        given = {"observations": observations, "regimes": registry.regimes} | changed
        return find_failures(panel, registry.joins, **given)

    return found


def test_the_real_panel_passes_and_so_do_earlier_ones(panel, observations, registry, failures):
    assert failures(panel) == []
    for day in ("2002-06-28", "2009-12-30", "2016-12-30"):
        assert failures(build_panel(observations, registry.joins, as_of=pd.Timestamp(day))) == [], day


def test_every_join_is_tested_and_every_known_test_is_used(registry):
    used = {test.name for join in registry.joins.joins for test in join.tests}
    used |= {test.name for test in registry.joins.tests}
    assert used == set(JOIN_TESTS)
    assert all(join.tests for join in registry.joins.joins)


def _with(panel: pd.DataFrame, column: str, rows: slice, value: float) -> pd.DataFrame:
    changed = panel.copy()
    changed.loc[changed.index[rows], column] = value
    return changed


BROKEN = {
    "a lost session": (lambda p: p.drop(index=100), "expect_rows_preserved: 6042 rows of 6043 sessions; 1 lost (2000-"),
    "a doubled session": (lambda p: pd.concat([p, p.iloc[[7]]]), "expect_no_duplicate_dates: 1 rows repeat a date"),
    "rows out of order": (lambda p: p.iloc[::-1], "expect_rows_preserved: rows are out of order"),
    "a later beginning": (lambda p: p.iloc[5:], "expect_date_range: 2000-01-10 to 2023-12-29"),
    "a lost column": (lambda p: p.drop(columns="oni_degc"), "joins.7 (noaa): expect_columns_added: 1 of 2 columns"),
    "text for numbers": (lambda p: p.astype({"vixcls": object}), "expect_columns_added: 0 of 30 columns missing [], 1"),
    "holes": (lambda p: _with(p, "dgs10_pct", slice(3000, 3100), np.nan), "dgs10_pct: 100 of 6043 sessions missing"),
    "a stale price": (lambda p: _with(p, "zl_close" + AGE, slice(-1, None), 9), "zl_close: 9 days old at 2023-12-29"),
    "a negative age": (lambda p: _with(p, "gdp" + AGE, slice(50, 51), -3), "gdp: 1 values dated after their session"),
    "an invented value": (lambda p: _with(p, "gdp", slice(50, 51), 12.5), "2000-03-15 shows 12.5 of 1999-10-01, which"),
    "tomorrow's close": (
        lambda p: p.assign(zl_close=p["zl_close"].shift(-1), **{"zl_close" + AGE: p["zl_close" + AGE].shift(-1) - 1}),
        "zl_close: ",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_panel_is_told_by_test_column_and_figure(panel, failures, fault):
    change, message = BROKEN[fault]
    assert any(message in line for line in failures(change(panel))), failures(change(panel))


def test_too_few_regimes_or_a_wild_weight_are_told(panel, registry, failures):
    [told] = failures(panel, regimes=registry.regimes.iloc[:6])
    assert "6 regimes (at least 7)" in told and "sessions in none (2014-07-01" in told
    [told] = failures(panel, regimes=registry.regimes.assign(training_weight=5000))
    assert "weights 5000 to 5000 (limit 50 to 1000)" in told


def test_every_failure_is_told_at_once(panel, observations, registry):
    broken = _with(_with(panel, "gdp", slice(50, 51), 12.5), "zl_close" + AGE, slice(-1, None), 9)
    with pytest.raises(JoinTestsFailed, match=r"(?s)to 2023-12-29: \d failures.*gdp: 1 of .*zl_close: 9 days old"):
        check_joins(broken, registry.joins, observations=observations, regimes=registry.regimes)


def test_a_join_that_forgets_when_values_were_published_is_refused(observations, registry, failures, monkeypatch):
    """The comparison taken out of ``last_known``: each session gets the value of its date, published or not."""

    def by_date(observed, available, values, instants):
        return honest(observed, np.sort(observed), values, instants)

    honest = panel_join.last_known
    monkeypatch.setattr(panel_join, "last_known", by_date)
    told = failures(build_panel(observations, registry.joins, as_of=AS_OF))
    assert any("cot_zl_open_interest" in line and "not published by their session" in line for line in told)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("- expect_rows_preserved", "- expect_rows_kept", ["tests.0", "unknown test `expect_rows_kept`"]),
        ("{share: 0.012}", "{shares: 0.012}", ["joins.6.tests.1", "expect_null_rate_below", "shares"]),
        ("{share: 0.012}", "{share: 0.012, columns: {zl: 0.1}}", ["joins.6", "no column ['zl'] in this join"]),
        ("      - expect_columns_added", f"      - {PANEL_TESTS[0]}", ["joins.0", "write it under the top-level"]),
        ("  - source: noaa", "  - source: noaa\n    rule: nearest", ["joins.7.rule", "newest_known"]),
    ],
)
def test_a_mistake_in_a_test_is_refused_at_load_with_file_and_entry(registry, tmp_path, old, new, named):
    folder = shutil.copytree(registry.folder, tmp_path / "registry")
    path = folder / "join_spec.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(RegistryError) as raised:
        load_join_spec(folder, registry.sources)
    for part in ["join_spec.yaml", *named]:
        assert part in str(raised.value)
