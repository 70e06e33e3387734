"""Daily bars of futures, indices, currencies, equities and funds from Yahoo Finance, as history CSV.

Yahoo refuses plain HTTP clients, so the `yfinance` package fetches; the stored payload is CSV as on Yahoo's site.
A split rescales all earlier prices and volumes, a dividend all earlier adjusted closes. After either the whole history
is fetched again, so that one series never mixes two scales.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httpx
import pandas as pd

from tasks.errors import SchemaDrift, SourceDown, SourceUnavailable
from tasks.http import MOST_REDIRECTS, REFUSED_STATUS, TRANSIENT_STATUS, Http
from tasks.network import Unreachable
from tasks.registry import SourceSpec
from tasks.secrets import quoted
from tasks.sources.payloads import Fetched, Payload, Window, with_refusals
from tasks.sources.records import read_table

NO_HOST = {5, 6, 7}  # curl codes: proxy or host not found, or not reached
COLUMNS = ["Open", "High", "Low", "Close", "Adj Close", "Volume"]


def fetch(series: str, window: Window, spec: SourceSpec, http: Http) -> Iterator[Fetched]:
    """One symbol's bars in the window; all its bars if there was a split or dividend since the last stored one."""
    requested = window
    new = pd.Timestamp(window.start) + timedelta(days=spec.refetch_days)

    def request() -> bytes:
        nonlocal requested
        history = _history(series, window, spec.endpoint, http)
        if window.start > spec.first_date and _events(history, since=new):
            requested = Window(spec.first_date, window.end)
            history = _history(series, requested, spec.endpoint, http)
        dates = pd.DatetimeIndex(history.index).strftime("%Y-%m-%d")
        return history[[c for c in COLUMNS if c in history]].set_axis(dates).to_csv(index_label="Date").encode()

    url = f"{spec.endpoint}/v8/finance/chart/{series}?interval=1d&period1="
    content = http.retrying(request, shown=f"{url}{window.start}&period2={window.end}")
    yield Fetched(
        series=series, extension="csv", content=content, url=f"{url}{requested.start}&period2={requested.end}"
    )


def _events(history: pd.DataFrame, *, since: pd.Timestamp) -> bool:
    """Whether there was a split or dividend on or after ``since``."""
    named = [name for name in ("Dividends", "Stock Splits", "Capital Gains") if name in history]
    return bool((history.loc[history.index >= since, named] != 0).any(axis=None))


@lru_cache(maxsize=1)
def _session_at(endpoint: str) -> Any:
    """A session for yfinance that sends Yahoo's requests to ``endpoint``, within the limits of our client.

    yfinance hard-codes its addresses (chart, cookie and crumb, on four hosts). It makes up to eight requests for one
    history, each with its own time limit and without a size limit: here they share the time limit of one request, and
    the size of an answer is counted while it is decoded.
    """
    from curl_cffi.requests import Session
    from yfinance.const import _BASE_URL_

    class At(Session):  # type: ignore[type-arg]  # generic in its stubs alone
        limits_of: Http

        def request(self, method: Any, url: str, **given: Any) -> Any:  # type: ignore[override]
            left_s, most, body = self.limits_of.left_s(), self.limits_of.limits.max_bytes, bytearray()

            def take(piece: bytes) -> int:
                body.extend(piece)
                if len(body) > most:
                    raise SourceUnavailable(f"yahoo: more than {most} bytes from {quoted(url)}. Stored data is kept")
                return len(piece)

            given["timeout"] = min(given.get("timeout") or left_s, left_s)
            answer = super().request(method, self.at(url), content_callback=take, max_redirects=MOST_REDIRECTS, **given)
            answer.content = bytes(body)
            return answer

        @staticmethod
        def at(url: str) -> str:
            parts = urlsplit(url)
            ours = endpoint != _BASE_URL_ and (parts.hostname or "").endswith("yahoo.com")
            return endpoint + parts.path if ours else url

    return At(impersonate="chrome")


def _history(series: str, window: Window, endpoint: str, http: Http) -> pd.DataFrame:
    import yfinance
    from curl_cffi.requests.exceptions import RequestException
    from yfinance.data import YfData
    from yfinance.exceptions import YFException

    # yfinance caches time zones in a SQLite file; keep it out of the user's cache folder
    yfinance.set_tz_cache_location(os.path.join(tempfile.gettempdir(), "cbi-yfinance"))  # noqa: PTH118
    YfData.cache_get.cache_clear()  # it caches answers, even a transient 500
    session = _session_at(endpoint)
    session.limits_of = http
    ticker = yfinance.Ticker(series, session=session)
    answers = _listen(ticker._data)
    try:
        history = ticker.history(
            start=window.start.isoformat(),
            end=(window.end + timedelta(days=1)).isoformat(),
            auto_adjust=False,
            actions=True,
            raise_errors=True,
            timeout=http.limits.read_s,
        )
    except (YFException, RequestException, ValueError, LookupError, TypeError, AttributeError) as error:
        _raise_outage(series, answers)
        reason = str(getattr(error, "rationale", error))  # without yfinance's guess "delisted"
        raise _named(series, error, reason) from error
    if history.empty:
        raise SourceUnavailable(f"yahoo: {series}: answered with no rows; is the symbol still listed?")
    history = history.set_axis(pd.DatetimeIndex(history.index).tz_localize(None))
    unserved = history.index.normalize().isin(_without_volume(answers))
    return history.assign(Volume=history["Volume"].astype("Int64").mask(unserved)) if unserved.any() else history


def _without_volume(answers: list[Any]) -> pd.DatetimeIndex:
    """The dates without a volume in Yahoo's answer: yfinance writes 0 there, which would be a false value."""
    for answer in reversed(answers):
        try:
            served = answer.json()["chart"]["result"][0]
            stamps, volumes = served["timestamp"], served["indicators"]["quote"][0]["volume"]
            zone = served["meta"]["exchangeTimezoneName"]
        except (AttributeError, ValueError, LookupError, TypeError):  # a cookie, a crumb, a page
            continue
        none = [stamp for stamp, volume in zip(stamps, volumes, strict=False) if volume is None]
        return pd.to_datetime(none, unit="s", utc=True).tz_convert(zone).normalize().tz_localize(None)
    return pd.DatetimeIndex([])


def _named(series: str, error: Exception, reason: str) -> Exception:
    """A failure of yfinance as one of our errors; transient ones are retried."""
    from curl_cffi.requests.exceptions import RequestException
    from yfinance.exceptions import YFDataException, YFException, YFRateLimitError

    if isinstance(error, YFRateLimitError):
        return httpx.TransportError(f"Yahoo limits the rate: {reason}")
    if isinstance(error, RequestException) and error.code in NO_HOST:
        return Unreachable(reason)
    lasting = isinstance(error, YFException | LookupError | TypeError | AttributeError)
    if lasting and not isinstance(error, YFDataException | RequestException):
        # the last three: yfinance does not check the shape of an answer
        return SourceUnavailable(f"yahoo: {series}: {type(error).__name__}: {reason}")
    # yfinance hides a 5xx status behind "currently down" or a JSON error
    return httpx.TransportError(f"{type(error).__name__}: {reason}")


def _listen(data: Any) -> list[Any]:
    """Record every answer or error that yfinance gets from now on; it hides both from its callers."""
    answers: list[Any] = []
    original = type(data).get.__get__(data)

    def get(*args: Any, **kwargs: Any) -> Any:
        try:
            answers.append(original(*args, **kwargs))
        except Exception as error:
            answers.append(error)
            raise
        return answers[-1]

    data.get = get
    return answers


def _raise_outage(series: str, answers: list[Any]) -> None:
    """Raise Yahoo's own error if its last answer was an error: yfinance only says that the symbol has no prices.

    Raises:
        SourceDown: Yahoo refuses this machine. httpx.TransportError: it fails, or no host is reached.
    """
    from curl_cffi.requests.exceptions import RequestException

    last: Any = answers[-1] if answers else None
    if isinstance(last, RequestException):
        # yfinance hides a lost connection behind "no timezone found"
        raise _named(series, last, str(last))
    if isinstance(last, SourceUnavailable):
        raise last
    status = getattr(last, "status_code", 200)
    if status in REFUSED_STATUS:
        raise SourceDown(
            f"yahoo: {series}: an outage of Yahoo, which refuses this machine: HTTP {status}: {quoted(last.text)}. "
            "Stored data is kept"
        )
    if status in TRANSIENT_STATUS:
        raise httpx.TransportError(f"an outage of Yahoo: HTTP {status}: {quoted(last.text)}")


def parse(payload: Payload, spec: SourceSpec) -> pd.DataFrame:
    """Bars as served. Columns are read by name: their order changes, and some payloads have only closes."""
    served, refused = read_table(payload, na_values=["null", ""], keep_default_na=False, skip_blank_lines=False)
    names = {str(column).strip().lower(): column for column in served.columns}
    found = {field: names[name.lower()] for field, name in spec.fields.items() if name.lower() in names}
    if "date" not in names or not {"close", "adj_close"} & set(found):
        raise SchemaDrift(f"{payload.name}: columns {list(served.columns)[:8]} have no Date with Close or Adj Close")
    rows = {"series": payload.series, "observation_date": served[names["date"]], "row": served.index + 2}
    return with_refusals(pd.DataFrame(rows | {field: served[column] for field, column in found.items()}), refused)
