"""Tests mirror the rooms: a module with behaviour has a test of its name, or is imported by a test,
or stands below with the test that reaches it through its caller.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOMS = ("segnode", "server", "dicom_node", "agent", "models")
# Parts that only one caller uses and whose contract is the caller's: a test of the caller says more
# than one of the part, whose arguments are half-read files, sockets or transactions.
THROUGH_THEIR_CALLER = {
    "tests/server/test_cli.py": (
        "server.commands.check",
        "server.commands.node",
        "server.commands.replay",
        "server.commands.weights",
        "server.compose.api",
        "server.compose.check",
        "server.compose.database",
        "server.compose.networks",
        "server.compose.record",
        "server.compose.segment",
        "server.compose.work",
    ),
    "tests/server/http/test_requests_api.py": ("server.http.routes.requests",),
    "tests/server/http/test_studies_api.py": ("server.http.routes.studies",),
    "tests/server/interactive/test_sessions_api.py": ("server.interactive.routes",),
    "tests/server/pages/test_pages_app.py": (
        "server.pages.faults",
        "server.pages.rendering",
        "server.pages.routes.files",
    ),
    "tests/server/pages/routes/test_entry_page.py": ("server.pages.routes.entry",),
    "tests/server/pages/routes/test_requests_page.py": ("server.pages.routes.requests",),
    "tests/server/pages/routes/test_site_pages.py": ("server.pages.routes.site",),
    "tests/server/record/test_record.py": (
        "server.record.completion",
        "server.record.studies",
    ),
    "tests/server/work/test_worker.py": ("server.work.workflow",),
    "tests/dicom_node/results/test_report.py": (
        "dicom_node.results.structured_reports.document",
        "dicom_node.results.structured_reports.tree",
    ),
    "tests/dicom_node/receive/test_receiver_processes.py": ("dicom_node.receive.process",),
    "tests/dicom_node/receive/test_listener.py": (
        "dicom_node.receive.handover",
        "dicom_node.receive.receiver",
    ),
}
LISTED = {module: test for test, modules in THROUGH_THEIR_CALLER.items() for module in modules}


def imported_names(source: str) -> set[str]:
    """Dotted names that a module imports: modules, and what is taken of them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def loaded_by_name(module: str, source: str, modules: set[str]) -> set[str]:
    """Modules of the packages from which a module imports by a name that it is given."""
    prefixes = re.findall(r'import_module\(f"([\w.{}]+)\.{', source)
    packages = tuple(f"{prefix.replace('{__name__}', module)}." for prefix in prefixes)
    return {name for name in modules if name.startswith(packages)} if packages else set()


def has_behaviour(source: str) -> bool:
    """Whether any function does more than document itself (a Protocol's do not)."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(
        isinstance(node, functions)
        and any(
            not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            for line in node.body
        )
        for node in ast.walk(ast.parse(source))
    )


def untested(modules: dict[str, str], tests: dict[str, str]) -> list[str]:
    """Modules (source by dotted name) with behaviour that no test (source by path) is named after
    or imports.
    """
    imported: set[str] = set()
    for source in tests.values():
        imported |= imported_names(source)
    return [
        module
        for module, source in modules.items()
        if has_behaviour(source) and module not in imported and mirror_of(module) not in tests
    ]


def mirror_of(module: str) -> str:
    """The path of the test file that mirrors a module."""
    *folders, name = module.split(".")
    return f"tests/{'/'.join(folders)}/test_{name}.py"


@pytest.fixture(scope="module")
def modules(repository: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for room in ROOMS:
        for path in sorted((repository / room).rglob("*.py")):
            name = ".".join(path.relative_to(repository).with_suffix("").parts)
            # Alembic runs the migrations, and `python -m` a __main__: tests run these two
            if ".migrations." not in name and path.stem != "__main__":
                found[name.removesuffix(".__init__")] = path.read_text("utf-8")
    return found


@pytest.fixture(scope="module")
def tests(repository: Path) -> dict[str, str]:
    files = sorted((repository / "tests").rglob("*.py"))
    return {str(path.relative_to(repository)): path.read_text("utf-8") for path in files}


def test_every_module_with_behaviour_has_its_test(
    modules: dict[str, str], tests: dict[str, str]
) -> None:
    assert sorted(set(untested(modules, tests)) - set(LISTED)) == []


def test_what_is_listed_needs_it(modules: dict[str, str], tests: dict[str, str]) -> None:
    assert sorted(set(LISTED) - set(untested(modules, tests))) == []


def test_the_listed_test_reaches_the_module(modules: dict[str, str], tests: dict[str, str]) -> None:
    graph = {
        name: (imported_names(source) | loaded_by_name(name, source, set(modules))) & set(modules)
        for name, source in modules.items()
    }
    missed = []
    for test, listed in THROUGH_THEIR_CALLER.items():
        sources = [tests[path] for path in conftests(test) if path in tests]
        reached = set[str]().union(*map(imported_names, sources)) & set(modules)
        while new := set[str]().union(*(graph[module] for module in reached)) - reached:
            reached |= new
        missed += [(test, module) for module in listed if module not in reached]

    assert missed == []


def conftests(test: str) -> list[str]:
    """A test file, and the conftest of each folder above it."""
    folders = Path(test).parents
    return [test, *(f"{folder}/conftest.py" for folder in folders)]


def test_a_module_without_a_test_would_be_seen() -> None:
    lone = 'def double(number: int) -> int:\n    """Twice."""\n    return 2 * number\n'
    protocol = 'class Seam:\n    def double(self) -> int:\n        """Twice."""\n'

    assert untested({"agent.lone": lone}, {}) == ["agent.lone"]
    assert untested({"agent.lone": lone}, {"tests/agent/test_lone.py": ""}) == []
    assert untested({"agent.lone": lone}, {"x.py": "from agent.lone import double"}) == []
    assert untested({"agent.lone": lone}, {"x.py": "from agent import lone"}) == []
    assert untested({"agent.seam": protocol}, {}) == []
