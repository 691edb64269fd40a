"""Problems as the API answers them."""

from __future__ import annotations

RFC_MEMBERS = {"type", "title", "status", "detail", "instance"}
