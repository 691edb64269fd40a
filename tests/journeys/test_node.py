"""A whole node as a PACS meets it: listener, worker, API and database as real processes, on
synthetic patients.
"""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest

from dicom_node.results.check_segmentation import segment_masks
from dicom_node.send.store_files import send_files
from dicom_node.series.header import read_header
from dicom_node.volume.volume import load_volume
from server.demo.archive import Archive
from server.demo.node import RunningNode, running_node
from server.demo.score import dice
from server.errors import RequestError
from server.nodes.lifecycle import own_python
from server.values import ENDED_STATES, WorkStep, whole_ml
from tests.support import phantoms, pictures
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

LIMIT_S = 240.0
SHAPE = (24, 96, 96)
FAKE_MODELS = '\n[agent]\npolicy = "threshold"\nsegmenter = "fake"\n'
LATE_ARCHIVE = """
[[destinations]]
name = "late"
ae_title = "PACS"
host = "127.0.0.1"
port = {port}

[delivery]
delay_s = 600.0
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningNode, Archive]]:
    """A node that routes every CT to the liver, and the archive it answers to."""
    # the embedded database's socket path must stay short, and its own user must reach it
    folder = tmp_path_factory.mktemp("n")
    archive = Archive(folder / "archive")
    targets = ("liver",)
    with archive.running(), running_node(folder, archive.port, targets, FAKE_MODELS) as node:
        yield node, archive


@pytest.fixture
def patient(tmp_path: Path) -> Callable[..., Any]:
    """A phantom with UIDs of its own, as files."""
    return lambda **options: phantoms.torso_ct(
        tmp_path / options.pop("at", "ct"),
        shape=options.pop("shape", SHAPE),
        identity=phantoms.Identity(tmp_path.name),
        **options,
    )


def send(node: RunningNode, files: list[Path]) -> str:
    """Store files in one association; the study's UID."""
    peer = {"calling_ae_title": "CT1", "ae_title": "SEGNODE", "host": "127.0.0.1"}
    for _ in send_files(files, port=node.dicom_port, **peer):
        pass
    return str(read_header(files[0]).study_instance_uid)


def requests_of(node: RunningNode, study: str) -> list[dict[str, Any]]:
    return list(node.client.pages(f"requests?study_instance_uid={study}"))


def content_of(node: RunningNode, path: str) -> bytes:
    """What the API answers, as it is."""
    call = urllib.request.Request(
        f"{node.client.url}/api/v1/{path}", headers={"Authorization": f"Bearer {node.client.token}"}
    )
    with urllib.request.urlopen(call, timeout=LIMIT_S) as answer:
        content: bytes = answer.read()
        return content


def progress_of(node: RunningNode, study: str) -> dict[str, Any]:
    """What the first request of a study told of its work before it ended."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        for request in requests_of(node, study)[:1]:
            whole = node.client.get(f"requests/{request['id']}")
            if whole["progress"] is not None:
                progress: dict[str, Any] = whole["progress"]
                return progress
            assert whole["state"] not in ENDED_STATES, whole
        time.sleep(0.05)  # HTTP has nothing to wait on
    raise AssertionError(f"no request of {study} tells how far it is")


def ended(node: RunningNode, study: str, number: int = 1) -> dict[str, Any]:
    """The study's request of that number, once it has ended."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        found = requests_of(node, study)
        if len(found) >= number and found[number - 1]["state"] in ENDED_STATES:
            whole: dict[str, Any] = node.client.get(f"requests/{found[number - 1]['id']}")
            return whole
        time.sleep(0.2)  # HTTP has nothing to wait on
    raise AssertionError(f"no request {number} of {study} ended: {requests_of(node, study)}")


def test_a_ct_goes_in_and_a_seg_and_an_sr_come_back(
    site: tuple[RunningNode, Archive], patient: Callable[..., Any]
) -> None:
    # Arrange
    node, archive = site
    phantom = patient(orientation="oblique", shuffle=5)

    # Act
    study = send(node, list(phantom.paths))
    progress = progress_of(node, study)
    request = ended(node, study)

    # Assert: what is on the archive's disk, decoded, is the liver that was drawn into the patient
    assert request["error"] is None
    assert request["state"] == "DONE"
    assert progress["step"] in set(WorkStep)
    assert request["progress"] is None
    assert [d["state"] for d in request["deliveries"]] == ["delivered"]
    received = {i.sop_instance_uid: i for i in archive.received(study)}
    kinds = {r["kind"]: received[r["sop_instance_uid"]].path for r in request["results"]}
    assert set(kinds) == {"SEG", "SR"}
    volume = load_volume([read_header(path) for path in phantom.paths])
    assert dice(segment_masks(kinds["SEG"], volume)["Liver"], phantom.masks["liver"]) > 0.9
    (liver,) = request["targets"]
    assert (liver["status"], liver["code"]["value"]) == ("segmented", "10200004")
    assert liver["volume_ml"] > 100
    turns = node.client.get(f"requests/{request['id']}/turns")
    assert len(turns) == liver["turns"] > 0


def test_what_the_policy_does_not_know_fails_and_the_other_targets_go_on(
    site: tuple[RunningNode, Archive], patient: Callable[..., Any]
) -> None:
    node, _ = site
    study = send(node, list(patient().paths))
    ended(node, study)

    body = {"study_instance_uid": study, "targets": ["unicorn", "liver"]}
    node.client.post("requests", body)
    request = ended(node, study, number=2)

    unicorn, liver = request["targets"]
    assert (request["state"], liver["status"]) == ("DONE", "segmented")
    assert unicorn["status"] == "failed"
    assert "does not know 'unicorn'" in unicorn["reason"]


def test_a_person_follows_a_request_on_the_pages(
    site: tuple[RunningNode, Archive], patient: Callable[..., Any]
) -> None:
    # Arrange: somebody who has logged in, and a study that has been worked on
    node, _ = site
    request = ended(node, send(node, list(patient().paths)))
    person = httpx.Client(base_url=node.client.url, headers={"Origin": node.client.url})
    assert person.get("/").headers["location"] == "/login"
    assert person.post("/login", data={"token": node.client.token}).status_code == 303

    # Act
    requests, story = person.get("/").text, person.get(f"/requests/{request['id']}?turn=2").text
    drawn = person.get(f"/requests/{request['id']}/turns/1/picture.png")
    study = request["study_instance_uid"]
    asked = person.post(f"/studies/{study}/requests", data={"target": "foie"})
    echo = person.post("/destinations/pacs/echo")

    # Assert
    assert f'href="/requests/{request["id"]}"' in requests
    assert f"{whole_ml(request['targets'][0]['volume_ml'])} ml" in story
    assert "Delivered" in story
    assert drawn.content.startswith(b"\x89PNG")
    assert drawn.content == content_of(node, f"requests/{request['id']}/turns/1/picture.png")
    assert "abdomen: matches" in person.get(f"/studies/{study}").text
    second = ended(node, study, number=2)
    assert asked.headers["location"] == f"/requests/{second['id']}"
    assert second["targets"][0]["code"]["value"] == "10200004"
    assert "It answers" in echo.text
    for page in ("/studies", "/destinations", "/undelivered", "/node", "/setup"):
        assert person.get(page).status_code == 200
    person.close()


def test_a_request_is_replayed_from_its_rows_while_the_node_runs(
    site: tuple[RunningNode, Archive], patient: Callable[..., Any], tmp_path: Path
) -> None:
    # Arrange
    node, _ = site
    request = ended(node, send(node, list(patient().paths)))
    out = tmp_path / "pictures"
    command = own_python("-m", "server.cli", "replay", request["id"], "--out", str(out))

    # Act
    answer = subprocess.run(
        [*command, "--config", str(node.configuration)], capture_output=True, text=True, check=False
    )

    # Assert: every turn agrees with database and masks, and the node goes on
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "liver: " in answer.stdout
    turns = node.client.get(f"requests/{request['id']}/turns")
    assert len(list(out.rglob("*.png"))) == len(turns) > 0
    for n, turn in enumerate(turns[:3]):
        place = f"slice{turn['slice_index']:04d}-turn{turn['turn_index']}.png"
        [drawn] = out.rglob(f"*-{place}")
        assert turn["n"] == n
        assert (
            content_of(node, f"requests/{request['id']}/turns/{n}/picture.png")
            == drawn.read_bytes()
        )
    assert node.client.get(f"requests/{request['id']}")["state"] == "DONE"

    # Act: a mask that was changed on disk
    masks = node.storage / "work" / request["id"] / "turns.masks"
    content = bytearray(masks.read_bytes())
    content[-1] ^= 1
    masks.write_bytes(content)
    answer = subprocess.run(
        [*command, "--config", str(node.configuration)], capture_output=True, text=True, check=False
    )

    # Assert
    assert answer.returncode == 1
    assert "turns.masks" in answer.stderr


def test_our_own_results_sent_back_to_us_start_nothing(
    site: tuple[RunningNode, Archive], patient: Callable[..., Any]
) -> None:
    node, archive = site
    study = send(node, list(patient().paths))
    request = ended(node, study)

    send(node, [instance.path for instance in archive.received(study)])
    time.sleep(4)  # twice the quiet time: what must not happen has had its chance

    assert [r["id"] for r in requests_of(node, study)] == [request["id"]]


def height_mm(path: Path) -> float:
    """How far up the patient a slice lies."""
    position_mm = read_header(path).image_position_mm
    assert position_mm is not None
    return position_mm[2]


def test_late_slices_supersede_and_an_identical_resend_does_not(
    site: tuple[RunningNode, Archive], patient: Callable[..., Any]
) -> None:
    # Arrange
    node, archive = site
    files = sorted(patient().paths, key=height_mm)
    study = send(node, files[:16])
    ended(node, study)

    # Act
    send(node, files[:16])
    send(node, files)
    second = ended(node, study, number=2)

    # Assert: one more request, for the whole study, with results of its own
    assert second["state"] == "DONE"
    assert len(requests_of(node, study)) == 2
    seg = next(r for r in second["results"] if r["kind"] == "SEG")
    path = next(
        i.path for i in archive.received(study) if i.sop_instance_uid == seg["sop_instance_uid"]
    )
    referenced = pydicom.dcmread(path).ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert len(referenced) == len(files)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shape": (1, 96, 96)}, "slice"),
        ({"skip": (10, 11)}, "missing"),
        ({"tilt_deg": 15.0}, "tilt"),
    ],
    ids=["single slice", "gap", "tilt"],
)
def test_what_is_no_volume_is_rejected_in_a_sentence(
    site: tuple[RunningNode, Archive],
    patient: Callable[..., Any],
    options: dict[str, Any],
    said: str,
) -> None:
    node, archive = site

    study = send(node, list(patient(**options).paths))
    request = ended(node, study)

    assert request["state"] == "REJECTED"
    assert said in request["error"].lower()
    assert archive.received(study) == []


def test_a_picture_is_segmented_on_request_and_claims_no_volume(
    site: tuple[RunningNode, Archive], tmp_path: Path
) -> None:
    # Arrange: no route is for ultrasound, so that nothing starts by itself
    node, archive = site
    made = pictures.picture(tmp_path, "US", name=tmp_path.name, shape=(90, 120))
    study = send(node, [made.path])
    node.client.post(f"studies/{study}/complete")

    # Act
    node.client.post("requests", {"study_instance_uid": study, "targets": ["bright"]})
    request = ended(node, study)

    # Assert
    assert (request["state"], request["error"]) == ("DONE", None)
    (bright,) = request["targets"]
    assert (bright["status"], bright["volume_ml"]) == ("segmented", None)
    assert "sizes are told in pixels" in " ".join(request["warnings"])
    received = {i.sop_instance_uid: i.path for i in archive.received(study)}
    seg = next(r for r in request["results"] if r["kind"] == "SEG")
    volume = load_volume([read_header(made.path)])
    (mask,) = segment_masks(received[seg["sop_instance_uid"]], volume).values()
    assert dice(mask[0], made.mask) > 0.9


def test_what_waits_for_a_destination_goes_when_it_answers_again(
    tmp_path_factory: pytest.TempPathFactory, patient: Callable[..., Any]
) -> None:
    # Arrange: nobody listens at the second destination, and the next try is ten minutes away
    folder, port = tmp_path_factory.mktemp("n"), free_port()
    archive, late = Archive(folder / "archive"), Archive(folder / "late", port)
    settings = FAKE_MODELS + LATE_ARCHIVE.format(port=port)
    with archive.running(), running_node(folder, archive.port, ("liver",), settings) as node:
        study = send(node, list(patient().paths))
        ended(node, study)
        body = {"study_instance_uid": study, "targets": ["liver"], "destinations": ["late"]}
        asked = node.client.post("requests", body)
        deadline = time.monotonic() + LIMIT_S
        while node.client.get(f"requests/{asked['id']}")["deliveries"][0]["attempts"] < 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)

        # Act
        with late.running():
            answer = node.client.post("destinations/late/echo", {})
            request = ended(node, study, number=2)

        # Assert
        assert answer["tried_now"] == 1
        assert (request["id"], request["state"]) == (asked["id"], "DONE")
        assert len(late.received(study)) == 2
        told = [line for line in node.client.get("audit") if line["event"] == "delivery.now"]
        assert [line["detail"]["reason"] for line in told] == ["the destination answered an echo"]


def test_absent_alone_ends_done_with_a_report(
    site: tuple[RunningNode, Archive], patient: Callable[..., Any]
) -> None:
    # Arrange: a slab above the kidneys
    node, _ = site
    study = send(node, list(patient(shape=(8, 96, 96), centre_mm=(0, 0, 40)).paths))
    ended(node, study)

    # Act
    body = {"study_instance_uid": study, "targets": ["left kidney"]}
    asked = node.client.post("requests", body)
    request = ended(node, study, number=2)

    # Assert
    assert request["id"] == asked["id"]
    assert [t["status"] for t in request["targets"]] == ["absent"]
    assert (request["state"], [r["kind"] for r in request["results"]]) == ("DONE", ["SR"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"study_instance_uid": "1.2.3.4", "targets": ["liver"]}, "1.2.3.4"),
        ({"study_instance_uid": "1.2.3.4", "targets": []}, "target"),
        ({"study_instance_uid": "1.2.3.4", "targets": ["liver"] * 10_000}, "200"),
    ],
    ids=["unknown study", "no targets", "10,000 targets"],
)
def test_a_request_that_cannot_be_taken_says_why(
    site: tuple[RunningNode, Archive], body: dict[str, Any], said: str
) -> None:
    node, _ = site

    with pytest.raises(RequestError, match=said):
        node.client.post("requests", body)
