"""What a full disk and too little memory become, and what is left as it is."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from models.errors import SegmenterAway, TrainingStopped
from models.training.running.faults import ending_in_a_sentence, whole_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "checkpoint-3"
    made.mkdir()
    (made / "model.safetensors").write_bytes(b"half")
    return made


def test_what_was_written_of_a_checkpoint_goes_with_it(folder: Path) -> None:
    with (
        pytest.raises(TrainingStopped, match=r"checkpoint of step 3 .*File too large.*--resume"),
        whole_checkpoint(folder, 3),
    ):
        raise OSError(errno.EFBIG, "File too large")
    assert not folder.exists()


def test_another_fault_passes_through_and_leaves_it(folder: Path) -> None:
    with pytest.raises(KeyError), whole_checkpoint(folder, 3):
        raise KeyError("a fault of ours")
    assert folder.exists()


@pytest.mark.parametrize("fault", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_too_little_memory_is_told_with_step_and_remedy(fault: Exception) -> None:
    with (
        pytest.raises(TrainingStopped, match=r"in step 5\. Lower this; then go on with --resume"),
        ending_in_a_sentence(lambda: 4, "Lower this"),
    ):
        raise fault


def test_a_file_that_cannot_grow_is_named() -> None:
    with (
        pytest.raises(TrainingStopped, match=r"run/curves\.png could not .*after step 4"),
        ending_in_a_sentence(lambda: 4, ""),
    ):
        raise OSError(errno.ENOSPC, "No space left on device", "run/curves.png")


def test_a_segmenter_that_is_away_is_named_with_what_is_kept() -> None:
    with (
        pytest.raises(TrainingStopped, match=r"at host:8200 is away\. .* 4 steps .*--resume"),
        ending_in_a_sentence(lambda: 4, ""),
    ):
        raise SegmenterAway("host:8200", "is away")


@pytest.mark.parametrize(
    "fault", [FileNotFoundError(errno.ENOENT, "No such file"), RuntimeError("shapes")]
)
def test_what_is_neither_passes_through(fault: Exception) -> None:
    with pytest.raises(type(fault)), ending_in_a_sentence(lambda: 4, ""):
        raise fault
