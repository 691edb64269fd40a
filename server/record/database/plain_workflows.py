"""Workflows hold JSON alone: whoever writes into the database must not run code on the node.

DBOS reads what a row itself says it was written with, and takes a pickle for a pickle whatever
serializer is configured. So its reader of pickles is taken away as well, in every process that
opens the database.
"""

from __future__ import annotations

from typing import Any

from dbos._serialization import DBOSPortableJSON, DefaultSerializer

WORKFLOW_JSON = DBOSPortableJSON
"""For DBOS and each DBOSClient."""


def _refuse(*_: object) -> Any:
    raise TypeError("a workflow's entry in the database holds a pickle, which is never read")


# it has no setting for it; the class, because each place that reads has an instance of its own
DefaultSerializer.deserialize = _refuse  # type: ignore[assignment,method-assign]
