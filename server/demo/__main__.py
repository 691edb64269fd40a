"""`make demo`: a real CT goes to a real node over DICOM, a SEG and an SR come back to an archive.

    python -m server.demo [OUT] [--keep]      OUT: the folder for SEG, SR, preview and trace
                                              (demo-out); --keep: the node stays up until Ctrl-C

Exits 0 only if the archive really received a SEG and an SR whose masks are those the node decided
on.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dicom_node.errors import DicomNodeError
from dicom_node.results.check_segmentation import segment_masks
from dicom_node.send.store_files import send_files
from dicom_node.series.header import read_header
from dicom_node.values import SourceVolume
from dicom_node.volume.volume import load_volume
from server.commands.console import Progress, say, table
from server.demo.archive import Archive
from server.demo.node import RunningNode, running_node
from server.demo.sample import Sample, prepare_sample
from server.demo.score import dice, reference_labels_on
from server.errors import DemoFailed, ServerError
from server.http.tokens import TOKEN_FILE
from server.nodes.lifecycle import stop_on_signals, wait_for
from server.values import ENDED_STATES, RequestState, whole_ml

TARGETS = ("liver", "spleen", "stomach", "aorta", "left kidney")
LIMIT_S = 900.0
POLL_S = 0.5
KEEP = "--keep"
RESULT_FILES = {"SEG": "seg.dcm", "SR": "sr.dcm"}


def main(arguments: Sequence[str]) -> int:
    """Run the demo into the folder named first, or demo-out; with --keep the node stays up after.

    Returns 0 when the archive has what it should.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    keep = KEEP in arguments
    folders = [argument for argument in arguments if argument != KEEP]
    out = Path(folders[0] if folders else "demo-out").resolve()
    out.mkdir(parents=True, exist_ok=True)
    # the embedded database's socket needs a short path that its own user can reach
    scratch = Path(tempfile.mkdtemp(prefix="segnode-demo-"))
    try:
        _run(out, scratch, keep=keep)
    except (ServerError, DicomNodeError) as error:
        log = scratch / "node.log"
        if log.is_file():
            shutil.copy(log, out / "node.log")
        say(f"demo failed: {error}", error=True)
        return 1
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


def _run(out: Path, scratch: Path, *, keep: bool) -> None:
    started_s = time.monotonic()
    sample = prepare_sample(_folder(scratch / "sample"))
    say(f"sample   {sample.name}")
    archive = Archive(_folder(scratch / "archive"))
    with (
        archive.running(),
        running_node(scratch, archive.port, TARGETS) as node,
    ):
        say(f"node     SEGNODE on port {node.dicom_port}, archive PACS on port {archive.port}")
        _store(sample, node)
        request = _wait(node, sample.study_instance_uid)
        _keep(out, archive, sample, request)
        work = scratch / "node" / "work" / str(request["id"])
        for name in ("preview.png", "trace.json"):
            shutil.copy(work / name, out / name)
        scores = _scores(sample, out / RESULT_FILES["SEG"], request)
        _report(request, scores, out, time.monotonic() - started_s)
        say_pages(node, keep=keep)
        if keep:
            wait_for(stop_on_signals())


def say_pages(node: RunningNode, *, keep: bool) -> None:
    """Print where people look; and the token, unless the node ends now."""
    if not keep:
        say(f"pages    {node.client.url}/ while it ran: make demo KEEP=1 keeps the node up")
        return
    say(f"pages    {node.client.url}/ (Ctrl-C ends the node)")
    say(f"token    {(node.storage / TOKEN_FILE).read_text(encoding='utf-8').strip()}")


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def _store(sample: Sample, node: RunningNode) -> None:
    progress = Progress("stored")
    sent = send_files(
        sample.files,
        calling_ae_title="DEMO",
        ae_title="SEGNODE",
        host="127.0.0.1",
        port=node.dicom_port,
    )
    for number, _ in enumerate(sent, start=1):
        progress.show(f"{number} of {len(sample.files)} instances")
    progress.end()


def _wait(node: RunningNode, study_instance_uid: str) -> dict[str, Any]:
    progress = Progress("working")
    deadline_s = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline_s:
        mine = list(node.client.pages(f"requests?study_instance_uid={study_instance_uid}"))
        if mine:
            request: dict[str, Any] = node.client.get(f"requests/{mine[-1]['id']}")
            progress.show(_standing(request))
            if request["state"] in ENDED_STATES:
                progress.end()
                if request["state"] != RequestState.DONE:
                    raise DemoFailed(f"the request ended {request['state']}: {request['error']}")
                return request
        time.sleep(POLL_S)  # the API has no push; half a second is unnoticed beside the work
    raise DemoFailed(f"the request did not end within {LIMIT_S:.0f} s")


def _standing(request: dict[str, Any]) -> str:
    ended = [t["text"] for t in request["targets"] if t["status"] is not None]
    turns = sum(t["turns"] or 0 for t in request["targets"])
    step = f" ({request['stage']})" if request.get("stage") else ""
    return (
        f"{request['state'].lower()}{step}, {len(ended)} of {len(TARGETS)} targets, {turns} turns"
    )


def _keep(out: Path, archive: Archive, sample: Sample, request: dict[str, Any]) -> None:
    # what the archive has on its disk, not what the node says it sent
    received = {i.sop_instance_uid: i for i in archive.received(sample.study_instance_uid)}
    for result in request["results"]:
        instance = received.get(result["sop_instance_uid"])
        if instance is None:
            raise DemoFailed(f"the archive did not receive the {result['kind']}")
        shutil.copy(instance.path, out / RESULT_FILES[result["kind"]])
    missing = set(RESULT_FILES) - {result["kind"] for result in request["results"]}
    if missing and sample.is_real:
        raise DemoFailed(f"the node wrote no {' and no '.join(sorted(missing))}")


def _scores(sample: Sample, seg: Path, request: dict[str, Any]) -> dict[str, float]:
    """Dice of what the archive received, decoded from its bytes, by target text.

    It is empty without a reference.
    """
    if sample.reference is None or not seg.is_file():
        return {}
    volume: SourceVolume = load_volume([read_header(path) for path in sample.files])
    shape = volume.intensities.shape
    labels = reference_labels_on(sample.reference, shape, volume.affine_zyx_to_lps)
    masks = {label.lower(): mask for label, mask in segment_masks(seg, volume).items()}
    return {
        target["text"]: dice(
            masks[target["text"]], labels == sample.reference_labels[target["text"]]
        )
        for target in request["targets"]
        if target["text"] in masks
    }


def _report(request: dict[str, Any], scores: dict[str, float], out: Path, total_s: float) -> None:
    rows = []
    for target in request["targets"]:
        volume_ml = target["volume_ml"]
        code = target["code"] or {}
        rows.append(
            (
                target["text"],
                code.get("value", ""),
                target["status"],
                "" if volume_ml is None else whole_ml(volume_ml),
                str(target["turns"]),
                f"{scores[target['text']]:.3f}" if target["text"] in scores else "",
            )
        )
    say("")
    table(("structure", "SNOMED CT", "answer", "ml", "turns", "Dice"), rows)
    stages = ", ".join(
        f"{name} {seconds:.1f}" for name, seconds in request["stage_seconds"].items()
    )
    say(f"\nseconds  {stages}; everything {total_s:.1f}")
    say(f"encoder  {request['encoder_passes']} passes")
    say(f"results  {out}: " + ", ".join(sorted(path.name for path in out.iterdir())))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
