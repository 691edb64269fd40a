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

`Pipeline` has the stages, server.study.stage_order their order: `server/work` takes it durably,
`server/local.py` in one process. Each stage leaves files in the request's work folder, so that one
that is run again after a crash goes on from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import count
from pathlib import Path

from agent.conditions import HasPrompts, PictureSettings, ShowsPictures
from agent.limits import Limits
from agent.trace import TracedTarget
from agent.turns import TargetResult, Turn
from agent.values import Mask, Target, TargetStatus
from agent.volume.outline import Outline
from dicom_node.ports import ResultWriter
from dicom_node.results.writers import DEFAULT_WRITERS, write_results
from dicom_node.series.choice import choose_series
from dicom_node.values import (
    Algorithm,
    InstanceHeader,
    ResultContent,
    ResultIdentity,
    ResultSegment,
    SourceVolume,
    UndrawnFinding,
    WrittenResult,
)
from dicom_node.volume.volume import load_volume
from dicom_node.voxels import Voxels
from server.errors import NothingToReport, OutlineLost
from server.ports import LoadedModels, Prepared
from server.rules.catalogue import Catalogue
from server.rules.expectations import load_expectations
from server.study.doubts.plausibility import REVIEW, DrawnStructure, in_doubt
from server.study.doubts.second_segmenter import SecondSegmenter
from server.study.preview import Sizes, draw_preview
from server.study.runner import VolumeWork
from server.study.shared_voxels import RIVALRY, shared_voxels
from server.study.source_files import agent_volume
from server.study.turn_mask_file import TURN_MASKS, TurnMaskFile
from server.study.volume_cache import PreparedVolumes
from server.study.workfolder import EncodingStore, WorkFolder, share_files
from server.values import Assignment, Selection, StepProgress, TargetSummary, WorkStep

OnProgress = Callable[[Assignment, StepProgress], None]
"""Takes what is being done for a request, as often as that changes: at every slice and turn."""


def ignore_progress(assignment: Assignment, progress: StepProgress) -> None:
    """For callers that show no progress."""


class Pipeline:
    """The stages of a study (server.ports.Stages) on real rooms.

    `load` gives a request's volume (`read_series` does it from headers), `folder` names its work
    folder, `workbench` loads its models at the first call that needs them, `writers` make its
    results, `second` is shown the prompts again, `title` heads its preview in place of the
    modality. `on_progress` is given what is being done for a request. Threads may work on
    `at_once` requests, one thread on each.
    """

    def __init__(
        self,
        *,
        load: Callable[[Assignment], SourceVolume],
        folder: Callable[[str], Path],
        encodings: EncodingStore,
        workbench: Callable[[Assignment], LoadedModels],
        catalogue: Catalogue,
        limits: Limits,
        writers: Sequence[ResultWriter] = DEFAULT_WRITERS,
        second: SecondSegmenter | None = None,
        at_once: int = 1,
        title: str = "",
        on_progress: OnProgress = ignore_progress,
    ) -> None:
        self._load = load
        self._folder = folder
        self._encodings = encodings
        self._workbench = workbench
        self._catalogue = catalogue
        self._limits = limits
        self._writers = writers
        self._second = second
        self._prepared = PreparedVolumes(at_once)
        self._title = title
        self._on_progress = on_progress
        self._expectations = load_expectations(catalogue)

    def select(self, assignment: Assignment) -> Selection:
        """Choose the series and keep it as a volume; NotAVolume says why there is none."""
        folder = self._work_folder(assignment)
        if not folder.has_volume:
            self._on_progress(assignment, StepProgress(WorkStep.READ))
            folder.save_volume(self._load(assignment))
        volume = folder.load_volume()
        shape = volume.intensities.shape
        return Selection(volume.series_instance_uid, shape, volume.warnings, volume.why_chosen)

    def answer_digest(self, assignment: Assignment) -> str:
        """See Stages; models without weights of their own count by their names."""
        structures = [asdict(self._catalogue.structure(each)) for each in assignment.targets]
        algorithm = algorithm_of(self._workbench(assignment), self._limits)
        kinds = [writer.kind for writer in self._writers]
        second = None
        if self._second is not None:
            second = [self._second.segmenter().name, self._second.agree_dice]
        decisive = json.dumps([structures, asdict(algorithm), kinds, second], sort_keys=True)
        return hashlib.sha256(decisive.encode()).hexdigest()

    def reuse(
        self, assignment: Assignment, earlier_id: str, results: Sequence[WrittenResult]
    ) -> tuple[WrittenResult, ...] | None:
        """See Stages."""
        folder = self._work_folder(assignment)
        # before anything is shared: targets that are in the folder count as done
        if not all(each.path.is_file() for each in results):
            return None
        if not share_files(WorkFolder(self._folder(earlier_id)), folder):
            return None
        return tuple(replace(each, path=folder.path / each.path.name) for each in results)

    def outline(self, assignment: Assignment, index: int, on_turn: Callable[[Turn], None]) -> None:
        """Draw one target on its key slices; the outline is left in the work folder."""
        folder = self._work_folder(assignment)
        if folder.load_target(index) is None and folder.load_outline(index) is None:
            work = self._work(assignment)
            tell = counted(self._on_progress, assignment, WorkStep.OUTLINE, index, on_turn)
            keep = TurnMaskFile(folder.path / TURN_MASKS).keeping(index, tell)
            outline = work.outline(assignment.targets[index], keep)
            folder.save_outline(index, outline)

    def follow(self, assignment: Assignment, on_turn: Callable[[int, Turn], None]) -> None:
        """Follow the outlined targets through the volume in one pass, as the segmenter can."""
        folder = self._work_folder(assignment)
        outlines: dict[int, Outline] = {}
        for index in range(len(assignment.targets)):
            outline = folder.load_outline(index)
            if outline is not None:
                outlines[index] = outline
        masks = TurnMaskFile(folder.path / TURN_MASKS)

        def keep(index: int, turn: Turn) -> None:
            masks.add(index, turn)
            on_turn(index, turn)

        work = self._work(assignment)
        self._on_progress(assignment, StepProgress(WorkStep.FOLLOW))
        followed = work.follow(assignment.targets, outlines, keep)
        for index, outline in followed.items():
            folder.save_outline(index, outline)

    def finish(
        self, assignment: Assignment, index: int, on_turn: Callable[[Turn], None]
    ) -> TargetSummary:
        """Finish one target and leave its mask, on the source grid, in the work folder."""
        folder = self._work_folder(assignment)
        earlier = folder.load_target(index)
        if earlier is not None:
            return earlier
        target, outline = assignment.targets[index], folder.load_outline(index)
        if outline is None:
            raise OutlineLost(
                f"what was drawn of {target.text!r} is not in the work folder any more"
            )
        work = self._work(assignment)
        tell = counted(self._on_progress, assignment, WorkStep.FINISH, index, on_turn)
        keep = TurnMaskFile(folder.path / TURN_MASKS).keeping(index, tell)
        result = work.finish(target, outline, keep)
        disagreement: tuple[str, ...] = ()
        if self._second is not None:
            drawn_by = self._workbench(assignment).segmenter.name
            result = self._second.look_at(result, work.slices(target), drawn_by, self._limits)
            disagreement = self._second.doubts(result)
        prepared = self._prepare(assignment)
        mask = None if result.voxels is None else prepared.to_source(result.voxels)
        summary = summarise(index, result, mask, single_image=folder.load_volume().single_image)
        voxels = None
        if mask is not None and summary.status == TargetStatus.SEGMENTED:
            voxels = Voxels.of(mask.voxels)
            rivalries: tuple[str, ...] = ()
            if self._workbench(assignment).policy.knowledge.exclusive:
                rivalries = _rivals_among_earlier(folder, summary, voxels)
            structure = DrawnStructure.of(voxels, folder.load_volume())
            doubts = (*rivalries, *disagreement)
            summary = in_doubt(summary, structure, self._expectations, doubts)
        folder.save_target(summary, voxels, TracedTarget.of(result))
        return summary

    def write(
        self, assignment: Assignment, targets: Sequence[TargetSummary]
    ) -> tuple[WrittenResult, ...]:
        """Write the results, each compared with the masks before it gets its name; then trace and
        preview.
        """
        self._on_progress(assignment, StepProgress(WorkStep.WRITE))
        folder = self._work_folder(assignment)
        volume = folder.load_volume()
        segments = [
            _segment(folder, target, self._catalogue)
            for target in targets
            if target.status == TargetStatus.SEGMENTED
        ]
        if self._workbench(assignment).policy.knowledge.exclusive:
            segments = _with_rivals(segments)
        undrawn = [
            _finding(t, self._catalogue)
            for t in targets
            if t.status in (TargetStatus.ABSENT, TargetStatus.UNCERTAIN)
        ]
        if not segments and not undrawn:
            raise NothingToReport(nothing_to_report(targets))
        content = ResultContent(
            volume,
            segments,
            undrawn,
            algorithm_of(self._workbench(assignment), self._limits),
            ResultIdentity(
                assignment.request_id,
                assignment.study_version,
                assignment.requested_at,
                assignment.ordinal,
            ),
        )
        results = write_results(content, folder.path, self._writers)
        self._show(folder, volume, segments, targets)
        return results

    def show(self, assignment: Assignment, targets: Sequence[TargetSummary]) -> None:
        """Leave trace.json and preview.png for people where there is nothing to report."""
        folder = self._work_folder(assignment)
        self._show(folder, folder.load_volume(), (), targets)

    def discard(self, assignment: Assignment) -> None:
        """Remove intermediate files and the oldest encodings.

        Results, masks, trace and preview stay.
        """
        self._prepared.drop(assignment.request_id)
        self._work_folder(assignment).discard_intermediates()
        self._encodings.prune()

    def encoder_passes(self, assignment: Assignment) -> int:
        """How often the image encoder ran for a request's volume since it was prepared here."""
        return self._prepared.encoder_passes(assignment.request_id)

    def _show(
        self,
        folder: WorkFolder,
        volume: SourceVolume,
        segments: Sequence[ResultSegment],
        targets: Sequence[TargetSummary],
    ) -> None:
        folder.save_trace(len(targets))
        draw_preview(
            folder.preview,
            agent_volume(volume),
            segments,
            title=self._title or volume.modality,
            sizes=sizes_of(volume),
            undrawn=[
                (t.text, str(t.status)) for t in targets if t.status != TargetStatus.SEGMENTED
            ],
        )

    def _work_folder(self, assignment: Assignment) -> WorkFolder:
        return WorkFolder(self._folder(assignment.request_id))

    def _work(self, assignment: Assignment) -> VolumeWork:
        prepared = self._prepare(assignment)
        return VolumeWork(self._workbench(assignment), prepared, self._limits)

    def _prepare(self, assignment: Assignment) -> Prepared:
        def show_encoded(encoded: int, depth: int) -> None:
            self._on_progress(assignment, StepProgress(WorkStep.ENCODE, encoded, depth))

        def prepare() -> Prepared:
            volume = self._work_folder(assignment).load_volume()
            encodings = self._encodings.of_series(volume.series_instance_uid)
            self._on_progress(assignment, StepProgress(WorkStep.LOAD))
            models = self._workbench(assignment)
            return models.prepare(agent_volume(volume), encodings, show_encoded)

        return self._prepared.of(assignment.request_id, prepare)


def _segment(folder: WorkFolder, target: TargetSummary, catalogue: Catalogue) -> ResultSegment:
    structure = catalogue.structure(Target(target.text, target.structure))
    return ResultSegment(
        label=structure.label,
        category=structure.category,
        type=structure.type,
        laterality=structure.laterality,
        cielab=structure.cielab,
        tracking_id=structure.tracking_id,
        voxels=folder.load_mask(target.index),
        region=structure.region,
        doubts=target.warnings,
        for_review=target.for_review,
    )


def _finding(target: TargetSummary, catalogue: Catalogue) -> UndrawnFinding:
    structure = catalogue.structure(Target(target.text, target.structure))
    return UndrawnFinding(
        structure.label,
        structure.type,
        structure.laterality,
        structure.tracking_id,
        "; ".join(filter(None, (target.reason, *target.warnings))),
        structure.region,
        structure.category,
        uncertain=target.status == TargetStatus.UNCERTAIN,
    )


def _rivals_among_earlier(
    folder: WorkFolder, summary: TargetSummary, voxels: Voxels
) -> tuple[str, ...]:
    """What is to be said of a target that claims voxels of earlier ones; theirs stands in the
    results, which know all of them.
    """
    masks = {}
    for index in range(summary.index):
        earlier = folder.load_target(index)
        drawn = earlier is not None and earlier.status == TargetStatus.SEGMENTED
        if earlier is not None and drawn and earlier.structure != summary.structure:
            masks[earlier.text] = folder.load_mask(index)
    return shared_voxels({**masks, summary.text: voxels}).get(summary.text, ())


def _with_rivals(segments: Sequence[ResultSegment]) -> list[ResultSegment]:
    """The segments with a doubt about each that claims voxels of another, not said twice."""
    rivalries = shared_voxels({segment.label: segment.voxels for segment in segments})
    return [
        _in_rivalry(segment, rivalries[segment.label]) if segment.label in rivalries else segment
        for segment in segments
    ]


def _in_rivalry(segment: ResultSegment, rivalries: tuple[str, ...]) -> ResultSegment:
    """The segment for review, with all its rivals in place of those that were drawn before it."""
    others = [d for d in segment.doubts if not d.endswith(RIVALRY) and d != REVIEW]
    return replace(segment, doubts=(*others, *rivalries, REVIEW), for_review=True)


def counted(
    on_progress: OnProgress,
    assignment: Assignment,
    step: WorkStep,
    index: int,
    on_turn: Callable[[Turn], None],
) -> Callable[[Turn], None]:
    """`on_turn` with progress told: that a target's step begins, now, then every turn of it."""
    targets, turns = assignment.targets, count(1)
    begun = StepProgress(step, index, len(targets), targets[index].text, 0)
    on_progress(assignment, begun)

    def tell(turn: Turn) -> None:
        on_turn(turn)
        on_progress(assignment, replace(begun, turns=next(turns)))

    return tell


def read_series(
    headers: Sequence[InstanceHeader], series_instance_uid: str | None = None
) -> SourceVolume:
    """The series that is chosen among `headers`, or the one asked for, as a volume that says why.

    NotAVolume, or NoUsableSeries, where there is none.
    """
    choice = choose_series(headers, series_instance_uid=series_instance_uid)
    volume = load_volume(choice.headers)
    warnings = choice.warnings + volume.warnings
    return replace(volume, warnings=warnings, why_chosen=choice.explanation)


def algorithm_of(workbench: LoadedModels, limits: Limits) -> Algorithm:
    """What a result says of who made it, and under which budgets and pictures."""
    policy = workbench.policy
    pictures = policy.pictures if isinstance(policy, ShowsPictures) else PictureSettings()
    settings = json.dumps([asdict(limits), asdict(pictures)], sort_keys=True, default=str)
    return Algorithm(
        f"{policy.name} + {workbench.segmenter.name}",
        version("segnode"),
        workbench.weights_sha256,
        hashlib.sha256(settings.encode()).hexdigest(),
        policy.prompts_sha256 if isinstance(policy, HasPrompts) else "",
    )


def sizes_of(volume: SourceVolume) -> Sizes:
    """What can be said of how large something is in `volume`."""
    if not volume.single_image:
        return Sizes.MILLILITRES
    return Sizes.SQUARE_MM if volume.sized else Sizes.PIXELS


def summarise(
    index: int, result: TargetResult, mask: Mask | None, *, single_image: bool = False
) -> TargetSummary:
    """The end of the target with this zero-based index, in the record's words.

    A mask that vanished on the source grid is there and cannot be drawn, so it is uncertain. A
    `single_image` shows no volume, so none is claimed.
    """
    status, reason = result.status, result.reason
    if mask is not None and not mask.voxels.any():
        status, reason = TargetStatus.UNCERTAIN, "smaller than one voxel of the source series"
    segmented = status == TargetStatus.SEGMENTED and mask is not None
    answered = status in (TargetStatus.SEGMENTED, TargetStatus.ABSENT)
    return TargetSummary(
        index=index,
        text=result.target.text,
        structure=result.target.structure,
        status=status,
        reason=reason,
        volume_ml=round(mask.volume_ml, 3) if segmented and mask and not single_image else None,
        turns=len(result.turns),
        confidence=round(result.confidence, 4) if answered else None,
        warnings=result.warnings,
    )


def nothing_to_report(targets: Sequence[TargetSummary]) -> str:
    """One sentence for a request whose every target failed."""
    return "nothing could be segmented: " + "; ".join(f"{t.text}: {t.reason}" for t in targets)
