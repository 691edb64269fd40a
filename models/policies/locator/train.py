"""Training the locator from nothing, read from top to bottom. The command that made the shipped
weights:

    python -m models.policies.locator.train --data ../shared/data/btcv --work /tmp/locator --out
    models/policies/locator/weights

and the one that says what its recipe is worth on patients it never saw (worst fold first, on whole
slices and on parts of them; every answer goes to answers.csv):

    python -m models.policies.locator.train --data ../shared/data/btcv --work /tmp/locator --out
    /tmp/locator/folds --folds 4

Stages: (1) every training slice as it is, a square part of it, and ten made-up variants go through
LiteMedSAM's encoder once and are kept in --work (1452 embeddings, 3 GB); a run that was broken off
goes on. (2) 900 steps on those, with a cheap warp of the features on top; (3) weights as float16
safetensors. The validation patients are read by neither stage. The parts are measured on; with
--parts 4 half of each batch are parts, changed ones too.

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
- Stage 1 of the shipped weights ran once, before this file had its present form; two plain slices
  were compared: labels equal, pictures equal to one grey level, embeddings to bfloat16's rounding.
  Its variants were drawn one after the other, today's have a seed each: other draws of the same
  kind.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.nn import functional

from models.policies.locator.btcv import LabelledSlice, read_btcv
from models.policies.locator.examples import Examples, make_examples, quick_encoder, rounds_of
from models.policies.locator.folds import (
    ANSWERS_NAME,
    HeldOut,
    HeldOutAnswer,
    figures,
    fold_of,
    write_answers,
)
from models.policies.locator.net import (
    CELLS,
    CLASSES,
    MAP_PX,
    Locator,
    body_position,
    network_input,
)
from models.segmenters.litemedsam import LiteMedSam

_log = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class Schedule:
    """Everything a run depends on beside the data. The defaults made the shipped weights."""

    variants: int = 10  # made-up pictures of each slice, and as many of its parts if any are learnt
    parts: int = 0  # of a batch: parts of slices
    steps: int = 900
    batch: int = 8
    learning_rate: float = 2e-3  # AdamW, one cycle
    weight_decay: float = 0.05
    dropout: float = 0.1
    average: float = 0.995  # of the moving average of the weights, reached after the first steps
    seed: int = 0


# --- stage 2: the network ---


def fit(
    examples: Examples,
    schedule: Schedule,
    device: str = "cpu",
    *,
    slices: Sequence[int] | None = None,
) -> tuple[Locator, list[float]]:
    """Train on `examples` of `slices` (None: all); returns the averaged network in evaluation mode
    and the loss of every step.
    """
    batches = Batches(examples, range(examples.slices) if slices is None else slices, schedule)
    torch.manual_seed(schedule.seed)
    network = Locator(schedule.dropout).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch does not type the format
    average = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    pace = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.learning_rate, total_steps=schedule.steps, pct_start=0.15
    )
    losses: list[float] = []
    began = time.perf_counter()
    for step in range(schedule.steps):
        inputs, labels = _warped(*(array.to(device) for array in batches.draw()))
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


class Batches:
    """Batches of whole slices and parts of them, drawn at random: of each kind a quarter as they
    are, the others changed.
    """

    def __init__(self, examples: Examples, slices: Sequence[int], schedule: Schedule) -> None:
        self._examples = examples
        self._positions: dict[int, NDArray[np.float32]] = {}
        self._rng = np.random.default_rng(schedule.seed)
        self._kinds: list[tuple[NDArray[np.intp], int]] = []  # rows, and how many to draw of them
        for part, count in ((False, schedule.batch - schedule.parts), (True, schedule.parts)):
            plain, changed = (
                examples.rows(part=part, changed=changed, of=slices) for changed in (False, True)
            )
            few = round(count * PLAIN_SHARE) if len(changed) else count
            self._kinds += [(plain, few), (changed, count - few)]

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Network input (batch, 274, 64, 64) and labels (batch, 128, 128)."""
        rows: list[int] = []
        for kind, count in self._kinds:
            if count:
                rows += self._rng.choice(kind, count).tolist()
        examples = self._examples
        inputs = network_input(
            torch.from_numpy(examples.embedding[rows].astype(np.float32)),
            torch.from_numpy(examples.square[rows].astype(np.float32) / 255),
            torch.from_numpy(np.stack([self._position(row) for row in rows])),
        )
        return inputs, torch.from_numpy(examples.labels[rows].astype(np.int64))

    def _position(self, row: int) -> NDArray[np.float32]:
        """Where the cells of a row lie in its body (2, 64, 64), worked out when first asked for."""
        if row not in self._positions:
            self._positions[row] = body_position(self._examples.square[row] / np.float32(255))
        return self._positions[row]


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


# --- the folds: what the recipe is worth on patients it never saw ---


def cross_validate(
    slices: Sequence[LabelledSlice], examples: Examples, schedule: Schedule, folds: int, out: Path
) -> list[HeldOutAnswer]:
    """Train without each fold's patients and measure on them; the answers go to `out`, and their
    figures to the log, the worst fold first.
    """
    held_out = fold_of([labelled.patient for labelled in slices], folds)
    segmenter = LiteMedSam()
    answers: list[HeldOutAnswer] = []
    for fold in range(folds):
        mine = [n for n, labelled in enumerate(slices) if held_out[labelled.patient] == fold]
        others = [n for n in range(len(slices)) if n not in mine]
        locator, _ = fit(examples, schedule, slices=others)
        pictures = HeldOut(slices, examples, schedule.seed, fold)
        answers += pictures.answers(locator, mine, segmenter)
        write_answers(answers, out / ANSWERS_NAME)
    for line in figures(answers):
        _log.info("%s", line)
    return answers


# --- stage 3: the file ---


def save(locator: Locator, path: Path) -> None:
    """Write the weights as float16: half the size, and no Dice moves by more than 0.001."""
    state = {name: value.half().contiguous().cpu() for name, value in locator.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata={"format": "pt"})
    path.chmod(0o644)  # it travels in the package; safetensors writes for its owner alone


def main(arguments: list[str] | None = None) -> None:
    """The command lines at the top of this file."""
    parser = argparse.ArgumentParser(description="Train the locator on the BTCV slices.")
    parser.add_argument("--data", type=Path, required=True, help="folder with dataset.json")
    parser.add_argument("--work", type=Path, required=True, help="folder for embeddings (3 GB)")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the weights, or the folds' answers"
    )
    parser.add_argument("--without", nargs="*", default=[], help="patients to leave out")
    parser.add_argument("--variants", type=int, default=Schedule.variants)
    parser.add_argument("--parts", type=int, default=Schedule.parts, help="of a batch")
    parser.add_argument("--batch", type=int, default=Schedule.batch)
    parser.add_argument("--steps", type=int, default=Schedule.steps)
    parser.add_argument("--device", default="cpu", help="for stage 2: cpu or cuda")
    parser.add_argument(
        "--folds", type=int, default=0, metavar="K", help="cross-validate in K folds, ship nothing"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    schedule = Schedule(
        variants=options.variants,
        parts=options.parts,
        batch=options.batch,
        steps=options.steps,
    )
    slices = [s for s in read_btcv(options.data, "training") if s.patient not in options.without]
    examples = make_examples(
        slices,
        quick_encoder(),
        rounds_of(schedule.variants, schedule.variants if schedule.parts else 0),
        schedule.seed,
        options.work,
    )
    if options.folds:
        cross_validate(slices, examples, schedule, options.folds, options.out)
        return
    locator, _ = fit(examples, schedule, options.device)
    save(locator, options.out / WEIGHTS_NAME)


if __name__ == "__main__":
    main()
