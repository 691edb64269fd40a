"""A case on disk to an archive of arrays: `segnode models dump`, for trials against upstream's own
code.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.errors import UnreadableFile, WrongArchitecture
from models.runtime.devices import CPU
from models.weights.checkpoints import describe_state, read_state

Arrays = dict[str, NDArray[Any]]


def dump(segmenter: str, case: Path, out: Path) -> None:
    """Run the case in the folder `case` through the network of `segmenter` and write its arrays to
    `out` (.npz).

    `segmenter` "imisnet", "sam2" or "medsam2". The case: `state.pt`, upstream's key → float32
    tensor, and `inputs.npz`, arrays under the names that models.parity.sam2_image, sam2_video and
    imisnet say. Runs in float32 on the CPU. Raises CheckpointUnreadable, WrongArchitecture and
    UnreadableFile, also for an input that is missing.
    """
    state, inputs = read_state(case / "state.pt"), _Inputs(case / "inputs.npz")
    arrays = _imisnet(state, inputs) if segmenter == "imisnet" else _sam2(segmenter, state, inputs)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("wb") as file:  # given a name, numpy would add a suffix of its own
        np.savez(file, allow_pickle=False, **arrays)


def _imisnet(state: Mapping[str, Tensor], inputs: Mapping[str, NDArray[Any]]) -> Arrays:
    from models.parity.imisnet import dump_imisnet
    from models.segmenters.imisnet.checkpoint import EXPECTED

    if (description := describe_state(state)) != EXPECTED:
        raise WrongArchitecture(EXPECTED, description)
    return dump_imisnet(state, inputs)


def _sam2(segmenter: str, state: Mapping[str, Tensor], inputs: _Inputs) -> Arrays:
    from models.parity.sam2_image import dump_sam2_image
    from models.parity.sam2_video import dump_sam2_video
    from models.segmenters.sam2.architecture import BASE_PLUS, LARGE, SMALL, TINY
    from models.segmenters.sam2.network import load_network

    sizes = (TINY,) if segmenter == "medsam2" else (TINY, SMALL, BASE_PLUS, LARGE)
    by_name = {size.name: size for size in sizes}
    description = describe_state(state)
    if description not in by_name:
        raise WrongArchitecture(" or ".join(by_name), description)
    architecture = replace(by_name[description], side_px=int(inputs["image_size"]))
    network = load_network(state, architecture, CPU)
    arrays = dump_sam2_image(network, inputs)
    if "volume" in inputs:
        arrays |= dump_sam2_video(network, inputs)
    return arrays


class _Inputs(Mapping[str, NDArray[Any]]):
    """The arrays of inputs.npz; one that is missing is said in a sentence."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:  # numpy leaves a broken file that it opened open
                archive = np.load(file, allow_pickle=False)
                if not isinstance(archive, np.lib.npyio.NpzFile):
                    raise ValueError("a single array")
                self._arrays: Arrays = dict(archive)
        except FileNotFoundError:
            raise UnreadableFile(path, f"there is no such file in {path.parent}.") from None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as fault:
            raise UnreadableFile(path, "it is no archive of arrays (.npz).") from fault

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._arrays:
            raise UnreadableFile(self._path, f"the array '{name}' is missing.")
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)
