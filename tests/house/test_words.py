"""One meaning a word, one word a meaning: names say what they hold, and a stranger finds coined
nouns in the glossary.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOMS = ("segnode", "server", "dicom_node", "agent", "models")


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# participles and pronouns: what happened to a thing, not what it is
VAGUE = words(
    "asked done drawn each found given heard held kept known made meant one read_ said seen shown "
    "taken thought told tried wanted wished written"
)
MOST_VAGUE = 8.0  # of 1,000 names that are bound, in each room
# names of classes that stand for several things in the rooms, which the module tells apart
SAME_NAME = {
    "Architecture",  # one a network: SAM, SAM 2, IMIS-Net
    "Drawn",
    "Form",
    "LoadedModels",  # the Protocol, and what implements it in another room
    "PromptDecoder",  # one a network
    "Reply",
    "RetryPolicy",
    "State",
    "Trajectory",  # as a reader makes it, and as training reads it from its file
    "Watch",
}
# names that were given up; they would come back from old branches and from memory
RETIRED = words(
    "Aim Appraisal Ask Bench Benches Canvas Desk Drawer Drawers Followed GoingOn Interviewer Kept "
    "LivesOn Manner Offer Pair Patience PromptBook Reading Shelf Strand Stretch Try Whole Workbench"
)


def bound_names(tree: ast.AST) -> Iterator[str]:
    """Every name that is assigned, looped over or taken as an argument."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg) and node.arg not in {"self", "cls"}:
            yield node.arg


def vague_per_thousand(sources: list[str]) -> float:
    """How many of 1,000 bound names are vague."""
    names = [name for source in sources for name in bound_names(ast.parse(source))]
    return 1000 * sum(name.strip("_") in VAGUE for name in names) / max(len(names), 1)


def public_classes(source: str) -> Iterator[ast.ClassDef]:
    """The classes of a module that other modules may name."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node


def is_protocol(node: ast.ClassDef) -> bool:
    """Whether a class is a Protocol by its own bases."""
    return any(ast.unparse(base).split("[")[0].endswith("Protocol") for base in node.bases)


def glossary_names(contributing: str) -> set[str]:
    """What stands in code in the glossary's table."""
    table = contributing.partition("## Glossary")[2]
    return set(re.findall(r"`([A-Z]\w+)`", table))


@pytest.fixture(scope="module")
def sources(repository: Path) -> dict[str, str]:
    files = [path for room in ROOMS for path in sorted((repository / room).rglob("*.py"))]
    return {str(path.relative_to(repository)): path.read_text("utf-8") for path in files}


@pytest.mark.parametrize("room", ROOMS)
def test_names_say_what_they_hold(sources: dict[str, str], room: str) -> None:
    texts = [source for name, source in sources.items() if name.startswith(f"{room}/")]

    assert vague_per_thousand(texts) <= MOST_VAGUE


def test_vague_names_are_counted() -> None:
    source = "def f(one, mask):\n    for each in mask:\n        kept = [said for said in each]\n"

    assert vague_per_thousand([source]) == 800.0
    assert vague_per_thousand(["def f(self, mask):\n    area = mask.sum()\n"]) == 0.0


def test_every_public_protocol_stands_in_the_glossary(
    repository: Path, sources: dict[str, str]
) -> None:
    explained = glossary_names((repository / "CONTRIBUTING.md").read_text("utf-8"))
    protocols = {
        node.name
        for source in sources.values()
        for node in public_classes(source)
        if is_protocol(node)
    }

    assert sorted(protocols - explained) == []


def test_the_glossary_explains_nothing_that_is_not_there(
    repository: Path, sources: dict[str, str]
) -> None:
    explained = glossary_names((repository / "CONTRIBUTING.md").read_text("utf-8"))
    classes = {node.name for source in sources.values() for node in public_classes(source)}

    assert sorted(explained - classes) == []


def test_a_name_stands_for_one_class(sources: dict[str, str]) -> None:
    places: dict[str, list[str]] = {}
    for name, source in sources.items():
        for node in public_classes(source):
            places.setdefault(node.name, []).append(name)

    assert {name: files for name, files in places.items() if len(files) > 1}.keys() <= SAME_NAME


def test_no_name_that_was_given_up_comes_back(sources: dict[str, str]) -> None:
    back = [
        f"{name}: {node.name}"
        for name, source in sources.items()
        for node in public_classes(source)
        if node.name in RETIRED
    ]

    assert back == []


def test_a_protocol_without_its_word_would_be_seen() -> None:
    (planted,) = public_classes("class Planted(Protocol[T]): ...\nclass _Own(Protocol): ...\n")

    assert is_protocol(planted)
    assert glossary_names("`Elsewhere`\n## Glossary\n| seam | `Planted` | a word |") == {"Planted"}
