"""A third party's package as the README shows it: built, installed into a folder, listed, used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = subprocess.CompletedProcess[str]
BROKEN = "import a_package_that_is_not_there\n"


def sources(repository: Path) -> dict[str, str]:
    """The README's example, text by file name."""
    readme = (repository / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    return dict(blocks)


def install(files: dict[str, str], folder: Path) -> Path:
    """Build a wheel of these files and install it, without a network; where it lies."""
    package, target = folder / "package", folder / "target"
    package.mkdir()
    for name, text in files.items():
        (package / name).write_text(text, "utf-8")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=package, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True, capture_output=True)
    return target


def segnode(target: Path, folder: Path, *arguments: str) -> Run:
    """Run `segnode` with the installed package beside it, in `folder`."""
    environment = {key: text for key, text in os.environ.items() if not key.startswith("SEGNODE_")}
    environment |= {
        "PYTHONPATH": str(target),
        "SEGNODE_STORAGE__DIR": str(folder / "var"),
        "SEGNODE_STORAGE__MINIMUM_FREE_BYTES": "0",
        "SEGNODE_AGENT__POLICY": "threshold",
        "SEGNODE_AGENT__SEGMENTER": "fake",
    }
    command = [sys.executable, "-m", "server.cli", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's package, installed."""
    return install(sources(repository), tmp_path_factory.mktemp("acme"))


def test_it_is_listed_with_its_distribution(installed: Path, tmp_path: Path) -> None:
    answer = segnode(installed, tmp_path, "models", "list")

    assert answer.returncode == 0, answer.stderr
    row = next(line for line in answer.stdout.splitlines() if line.startswith("acme-bright "))
    assert row.split() == ["acme-bright", "box", "no", "64", "acme-bright", "0.1.0"]


def test_it_draws_where_it_is_named(installed: Path, tmp_path: Path) -> None:
    # Arrange: a bright disc on a dark ground
    rows, columns = np.mgrid[:64, :64]
    disc = (rows - 30) ** 2 + (columns - 34) ** 2 < 15**2
    Image.fromarray(np.where(disc, 180, 20).astype(np.uint8)).save(tmp_path / "slice.png")

    # Act
    words = ("segment", "slice.png", "--target", "bright", "--out", "out")
    answer = segnode(installed, tmp_path, *words, "--segmenter", "acme-bright")

    # Assert
    assert answer.returncode == 0, answer.stderr
    with Image.open(tmp_path / "out" / "bright.png") as picture:
        drawn = np.asarray(picture) > 0
    assert np.array_equal(drawn, disc)
    trace = (tmp_path / "out" / "trace.json").read_text("utf-8")
    assert '"predicted_iou": 0.9' in trace  # the plug-in's opinion of its mask


def test_a_broken_one_is_reported_and_stops_nothing_else(repository: Path, tmp_path: Path) -> None:
    # Arrange
    files = sources(repository)
    target = install({**files, "acme_bright.py": BROKEN + files["acme_bright.py"]}, tmp_path)
    fault = (
        "the segmenter 'acme-bright' of acme-bright 0.1.0 cannot be used: acme_bright:ENTRY "
        "cannot be imported (No module named 'a_package_that_is_not_there')"
    )

    # Act
    listed = segnode(target, tmp_path, "models", "list")
    checked = segnode(target, tmp_path, "check")

    # Assert
    assert listed.returncode == 0
    assert listed.stderr == f"{fault}\n"
    assert checked.returncode == 1
    failed = [line for line in checked.stdout.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1
    assert failed[0].startswith(f"FAIL  models, plug-in segmenter acme-bright: {fault}.")
    assert "ok    models: threshold + fake" in checked.stdout
