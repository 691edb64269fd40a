"""What a form sends: fields by name, each with all that was filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, HTTPException, Request

LONGEST_FORM_BYTES = 2**18
MOST_FIELDS = 1000
MEDIA_TYPE = "application/x-www-form-urlencoded"

Form = Mapping[str, Sequence[str]]


async def sent_form(request: Request) -> Form:
    """The fields of the form that the request sends; HTTPException 415 or 422 for anything else."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if body and media_type != MEDIA_TYPE:
        raise HTTPException(415, "Only the forms of these pages are taken here.")
    try:
        text = body.decode("ascii")
        return parse_qs(text, errors="replace", max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise HTTPException(422, "This form could not be read.") from error


def field(form: Form, name: str) -> str:
    """What was filled in last under a name, without spaces around it; "" for nothing."""
    return form.get(name, ("",))[-1].strip()


SentForm = Annotated[Form, Depends(sent_form)]
