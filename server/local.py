"""`segnode segment`: the same pipeline on files, without network, database or record."""

from __future__ import annotations

import logging
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agent.limits import Limits
from agent.turns import Turn
from agent.values import Mask, Target, TargetStatus, Volume
from dicom_node.errors import FaultyDataset, UnreadableDataset
from dicom_node.ports import ResultWriter
from dicom_node.receive.part10 import has_preamble
from dicom_node.results.writers import DEFAULT_WRITERS
from dicom_node.series.header import read_header
from dicom_node.sop_classes import DIRECTORY, IMAGES
from dicom_node.values import InstanceHeader, SourceVolume
from models.images.presentation import Presentation
from models.images.readers import UNTOLD, can_read, is_picture, read_volume
from models.images.windows import window_from
from models.images.writers import (
    LabelledStructure,
    earlier_pictures,
    label_map_files,
    write_label_map,
    write_pictures,
    write_sidecar,
)
from server.errors import InputError, NothingToReport
from server.pipeline import Pipeline, read_series
from server.ports import LoadedModels
from server.rules.catalogue import Catalogue
from server.study.doubts.second_segmenter import SecondSegmenter
from server.study.label_details import label_details
from server.study.source_files import SOURCE, agent_volume, read_source, write_source
from server.study.stage_order import StudyRun
from server.study.turn_mask_file import TURN_MASKS
from server.study.unfinished_run import run_identity, take_up
from server.study.workfolder import EncodingStore, WorkFolder
from server.values import Assignment, TargetSummary

log = logging.getLogger(__name__)

_CODE_STRING = re.compile(r"[A-Z][A-Z0-9]{0,15}")  # of Modality (PS3.3 C.7.3.1.1.1), VR CS

WORK_FOLDER = ".segnode-work"
LABEL_MAP = "segmentation.nii.gz"

OnTurn = Callable[[int, Turn], None]
"""Takes every turn as it happens, with its target's index."""

OnActivity = Callable[[str], None]
"""Takes in words what is being done, before there are turns and between them."""


@dataclass(frozen=True)
class LocalRun:
    """What to segment: `path` is a DICOM folder or file, a volume or an image; `out` a folder.

    `modality` (as in DICOM) of a volume or image, "" as its content lets guess; `window` what it is
    shown through, as `window_from` reads it, "" as is fit.
    """

    path: Path
    targets: tuple[Target, ...]
    out: Path
    modality: str = ""
    window: str = ""


@dataclass(frozen=True)
class LocalModels:
    """Who does the work: models loaded at first use, the catalogue, the agent's budgets.

    `identity` tells models and budgets from others, for a run that is taken up again; `second` is
    shown the prompts again.
    """

    workbench: Callable[[], LoadedModels]
    catalogue: Catalogue
    limits: Limits
    identity: str = ""
    second: SecondSegmenter | None = None


@dataclass(frozen=True)
class LocalSource:
    """Where the volume of a run comes from: `title` heads its preview, `writers` are for DICOM."""

    assignment: Assignment
    load: Callable[[Assignment], SourceVolume]
    writers: Sequence[ResultWriter] = ()
    title: str = ""

    def seen_through(self, window: str) -> LocalSource:
        """The source with its volume shown through `window`, as `window_from` reads it; itself for
        "". InputError for none, and, when it is loaded, for a volume that cannot be shown so.
        """
        if not window:
            return self
        try:
            asked = window_from(window)
        except ValueError as fault:
            raise InputError(f"{fault}, not {window!r}") from fault

        def load(assignment: Assignment) -> SourceVolume:
            volume = self.load(assignment)
            in_colour = volume.colour is not None
            try:
                Presentation(volume.intensities, volume.modality, in_colour).shown(asked, asked)
            except ValueError as fault:
                raise InputError(str(fault)) from fault
            return replace(volume, window=(asked.low_hu, asked.high_hu))

        return replace(self, load=load)


def asked_targets(texts: Sequence[str], catalogue: Catalogue) -> tuple[Target, ...]:
    """The targets that a user's words stand for; InputError where there is nothing to look for."""
    targets = [target for text in texts for target in catalogue.targets(text.strip())]
    if not targets or any(not target.text for target in targets):
        raise InputError(
            "nothing to look for: give --target TEXT at least once, such as --target liver"
        )
    return tuple(targets)


def segment_files(
    run: LocalRun,
    models: LocalModels,
    on_turn: OnTurn,
    on_activity: OnActivity = lambda _: None,
) -> tuple[TargetSummary, ...]:
    """Segment `run.targets` and leave masks, preview.png and trace.json in `run.out`.

    InputError or NotAVolume, in a sentence, for what cannot be segmented. Unknown and absent
    targets are answers. A run that was killed or interrupted goes on when it is called again.
    """
    source = source_at(run.path, run.targets, run.modality).seen_through(run.window)
    is_new = not run.out.exists()
    run.out.mkdir(parents=True, exist_ok=True)
    work = run.out / WORK_FOLDER
    said = f"{run.modality} {run.window}".strip()
    if take_up(work, run_identity(run.path, run.targets, said, models.identity)):
        on_activity("going on with what an interrupted run has finished")
    try:
        summaries = segment_source(source, models, on_turn, work, on_activity)
        _leave_results(run, work, summaries, models.catalogue)
    except KeyboardInterrupt:  # as when it is killed: the same call goes on from here
        raise
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        if is_new:  # an empty folder would look like a result of nothing
            with suppress(OSError):
                run.out.rmdir()
        raise
    shutil.rmtree(work, ignore_errors=True)
    return summaries


def _leave_results(
    run: LocalRun, work: Path, summaries: Sequence[TargetSummary], catalogue: Catalogue
) -> None:
    """Put what is for the user from the work folder into `run.out`."""
    (run.out / TURN_MASKS).unlink(missing_ok=True)
    if _is_volume_file(run.path):
        _write_masks(run, WorkFolder(work), summaries, catalogue)
    results = [writer.file_name for writer in DEFAULT_WRITERS]
    for name in (*results, "trace.json", TURN_MASKS, "preview.png"):
        if (work / name).is_file():
            (work / name).replace(run.out / name)
    source = read_source(work / SOURCE)
    if not source.files:
        source = source.of_file(run.path, run.modality)
    write_source(run.out / SOURCE, source)


def source_at(path: Path, targets: tuple[Target, ...], modality: str = "") -> LocalSource:
    """What lies at `path`: a DICOM folder or file, or a volume or an image of `modality` (as in
    DICOM; "" as its content lets guess). InputError for nothing, for a modality that is none, and
    for one of DICOM, which says its own.
    """
    if not path.exists():
        raise InputError(f"there is nothing at {path}")
    if modality and not _CODE_STRING.fullmatch(modality):
        raise InputError(f"{modality!r} is no modality as DICOM writes it, such as CT or MR")
    if not _is_volume_file(path):
        if modality:
            raise InputError("DICOM says its own modality: leave the one given by hand out")
        return _dicom_source(path, targets)
    return volume_source(
        lambda: _read(path, modality),
        targets,
        picture=is_picture(path),
        title=path.name[-24:],
    )


def _read(path: Path, modality: str) -> Volume:
    """The volume or image at `path`; what its content was taken for is said."""
    volume = read_volume(path, modality=modality or None)
    if not modality and volume.modality == UNTOLD:
        log.warning("%s does not say what made it: give --modality, such as CT or MR", path.name)
    elif not modality and volume.colour is None:
        log.warning(
            "%s was taken for %s by its grey levels: --modality overrules",
            path.name,
            volume.modality,
        )
    return volume


def volume_source(
    read: Callable[[], Volume], targets: tuple[Target, ...], *, picture: bool, title: str = ""
) -> LocalSource:
    """A volume that is no DICOM, read when it is needed; a `picture` has pixels without a size."""

    def load(_: Assignment) -> SourceVolume:
        volume = read()
        return SourceVolume(
            intensities=volume.intensities,
            affine_zyx_to_lps=volume.geometry.affine_zyx_to_lps,
            frames=(),
            study_instance_uid="",
            series_instance_uid="",
            frame_of_reference_uid="",
            modality=volume.modality,
            colour=volume.colour,
            single_image=picture,
            sized=not picture,
            contrast=volume.contrast,
            window=volume.window,
        )

    assignment = Assignment(str(uuid.uuid4()), "", 1, None, targets)
    return LocalSource(assignment, load, title=title)


def segment_source(
    source: LocalSource,
    models: LocalModels,
    on_turn: OnTurn,
    work: Path,
    on_activity: OnActivity = lambda _: None,
) -> tuple[TargetSummary, ...]:
    """Take one volume through the pipeline; volume, masks and trace are left in the folder `work`,
    as WorkFolder reads them. InputError, NotAVolume.
    """
    pipeline = Pipeline(
        load=source.load,
        folder=lambda _: work,
        encodings=EncodingStore(work / "encodings", limit_bytes=0),
        workbench=lambda _: models.workbench(),
        catalogue=models.catalogue,
        limits=models.limits,
        writers=source.writers,
        second=models.second,
        title=source.title,
        on_progress=lambda _, progress: on_activity(str(progress)),
    )
    study = StudyRun(pipeline, source.assignment, on_turn)
    try:
        study.run()
    except NothingToReport:
        pipeline.show(source.assignment, study.summaries)
    return study.summaries


def _dicom_source(path: Path, targets: tuple[Target, ...]) -> LocalSource:
    headers = _headers(path)

    def load(_: Assignment) -> SourceVolume:
        volume = read_series(headers)
        for warning in volume.warnings:
            log.warning("%s", warning)
        return volume

    # the same files and targets give the same result UIDs, so that a second run makes no second
    # study entry
    names = [header.sop_instance_uid for header in headers]
    names += [target.text for target in targets]
    request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, "\n".join(sorted(names))))
    assignment = Assignment(request_id, headers[0].study_instance_uid, 1, None, targets)
    return LocalSource(assignment, load, DEFAULT_WRITERS)


def _is_volume_file(path: Path) -> bool:
    return path.is_file() and can_read(path)


def _write_masks(
    run: LocalRun, folder: WorkFolder, summaries: Sequence[TargetSummary], catalogue: Catalogue
) -> None:
    """Leave the masks as files of the kind that was given, one mask in memory at a time."""
    segmented = [summary for summary in summaries if summary.status == TargetStatus.SEGMENTED]
    geometry = agent_volume(folder.load_volume()).geometry

    def mask_of(summary: TargetSummary) -> Mask:
        return Mask(folder.load_mask(summary.index).whole(), geometry)

    def described(summary: TargetSummary) -> LabelledStructure:
        return label_details(run.targets[summary.index], summary, catalogue)

    masks = ((described(summary), mask_of(summary)) for summary in segmented)
    others = [described(summary) for summary in summaries if summary not in segmented]
    if is_picture(run.path):
        for file in earlier_pictures(run.out):
            file.unlink(missing_ok=True)
        write_pictures(run.out, masks, others)
        return
    label_map = run.out / LABEL_MAP
    for file in label_map_files(label_map):  # those of an earlier run would be taken for this one's
        file.unlink(missing_ok=True)
    if segmented:
        write_label_map(label_map, geometry, masks, others)
    else:
        write_sidecar(label_map, (), others)


def _headers(path: Path) -> list[InstanceHeader]:
    """The headers of a study's instances; the log counts what else lies there, as on a disc."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    headers, left_out = [], Counter[str]()
    for file in files:
        try:
            header = read_header(file)
        except FaultyDataset as error:
            raise InputError(f"{file.name} cannot be used: {error}") from error
        except (UnreadableDataset, OSError) as error:
            if path.is_file():  # a file named by itself must be DICOM
                raise InputError(
                    f"{path} is neither DICOM nor a volume or image: {error}"
                ) from error
            left_out[_what_it_is(file)] += 1
            continue
        if header.sop_class_uid == DIRECTORY:
            left_out["DICOMDIR"] += 1
        elif not header.study_instance_uid and header.sop_class_uid not in IMAGES:
            left_out["DICOM of no study"] += 1
        else:
            headers.append(header)
    if not headers and left_out["DICOMDIR"]:
        raise InputError(
            f"{path} is a DICOMDIR, the list of what a disc holds, and no image: "
            "give the folder that holds the images"
        )
    if not headers:
        raise InputError(f"no DICOM files under {path}")
    if left_out:
        counts = ", ".join(f"{count} {kind}" for kind, count in left_out.items())
        log.warning("Left out of %d files: %s.", len(files), counts)
    return headers


def _what_it_is(file: Path) -> str:
    """What a file that is left out is counted as."""
    try:
        return "damaged DICOM" if has_preamble(file) else "no DICOM"
    except OSError:
        return "unreadable"
