"""/metrics: the record and the disk as numbers, in the text format of Prometheus (0.0.4).

Written here and not by prometheus_client. Its counters and registry hold the numbers of one
process, whereas these are read from the record at each scrape, so that only its writer of text
would be used: that needs 17 lines more than the one below, takes 34 ms of processor time to import,
and turns every whole number into a float ("7.08e+10"). Label values here are names of states, which
need no escaping.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from server.errors import RecordError
from server.http.dependencies import WithSharedCalls
from server.http.ports import Services
from server.nodes.heartbeat import free_bytes
from server.values import DeliveryState, RequestState, StudyState

State = TypeVar("State", RequestState, StudyState, DeliveryState)
MEDIA_TYPE = "text/plain; version=0.0.4"

router = APIRouter(tags=["metrics"])


LIMIT_S = 8.0
"""How long the database may take to count; Prometheus gives up after 10 s."""


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(shared_calls: WithSharedCalls) -> PlainTextResponse:
    """How many requests, studies and deliveries are in which state, and how much room is left."""
    try:
        text = await shared_calls.exposition.get()
    except TimeoutError:
        text = "".join(_record_up(0))
    return PlainTextResponse(text, media_type=MEDIA_TYPE)


def exposition(services: Services) -> str:
    """All metrics as text; without a database only what can be said without it."""
    free = free_bytes(services.storage)
    lines = _metric("segnode_storage_free_bytes", "Free space in storage.dir.", {"": free})
    try:
        counts = services.counting.counts()
    except RecordError:
        return "".join([*lines, *_record_up(0)])
    lines += _record_up(1)
    lines += _by_state("segnode_requests", "Requests by state.", RequestState, counts.requests)
    lines += _by_state("segnode_studies", "Studies by state.", StudyState, counts.studies)
    lines += _by_state(
        "segnode_deliveries", "Deliveries by state.", DeliveryState, counts.deliveries
    )
    return "".join(lines)


def _record_up(value: int) -> list[str]:
    return _metric("segnode_record_up", "Whether the database answers.", {"": value})


def _by_state(
    name: str, help_text: str, states: Iterable[State], counts: Mapping[State, int]
) -> list[str]:
    # every state has its line, also with nothing in it: a series that comes and goes cannot be
    # alerted on
    return _metric(
        name, help_text, {f'{{state="{state}"}}': counts.get(state, 0) for state in states}
    )


def _metric(name: str, help_text: str, values: Mapping[str, int]) -> list[str]:
    samples = [f"{name}{labels} {value}\n" for labels, value in values.items()]
    return [f"# HELP {name} {help_text}\n", f"# TYPE {name} gauge\n", *samples]
