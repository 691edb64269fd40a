"""Situations from the field, each with its right outcome: as files, and through the network byte
for byte.

The folders are those of shared/data/cases; each holds a body with one bright liver of 370 ml on 6
slices, unless said otherwise.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from agent.limits import Limits
from dicom_node.errors import NotAVolume
from models.loaded_models import open_workbench
from server.demo.archive import Archive
from server.demo.node import RunningNode, running_node
from server.errors import InputError
from server.local import LocalModels, LocalRun, asked_targets, segment_files
from server.rules.catalogue import load_catalogue
from server.values import ENDED_STATES

pytestmark = pytest.mark.slow

LIVER_ML = 370.0
LIMIT_S = 240.0
FAKE_MODELS = '\n[agent]\npolicy = "threshold"\nsegmenter = "fake"\n'
CATALOGUE = load_catalogue()
# what no sentence for a person holds: exceptions' names, and the people of the cases
UNSPEAKABLE = re.compile(
    r"Error\b|Exception|NoneType|Traceback|argument|Phantom|Case-|object has no|\bnan\b(?!')"
)


@dataclass(frozen=True)
class Outcome:
    """`done` None where both ends are right; `ml` of the target where it is done; `words` that the
    sentence (refused) or the warnings (done) hold, in any case of letters.
    """

    done: bool | None
    words: tuple[str, ...] = ()
    slices: int | None = None
    ml: float | None = LIVER_ML


REFUSED, DONE = Outcome(done=False), Outcome(done=True)
OUTCOMES = {
    "ct-series-number-of-21-digits": Outcome(done=True, slices=6),
    "ct-dicomdir-beside": Outcome(done=True, slices=6),
    "ct-no-rescale-padded": Outcome(done=False, words=("rescale",)),
    "ct-rescale-type-z-eff": Outcome(done=None, words=("rescale type",)),
    "pet-one-slice-without-rescale": Outcome(done=None, words=("instance 4",), ml=None),
    "ct-rescale-intercept-nan": Outcome(done=False, words=("rescale intercept",)),
    "ct-two-patients-in-one-series": Outcome(done=False, words=("instances 4-6",)),
    "ct-positions-in-tenths": Outcome(done=True, slices=12, ml=None),
    "mr-mosaics-that-moved": Outcome(done=False, words=("mosaic",)),
    "mr-magnitude-phase-real-imaginary": Outcome(
        done=True, words=("magnitude",), slices=6, ml=None
    ),
    "ct-group-28-before-group-20": Outcome(done=True, slices=6),
    "ct-palette-colour": Outcome(done=False, words=("palette",)),
    "ct-padding-range-limit-empty": Outcome(done=True, slices=6),
    "ct-jpeg-with-64-bytes-after-its-end": Outcome(done=True, slices=6),
    "ct-two-thousand-million-frames-said": Outcome(done=False, words=("number of frames",)),
    "right-mr-enhanced-called-mosaic": Outcome(done=True, slices=6, ml=None),
    "right-ct-two-acquisitions-end-to-end": Outcome(done=True, slices=8, ml=None),
    "right-pet-small-slopes": Outcome(done=True, slices=6, ml=None),
}


@dataclass(frozen=True)
class Ended:
    """How a case ended: `sentence` of a refusal, `warnings` of a result, its `volume_ml`, the
    slices of its SEG's source.
    """

    done: bool
    sentence: str = ""
    warnings: tuple[str, ...] = ()
    volume_ml: float | None = None


@pytest.fixture(scope="module")
def cases(shared_data: Path) -> Path:
    """The folder of all cases."""
    folder = shared_data / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return folder


@pytest.fixture(scope="module")
def models() -> LocalModels:
    """The fakes that tell structures by their brightness."""
    workbench = open_workbench("threshold", "fake")
    return LocalModels(lambda: workbench, CATALOGUE, Limits())


def check(ended: Ended, right: Outcome) -> None:
    """Hold what came of a case against what is right."""
    if right.done is not None:
        assert ended.done == right.done, ended
    told = " ".join((ended.sentence, *ended.warnings))
    for word in right.words:
        assert word in told.lower(), told
    assert not UNSPEAKABLE.search(told), told
    if not ended.done:
        assert ended.sentence.strip()
    elif right.ml is not None:
        assert ended.volume_ml == pytest.approx(right.ml, rel=0.03)


def test_every_case_has_its_outcome(cases: Path) -> None:
    assert {folder.name for folder in cases.iterdir() if folder.is_dir()} == set(OUTCOMES)


@pytest.mark.parametrize("name", OUTCOMES)
def test_as_files(
    cases: Path,
    models: LocalModels,
    name: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    right, out = OUTCOMES[name], tmp_path / "out"
    run = LocalRun(cases / name, asked_targets(["bright"], CATALOGUE), out)

    with caplog.at_level(logging.WARNING):
        try:
            (summary,) = segment_files(run, models, lambda _, turn: None)
            ended = Ended(True, "", tuple(caplog.messages), summary.volume_ml)
        except (InputError, NotAVolume) as error:
            ended = Ended(False, str(error))

    check(ended, right)
    assert (out / "seg.dcm").is_file() == ended.done
    if ended.done and right.slices is not None:
        seg = pydicom.dcmread(out / "seg.dcm")
        sources = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        frames = max(right.slices, 1) if len(sources) > 1 else 1
        assert len(sources) == frames
    if ended.done and name == "ct-rescale-type-z-eff":
        assert "hounsfield" not in str(pydicom.dcmread(out / "sr.dcm")).lower()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node with an archive behind it."""
    folder = tmp_path_factory.mktemp("n")
    archive = Archive(folder / "archive")
    with (
        archive.running(),
        running_node(folder, archive.port, ("bright",), FAKE_MODELS) as running,
    ):
        yield running


def dicom_files(folder: Path) -> list[Path]:
    """Everything of a case that a modality would send: no DICOMDIR."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if path.name != "DICOMDIR")


def study_of(files: list[Path]) -> str:
    return str(pydicom.dcmread(files[0], specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


def ended_request(node: RunningNode, request_id: str) -> dict[str, Any]:
    """The request, once it has ended."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        request: dict[str, Any] = node.client.get(f"requests/{request_id}")
        if request["state"] in ENDED_STATES:
            return request
        time.sleep(0.2)  # HTTP has nothing to wait on
    raise AssertionError(f"the request did not end: {request}")


def test_through_the_network(cases: Path, node: RunningNode) -> None:
    # every case is sent before the first is asked for: each then has to do with all the others in
    # the queue
    studies: dict[str, str] = {}
    for name in OUTCOMES:
        files = dicom_files(cases / name)
        command = [sys.executable, str(cases / "send_bytes.py"), "127.0.0.1", str(node.dicom_port)]
        sent = subprocess.run(
            [*command, "SEGNODE", *map(str, files)], capture_output=True, text=True, check=False
        )
        assert sent.returncode == 0, sent.stdout + sent.stderr
        studies[name] = study_of(files)
    requests = {}
    for name, study in studies.items():
        node.client.post(f"studies/{study}/complete", {})
        body = {"study_instance_uid": study, "targets": ["bright"]}
        requests[name] = node.client.post("requests", body)["id"]

    wrong = {}
    for name, request_id in requests.items():
        request = ended_request(node, request_id)
        assert request["state"] in {"DONE", "REJECTED"}, (name, request)
        volumes = [target["volume_ml"] for target in request["targets"]]
        done = request["state"] == "DONE"
        ended = Ended(done, request["error"] or "", tuple(request["warnings"]), volumes[0])
        try:
            check(ended, OUTCOMES[name])
        except AssertionError as error:
            wrong[name] = str(error)

    assert wrong == {}
