"""What the description of the API (OpenAPI) says of problems."""

from __future__ import annotations

from typing import Any

from server.http.problems import MEDIA_TYPE
from server.http.schemas import ProblemOut


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the description of the API says of answers with these statuses."""
    schema = {"schema": {"$ref": f"#/components/schemas/{ProblemOut.__name__}"}}
    return {
        status: {
            "model": ProblemOut,
            "content": {MEDIA_TYPE: schema},
            "description": "Problem details",
        }
        for status in statuses
    }
