"""The house's budgets, measured with `ast` on the tree and, so that each gate is seen to close, on
planted faults.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOMS = ("segnode", "server", "dicom_node", "agent", "models")
LONGEST_FILE, LONGEST_BODY, LONGEST_CLASS = 500, 60, 250
MOST_METHODS, MOST_POSITIONAL = 15, 6
MOST_FILES_FLAT = 18
NAMES_THAT_SAY_NOTHING = frozenset({"utils", "util", "common", "helpers", "misc", "models"})
WINDOW_LINES = 8
Function = ast.FunctionDef | ast.AsyncFunctionDef
EXEMPTION = re.compile(
    r"#\s*(noqa|type:\s*ignore|pragma:\s*no cover)(:\s*[A-Z0-9, ]+|\[[\w, -]+\])?(?P<reason>.*)"
)


@dataclass
class Findings:
    """What was measured in some files: places over budget, and the sizes that the medians are taken
    of.
    """

    over: list[str] = field(default_factory=list)
    file_lines: list[int] = field(default_factory=list)
    body_lines: list[int] = field(default_factory=list)


def measure(sources: dict[str, str]) -> Findings:
    """Measure Python sources by file name."""
    found = Findings()
    for name, source in sources.items():
        found.file_lines.append(source.count("\n"))
        if found.file_lines[-1] > LONGEST_FILE:
            found.over.append(f"{name}: {found.file_lines[-1]} lines")
        if Path(name).stem in NAMES_THAT_SAY_NOTHING:
            found.over.append(f"{name}: a name that says nothing")
        tree = ast.parse(source)
        if ast.get_docstring(tree) is None:
            found.over.append(f"{name}: the module has no docstring")
        found.over += [f"{name}:{fault}" for fault in _walk(tree, found, public=True)]
        found.over += [f"{name}:{fault}" for fault in exemptions_without_reason(source)]
    return found


def _walk(parent: ast.AST, found: Findings, *, public: bool) -> Iterator[str]:
    for node in ast.iter_child_nodes(parent):
        within = public
        if isinstance(node, ast.Global):
            yield f"{node.lineno} a global statement"
        if isinstance(node, ast.ClassDef):
            within = public and not node.name.startswith("_")
            yield from _class_faults(node, public=within)
        if isinstance(node, Function):
            within = False  # what stands inside a function is nobody else's
            found.body_lines.append(body_lines(node))
            shown = public and not node.name.startswith("_")
            yield from _function_faults(node, public=shown, method=isinstance(parent, ast.ClassDef))
        yield from _walk(node, found, public=within)


def _class_faults(node: ast.ClassDef, *, public: bool) -> Iterator[str]:
    lines = (node.end_lineno or 0) - node.lineno + 1
    methods = sum(isinstance(child, Function) for child in node.body)
    if lines > LONGEST_CLASS:
        yield f"{node.lineno} class {node.name} has {lines} lines"
    if methods > MOST_METHODS:
        yield f"{node.lineno} class {node.name} has {methods} methods"
    if public and ast.get_docstring(node) is None:
        yield f"{node.lineno} class {node.name} has no docstring"


def _function_faults(node: Function, *, public: bool, method: bool) -> Iterator[str]:
    if body_lines(node) > LONGEST_BODY:
        yield f"{node.lineno} {node.name} has {body_lines(node)} lines"
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
    bound = int(method and not static)
    positional = len(node.args.posonlyargs) + len(node.args.args) - bound
    if positional > MOST_POSITIONAL:
        yield f"{node.lineno} {node.name} takes {positional} positional arguments"
    if not is_typed(node, bound=bound):
        yield f"{node.lineno} {node.name} is not fully typed"
    if public and ast.get_docstring(node) is None:
        yield f"{node.lineno} {node.name} has no docstring"


def body_lines(node: Function) -> int:
    """Lines of a function from its first statement after the docstring to its end."""
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or 0) - first.lineno + 1


def is_typed(node: Function, *, bound: int) -> bool:
    """Whether every argument but the first `bound` ones, and the return, are annotated."""
    arguments = [*node.args.posonlyargs, *node.args.args][bound:]
    arguments += [*node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
    return node.returns is not None and all(a.annotation is not None for a in arguments)


def exemptions_without_reason(source: str) -> Iterator[str]:
    """Every exemption from a check whose comment says neither which one nor why."""
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        said = EXEMPTION.search(token.string)
        alone_above = before if before.startswith(f"{token.start[0] - 1}:") else ""
        if said and not (said[2] and (said["reason"].strip(" -#:") or alone_above)):
            yield f"{token.start[0]} an exemption without code and reason: {token.string}"
        before = f"{token.start[0]}:{token.string}"


def code_lines(source: str) -> int:
    """Lines that hold code: no blanks, comments or docstrings."""
    tree = ast.parse(source)
    prose = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return sum(
        bool(text.strip()) and not text.strip().startswith("#") and number not in prose
        for number, text in enumerate(source.splitlines(), 1)
    )


def repeated_share(sources: dict[str, str]) -> float:
    """Share of non-blank lines, 0..1, that stand in a run of eight that occurs elsewhere too."""
    texts = [[line.strip() for line in s.splitlines() if line.strip()] for s in sources.values()]
    runs = Counter(run for text in texts for run in _windows(text))
    repeated = total = 0
    for text in texts:
        total += len(text)
        within = {
            at + offset
            for at, run in enumerate(_windows(text))
            if runs[run] > 1
            for offset in range(WINDOW_LINES)
        }
        repeated += len(within)
    return repeated / max(total, 1)


def _windows(text: list[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(text[at : at + WINDOW_LINES]) for at in range(len(text) - WINDOW_LINES + 1))


def percentile_90(sizes: list[int]) -> int:
    """The size that nine in ten do not exceed."""
    return sorted(sizes)[max(0, -(-len(sizes) * 9 // 10) - 1)]


@pytest.fixture(scope="module")
def rooms(repository: Path) -> dict[str, str]:
    files = [path for room in ROOMS for path in sorted((repository / room).rglob("*.py"))]
    return {str(path.relative_to(repository)): path.read_text("utf-8") for path in files}


@pytest.fixture(scope="module")
def tests(repository: Path) -> dict[str, str]:
    files = sorted((repository / "tests").rglob("*.py"))
    return {str(path.relative_to(repository)): path.read_text("utf-8") for path in files}


def test_nothing_is_over_budget(rooms: dict[str, str]) -> None:
    assert measure(rooms).over == []


def test_files_and_functions_are_small(rooms: dict[str, str]) -> None:
    found = measure(rooms)

    assert statistics.median(found.file_lines) <= 150
    assert percentile_90(found.file_lines) <= 400
    assert statistics.median(found.body_lines) <= 8
    assert percentile_90(found.body_lines) <= 30


def test_tests_hold_as_many_lines_of_code_as_the_rooms(
    rooms: dict[str, str], tests: dict[str, str]
) -> None:
    written, tested = (sum(map(code_lines, group.values())) for group in (rooms, tests))

    assert tested >= written


def test_little_is_written_twice(rooms: dict[str, str]) -> None:
    assert repeated_share(rooms) <= 0.05


def test_every_exemption_in_the_tests_has_its_reason(tests: dict[str, str]) -> None:
    faults = [f"{name}:{f}" for name, s in tests.items() for f in exemptions_without_reason(s)]

    assert faults == []


def crowded(files: Iterable[str]) -> dict[str, int]:
    """Folders with more Python files flat in them than the budget, and how many they have."""
    counts = Counter(str(Path(file).parent) for file in files)
    return {folder: count for folder, count in counts.items() if count > MOST_FILES_FLAT}


def test_no_folder_is_crowded(rooms: dict[str, str], tests: dict[str, str]) -> None:
    assert crowded([*rooms, *tests]) == {}


def test_a_crowded_folder_would_be_seen() -> None:
    files = [f"agent/volume/module_{number}.py" for number in range(MOST_FILES_FLAT)]

    assert crowded(files) == {}
    assert crowded([*files, "agent/volume/deeper/module.py"]) == {}
    assert crowded([*files, "agent/volume/one_more.py"]) == {"agent/volume": MOST_FILES_FLAT + 1}


def test_test_files_have_names_of_their_own_and_form_no_package(repository: Path) -> None:
    names = Counter(path.name for path in (repository / "tests").rglob("test_*.py"))

    assert [name for name, count in names.items() if count > 1] == []
    assert list((repository / "tests").rglob("__init__.py")) == []


PLANTED = {
    "a file of 501 lines": ("x.py", '"""Doc."""\n' + "A = 1\n" * 500, "501 lines"),
    "a name that says nothing": ("server/utils.py", '"""Doc."""\n', "a name that says nothing"),
    "no module docstring": ("x.py", "A = 1\n", "module has no docstring"),
    "a body of 61 lines": (
        "x.py",
        '"""Doc."""\n\n\ndef f() -> None:\n    """Doc."""\n' + "    g()\n" * 61,
        "f has 61 lines",
    ),
    "a class of 251 lines": (
        "x.py",
        '"""Doc."""\n\n\nclass A:\n    """Doc."""\n' + "    a = 1\n" * 249,
        "class A has 251 lines",
    ),
    "sixteen methods": (
        "x.py",
        '"""Doc."""\n\n\nclass A:\n    """Doc."""\n'
        + "".join(f'    def m{n}(self) -> None:\n        """Doc."""\n' for n in range(16)),
        "class A has 16 methods",
    ),
    "seven positional arguments": (
        "x.py",
        (
            '"""D."""\ndef f(a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> None:\n'
            '    """D."""\n'
        ),
        "f takes 7 positional arguments",
    ),
    "an argument without a type": (
        "x.py",
        '"""Doc."""\ndef f(a) -> None:\n    """Doc."""\n',
        "f is not fully typed",
    ),
    "a star argument without a type": (
        "x.py",
        '"""Doc."""\ndef f(*a) -> None:\n    """Doc."""\n',
        "f is not fully typed",
    ),
    "no return type": ("x.py", '"""D."""\ndef f():\n    """D."""\n', "f is not fully typed"),
    "an undocumented function": ("x.py", '"""D."""\ndef f() -> None: ...\n', "f has no docstring"),
    "an undocumented class": ("x.py", '"""D."""\nclass A: ...\n', "class A has no docstring"),
    "an undocumented method": (
        "x.py",
        '"""D."""\nclass A:\n    """D."""\n    def f(self) -> None: ...\n',
        "f has no docstring",
    ),
    "a global statement": (
        "x.py",
        '"""D."""\ndef _f() -> None:\n    global A\n    A = 1\n',
        "a global statement",
    ),
    "an exemption from everything": ("x.py", '"""D."""\nA = 1  # noqa\n', "an exemption without"),
    "an exemption without a reason": (
        "x.py",
        '"""D."""\nA = 1  # noqa: E741\n',
        "an exemption without",
    ),
    "an ignored type without a reason": (
        "x.py",
        '"""D."""\nA = 1  # type: ignore[misc]\n',
        "an exemption without",
    ),
}


@pytest.mark.parametrize(("name", "source", "fault"), PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_fault_is_found(name: str, source: str, fault: str) -> None:
    over = measure({name: source}).over

    assert len(over) == 1
    assert fault in over[0]


@pytest.mark.parametrize(
    "source",
    [
        '"""D."""\nA = 1  # noqa: E741 - the standard calls it so\n',
        '"""D."""\n# the standard calls it so\nA = 1  # noqa: E741\n',
        '"""D."""\ndef _private() -> None: ...\n',
        '"""D."""\nclass _Private:\n    def method(self) -> None: ...\n',
        '"""D."""\ndef f() -> None:\n    """D."""\n    def inner() -> None: ...\n',
    ],
    ids=["reason beside it", "reason above it", "private function", "private class", "inner"],
)
def test_what_the_house_allows_is_not_reported(source: str) -> None:
    assert measure({"x.py": source}).over == []


def test_a_file_written_twice_counts_as_repeated() -> None:
    text = "".join(f"a{n} = {n}\n" for n in range(20))

    assert repeated_share({"one.py": text, "two.py": text}) == 1.0
    assert repeated_share({"one.py": text}) == 0.0


def test_docstrings_comments_and_blanks_are_no_code() -> None:
    assert code_lines('"""Two\nlines."""\n\n# why\nA = 1\n') == 1


def test_nine_in_ten_do_not_exceed_the_ninetieth_percentile() -> None:
    assert percentile_90(list(range(1, 11))) == 9
    assert percentile_90([7]) == 7
