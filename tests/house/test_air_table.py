"""The table of IHE AI Results names tests, and all of them exist."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_every_test_that_the_table_names_exists() -> None:
    table = (REPOSITORY / "docs" / "ihe-air.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", table))

    sources = [path.read_text("utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py")]
    defined = {name for source in sources for name in re.findall(r"def (test_\w+)", source)}

    assert len(named) > 15
    assert sorted(named - defined) == []
