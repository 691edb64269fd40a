"""MedSAM2 and SAM 2.1 through a volume: objects followed from their outlines by memory, all in one
pass over the slices.

The recipe of MedSAM2 (Ma et al., "MedSAM2: Segment Anything in 3D Medical Images and Videos",
2025): outlines go in as mask prompts, and each direction begins with nothing but them. Beside that
recipe, an object has several outlines (a reader's corrections), ends where it is said to end, and
shares each slice's features with all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from agent.ports import ContinueIf, PropagatedSlice, Seed, Slices
from agent.values import Segmentation
from agent.volume.propagation_order import PropagationPath, paths_of, sweep
from models.runtime.devices import chosen_dtype, computing
from models.runtime.resources import Resources
from models.segmenters.sam2.architecture import Architecture
from models.segmenters.sam2.heads import Drawn
from models.segmenters.sam2.memory import Bank, Capacity, Memory
from models.segmenters.sam2.segmenter import Sam2Segmenter
from models.segmenters.sam2.tracker import Tracker

_LOGIT_CLAMP = 32.0  # of the logits that are handed out, as the image path's


class Sam2VolumeSegmenter(Sam2Segmenter):
    """Sam2Segmenter that follows objects from slice to slice (agent.ports.VolumeSegmenter)."""

    def __init__(
        self, name: str, checkpoint: Path, architecture: Architecture, *, resources: Resources
    ) -> None:
        super().__init__(name, checkpoint, architecture, resources=resources)
        self._tracker = Tracker(self.network)
        self._dtype = chosen_dtype(resources.precision, self.device)

    def propagate(
        self, slices: Slices, seeds: Sequence[Seed], continue_if: ContinueIf
    ) -> Iterator[PropagatedSlice]:
        """Follow all objects up, then down (agent.ports.VolumeSegmenter).

        A Followed's score is the network's own opinion whether the object is there (its object
        score through a sigmoid); below a half nothing is drawn. How well it is drawn is the
        segmentation's predicted IoU. SegmenterFailed for an outline that cannot be followed and for
        slices of another segmenter.
        """
        yield from follow_objects(self._tracker, slices, seeds, continue_if, dtype=self._dtype)


def follow_objects(
    tracker: Tracker,
    slices: Slices,
    seeds: Sequence[Seed],
    continue_if: ContinueIf,
    *,
    dtype: torch.dtype = torch.float32,
) -> Iterator[PropagatedSlice]:
    """Sam2VolumeSegmenter.propagate with a tracker that is there already, computing with
    `dtype`.
    """
    paths = paths_of(seeds, slices.shape)
    yield from sweep(paths, _Pass(tracker, dtype, slices, seeds).draw, continue_if)


class _Pass:
    """One propagation: the memories of the strands that are under way, and nothing of the slices
    behind them.
    """

    def __init__(
        self, tracker: Tracker, dtype: torch.dtype, slices: Slices, seeds: Sequence[Seed]
    ) -> None:
        self._tracker, self._dtype = tracker, dtype
        self._slices, self._seeds = slices, seeds
        config = tracker.network.config
        self._capacity = Capacity(
            slices=config.num_maskmem,
            pointers=config.max_object_pointers_in_encoder,
            outlines=config.max_cond_frame_num,
        )
        self._outlines: list[dict[int, Memory]] | None = None
        self._banks: dict[PropagationPath, Bank] = {}

    def draw(self, z: int, strands: Sequence[PropagationPath]) -> list[PropagatedSlice]:
        """Draw slice `z` for these strands (agent.volume.propagation_order.DrawSlice)."""
        with torch.inference_mode(), computing(self._tracker.device, self._dtype):
            if self._outlines is None:
                self._outlines = self._remembered()
            self._banks = {
                strand: self._banks.get(strand) or self._bank(self._outlines[strand.index], strand)
                for strand in strands
            }
            look = self._tracker.look(z, self._slices.encoding(z))
            answers = self._tracker.follow(look, [self._banks[path].recall(z) for path in strands])
            for strand, (_, memory) in zip(strands, answers, strict=True):
                self._banks[strand].remember(memory)
            logits = [answer.logits for answer, _ in answers]
            masks = source_masks(logits, self._slices.shape[1:])
        return [
            PropagatedSlice(
                strand.index, z, _segmentation(answer, mask), float(answer.presence.sigmoid())
            )
            for strand, (answer, _), mask in zip(strands, answers, masks, strict=True)
        ]

    def _bank(self, outlines: dict[int, Memory], strand: PropagationPath) -> Bank:
        return Bank(outlines, strand.step, self._slices.shape[0], self._capacity)

    def _remembered(self) -> list[dict[int, Memory]]:
        """The memories of all outlines, by object; each of their slices is looked at once."""
        remembered: list[dict[int, Memory]] = [{} for _ in self._seeds]
        for z in sorted({z for seed in self._seeds for z in seed.masks}):
            look = self._tracker.look(z, self._slices.encoding(z))
            for outlines, seed in zip(remembered, self._seeds, strict=True):
                if z in seed.masks:
                    _, outlines[z] = self._tracker.outline(look, seed.masks[z])
        return remembered


def source_masks(logits: Sequence[Tensor], shape: tuple[int, int]) -> Tensor:
    """Masks (n, rows, columns) bool, on the CPU, of low-resolution logits (h, w): bilinear, > 0."""
    # (n, S/4, S/4) -> (n, 1, rows, columns); the sign is taken last, so edges lie between pixels
    full = functional.interpolate(
        torch.stack(list(logits))[:, None], size=shape, mode="bilinear", align_corners=False
    )
    return (full[:, 0] > 0).cpu()


def _segmentation(answer: Drawn, mask: Tensor) -> Segmentation:
    ious = answer.ious.clamp(0, 1).tolist()
    choice = int(answer.choice)
    return Segmentation(
        mask=mask.numpy(),
        logits=answer.logits.clamp(-_LOGIT_CLAMP, _LOGIT_CLAMP).cpu().numpy(),
        predicted_iou=ious[choice],
        choice=choice,
        candidate_ious=tuple(ious),
    )
