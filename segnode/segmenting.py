"""Targets in a volume, as arrays."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.geometry import Geometry
from agent.trace import Trace, read_trace
from agent.turns import Turn
from agent.values import Target, TargetStatus, Volume
from dicom_node.values import Code
from segnode.opening import loaded_models
from server.errors import InputError
from server.local import asked_targets, segment_source, source_at, volume_source
from server.rules.catalogue import Catalogue
from server.study.workfolder import WorkFolder
from server.values import TargetSummary


@dataclass(frozen=True, eq=False)
class SegmentedTarget:
    """One target's end.

    `text` as asked, `structure` its key in the catalogue and `code` what a DICOM SEG calls it (None
    for free text that the catalogue does not know); `mask` (z, y, x) bool on the grid of what was
    given, None unless `status` is SEGMENTED; `volume_ml` None where pixels have no size;
    `confidence` 0..1; `reason` and `warnings` are sentences for a person; `turns` every action of
    the agent in order.
    """

    text: str
    structure: str | None
    code: Code | None
    status: TargetStatus
    reason: str
    mask: NDArray[np.bool_] | None
    volume_ml: float | None
    confidence: float | None
    warnings: tuple[str, ...]
    turns: tuple[Turn, ...]


@dataclass(frozen=True, eq=False)
class Result:
    """What was found: `targets` in the order of the question, on the grid `geometry` (affine of
    zero-based voxel indices (z, y, x) to LPS mm); `trace` all turns, as trace.json holds them;
    `warnings` what is in doubt of the series as a whole.
    """

    targets: tuple[SegmentedTarget, ...]
    geometry: Geometry
    trace: Trace
    warnings: tuple[str, ...] = ()

    def __getitem__(self, text: str) -> SegmentedTarget:
        """The target asked for as `text`, or with that key; KeyError names what there is."""
        for target in self.targets:
            if text in (target.text, target.structure):
                return target
        raise KeyError(f"{text!r} was not asked for; there are {[t.text for t in self.targets]}")

    def label_map(self) -> NDArray[np.uint8]:
        """All masks as one array (z, y, x) uint8: 0 nothing, n the n-th target, counted from 1.

        Where masks overlap the later target shows. ValueError for more than 255 targets.
        """
        if len(self.targets) > np.iinfo(np.uint8).max:
            raise ValueError(f"a label map has room for 255 targets, not {len(self.targets)}")
        labels = np.zeros(self.geometry.shape, dtype=np.uint8)
        for label, target in enumerate(self.targets, 1):
            if target.mask is not None:
                labels[target.mask] = label
        return labels


def segment(
    volume: Volume | str | Path,
    targets: Sequence[str],
    *,
    policy: str | None = None,
    segmenter: str | None = None,
    modality: str = "",
    window: str = "",
    config: Sequence[str | Path] = (),
    on_turn: Callable[[str, Turn], None] | None = None,
) -> Result:
    """Segment `targets` in `volume`, on the stages that the node itself runs.

    `volume` is a `segnode.Volume` (intensities (z, y, x) float32, HU for CT, with their geometry)
    or the path of a DICOM folder or file, a NIfTI, NRRD or MetaImage file, or an image. `targets`
    are words for structures, as after `segnode segment --target`. `policy` and `segmenter` name
    models (None: as configured); they are loaded at the first call and kept for the next.
    `modality` (as in DICOM: "CT", "MR") of a file that is no DICOM overrules what its content lets
    guess. `window` is what the volume is shown through instead of each structure's own: "-160..240"
    (HU for CT, stored values for others), level and width ("40/400"), or a name ("lung").
    `config` are TOML files that change the defaults, and SEGNODE_SECTION__KEY in the
    environment does, as for the command. `on_turn` is given each target's text and turn as it
    happens.

    Absent and unknown targets are answers, not errors. Raises `segnode.SegnodeErrors`: a sentence
    that says what to do. Nothing is left on disk.
    """
    if isinstance(targets, str):  # a text is a sequence of letters, too
        raise InputError(f"targets is a list of texts: [{targets!r}]")
    if not isinstance(volume, Volume | str | Path):
        raise InputError(
            f"volume is a path or a segnode.Volume, which says where its voxels are, not "
            f"{type(volume).__name__}"
        )
    if isinstance(volume, Volume) and not np.isfinite(volume.intensities).all():
        raise InputError(
            "the volume has intensities that are no finite numbers: replace them first"
        )
    models = loaded_models(policy, segmenter, config)
    wanted_targets = asked_targets(targets, models.catalogue)
    if isinstance(volume, Volume):
        in_memory = volume
        source = volume_source(lambda: in_memory, wanted_targets, picture=False)
    else:
        source = source_at(Path(volume), wanted_targets, modality)
    source = source.seen_through(window)

    def show_turn(index: int, turn: Turn) -> None:
        if on_turn is not None:
            on_turn(wanted_targets[index].text, turn)

    with tempfile.TemporaryDirectory(prefix="segnode-") as scratch:
        folder = WorkFolder(Path(scratch) / "work")
        summaries = segment_source(source, models, show_turn, folder.path)
        return _result(folder, summaries, models.catalogue)


def _result(folder: WorkFolder, summaries: Sequence[TargetSummary], catalogue: Catalogue) -> Result:
    source, trace = folder.load_volume(), read_trace(folder.trace)
    targets = tuple(
        SegmentedTarget(
            text=summary.text,
            structure=summary.structure,
            code=_code(summary, catalogue),
            status=traced.status,
            reason=summary.reason,
            mask=_mask(folder, summary),
            volume_ml=summary.volume_ml,
            confidence=summary.confidence,
            warnings=summary.warnings,
            turns=traced.turns,
        )
        for summary, traced in zip(summaries, trace.targets, strict=True)
    )
    z, y, x = source.intensities.shape
    return Result(targets, Geometry((z, y, x), source.affine_zyx_to_lps), trace, source.warnings)


def _mask(folder: WorkFolder, summary: TargetSummary) -> NDArray[np.bool_] | None:
    if summary.status is not TargetStatus.SEGMENTED:
        return None
    return folder.load_mask(summary.index).whole()


def _code(summary: TargetSummary, catalogue: Catalogue) -> Code | None:
    if summary.structure is None:
        return None
    return catalogue.structure(Target(summary.text, summary.structure)).type
