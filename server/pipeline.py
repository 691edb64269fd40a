"""One study, from files in the inbox to checked results: read this first.

     1 headers     what the study holds                                  dicom_node.series.header
     2 choose      the series that can answer                            dicom_node.series.choice
     3 volume      sorted, checked, decoded, in HU                       dicom_node.volume.volume
     4 convert     the DICOM edge's volume -> the agent's                here
     5 prepare     working grid, window, encodings                       models
     6 segment     each target outlined on its key slices, all followed
                   through the volume in one pass, each one finished     agent
     7 return      the mask on the source grid, shape and affine exact   models
     8 write       SEG and SR, read back and compared                    dicom_node
     9 show        trace.json and preview.png                            agent, server.study.preview
    10 send        the record's workflow delivers what was written       server.work, dicom_node

Each stage leaves files in the request's work folder, so that one that is run again after a crash
goes on from there. `server/work` runs the stages durably, `server/local.py` runs them one after the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from agent.geometry import Geometry
from agent.limits import Limits
from agent.trace import TracedTarget
from agent.turns import TargetResult, Turn
from agent.values import Mask, Target, TargetStatus, Volume
from dicom_node.results.report import write_report
from dicom_node.results.segmentation import write_segmentation
from dicom_node.series.choice import choose_series
from dicom_node.values import (
    AbsentFinding,
    Algorithm,
    InstanceHeader,
    ResultIdentity,
    ResultSegment,
    SourceVolume,
    WrittenResult,
)
from dicom_node.volume.volume import load_volume
from dicom_node.voxels import Voxels
from server.errors import NothingToReport
from server.ports import LoadedModels, Prepared
from server.rules.catalogue import Catalogue
from server.study.preview import Drawn, Sizes, draw_preview
from server.study.runner import VolumeWork
from server.study.volume_cache import PreparedVolumes
from server.study.workfolder import EncodingStore, WorkFolder
from server.values import AskedTarget, Assignment, ResultSummary, Selection, TargetSummary


class Pipeline:
    """The stages of a study (server.ports.Stages) on real rooms.

    `headers` lists what the study holds, `folder` names a request's work folder, `workbench` loads
    a request's models at the first call that needs them. Threads may work on `at_once` requests,
    one thread on each.
    """

    def __init__(
        self,
        *,
        headers: Callable[[Assignment], Sequence[InstanceHeader]],
        folder: Callable[[str], Path],
        encodings: EncodingStore,
        workbench: Callable[[Assignment], LoadedModels],
        catalogue: Catalogue,
        limits: Limits,
        at_once: int = 1,
    ) -> None:
        self._headers = headers
        self._folder = folder
        self._encodings = encodings
        self._workbench = workbench
        self._catalogue = catalogue
        self._limits = limits
        self._prepared = PreparedVolumes(at_once)

    def select(self, assignment: Assignment) -> Selection:
        """Choose the series and keep it as a volume; NotAVolume says why there is none."""
        folder = self._work_folder(assignment)
        if not folder.has_volume:
            choice = choose_series(
                self._headers(assignment), series_instance_uid=assignment.series_instance_uid
            )
            loaded = load_volume(choice.headers)
            folder.save_volume(replace(loaded, warnings=choice.warnings + loaded.warnings))
        volume = folder.load_volume()
        return Selection(volume.series_instance_uid, volume.intensities.shape, volume.warnings)

    def outline(self, assignment: Assignment, index: int, on_turn: Callable[[Turn], None]) -> None:
        """Look for one target and draw it on its key slices; the outline is left in the work
        folder.
        """
        folder = self._work_folder(assignment)
        if folder.load_target(index) is None and folder.load_outline(index) is None:
            work = self._work(assignment)
            folder.save_outline(index, work.outline(assignment.targets[index], on_turn))

    def follow(self, assignment: Assignment, on_turn: Callable[[int, Turn], None]) -> None:
        """Follow the outlined targets through the volume in one pass, as far as the segmenter
        can.
        """
        folder = self._work_folder(assignment)
        found = {one.index: folder.load_outline(one.index) for one in assignment.targets}
        outlines = {index: one for index, one in found.items() if one is not None}
        followed = self._work(assignment).follow(assignment.targets, outlines, on_turn)
        for index, outline in followed.items():
            folder.save_outline(index, outline)

    def segment(
        self, assignment: Assignment, index: int, on_turn: Callable[[Turn], None]
    ) -> TargetSummary:
        """Finish one target and leave its mask, on the source grid, in the work folder."""
        folder = self._work_folder(assignment)
        ended = folder.load_target(index)
        if ended is not None:
            return ended
        asked, work = assignment.targets[index], self._work(assignment)
        outline = folder.load_outline(index) or work.outline(asked, on_turn)
        result = work.finish(asked, outline, on_turn)
        prepared = self._prepare(assignment)
        mask = None if result.voxels is None else prepared.to_source(result.voxels)
        summary = summarise(asked, result, mask, picture=folder.load_volume().picture)
        voxels = None
        if mask is not None and summary.status == TargetStatus.SEGMENTED:
            voxels = Voxels.of(mask.voxels)
        folder.save_target(summary, voxels, TracedTarget.of(result))
        return summary

    def write(
        self, assignment: Assignment, targets: Sequence[TargetSummary]
    ) -> tuple[ResultSummary, ...]:
        """Write SEG and SR, each compared with the masks before it gets its name; then trace and
        preview.
        """
        folder = self._work_folder(assignment)
        volume = folder.load_volume()
        segments = [self._segment(folder, t) for t in targets if t.status == TargetStatus.SEGMENTED]
        absent = [self._finding(t) for t in targets if t.status == TargetStatus.ABSENT]
        if not segments and not absent:
            raise NothingToReport(nothing_to_report(targets))
        identity = ResultIdentity(assignment.request_id, assignment.study_version)
        algorithm = algorithm_of(self._workbench(assignment))
        results: list[WrittenResult] = []
        if segments:
            results.append(
                write_segmentation(volume, segments, algorithm, identity, folder.segmentation)
            )
        results.append(
            write_report(
                volume,
                segments,
                absent,
                algorithm,
                identity,
                folder.report,
                segmentation=results[0] if results else None,
            )
        )
        self._show(folder, volume, segments, len(targets))
        return tuple(summary_of(result) for result in results)

    def show(self, assignment: Assignment, targets: Sequence[TargetSummary]) -> None:
        """Leave trace.json and preview.png for people where there is nothing to report."""
        folder = self._work_folder(assignment)
        self._show(folder, folder.load_volume(), (), len(targets))

    def discard(self, assignment: Assignment) -> None:
        """Remove intermediate files and the oldest encodings; results, masks, trace and preview
        stay.
        """
        self._prepared.drop(assignment.request_id)
        self._work_folder(assignment).discard_intermediates()
        self._encodings.prune()

    def encoder_passes(self, assignment: Assignment) -> int:
        """How often the image encoder ran for a request's volume since it was last prepared
        here.
        """
        return self._prepared.encoder_passes(assignment.request_id)

    def _show(
        self,
        folder: WorkFolder,
        volume: SourceVolume,
        segments: Sequence[ResultSegment],
        targets: int,
    ) -> None:
        folder.save_trace(targets)
        drawn = [Drawn(one.label, one.cielab, one.voxels, one.confidence) for one in segments]
        draw_preview(
            folder.preview,
            agent_volume(volume),
            drawn,
            title=volume.modality,
            sizes=sizes_of(volume),
        )

    def _work_folder(self, assignment: Assignment) -> WorkFolder:
        return WorkFolder(self._folder(assignment.request_id))

    def _work(self, assignment: Assignment) -> VolumeWork:
        return VolumeWork(self._workbench(assignment), self._prepare(assignment), self._limits)

    def _prepare(self, assignment: Assignment) -> Prepared:
        def prepare() -> Prepared:
            volume = self._work_folder(assignment).load_volume()
            kept = self._encodings.of_series(volume.series_instance_uid)
            return self._workbench(assignment).prepare(agent_volume(volume), kept)

        return self._prepared.of(assignment.request_id, prepare)

    def _segment(self, folder: WorkFolder, target: TargetSummary) -> ResultSegment:
        structure = self._catalogue.structure(Target(target.text, target.structure))
        return ResultSegment(
            label=structure.label,
            category=structure.category,
            type=structure.type,
            laterality=structure.laterality,
            cielab=structure.cielab,
            tracking_id=structure.tracking_id,
            voxels=folder.load_mask(target.index),
            confidence=target.confidence or 0.0,
            region=structure.region,
        )

    def _finding(self, target: TargetSummary) -> AbsentFinding:
        structure = self._catalogue.structure(Target(target.text, target.structure))
        return AbsentFinding(
            structure.label,
            structure.type,
            structure.laterality,
            structure.tracking_id,
            target.reason,
            structure.region,
            structure.category,
        )


def agent_volume(volume: SourceVolume) -> Volume:
    """The DICOM edge's volume as the agent's: the same arrays, the same affine."""
    geometry = Geometry(volume.intensities.shape, volume.affine_zyx_to_lps)
    return Volume(volume.intensities, geometry, volume.modality, volume.colour)


def algorithm_of(workbench: LoadedModels) -> Algorithm:
    """What a result says of who made it."""
    name = f"{workbench.policy.name} + {workbench.segmenter.name}"
    return Algorithm(name, version("segnode"), workbench.weights_sha256)


def sizes_of(volume: SourceVolume) -> Sizes:
    """What can be said of how large something is in `volume`."""
    if not volume.picture:
        return Sizes.MILLILITRES
    return Sizes.SQUARE_MM if volume.sized else Sizes.PIXELS


def summarise(
    asked: AskedTarget, result: TargetResult, mask: Mask | None, *, picture: bool = False
) -> TargetSummary:
    """A target's result in the record's words; a mask that vanished on the source grid counts as
    absent.

    A `picture` shows no volume, so none is claimed.
    """
    status, reason = result.status, result.reason
    if mask is not None and not mask.voxels.any():
        status, reason = TargetStatus.ABSENT, "smaller than one voxel of the source series"
    segmented = status == TargetStatus.SEGMENTED and mask is not None
    return TargetSummary(
        index=asked.index,
        text=asked.text,
        structure=asked.structure,
        status=status,
        reason=reason,
        volume_ml=round(mask.volume_ml, 3) if segmented and mask and not picture else None,
        turns=len(result.turns),
        confidence=round(result.confidence, 4) if status != TargetStatus.FAILED else None,
        warnings=result.warnings,
    )


def nothing_to_report(targets: Sequence[TargetSummary]) -> str:
    """One sentence for a request whose every target failed."""
    return "nothing could be segmented: " + "; ".join(f"{t.text}: {t.reason}" for t in targets)


def summary_of(result: WrittenResult) -> ResultSummary:
    """A written result in the record's words."""
    return ResultSummary(
        result.kind,
        str(result.path),
        result.sop_class_uid,
        result.sop_instance_uid,
        result.series_instance_uid,
    )
