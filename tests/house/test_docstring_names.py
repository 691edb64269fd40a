"""A name in a docstring or comment is one that exists: a reader greps for it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.settings import Settings
from tests.house.test_docs import settings_keys

ROOMS = ("segnode", "server", "dicom_node", "agent", "models")
FOLDERS = (*ROOMS, "config", "deploy", "docs", "tests")
DOTTED = re.compile(rf"(?<![\w./-])(?:{'|'.join(ROOMS)})(?:\.\w+)+(?!\w|/)")
PATH = re.compile(rf"(?<![\w./<-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w")
QUOTED = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
IDENTIFIER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?|--[a-z][a-z-]+")
SECTIONS = re.compile(r"\w+(?:\.\w+)+")
WORDS = re.compile(r"[A-Za-z_]\w*|--[a-z][a-z-]+")
# two humps, or words joined by underscores: no English word looks like that
COINED = re.compile(
    r"(?<![\w./-])[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]+)+\b"
    r"|(?<![\w./`-])[a-z]{2,}_[a-z_]*[a-z]\b(?![/.*])"
)
# names of other people's, and examples, that our code never spells out
FOREIGN = {
    "BiomedParse",  # a paper's network
    "BytesLengthException",  # pydicom's
    "FreeType",
    "ImageNet",
    "Left_Kidney",  # an example of a label
    "MetaImage",  # a file format
    "NumPy",
    "huggingface_hub",
    "local_dir",  # of huggingface_hub
    "ResizeLongestSide",  # upstream SAM's
    "RoFormer",  # a paper's
    "VoxTell",  # a paper's network
    "is_rejected",  # pynetdicom's
    "echoscp",  # DCMTK's programs
    "echoscu",
    "storescp",
    "i_sync_tid",  # Linux's ext4
    "ili_last_lsn",  # Linux's XFS
    "liver_lesion",  # an example of a finding in a place
    "pg_ctl",  # PostgreSQL's
    "x_slice",  # of a formula
    "x_view",
    "tmp_path",  # pytest's
}


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Every string that stands as a statement, module and attribute docstrings included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Docstrings and comments with the lines they begin at."""
    for constant in docstrings(ast.parse(source)):
        if isinstance(constant.value, str):
            yield constant.lineno, constant.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def names_in_code(source: str) -> set[str]:
    """Every identifier of a module, and every word of its strings, docstrings left out."""
    tree = ast.parse(source)
    left_out = set(map(id, docstrings(tree)))
    names: set[str] = set()
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            if isinstance(value, str) and id(node) not in left_out:
                names.update(WORDS.findall(value), SECTIONS.findall(value))
    return names


def unknown_names(text: str, names: set[str], files: set[str]) -> Iterator[str]:
    """Names in prose that are neither in the code's `names` nor among the `files`."""
    modules = {re.sub(r"(/__init__)?\.py$", "", file).replace("/", ".") for file in files}
    for dotted in DOTTED.findall(text):
        module = dotted
        while module not in modules and "." in module:
            module = module.rpartition(".")[0]
        rest = filter(None, dotted.removeprefix(module).split("."))
        # a module of a room that is not there; what is public stands in segnode itself
        lost = module in ROOMS and module not in {dotted, "segnode"}
        if dotted not in names and (lost or not names.issuperset(rest)):
            yield dotted
    for path in PATH.findall(text):
        if not any(file == path or file.startswith(f"{path.rstrip('/')}/") for file in files):
            yield path
    for quoted in QUOTED.findall(text):
        if IDENTIFIER.fullmatch(quoted) and not DOTTED.fullmatch(quoted):
            pieces = quoted.removesuffix("()").split(".")
            if not names.issuperset(pieces) and quoted not in FOREIGN and quoted not in files:
                yield quoted
    yield from (word for word in COINED.findall(text) if word not in names | FOREIGN)


@pytest.fixture(scope="module")
def files(repository: Path) -> set[str]:
    """Paths of the tree's files."""
    return {
        str(path.relative_to(repository))
        for folder in FOLDERS
        for path in (repository / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def sources(repository: Path, files: set[str]) -> dict[str, str]:
    return {file: (repository / file).read_text("utf-8") for file in files if file.endswith(".py")}


@pytest.fixture(scope="module")
def names(repository: Path, files: set[str], sources: dict[str, str]) -> set[str]:
    """What the rooms' code and their data name, and every setting as `section.key`."""
    found = set(settings_keys(Settings))
    for file, source in sources.items():
        if file.startswith(ROOMS):
            found |= names_in_code(source) | {Path(file).name}
    for file in files:
        if file.endswith(".toml"):
            found.update(WORDS.findall((repository / file).read_text("utf-8")))
    return found


@pytest.mark.parametrize("folder", [*ROOMS, "tests"])
def test_every_name_in_a_docstring_or_comment_exists(
    sources: dict[str, str], names: set[str], files: set[str], folder: str
) -> None:
    unknown = []
    for file, source in sorted(sources.items()):
        if file.startswith(f"{folder}/"):
            # a test speaks of its own fixtures and of what its texts hold, too
            known = names if folder != "tests" else names | names_in_code(source)
            unknown += [
                f"{file}:{line}: {name}"
                for line, text in prose(source)
                for name in unknown_names(text, known, files)
            ]

    assert unknown == []


@pytest.mark.parametrize(
    "text",
    [
        "Calls `nothing_of_ours` first.",
        "As `Segmenter.draws_nothing` says.",
        "See agent.episode.nowhere.",
        "See agent.episode.loop.no_such_function.",
        "See agent/nowhere.py.",
        "With `--no-such-option`.",
        "A NothingOfOurs is made.",
        "What no_such_word says.",
    ],
)
def test_a_name_that_is_nowhere_is_seen(text: str) -> None:
    files = {"agent/episode/loop.py", "agent/ports.py"}

    assert list(unknown_names(text, {"Segmenter", "episode", "run"}, files)) != []


@pytest.mark.parametrize(
    "text",
    [
        "Calls `run`, of agent.episode.loop.run, or `Segmenter.run()`, in agent/ports.py.",
        "`a + b` is no name, and `\\0` is none.",
        "Under agent/episode/ and `agent.max_turns`.",
    ],
)
def test_a_name_that_is_there_is_not_reported(text: str) -> None:
    files = {"agent/episode/loop.py", "agent/ports.py"}
    names = {"Segmenter", "run", "agent.max_turns"}

    assert list(unknown_names(text, names, files)) == []


def test_names_are_those_of_code_and_not_of_prose() -> None:
    source = '"""The docstring."""\nclass A:\n    """More."""\n    b = "some words"  # a comment\n'

    assert names_in_code(source) == {"A", "b", "some", "words"}
    assert [text for _, text in prose(source)] == ["The docstring.", "More.", "# a comment"]
