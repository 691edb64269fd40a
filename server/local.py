"""`segnode segment`: the same pipeline on files, without network, database or record."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.limits import Limits
from agent.trace import Trace, TracedTarget, write_trace
from agent.turns import Turn
from agent.values import Mask, Target, TargetStatus, Volume
from dicom_node.errors import FaultyDataset, UnreadableDataset
from dicom_node.receive.part10 import has_preamble
from dicom_node.series.header import read_header
from dicom_node.sop_classes import DIRECTORY, IMAGES
from dicom_node.values import InstanceHeader
from dicom_node.voxels import Voxels
from models.images.readers import can_read, is_picture, read_volume
from models.images.writers import write_label_map, write_pictures
from server.errors import InputError, NothingToReport
from server.pipeline import Pipeline, summarise
from server.ports import LoadedModels
from server.rules.catalogue import Catalogue
from server.study.preview import Drawn, Sizes, draw_preview
from server.study.runner import VolumeWork, work_on_targets
from server.study.workfolder import EncodingStore
from server.values import AskedTarget, Assignment, TargetSummary

log = logging.getLogger(__name__)

WORK_FOLDER = ".segnode-work"
LABEL_MAP = "segmentation.nii.gz"


@dataclass(frozen=True)
class LocalRun:
    """What to segment where: `path` a DICOM folder or file, a volume or an image; `asked` the
    targets; `out` a folder.
    """

    path: Path
    asked: tuple[AskedTarget, ...]
    out: Path


@dataclass(frozen=True)
class LocalModels:
    """Who does the work: models loaded at first use, the catalogue, the agent's budgets."""

    workbench: Callable[[], LoadedModels]
    catalogue: Catalogue
    limits: Limits


Tell = Callable[[int, Turn], None]
"""Told of every turn: the target's index and the turn."""


def asked_targets(texts: Sequence[str], catalogue: Catalogue) -> tuple[AskedTarget, ...]:
    """The targets that a user's words stand for, numbered; InputError where there is nothing to
    look for.
    """
    targets = [target for text in texts for target in catalogue.targets(text.strip())]
    if not targets or any(not target.text for target in targets):
        raise InputError(
            "nothing to look for: give --target TEXT at least once, such as --target liver"
        )
    return tuple(AskedTarget(i, t.text, t.structure) for i, t in enumerate(targets))


def segment_files(run: LocalRun, models: LocalModels, tell: Tell) -> tuple[TargetSummary, ...]:
    """Segment `run.asked` and leave masks, preview.png and trace.json in `run.out`.

    InputError or NotAVolume, in a sentence, for what cannot be segmented. Unknown and absent
    targets are answers.
    """
    if not run.path.exists():
        raise InputError(f"there is nothing at {run.path}")
    run.out.mkdir(parents=True, exist_ok=True)
    work = run.out / WORK_FOLDER
    shutil.rmtree(work, ignore_errors=True)
    try:
        if run.path.is_file() and can_read(run.path):
            return _segment_volume(run, models, tell, work)
        return _segment_dicom(run, models, tell, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _segment_dicom(
    run: LocalRun, models: LocalModels, tell: Tell, work: Path
) -> tuple[TargetSummary, ...]:
    headers = _headers(run.path)
    pipeline = Pipeline(
        headers=lambda _: headers,
        folder=lambda request_id: work / request_id,
        encodings=EncodingStore(work / "encodings", limit_bytes=0),
        workbench=lambda _: models.workbench(),
        catalogue=models.catalogue,
        limits=models.limits,
    )
    # the same files and targets give the same result UIDs, so that a second run makes no second
    # study entry
    words = [header.sop_instance_uid for header in headers] + [one.text for one in run.asked]
    request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, "\n".join(sorted(words))))
    assignment = Assignment(request_id, headers[0].study_instance_uid, 1, None, run.asked)
    for doubt in pipeline.select(assignment).warnings:
        log.warning("%s", doubt)
    for one in run.asked:
        pipeline.outline(assignment, one.index, partial(tell, one.index))
    pipeline.follow(assignment, tell)
    summaries = tuple(
        pipeline.segment(assignment, one.index, partial(tell, one.index)) for one in run.asked
    )
    try:
        pipeline.write(assignment, summaries)
    except NothingToReport:
        pipeline.show(assignment, summaries)
    for name in ("seg.dcm", "sr.dcm", "trace.json", "preview.png"):
        made = work / request_id / name
        if made.is_file():
            made.replace(run.out / name)
    return summaries


def _headers(path: Path) -> list[InstanceHeader]:
    """The headers of a study's instances; a sentence in the log counts what else lies in the
    folder, as on a disc.
    """
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
            f"{path} is a DICOMDIR, the list of what a disc holds, and no image: give the folder that holds the images"
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


def _segment_volume(
    run: LocalRun, models: LocalModels, tell: Tell, work: Path
) -> tuple[TargetSummary, ...]:
    volume = read_volume(run.path)
    workbench = models.workbench()
    prepared = workbench.prepare(volume, work)
    summaries, traced = [], []
    masks: dict[str, Voxels] = {}
    agent_work = VolumeWork(workbench, prepared, models.limits)
    results = work_on_targets(agent_work, run.asked, tell)
    for one, result in zip(run.asked, results, strict=True):
        mask = None if result.voxels is None else prepared.to_source(result.voxels)
        summary = summarise(one, result, mask, picture=is_picture(run.path))
        if mask is not None and summary.status == TargetStatus.SEGMENTED:
            masks[one.text] = Voxels.of(mask.voxels)
        summaries.append(summary)
        traced.append(TracedTarget.of(result))
    whole = ((text, Mask(one.whole(), volume.geometry)) for text, one in masks.items())
    if is_picture(run.path):
        write_pictures(run.out, whole)
    elif masks:
        write_label_map(run.out / LABEL_MAP, volume.geometry, whole)
    write_trace(run.out / "trace.json", Trace(tuple(traced)))
    _draw(run, volume, models.catalogue, masks, summaries)
    return tuple(summaries)


def _draw(
    run: LocalRun,
    volume: Volume,
    catalogue: Catalogue,
    masks: dict[str, Voxels],
    summaries: Sequence[TargetSummary],
) -> None:
    drawn = []
    for summary in summaries:
        if summary.text in masks:
            structure = catalogue.structure(Target(summary.text, summary.structure))
            drawn.append(
                Drawn(
                    structure.label,
                    structure.cielab,
                    masks[summary.text],
                    summary.confidence or 0.0,
                )
            )
    draw_preview(
        run.out / "preview.png",
        volume,
        drawn,
        title=run.path.name[-24:],
        sizes=Sizes.PIXELS if is_picture(run.path) else Sizes.MILLILITRES,
    )
