"""Prompts are files; a site's own take the place of ours, and what cannot be used is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import BadPrompts
from agent.language.templates import PLACEHOLDERS, PromptTemplates, load_prompts
from agent.protocol.dialects import Dialect

SHIPPED = Path(__file__).parents[3] / "agent" / "language" / "prompts"


@pytest.mark.parametrize("dialect", list(Dialect))
def test_ours_are_whole(dialect: Dialect) -> None:
    templates = load_prompts(dialect)

    assert set(templates.templates) == set(PLACEHOLDERS)
    assert all(text.strip() for text in templates.templates.values())


def test_every_file_that_ships_is_read() -> None:
    names = {path.stem for path in SHIPPED.rglob("*.txt")}

    assert names == set(PLACEHOLDERS)
    assert {path.parent.name for path in SHIPPED.rglob("*.txt")} == {"prompts", *Dialect}


def test_a_sites_file_takes_the_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / "first.txt").write_text("Ziel: $target\n", "utf-8")
    (tmp_path / "think_action").mkdir()
    (tmp_path / "think_action" / "first.txt").write_text("Struktur: $target, größer\n", "utf-8")

    tool, think = (load_prompts(dialect, tmp_path) for dialect in Dialect)

    assert tool.templates["first"] == "Ziel: $target\n"
    assert think.templates["first"] == "Struktur: $target, größer\n"
    assert tool.templates["next"] == load_prompts(Dialect.TOOL_CALL).templates["next"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("frist.txt", b"$target", r"frist\.txt is never read: prompts are system\.txt"),
        ("tool-call/first.txt", b"$target", "dialects have the folders tool_call, think_action"),
        ("first.txt", b"$target $colour", r"first\.txt has \$colour, which it cannot hold.*\$mask"),
        ("mask.txt", b"$target", "it can hold: none"),
        ("first.txt", b"segment it", r"first\.txt must hold \$target"),
        ("fault.txt", b"wrong, $target", r"must hold \$observation"),
        ("first.txt", b"$target costs 5$", "write \\$\\$ for a dollar"),
        ("first.txt", b"$target \xff", "cannot be read as UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)

    with pytest.raises(BadPrompts, match=says):
        load_prompts(Dialect.TOOL_CALL, tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadPrompts, match="no folder of prompts at"):
        load_prompts(Dialect.TOOL_CALL, tmp_path / "nowhere")


class TestSaying:
    def test_lines_without_content_are_left_out(self) -> None:
        templates = PromptTemplates(
            {"first": "$volume\n\nIt is: $target\n$mask $neighbour\nNow.\n\n"}
        )

        said = templates.fill("first", volume="", target="liver", mask="", neighbour="yellow")

        assert said == "It is: liver\n yellow\nNow."

    def test_what_a_user_said_is_never_filled_in(self) -> None:
        templates = PromptTemplates({"first": "$target $$5"})

        assert templates.fill("first", target="the $mask ${x} $") == "the $mask ${x} $ $5"


def test_the_digest_changes_with_a_sites_own_words(tmp_path: Path) -> None:
    ours = load_prompts(Dialect.TOOL_CALL)
    (tmp_path / "no_mask.txt").write_text("Nothing is drawn yet, doctor.", encoding="utf-8")

    theirs = load_prompts(Dialect.TOOL_CALL, tmp_path)

    assert ours.sha256 == load_prompts(Dialect.TOOL_CALL).sha256
    assert ours.sha256 != theirs.sha256
    assert len(ours.sha256) == 64
