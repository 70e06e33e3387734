"""EIA monthly biofuels from API v2. Ids are not in the registry: each id is looked up by its name first.

`/{route}/facet/{facet}` answers `response.facets[]` of `{id, name}`; `/{route}/data/` answers as the weekly series do,
`response.data[]` of `{period: YYYY-MM, series, value, units, ...}`, paged by `total`. The answer echoes the api_key,
which is removed. The registry's `select` of a series has route and facet, the `words` of its name, the words it is
`without`, and its `units`. It is an error if no id or several ids fit, if rows are of several series, or in another
unit. A null value is withheld to protect a company: it is missing, not zero.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pandas as pd

from tasks.errors import SchemaDrift, SourceUnavailable
from tasks.http import Http
from tasks.registry import SourceSpec
from tasks.sources.eia import KEY, all_pages, served_rows
from tasks.sources.payloads import Fetched, Payload, Window

SHOWN = 5  # names listed in an error message


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """All months of the window, all pages as one document."""
    select = spec.series[series].select
    key, route = {"api_key": http.secret(KEY) or ""}, f"{spec.endpoint}/{select['route']}"
    found = _chosen(series, select, http.get(f"{route}/facet/{select['facet']}", key), http)
    params = {
        "frequency": "monthly",
        "data[0]": "value",
        f"facets[{select['facet']}][]": found,
        "start": f"{window.start:%Y-%m}",
        "sort[0][column]": "period",
        "sort[0][direction]": "asc",
    }
    url = f"{route}/data/"
    content = all_pages(series, url, params, http)
    yield Fetched(series=series, extension="json", content=content, url=f"{url}?facets[{select['facet']}][]={found}")


def _chosen(series: str, select: dict[str, str], body: bytes, http: Http) -> str:
    """The one id whose name has every required word and no excluded one."""
    try:
        named = {str(facet["id"]): str(facet["name"]) for facet in json.loads(body)["response"]["facets"]}
    except (ValueError, KeyError, TypeError):
        raise SourceUnavailable(f"{http.source}: {series}: no facets but '{http.quote(body)}'") from None
    words, without = _words(select["words"]), _words(select.get("without", ""))
    fitting = {found: name for found, name in named.items() if words <= _words(name) and not without & _words(name)}
    if len(fitting) == 1:
        return next(iter(fitting))
    near = sorted(fitting or named, key=lambda found: -len(words & _words(named[found])))[:SHOWN]
    candidates = "; ".join(f"{found}: {named[found]}" for found in near)
    raise SourceUnavailable(
        f"{http.source}: {series}: {len(fitting)} names of {select['route']} have the words {select['words']!r}, "
        f"expected one ({candidates}). Fix `words` or `without` in registry/data_sources.yaml"
    )


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Months as served, dated at their first day."""
    served = served_rows(payload, ("period", "series", "units", *spec.fields.values()))
    kinds = {name: sorted({str(cell) for cell in served[name]}) for name in ("series", "units")}
    if len(kinds["series"]) > 1 or kinds["units"] != [spec.series[payload.series].select["units"]]:
        raise SchemaDrift(
            f"{payload.name}: rows of {kinds['series'][:SHOWN]} in {kinds['units'][:SHOWN]}, expected one series in "
            f"{spec.series[payload.series].select['units']}; nothing is added up or converted"
        )
    rows = {"series": payload.series, "observation_date": served["period"].astype(str) + "-01", "row": served.index + 1}
    return pd.DataFrame(rows | {field: served[name] for field, name in spec.fields.items()})


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9][a-z0-9.]*", text.lower()))
