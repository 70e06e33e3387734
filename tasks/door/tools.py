"""The questions that a program may ask, each one or two views with a choice of rows: the tools of the MCP server."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from pydantic import Field

from tasks.door.answers import LIMITS, Limits, read_view
from tasks.errors import CbiError
from tasks.warehouse.protocol import Warehouse

if TYPE_CHECKING:
    from mcp.server import MCPServer

AT_ONCE = 4
"""Queries that run at the same time."""
MOST_DRIVERS = 100
INSTRUCTIONS = (
    "Forecasts of the soybean-oil future ZL (CBOT), in cents per pound, from a published warehouse. Read-only. "
    "Every answer has `as_of`, the session that it is of: it may be old. A null is a value that is not known; "
    "`missing` says why. Never fill it in. Bands are quantiles: p10 to p90 should contain the price 80% of the time. "
    "`track_record` says how good past forecasts were; state it with any forecast that you pass on."
)

Horizon = Annotated[str | None, Field(description="1w, 1m, 3m, 6m or 12m. Default: all.", max_length=8)]
Contract = Annotated[str | None, Field(description="A delivery contract such as ZLH24. Default: all.", max_length=16)]
Need = Annotated[str | None, Field(description="A need of registry/decision.yaml. Default: all.", max_length=80)]
Source = Annotated[str | None, Field(description="A source: its series one by one. Default: sources.", max_length=80)]
Most = Annotated[int, Field(description="Drivers per horizon, the largest first.", ge=1, le=MOST_DRIVERS)]


@dataclass(frozen=True)
class Questions:
    """The questions on one warehouse. An answer maps each part to a view's rows (``answers.read_view``)."""

    warehouse: Warehouse
    limits: Limits = LIMITS

    def _view(self, name: str, **where: str | None) -> dict[str, Any]:
        return read_view(self.warehouse, name, rows=self.limits.rows, where=where, limits=self.limits)

    def latest_forecast(self, horizon: Horizon = None) -> dict[str, Any]:
        """The newest forecast per horizon: center, bands, target date, model, and whether it is degraded."""
        return {"forecast": self._view("vw_latest_forecast", horizon=horizon)}

    def curve(self, contract: Contract = None, horizon: Horizon = None) -> dict[str, Any]:
        """The newest price and bands of each delivery contract that a buyer can lock in."""
        return {"curve": self._view("vw_curve", contract=contract, horizon=horizon)}

    def decision(self, need: Need = None) -> dict[str, Any]:
        """The buying rule's newest words per need and month, with what they cost. An example need says so."""
        return {"decision": self._view("vw_decision", need=need)}

    def drivers(self, horizon: Horizon = None, most: Most = 10) -> dict[str, Any]:
        """What moves the newest forecast's center and width, the largest first, and the same in words."""
        found = self._view("vw_drivers", horizon=horizon)
        counts: dict[Any, int] = {}
        kept = []
        for row in found["rows"]:
            counts[row["horizon"]] = counts.get(row["horizon"], 0) + 1
            if counts[row["horizon"]] <= most:
                kept.append(row)
        cut = found["truncated"] or len(kept) < len(found["rows"])
        words = self._view("vw_explanations", horizon=horizon)
        newest = [row for row in words["rows"] if row["as_of"] == words["as_of"]]
        return {"drivers": {**found, "rows": kept, "truncated": cut}, "words": {**words, "rows": newest}}

    def track_record(self, horizon: Horizon = None) -> dict[str, Any]:
        """How good forecasts were: measured on past origins, realized since, and realized year by year."""
        return {
            "skill": self._view("vw_lived_skill", horizon=horizon),
            "by_year": self._view("vw_outcomes_by_year", horizon=horizon),
        }

    def data_freshness(self, source: Source = None) -> dict[str, Any]:
        """How old the newest value of each source is, in days, and what the newest run reported of it."""
        if source is None:
            return {"sources": self._view("vw_sources")}
        return {"series": self._view("vw_data_freshness", source=source)}

    def all(self) -> tuple[Callable[..., dict[str, Any]], ...]:
        """Every question, in the order of the documents."""
        return (
            self.latest_forecast,
            self.curve,
            self.decision,
            self.drivers,
            self.track_record,
            self.data_freshness,
        )


def mcp_server(questions: Questions) -> MCPServer[Any]:
    """An MCP server whose tools are the questions. It has nothing else: no resource, no prompt, nothing that writes."""
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp_types import ToolAnnotations

    server: MCPServer[Any] = MCPServer(
        "cbi", title="CBI, soybean-oil forecasts", instructions=INSTRUCTIONS, log_level="WARNING"
    )
    limiter = anyio.CapacityLimiter(AT_ONCE)

    def in_thread(question: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
        async def ask(**given: Any) -> dict[str, Any]:
            try:
                return await anyio.to_thread.run_sync(lambda: question(**given), limiter=limiter)
            except CbiError as error:
                raise ToolError(str(error)) from None

        return with_signature_of(question, ask)

    reads = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
    for question in questions.all():
        server.add_tool(in_thread(question), name=question.__name__, description=question.__doc__, annotations=reads)
    return server


def with_signature_of(question: Callable[..., Any], ask: Callable[..., Any]) -> Callable[..., Any]:
    """``ask`` with the name, text and parameters of ``question``, which the server makes a schema of."""
    hints = typing.get_type_hints(question, include_extras=True)
    parameters = [
        one.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in inspect.signature(question).parameters.items()
    ]
    shown: Any = ask
    shown.__name__, shown.__doc__ = question.__name__, question.__doc__
    shown.__annotations__ = hints
    shown.__signature__ = inspect.Signature(parameters, return_annotation=dict[str, Any])
    return ask
