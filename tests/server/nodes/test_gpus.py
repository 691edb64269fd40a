"""GPUs found without loading anything, and a worker for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.nodes.gpus import gpus_for_workers, gpus_in, list_gpus
from server.nodes.supervisor import node_children

# as nvidia-smi 550 says it
TWO = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-11111111-aaaa-bbbb-cccc-000000000000)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-22222222-aaaa-bbbb-cccc-000000000000)
"""
SLICED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-33333333-aaaa-bbbb-cccc-000000000000)
  MIG 3g.20gb     Device  0: (UUID: MIG-44444444-aaaa-bbbb-cccc-000000000000)
  MIG 3g.20gb     Device  1: (UUID: MIG-55555555-aaaa-bbbb-cccc-000000000000)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-66666666-aaaa-bbbb-cccc-000000000000)
"""
GPU_1 = "GPU-11111111-aaaa-bbbb-cccc-000000000000"
GPU_2 = "GPU-22222222-aaaa-bbbb-cccc-000000000000"


@pytest.mark.parametrize(
    ("said", "uuids"),
    [
        (TWO, (GPU_1, GPU_2)),
        (
            SLICED,
            (
                "MIG-44444444-aaaa-bbbb-cccc-000000000000",
                "MIG-55555555-aaaa-bbbb-cccc-000000000000",
                "GPU-66666666-aaaa-bbbb-cccc-000000000000",
            ),
        ),
        ("No devices found.\n", ()),
        ("", ()),
    ],
    ids=["two", "slices", "none", "silent"],
)
def test_what_the_drivers_tool_says_is_read(said: str, uuids: tuple[str, ...]) -> None:
    assert gpus_in(said) == uuids


@pytest.mark.parametrize(
    ("device", "environment", "gpus"),
    [
        ("auto", {}, (GPU_1, GPU_2)),
        ("auto", {"CUDA_VISIBLE_DEVICES": "3, 1"}, ("3", "1")),
        ("auto", {"CUDA_VISIBLE_DEVICES": ""}, ()),
        ("auto", {"CUDA_VISIBLE_DEVICES": "0,-1,2"}, ("0",)),
        ("cpu", {}, ()),
        ("cuda:1", {}, ()),
    ],
)
def test_only_auto_spreads_over_those_that_may_be_seen(
    device: str, environment: dict[str, str], gpus: tuple[str, ...]
) -> None:
    assert gpus_for_workers(device, environment, lambda: (GPU_1, GPU_2)) == gpus


def tool(folder: Path, script: str) -> None:
    """A program called nvidia-smi in a folder."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_tool_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, f"[ \"$1\" = -L ] && printf '%s' '{TWO}'")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert list_gpus() == (GPU_1, GPU_2)


@pytest.mark.parametrize("script", [None, "exit 9"], ids=["no tool", "a tool that fails"])
def test_without_the_tool_the_drivers_folder_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    # Arrange
    (tmp_path / "bin").mkdir()
    if script is not None:
        tool(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for bus in ("0000:3b:00.0", "0000:86:00.0"):
        (tmp_path / "gpus" / bus).mkdir(parents=True)

    # Act, Assert
    assert list_gpus(tmp_path / "gpus") == ("0", "1")
    assert list_gpus(tmp_path / "nowhere") == ()


def test_a_node_without_gpus_has_one_worker() -> None:
    children = node_children(["site.toml"])

    assert [each.name for each in children] == ["listen", "work", "api"]
    assert all(each.environment == () for each in children)
    assert [each.essential for each in children] == [True, False, False]


def test_a_node_has_a_worker_for_each_gpu_that_sees_no_other() -> None:
    children = node_children(["site.toml"], (GPU_1, GPU_2))

    workers = [each for each in children if each.name.startswith("work")]
    assert [each.name for each in workers] == [f"work on {GPU_1}", f"work on {GPU_2}"]
    assert [dict(each.environment) for each in workers] == [
        {"CUDA_VISIBLE_DEVICES": GPU_1},
        {"CUDA_VISIBLE_DEVICES": GPU_2},
    ]
    assert {each.command[-3:] for each in workers} == {("work", "--config", "site.toml")}
