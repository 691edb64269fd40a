"""Training the locator from nothing, read from top to bottom. The command that made the shipped
weights:

    python -m models.policies.locator.train --data ../shared/data/btcv --work /tmp/locator --out
    models/policies/locator/weights

Stages: (1) every training slice as it is and in ten made-up variants goes through LiteMedSAM's
encoder once and is kept in --work (1331 embeddings, 2.8 GB); (2) 900 steps on those, with a cheap
warp of the features on top; (3) weights as float16 safetensors. The validation patients are read by
neither stage.

Departures from common practice (nnU-Net, MedSAM fine-tuning), with the reason:
- The encoder stays frozen: 17 patients cannot teach 10 million weights, and the segmenter needs the
  embedding anyway.
- Augmentation comes before the encoder, a fixed number of variants: an encoder run costs thirty
  times a training image.
- The features themselves are warped a little at each step. An embedding of a shifted slice is
  nearly the shifted
  embedding, so this is nearly free augmentation.
- The shipped weights are a moving average of the last few hundred steps, which replaces early
  stopping: there is no
  patient to spare for choosing an epoch.

Log of experiments, 2026-11-21, two shared CPU cores. "Cross-validated" is: trained on 13 of the 17
training patients, measured on 001, 007, 023, 032 (31 slices); one fold of the four, for want of
time. Mean 2-D Dice over the slices with the organ: liver, spleen, kidneys, aorta / all 13. The
validation patients had no part in any choice.
- Normalisation, boxes round the truth +-3 px, 34 slices, mean of organs: per-slice min-max 0.694;
  window measured in the
  body, width 400: 0.837, width 300: 0.819, width 600: 0.800; width 400 and cut to the body: 0.828
  (not adopted).
- The locator's own map, 900 steps: 0.848 / 0.733. (An earlier probe with min-max pictures, five
  variants and no
  position in the body had 0.567 over all 13, on other patients.)
- One box: at 0.5 and 3 px 0.863 / 0.779 (adopted as the first turn); at 0.5 and 1 px 0.859 / 0.761;
  at 0.3 and 2 px
  0.860 / 0.771; at 0.7 and 0 px 0.849 / 0.725: a box may rather be loose than tight.
- Several boxes, the best kept by agreement with the map plus predicted IoU: 0.880 / 0.790
  (adopted). By agreement
  alone 0.878 / 0.781, by agreement of the masks among themselves 0.865 / 0.778 (not adopted). The
  best of twelve boxes, chosen by the truth, 0.891 / 0.812; a box round the truth 0.906 / 0.844.
- Most of the gain comes from the box round the largest part (aorta 0.85 to 0.91): the map has
  specks elsewhere.
- Without gain: the mean of first box and drawn box (0.766), a majority of the masks (0.767),
  cutting the mask to
  where the locator agrees (+0.004 after a tight box, nothing after a loose one).
- "Absent" below an area of 15 px of 256 x 256: 0.920 right, 0.777 all 13; 60 px: 0.960 and 0.767;
  90 px: 0.973 and
  0.731. Adopted 60 for the large organs, 40 for the others, 25 for the adrenal glands.
- "Absent" on a lone slice, chosen again on two folds: the one above and 002, 021, 028, 036 (30
  slices; its network stopped
  at step 600 of 900, for want of time). 437 absences, 356 presences. Demanded: absent right for
  0.97 of both folds together at the least mean Dice. Area thresholds large / other / adrenal,
  absent right, all 13 (the folds one by one): 60 / 40 / 25, as before: 0.959, 0.777 (0.951, 0.766;
  0.967, 0.788). 250 / 60 / 25, adopted, the best of 315 triples: 0.973, 0.768 (0.960, 0.759; 0.986,
  0.776). Large organs 0.951 to 0.976; organs that are there and missed 0.079 to 0.098. Chosen on
  one fold for 0.97 and read on the other, such triples give 0.942 and 0.977: the promise is good to
  some 0.02. Other evidence brings no more, so none was adopted. Logistic regressions with an
  intercept a group, fitted on one fold and read on the other, all 13 at 0.97 absent: area 0.753,
  with the peak 0.751, with the area at 0.5 against that at 0.1 0.765, with the best mask's score
  0.766, that score alone 0.744. Area against a share of the organ's median 0.742. False finds are
  mostly an organ's end drawn a slice too far, with every sign of certainty.
- Stage 1 of the shipped weights ran once, before this file had its present form; the first twelve
  variants and two plain
  slices were compared: labels equal, pictures equal to one grey level, embeddings to bfloat16's
  rounding.
- The shipped weights on the validation patients (27 slices): first box 0.890 / 0.770, after the
  turns 0.908 / 0.797, truth's
  box 0.924 / 0.869; absent 0.914 with the areas 60 / 40 / 25. With 250 / 60 / 25, looked at once:
  0.944, after the turns 0.896 / 0.782. Left so, though less than cross-validation promised: the
  validation patients choose nothing.
Cost on two cores: stage 1 0.45 s an example (547 s for 1210 variants), stage 2 0.44 s a step (397 s
for 900), so about 17 minutes in all; beside other work the shipped run's stage 2 took longer, on
one thread.
"""

from __future__ import annotations

import argparse
import copy
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.nn import functional

from models.policies.locator.augment import augmented, hounsfield, windowed
from models.policies.locator.btcv import LabelledSlice, read_btcv
from models.policies.locator.net import (
    CELLS,
    CLASSES,
    EMBEDDING_SHAPE,
    IMAGE_PX,
    MAP_PX,
    Locator,
    body_position,
    network_input,
)
from models.segmenters.litemedsam import load_network, model_input
from models.weights.manifest import LITEMEDSAM

_log = logging.getLogger(__name__)

Encode = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A slice (rows, columns) in 0..1 to its embedding (256, 64, 64)."""

CLASS_WEIGHTS = (
    0.3,
    1,
    1,
    1,
    2,
    2,
    1,
    1,
    1.5,
    1.5,
    2,
    2,
    3,
    3,
)  # background less, small organs more
PLAIN_SHARE = 0.25  # of a batch: slices as they are; the others are variants
WARP_RAD, WARP_LOG_SCALE, WARP_SHIFT = 0.175, 0.15, 0.1  # of the features, at every step
WEIGHTS_NAME = "locator.safetensors"
# in --work: written last, so that an interrupted run is not taken for a whole one
_DONE = "examples.txt"


@dataclass(frozen=True)
class Schedule:
    """Everything a run depends on beside the data. The defaults made the shipped weights."""

    variants: int = 10  # made-up pictures of each slice
    steps: int = 900
    batch: int = 8
    learning_rate: float = 2e-3  # AdamW, one cycle
    weight_decay: float = 0.05
    dropout: float = 0.1
    average: float = 0.995  # of the moving average of the weights, reached after the first steps
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Examples:
    """What stage 1 leaves: arrays with one row an example, on disk.

    `embedding` (n, 256, 64, 64) float16; `square` (n, 256, 256) uint8, the slice as the encoder saw
    it, 0..255; `labels` (n, 128, 128) uint8; `plain` how many of the first rows are slices as they
    are.
    """

    embedding: NDArray[np.float16]
    square: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    plain: int

    def __len__(self) -> int:
        """How many there are."""
        return len(self.labels)


# --- stage 1: slices, variants, embeddings ---


def make_examples(
    slices: Iterable[LabelledSlice], encode: Encode, schedule: Schedule, work: Path
) -> Examples:
    """Encode every slice as it is and `schedule.variants` times changed; arrays are written under
    `work`.
    """
    sources = [(hounsfield(one.pixels), one.labels) for one in slices]
    kept = _kept(len(sources), schedule, work)
    if kept is not None:
        _log.info("%d examples are there from an earlier run", len(kept))
        return kept
    rng = np.random.default_rng(schedule.seed)
    examples = _empty(len(sources), len(sources) * (1 + schedule.variants), work)
    began = time.perf_counter()
    for row in range(len(examples)):
        hu, labels = sources[row % len(sources)]
        changed = row >= len(sources)
        image, labels = augmented(hu, labels, rng) if changed else (windowed(hu), labels)
        examples.embedding[row] = encode(image)
        examples.square[row] = np.round(model_input(image)[0, 0] * 255)
        examples.labels[row] = _at_map_size(labels)
        if (row + 1) % len(sources) == 0:
            spent = time.perf_counter() - began
            _log.info("encoded %d of %d in %.0f s", row + 1, len(examples), spent)
    (work / _DONE).write_text(_recipe(len(sources), schedule))
    return examples


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


def _recipe(sources: int, schedule: Schedule) -> str:
    """What the examples were made of, to know them again."""
    return f"{sources} slices, {schedule.variants} variants, seed {schedule.seed}"


def _kept(sources: int, schedule: Schedule, work: Path) -> Examples | None:
    """The examples of an earlier run with the same recipe, or None."""
    done = work / _DONE
    if not done.is_file() or done.read_text() != _recipe(sources, schedule):
        return None
    embedding, square, labels = (
        np.load(work / f"{name}.npy", mmap_mode="r") for name in ("embedding", "square", "labels")
    )
    return Examples(embedding, square, labels, sources)


def _empty(plain: int, count: int, work: Path) -> Examples:
    work.mkdir(parents=True, exist_ok=True)

    def array(name: str, shape: tuple[int, ...], dtype: type) -> NDArray[np.generic]:
        path = work / f"{name}.npy"
        return np.lib.format.open_memmap(path, "w+", dtype, (count, *shape))

    return Examples(
        embedding=array("embedding", EMBEDDING_SHAPE, np.float16).view(np.float16),
        square=array("square", (IMAGE_PX, IMAGE_PX), np.uint8).view(np.uint8),
        labels=array("labels", (MAP_PX, MAP_PX), np.uint8).view(np.uint8),
        plain=plain,
    )


def _at_map_size(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels (rows, columns) at the network's 128 x 128, laid in the square as the encoder's
    picture is.
    """
    side = max(labels.shape)
    # the centre of pixel i of the map lies at (i + 0.5)·side / 128 in the padded picture
    nearest = ((np.arange(MAP_PX) + 0.5) * side / MAP_PX).astype(int)
    padded = np.zeros((side, side), dtype=np.uint8)
    padded[: labels.shape[0], : labels.shape[1]] = labels
    return padded[np.ix_(nearest, nearest)]


# --- stage 2: the network ---


def fit(examples: Examples, schedule: Schedule, device: str = "cpu") -> tuple[Locator, list[float]]:
    """Train on `examples`; returns the averaged network in evaluation mode and the loss of every
    step.
    """
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    network = Locator(schedule.dropout).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch does not type the format
    average = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    pace = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.learning_rate, total_steps=schedule.steps, pct_start=0.15
    )
    positions = Positions(examples)
    losses: list[float] = []
    began = time.perf_counter()
    for step in range(schedule.steps):
        inputs, labels = _batch(examples, positions, schedule.batch, rng)
        inputs, labels = _warped(inputs.to(device), labels.to(device))
        # bfloat16 halves a step on processors that have it; weights and loss stay float32
        with torch.autocast(device, torch.bfloat16):
            logits = network.train()(inputs.contiguous(memory_format=torch.channels_last))
        loss = locator_loss(logits.float(), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        pace.step()
        _follow(average, network, min(schedule.average, (step + 1) / (step + 20)))
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            spent = time.perf_counter() - began
            recent = float(np.mean(losses[-100:]))
            _log.info("step %d of %d: loss %.3f, %.0f s", step + 1, schedule.steps, recent, spent)
    return average, losses


class Positions:
    """Where the cells of each example lie in its body, worked out when first asked for."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples
        self._known: dict[int, NDArray[np.float32]] = {}

    def __getitem__(self, row: int) -> NDArray[np.float32]:
        """(2, 64, 64) of example `row`."""
        if row not in self._known:
            self._known[row] = body_position(self._examples.square[row] / np.float32(255))
        return self._known[row]


def _batch(
    examples: Examples, positions: Positions, size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Network input (size, 274, 64, 64) and labels (size, 128, 128) of rows drawn at random."""
    changed = len(examples) > examples.plain
    plain = round(size * PLAIN_SHARE) if changed else size
    drawn = rng.integers(0, examples.plain, plain).tolist()
    if changed:
        drawn += rng.integers(examples.plain, len(examples), size - plain).tolist()
    inputs = network_input(
        torch.from_numpy(examples.embedding[drawn].astype(np.float32)),
        torch.from_numpy(examples.square[drawn].astype(np.float32) / 255),
        torch.from_numpy(np.stack([positions[row] for row in drawn])),
    )
    return inputs, torch.from_numpy(examples.labels[drawn].astype(np.int64))


def _warped(inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and labels turned, scaled and shifted alike, each example in its own way."""
    count = len(inputs)
    turn, growth, across, down = ((torch.rand(count) * 2 - 1) for _ in range(4))
    turn, growth = turn * WARP_RAD, torch.exp(-growth * WARP_LOG_SCALE)
    # The affine of each example as it is fetched: [R·g | t], R a turn of up to 10 degrees, g a
    # growth of e^-0.15 to e^0.15, t up to 10 % of half the field. One matrix for both grids, since
    # they count in halves of the field and not in cells
    rows = [
        torch.stack([turn.cos() * growth, -turn.sin() * growth, across * WARP_SHIFT], 1),
        torch.stack([turn.sin() * growth, turn.cos() * growth, down * WARP_SHIFT], 1),
    ]
    affine = torch.stack(rows, 1).to(inputs.device)
    cells = functional.affine_grid(affine, [count, 1, CELLS, CELLS], align_corners=False)
    pixels = functional.affine_grid(affine, [count, 1, MAP_PX, MAP_PX], align_corners=False)
    inputs = functional.grid_sample(inputs, cells, padding_mode="border", align_corners=False)
    moved = functional.grid_sample(
        labels[:, None].float(), pixels, mode="nearest", align_corners=False
    )
    return inputs, moved[:, 0].long()


def locator_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy plus 1 - Dice over the organs that the batch holds.

    Absent organs are left to the cross-entropy: their Dice is 0 by definition and says nothing.
    """
    weights = torch.tensor(CLASS_WEIGHTS, device=logits.device)
    entropy = functional.cross_entropy(logits, labels, weight=weights)
    truth = functional.one_hot(labels, CLASSES).permute(0, 3, 1, 2).float()
    # Dice of an organ over the whole batch: 2·Σ p·y / (Σ p + Σ y), each sum over all pixels of all
    # slices, so that a slice with two pixels of it weighs no more than they do. One is added above
    # and below: the gradient of a small organ stays bounded
    said = logits.softmax(1)
    shared, total = (said * truth).sum((0, 2, 3)), (said + truth).sum((0, 2, 3))
    here = truth.sum((0, 2, 3)) > 0
    here[0] = False
    if not here.any():
        return entropy
    return entropy + (1 - (2 * shared[here] + 1) / (total[here] + 1)).mean()


def _follow(average: Locator, network: Locator, share_kept: float) -> None:
    with torch.no_grad():
        for old, new in zip(average.parameters(), network.parameters(), strict=True):
            # a(t) = k·a(t-1) + (1 - k)·w(t): a mean over the last 1 / (1 - k) = 200 steps or so. In
            # the beginning k = (t + 1) / (t + 20) is less, so that the first weights are forgotten
            old.lerp_(new, 1 - share_kept)


# --- stage 3: the file ---


def save(locator: Locator, path: Path) -> None:
    """Write the weights as float16: half the size, and no Dice moves by more than 0.001."""
    state = {name: value.half().contiguous().cpu() for name, value in locator.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata={"format": "pt"})
    path.chmod(0o644)  # it travels in the package; safetensors writes for its owner alone


def main(arguments: list[str] | None = None) -> None:
    """The command line at the top of this file."""
    parser = argparse.ArgumentParser(description="Train the locator on the BTCV slices.")
    parser.add_argument("--data", type=Path, required=True, help="folder with dataset.json")
    parser.add_argument("--work", type=Path, required=True, help="folder for embeddings (2.8 GB)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--without", nargs="*", default=[], help="patients to leave out")
    parser.add_argument("--variants", type=int, default=Schedule.variants)
    parser.add_argument("--steps", type=int, default=Schedule.steps)
    parser.add_argument("--device", default="cpu", help="for stage 2: cpu or cuda")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    schedule = Schedule(variants=options.variants, steps=options.steps)
    slices = [s for s in read_btcv(options.data, "training") if s.patient not in options.without]
    examples = make_examples(slices, quick_encoder(), schedule, options.work)
    locator, _ = fit(examples, schedule, options.device)
    save(locator, options.out / WEIGHTS_NAME)


if __name__ == "__main__":
    main()
