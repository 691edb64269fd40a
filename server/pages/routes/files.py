"""/static: our style, script and icon, which a browser may keep as long as their address."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse

from server.pages.rendering import STATIC, static_address

router = APIRouter()

MEDIA_TYPES = {
    "icon.svg": "image/svg+xml",
    "pages.css": "text/css; charset=utf-8",
    "pages.js": "text/javascript; charset=utf-8",
}


@router.get("/static/{digest}/{name}")
def file(digest: str, name: str) -> FileResponse:
    """One of the files, under the address that its content has."""
    if name not in MEDIA_TYPES or static_address(name) != f"/static/{digest}/{name}":
        raise HTTPException(404)
    return FileResponse(
        STATIC / name,
        media_type=MEDIA_TYPES[name],
        headers={"Cache-Control": "public, max-age=31536000, immutable"},
    )
