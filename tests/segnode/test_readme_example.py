"""The README's example in Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.limits import Limits
from models.loaded_models import open_workbench
from server.local import LocalModels, LocalRun, asked_targets, segment_files
from server.rules.catalogue import load_catalogue
from tests.support import phantoms

EXAMPLE = re.compile(r"### In Python\n\n```python\n(.*?)```", re.DOTALL)


def test_the_example_runs(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Arrange: what the example names, and models that need no weights
    phantoms.torso_ct(tmp_path / "ct", shape=(24, 96, 96))
    catalogue, workbench = load_catalogue(), open_workbench("threshold", "fake")
    run = LocalRun(tmp_path / "ct", asked_targets(["liver"], catalogue), tmp_path / "out")
    segment_files(run, LocalModels(lambda: workbench, catalogue, Limits()), lambda _, __: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGNODE_AGENT__POLICY", "threshold")
    monkeypatch.setenv("SEGNODE_AGENT__SEGMENTER", "fake")
    (code,) = EXAMPLE.findall((repository / "README.md").read_text("utf-8"))

    # Act
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)

    # Assert
    assert capsys.readouterr().out.startswith("segmented ")
    assert {"result", "labels", "segmenter", "trace"} <= names.keys()
