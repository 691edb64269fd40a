"""Documentation is held like code: settings, errors, commands, options and recipes all have their
line.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from server.cli import make_parser
from server.settings import Settings

ROOMS = ("segnode", "server", "dicom_node", "agent", "models")
ROOMS_WITH_ERRORS = ROOMS[1:]  # the public API passes on the errors of the others
LOCKS = {"uv.lock", "poetry.lock", "package-lock.json", "Pipfile.lock", "pylock.toml", "yarn.lock"}
# in two pieces, so that this file does not name them
PACKAGE_HOSTS = [
    ".".join(pieces)
    for pieces in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("pytorch", "org/whl"),
        ("deb.debian", "org"),
        ("yarnpkg", "com"),
    )
]


def settings_keys(section: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of every setting; those of a list of tables once, by the table's name."""
    if is_dataclass(section):
        yield from (prefix + field.name for field in fields(section))
        return
    for name, field in section.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        inner = next((kind for kind in kinds if is_section(kind)), None)
        if inner is None:
            yield prefix + name
        else:
            yield from settings_keys(inner, f"{prefix}{name}.")


def is_section(kind: object) -> bool:
    """Whether a setting's type holds settings of its own."""
    return isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind))


def documented_keys(text: str) -> dict[str, str]:
    """What default.toml says of each key: its comment; a table that is commented out counts too."""
    said: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        if table := re.fullmatch(r"(?:# )?\[\[?(\w+)\]?\](\s*#.*)?", line):
            section = table[1]
        elif key := re.match(r"(?:# )?(\w+) = [^#]*(?:# *(.*))?$", line):
            said[f"{section}.{key[1]}"] = key[2] or ""
    return said


@pytest.fixture(scope="module")
def default_toml(repository: Path) -> str:
    return (repository / "config" / "default.toml").read_text("utf-8")


@pytest.mark.parametrize("key", sorted(settings_keys(Settings)))
def test_every_setting_is_in_the_defaults_with_its_comment(default_toml: str, key: str) -> None:
    said = documented_keys(default_toml)

    assert key in said
    # the keys of a destination or route may speak for themselves in the example
    assert said[key] or key.partition(".")[0] in ("destinations", "routes")


def test_the_defaults_hold_no_setting_that_is_not_there(default_toml: str) -> None:
    assert set(documented_keys(default_toml)) <= set(settings_keys(Settings))


def error_classes(source: str) -> set[str]:
    """Names of the classes of an errors.py."""
    return {node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}


def drawn_tree(source: str) -> dict[str, str]:
    """Each class in the tree at the top of an errors.py, with what is said of it ("" for none)."""
    lines = (ast.get_docstring(ast.parse(source)) or "").splitlines()
    found = (re.fullmatch(r"[│├└─\s]*([A-Z]\w+)(?:\s+(\S.*))?", line) for line in lines)
    return {match[1]: match[2] or "" for match in found if match and " " not in match[1]}


@pytest.mark.parametrize("room", ROOMS_WITH_ERRORS)
def test_every_error_stands_in_the_tree_of_its_room(repository: Path, room: str) -> None:
    source = (repository / room / "errors.py").read_text("utf-8")
    tree = drawn_tree(source)

    assert error_classes(source) <= set(tree)
    roots = [name for name, said in tree.items() if not said]
    assert len(roots) == 1, "every error but the root says when it happens"


@pytest.mark.parametrize("room", ROOMS_WITH_ERRORS)
def test_the_tree_of_a_room_is_how_its_errors_inherit(repository: Path, room: str) -> None:
    source = (repository / room / "errors.py").read_text("utf-8")
    lines = (ast.get_docstring(ast.parse(source)) or "").splitlines()
    drawn = {}
    above: dict[int, str] = {}
    for line in lines:
        if match := re.fullmatch(r"((?:[│ ]   )*)(?:[├└]── )([A-Z]\w+).*", line):
            depth = len(match[1]) // 4 + 1
            above[depth] = match[2]
            drawn[match[2]] = above[depth - 1]
        elif re.fullmatch(r"[A-Z]\w+", line):
            above[0] = line
    bases = {
        node.name: ast.unparse(node.bases[0])
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name != above[0]
    }

    assert drawn == bases


def leaves(
    parser: argparse.ArgumentParser, name: str = "segnode"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that does something, by its full name."""
    groups: list[Any] = [
        each for each in parser._actions if isinstance(each, argparse._SubParsersAction)
    ]
    if not groups:
        yield name, parser
    for group in groups:
        for word, inner in group.choices.items():
            yield from leaves(inner, f"{name} {word}")


COMMANDS = dict(leaves(make_parser()))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_says_what_it_does(command: str) -> None:
    parser = COMMANDS[command]

    assert parser.description
    assert [action.dest for action in parser._actions if not action.help] == []


def test_the_commands_are_those_of_the_contract() -> None:
    words = {name.removeprefix("segnode ") for name in COMMANDS}

    assert words == {
        "serve",
        "listen",
        "work",
        "api",
        "sessions",
        "segment",
        "replay",
        "request",
        "requests",
        "show",
        "cancel",
        "retry",
        "release",
        "turns",
        "route",
        "trajectories",
        "models list",
        "models fetch",
        "models verify",
        "models dump",
        "models promote",
        "models rollback",
        "data list",
        "data check",
        "evaluate",
        "check",
        "train sft",
        "train grpo",
    }


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text("utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_every_command(readme: str, command: str) -> None:
    name = command.split()[1]

    assert re.search(rf"\b{name}\b", readme)


def test_commands_in_the_documents_exist(repository: Path) -> None:
    known = {name.split()[1] for name in COMMANDS}
    targets = set(
        re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text("utf-8"), re.MULTILINE)
    )
    unknown = []
    for document in sorted(repository.glob("*.md")):
        for line in _commands_in(document.read_text("utf-8")):
            told = re.findall(r"(?:^|[\s`/])(segnode|make) ([a-z][a-z-]*)\b", line)
            unknown += [
                f"{document.name}: {program} {word}"
                for program, word in told
                if word not in (known if program == "segnode" else targets)
            ]

    assert unknown == []


def _commands_in(text: str) -> Iterator[str]:
    """Lines of code blocks, and code within lines."""
    fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line
        else:
            yield from re.findall(r"`([^`]+)`", line)


def test_every_recipe_has_its_sentence(repository: Path) -> None:
    lines = (repository / "Makefile").read_text("utf-8").splitlines()
    recipes = [at for at, line in enumerate(lines) if re.match(r"[a-z]+:", line)]

    assert [lines[at] for at in recipes if not lines[at - 1].startswith("# ")] == []
    named = {lines[at].partition(":")[0] for at in recipes}
    assert named >= {"help", "demo", "test", "check", "peers", "bench"}


def test_every_rule_that_the_linters_leave_out_has_its_reason(repository: Path) -> None:
    text = (repository / "pyproject.toml").read_text("utf-8")
    ignored = re.search(r"^ignore = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert ignored is not None

    assert [line for line in ignored[1].splitlines() if "#" not in line] == []
    overrides = tomllib.loads(text)["tool"]["mypy"]["overrides"]
    assert text.count("[[tool.mypy.overrides]]\n#") == len(overrides)


@pytest.fixture(scope="module")
def tracked(repository: Path) -> list[Path]:
    answer = subprocess.run(
        ["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        pytest.skip("this is no git checkout")
    return [path for line in answer.stdout.splitlines() if (path := repository / line).is_file()]


def test_no_lock_file_is_committed(tracked: list[Path]) -> None:
    assert [str(path) for path in tracked if path.name in LOCKS] == []


def test_no_package_host_is_named(tracked: list[Path]) -> None:
    naming = [
        f"{path}: {host}"
        for path in tracked
        for host in PACKAGE_HOSTS
        if host.encode() in path.read_bytes()
    ]

    assert naming == []


def test_constraints_are_exact_pins_of_every_dependency(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    table = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))
    extras = table["project"]["optional-dependencies"]
    wanted = {
        re.split(r"[<>=\[ ]", each)[0].lower()
        for group in (table["project"]["dependencies"], *extras.values())
        for each in group
    }

    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9.-]+==[A-Za-z0-9.+!-]+", pin)] == []
    assert wanted <= {pin.partition("==")[0] for pin in pins}


EXCEPTION_NAME = re.compile(r"^(?!.*\blog(ger)?\.).*type\((error|reason)\)\.__name__")
# the log's own words, and a comparison
NAMES_FOR_THE_LOG = {"server/traces.py", "server/record/database/engine.py"}


def test_no_sentence_for_a_person_holds_an_exceptions_name(repository: Path) -> None:
    files = [path for room in ROOMS for path in (repository / room).rglob("*.py")]
    named = {
        f"{name}: {line.strip()}"
        for path in files
        if (name := str(path.relative_to(repository))) not in NAMES_FOR_THE_LOG
        for line in path.read_text("utf-8").splitlines()
        if EXCEPTION_NAME.match(line)
    }

    assert named == set()


def test_an_exceptions_name_would_be_seen() -> None:
    assert EXCEPTION_NAME.match('        raise Broken(f"it broke ({type(error).__name__})")')
    assert not EXCEPTION_NAME.match('        logger.warning("%s", type(error).__name__)')
