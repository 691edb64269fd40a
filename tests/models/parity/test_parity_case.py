"""A case on disk that cannot be used is named with its file and fault, before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import CheckpointUnreadable, UnreadableFile, WrongArchitecture
from models.parity.case import _Inputs, dump
from tests.support import seeded_networks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A case with a state of one tensor that no network here has, and one array."""
    torch.save({"lone.weight": torch.zeros(2, 3)}, tmp_path / "state.pt")
    np.savez(tmp_path / "inputs.npz", allow_pickle=False, image_size=np.array(128))
    return tmp_path


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no such file in"),
        (b"", "it is no archive of arrays"),
        (b"PK\x03\x04 cut off", "it is no archive of arrays"),
        (b"\x93NUMPY\x01\x00 alone", "it is no archive of arrays"),
    ],
)
def test_inputs_that_are_no_archive_are_named(
    folder: Path, content: bytes | None, sentence: str
) -> None:
    (folder / "inputs.npz").unlink()
    if content is not None:
        (folder / "inputs.npz").write_bytes(content)

    with pytest.raises(UnreadableFile, match=sentence) as fault:
        dump("sam2", folder, folder / "out.npz")

    assert "inputs.npz" in str(fault.value)
    assert not (folder / "out.npz").exists()


def test_objects_in_an_archive_are_not_unpickled(folder: Path) -> None:
    harmful = np.array([{"code": "to run"}], dtype=object)
    np.savez(folder / "inputs.npz", allow_pickle=True, image=harmful)

    with pytest.raises(UnreadableFile, match="no archive of arrays"):
        _Inputs(folder / "inputs.npz")


def test_an_array_that_is_alone_is_no_archive(folder: Path) -> None:
    with (folder / "inputs.npz").open("wb") as file:
        np.save(file, np.zeros(3))

    with pytest.raises(UnreadableFile, match="no archive of arrays"):
        _Inputs(folder / "inputs.npz")


def test_a_missing_array_is_said_by_its_name(folder: Path) -> None:
    inputs = _Inputs(folder / "inputs.npz")

    assert list(inputs) == ["image_size"]
    assert len(inputs) == 1
    assert "volume" not in inputs
    with pytest.raises(UnreadableFile, match="the array 'volume' is missing"):
        inputs["volume"]


@pytest.mark.parametrize("segmenter", ["sam2", "medsam2", "imisnet"])
def test_another_networks_state_is_refused(folder: Path, segmenter: str) -> None:
    with pytest.raises(WrongArchitecture):
        dump(segmenter, folder, folder / "out.npz")

    assert not (folder / "out.npz").exists()


def test_the_size_it_has_is_not_taken_for_medsam2(folder: Path) -> None:
    """A network of a size that is none of the published ones, with SAM 2's keys."""
    torch.save(seeded_networks.sam2_state(), folder / "state.pt")

    with pytest.raises(WrongArchitecture, match=r"SAM 2\.1 tiny") as fault:
        dump("medsam2", folder, folder / "out.npz")

    assert "SAM 2.1 large" not in str(fault.value)


def test_a_state_that_would_run_code_is_not_read(folder: Path) -> None:
    torch.save({"lone.weight": Path("/")}, folder / "state.pt")

    with pytest.raises(CheckpointUnreadable):
        dump("sam2", folder, folder / "out.npz")
