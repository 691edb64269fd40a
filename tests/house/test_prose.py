"""Documents beside the code: lines that end, links that lead somewhere, lists of files that are
there, and subjects of commits that a log can show.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

LONGEST_LINE, LONGEST_SUBJECT = 100, 72
RULE_SINCE = "Models are chosen and pooled in one file; no folder holds more than 18"
DECISIONS = 10


def documents(repository: Path) -> list[Path]:
    """Every Markdown document of the house."""
    found = [*repository.glob("*.md"), *(repository / "docs").rglob("*.md")]
    return sorted(found)


def long_lines(text: str) -> list[int]:
    """Numbers, from 1, of lines that are too long; tables, links and code blocks excepted."""
    fenced = False
    numbers = []
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= line.startswith("```")
        plain = not fenced and not line.startswith(("|", "    ", "![", "[", "```"))
        if plain and len(line) > LONGEST_LINE:
            numbers.append(number)
    return numbers


def recipes(contributing: str) -> dict[str, list[str]]:
    """The files that each list of "How to add" names, by what is added."""
    section = contributing.partition("\n## How to add\n")[2].partition("\n## ")[0]
    parts = re.split(r"^### ", section, flags=re.MULTILINE)[1:]
    return {
        part.splitlines()[0]: re.findall(r"^    (\w+/\S+)", part, re.MULTILINE) for part in parts
    }


def dead_links(document: Path) -> list[str]:
    """Relative links of a document whose file is not there."""
    links = re.findall(r"\]\(([^)#\s]+)\)", document.read_text("utf-8"))
    return [link for link in links if "://" not in link and not (document.parent / link).exists()]


def long_subjects(subjects: list[str]) -> list[str]:
    """Subjects that are too long; git's own of a merge or a revert count too."""
    return [subject for subject in subjects if len(subject) > LONGEST_SUBJECT]


def test_lines_of_documents_end(repository: Path) -> None:
    long = {
        path.name: numbers
        for path in documents(repository)
        if (numbers := long_lines(path.read_text("utf-8")))
    }

    assert long == {}


def test_a_long_line_would_be_seen() -> None:
    long = "word " * 21

    assert long_lines(f"short\n{long}\n| {long} |\n```\n{long}\n```\n{long}") == [2, 7]


def test_every_link_leads_to_a_file(repository: Path) -> None:
    dead = {path.name: dead_links(path) for path in documents(repository)}

    assert {name: links for name, links in dead.items() if links} == {}


def test_a_dead_link_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("[one](a.md) [two](b.md) [three](https://example.org/c.md)")

    assert dead_links(tmp_path / "a.md") == ["b.md"]


@pytest.mark.parametrize(
    "kind", ["A segmenter", "An action", "A kind of result", "A setting", "An endpoint"]
)
def test_how_to_add_names_files_that_are_there(repository: Path, kind: str) -> None:
    files = recipes((repository / "CONTRIBUTING.md").read_text("utf-8"))[kind]

    assert [file for file in files if not (repository / file).exists()] == []
    assert any(file.startswith("tests/") for file in files)


def test_a_file_of_a_recipe_is_read() -> None:
    text = (
        "## A\n\n## How to add\n\n### A thing\n\n    agent/nowhere.py   what\n\n## B\n    x/y.py\n"
    )

    assert recipes(text) == {"A thing": ["agent/nowhere.py"]}


def test_every_decision_has_its_three_parts(repository: Path) -> None:
    folder = repository / "docs" / "decisions"
    pages = sorted(folder.glob("[0-9]*.md"))
    index = (folder / "README.md").read_text("utf-8")

    assert len(pages) >= DECISIONS
    for page in pages:
        text = page.read_text("utf-8")
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequence",
        ], page.name
        assert text.count("\n") <= 40, f"{page.name} is more than a screen"
        assert f"]({page.name})" in index


def test_files_that_documents_name_are_there(repository: Path) -> None:
    rooms = "server|dicom_node|agent|models|config|deploy|docs|tests"
    named = re.compile(rf"`((?:{rooms})/[\w./-]*)`")
    lost = [
        f"{path.name}: {name}"
        for path in documents(repository)
        if path.name != "CHANGELOG.md"  # speaks of what was
        for name in named.findall(path.read_text("utf-8"))
        if not (repository / name).exists()
    ]

    assert lost == []


def test_subjects_of_commits_are_short(repository: Path) -> None:
    command = ["git", "log", "--format=%s"]
    answer = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        pytest.skip("this is no git checkout")
    subjects = answer.stdout.splitlines()
    if RULE_SINCE not in subjects:
        pytest.skip("this checkout's history does not reach back to the rule")

    assert long_subjects(subjects[: subjects.index(RULE_SINCE)]) == []


def test_a_long_subject_would_be_seen() -> None:
    assert long_subjects(["a" * 72, "a" * 73]) == ["a" * 73]


def test_the_hook_refuses_a_long_subject(repository: Path, tmp_path: Path) -> None:
    hooks = (repository / ".pre-commit-config.yaml").read_text("utf-8")
    found = re.search(r"entry: (awk .*)\n", hooks)
    assert found is not None
    message = tmp_path / "message"

    def refused(subject: str) -> bool:
        message.write_text(f"{subject}\n\n{'long ' * 40}\n# a comment\n")
        command = ["bash", "-c", f"{found[1]} {message}"]
        return subprocess.run(command, capture_output=True, check=False).returncode != 0

    assert "stages: [commit-msg]" in hooks
    assert not refused("a" * 72)
    assert refused("a" * 73)
