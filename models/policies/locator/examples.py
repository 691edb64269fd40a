"""Stage 1 of training the locator (models.policies.locator.train): pictures and their embeddings.

Rows come in rounds, each once through all slices: the slices as they are, a square part of each,
then changed slices, and changed parts where training is to see parts. A row's chance is its own, so
that work which was broken off goes on as if it had not been.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.policies.locator.augment import augmented, cropped, hounsfield, windowed
from models.policies.locator.btcv import LabelledSlice
from models.policies.locator.net import EMBEDDING_SHAPE, IMAGE_PX, MAP_PX
from models.segmenters.litemedsam import load_network, model_input
from models.weights.manifest import LITEMEDSAM

_log = logging.getLogger(__name__)

Encode = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A slice (rows, columns) in 0..1 to its embedding (256, 64, 64)."""

Picture = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""An image in 0..1 and its labels, both (rows, columns)."""

_ROWS_DONE = "rows.txt"  # in the work folder: the recipe, and how many rows are whole
_WRITTEN_EVERY = 20


@dataclass(frozen=True)
class ExampleKind:
    """What a row shows: a whole slice or a `part` of one, as it is or `changed`."""

    part: bool
    changed: bool


@dataclass(frozen=True, eq=False)
class Examples:
    """Arrays with one row an example, on disk, in rounds of `slices` rows, of the kinds `rounds`.

    `embedding` (n, 256, 64, 64) float16; `square` (n, 256, 256) uint8, the slice as the encoder saw
    it, 0..255; `labels` (n, 128, 128) uint8. Row r is of slice r % slices.
    """

    embedding: NDArray[np.float16]
    square: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    slices: int
    rounds: tuple[ExampleKind, ...]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.labels)

    def rows(self, *, part: bool, changed: bool, of: Sequence[int]) -> NDArray[np.intp]:
        """The rows of whole slices or parts of them, changed or as they are, of the slices `of`."""
        rounds = [n for n, kind in enumerate(self.rounds) if kind == ExampleKind(part, changed)]
        row = np.arange(len(self))
        return np.flatnonzero(np.isin(row // self.slices, rounds) & np.isin(row % self.slices, of))


def rounds_of(variants: int, part_variants: int) -> tuple[ExampleKind, ...]:
    """The rounds with so many changed pictures of each slice, and of parts of each."""
    plain = (ExampleKind(part=False, changed=False), ExampleKind(part=True, changed=False))
    changed = (ExampleKind(part=False, changed=True),) * variants
    return (*plain, *changed, *(ExampleKind(part=True, changed=True),) * part_variants)


def make_examples(
    slices: Sequence[LabelledSlice],
    encode: Encode,
    rounds: tuple[ExampleKind, ...],
    seed: int,
    work: Path,
) -> Examples:
    """Encode every slice once in each of the `rounds`.

    The arrays lie under `work`; a call that was broken off goes on where it was.
    """
    rows = len(slices) * len(rounds)
    parts = sum(kind.part for kind in rounds)
    recipe = f"{len(slices)} slices, {len(rounds)} rounds, {parts} of parts, seed {seed}"
    done = _rows_done(work, recipe)
    examples = _arrays(work, rows, (len(slices), rounds), "r+" if done else "w+")
    began = time.perf_counter()
    for row in range(done, rows):
        image, labels = picture(slices, row, rounds[row // len(slices)], seed)
        examples.embedding[row] = encode(image)
        examples.square[row] = np.round(model_input(image)[0, 0] * 255)
        examples.labels[row] = at_map_size(labels)
        if (row + 1) % _WRITTEN_EVERY == 0 or row + 1 == rows:
            (work / _ROWS_DONE).write_text(f"{recipe}\n{row + 1}")
        if (row + 1) % len(slices) == 0:
            spent = time.perf_counter() - began
            _log.info("encoded %d of %d in %.0f s", row + 1, rows, spent)
    return examples


def picture(slices: Sequence[LabelledSlice], row: int, kind: ExampleKind, seed: int) -> Picture:
    """What row `row` shows, and its labels, at the size of the slice or of the part."""
    rng, source = np.random.default_rng([seed, row]), slices[row % len(slices)]
    hu, labels = hounsfield(source.pixels), source.labels
    if kind.changed:
        return augmented(hu, labels, rng, part=kind.part)
    if kind.part:
        hu, labels = cropped(hu, labels, rng)
    return windowed(hu), labels


def quick_encoder() -> Encode:
    """LiteMedSAM's encoder in bfloat16: twice as fast where the processor has it.

    Its embeddings differ from float32 by less than a variant differs from its slice.
    """
    encoder = load_network(LITEMEDSAM.verified_path()).image_encoder
    encoder = encoder.to(memory_format=torch.channels_last)

    def encode(image: NDArray[np.float32]) -> NDArray[np.float32]:
        square = torch.from_numpy(model_input(image)).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            embedding: NDArray[np.float32] = encoder(square)[0].float().numpy()
        return embedding

    return encode


def at_map_size(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels (rows, columns) at the network's 128 x 128, laid in the square as the encoder's
    picture is.
    """
    side = max(labels.shape)
    # the centre of pixel i of the map lies at (i + 0.5)·side / 128 in the padded picture
    nearest = ((np.arange(MAP_PX) + 0.5) * side / MAP_PX).astype(int)
    padded = np.zeros((side, side), dtype=np.uint8)
    padded[: labels.shape[0], : labels.shape[1]] = labels
    return padded[np.ix_(nearest, nearest)]


def _rows_done(work: Path, recipe: str) -> int:
    """How many rows an earlier call with the same recipe left whole."""
    path = work / _ROWS_DONE
    if not path.is_file():
        return 0
    earlier, _, count = path.read_text().partition("\n")
    return int(count) if earlier == recipe else 0


def _arrays(
    work: Path, rows: int, order: tuple[int, tuple[ExampleKind, ...]], mode: str
) -> Examples:
    work.mkdir(parents=True, exist_ok=True)

    def array(name: str, shape: tuple[int, ...], dtype: type) -> NDArray[np.generic]:
        path = work / f"{name}.npy"
        if mode == "r+":
            return np.load(path, mmap_mode="r+")  # type: ignore[no-any-return]  # numpy types a map as Any
        return np.lib.format.open_memmap(path, "w+", dtype, (rows, *shape))

    return Examples(
        embedding=array("embedding", EMBEDDING_SHAPE, np.float16).view(np.float16),
        square=array("square", (IMAGE_PX, IMAGE_PX), np.uint8).view(np.uint8),
        labels=array("labels", (MAP_PX, MAP_PX), np.uint8).view(np.uint8),
        slices=order[0],
        rounds=order[1],
    )
