"""Delivery to independent archives as real processes: DCMTK's storescp with its faults, and
Orthanc.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedSRStorage

from dicom_node.errors import PermanentDeliveryError, TransientDeliveryError
from dicom_node.result_kinds import SegmentationEncoding
from dicom_node.results.check_segmentation import check_segmentation
from dicom_node.results.labelmap import LABELMAP_STORAGE, as_labelmap
from dicom_node.results.report import ReportWriter
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.values import (
    Algorithm,
    ResultContent,
    ResultIdentity,
    ResultKind,
    ResultSegment,
    SourceVolume,
    WrittenResult,
)
from tests.support import archives, phantoms

pytestmark = pytest.mark.peer

Peer = Callable[[str], str]
Scp = Callable[..., Any]  # an archives.Storescp


class Work:
    """A SEG, the SR that refers to it, and what they were made of."""

    def __init__(
        self, volume: SourceVolume, segments: list[ResultSegment], results: list[WrittenResult]
    ) -> None:
        self.volume, self.segments, self.results = volume, segments, results


@pytest.fixture(scope="module")
def work(
    tmp_path_factory: pytest.TempPathFactory,
    volume_of: Callable[[Any], SourceVolume],
    drawn: Callable[..., list[ResultSegment]],
    algorithm: Algorithm,
    identity: ResultIdentity,
) -> Work:
    """Results on an oblique series."""
    folder = tmp_path_factory.mktemp("work")
    phantom = phantoms.torso_ct(folder / "ct", orientation="oblique")
    volume, segments = volume_of(phantom), drawn(phantom, "liver", "spleen")
    seg = write_result(
        SegmentationWriter(),
        ResultContent(volume, segments, (), algorithm, identity),
        folder / "seg.dcm",
    )
    return Work(
        volume,
        segments,
        [
            seg,
            write_result(
                ReportWriter(),
                ResultContent(volume, segments, [], algorithm, identity),
                folder / "sr.dcm",
                [seg],
            ),
        ],
    )


@pytest.fixture
def storescp(peer: Peer, tmp_path: Path) -> Iterator[Scp]:
    """Starts storescp with options and ends it after the test."""
    started: list[Any] = []

    def start(*options: str) -> Any:
        folder = tmp_path / f"archive-{len(started)}"
        started.append(archives.Storescp(peer("storescp"), folder, *options))
        return started[-1]

    yield start
    for each in started:
        each.stop()


LABELMAPS = [each for each in SegmentationEncoding if each is not SegmentationEncoding.BINARY]


class TestLabelmaps:
    """What is offered is a label map; what these archives take of it."""

    def test_storescp_takes_one_when_it_takes_everything(self, storescp: Scp, work: Work) -> None:
        archive = storescp("-pm")

        how = archive.offered(SegmentationEncoding.LABELMAP).send(work.results)

        received = [pydicom.dcmread(path) for path in archive.received]
        assert how == "as labelmap"
        assert {ds.SOPClassUID for ds in received} == {LABELMAP_STORAGE, EnhancedSRStorage}
        (labelmap,) = (ds for ds in received if ds.SOPClassUID == LABELMAP_STORAGE)
        assert int(labelmap.pixel_array.max()) == 2

    @pytest.mark.parametrize("encoding", LABELMAPS)
    def test_storescp_is_sent_bits_where_it_does_not(
        self, encoding: SegmentationEncoding, storescp: Scp, work: Work
    ) -> None:
        archive = storescp()

        how = archive.offered(encoding).send(work.results)

        assert how.startswith("as binary: it takes no Label Map Segmentation as ")
        received = {pydicom.dcmread(path).SOPInstanceUID for path in archive.received}
        assert received == {result.sop_instance_uid for result in work.results}

    @pytest.mark.parametrize("any_class", [True, False])
    @pytest.mark.parametrize("encoding", LABELMAPS)
    def test_orthanc_takes_one_or_is_sent_bits(
        self,
        encoding: SegmentationEncoding,
        any_class: bool,
        peer: Peer,
        tmp_path: Path,
        work: Work,
    ) -> None:
        pacs = archives.Orthanc(peer("Orthanc"), tmp_path / "pacs", any_class=any_class)
        try:
            how = pacs.destination(segmentation=encoding).send(work.results)
            stored = list(pacs.stored().values())
        finally:
            pacs.stop()

        assert len(stored) == 2
        (seg,) = (ds for ds in stored if ds.Modality == "SEG")
        (report,) = (ds for ds in stored if ds.Modality == "SR")
        assert seg.SOPInstanceUID in report.to_json()
        if how.startswith("as binary"):
            assert not any_class
            assert seg.SOPInstanceUID == work.results[0].sop_instance_uid
        else:
            assert any_class
            assert how == f"as {encoding}"
            assert (seg.SOPClassUID, seg.SegmentationType) == (LABELMAP_STORAGE, "LABELMAP")

    def test_dcmqi_reads_one_as_the_same_labels(
        self, peer: Peer, work: Work, tmp_path: Path
    ) -> None:
        program = peer("segimage2itkimage")
        seg, _ = as_labelmap(work.results, SegmentationEncoding.LABELMAP, tmp_path / "sent")

        subprocess.run(
            [program, "--inputDICOM", seg.path, "--outputDirectory", tmp_path, "-t", "nii"],
            check=True,
            capture_output=True,
            timeout=120,
        )

        (file,) = tmp_path.glob("*.nii.gz")
        labels = np.asarray(nibabel.Nifti1Image.from_filename(file).dataobj)
        for number, structure in enumerate(work.segments, start=1):
            assert np.count_nonzero(labels == number) == structure.voxels.count


class TestDcmtk:
    def test_results_arrive_bit_for_bit(self, storescp: Scp, work: Work) -> None:
        archive = storescp()

        archive.destination.echo()
        archive.destination.send(work.results)

        received = {pydicom.dcmread(path).SOPInstanceUID: path for path in archive.received}
        assert set(received) == {result.sop_instance_uid for result in work.results}
        for result in work.results:
            assert pydicom.dcmread(received[result.sop_instance_uid]) == pydicom.dcmread(
                result.path
            )
        check_segmentation(received[work.results[0].sop_instance_uid], work.volume, work.segments)

    def test_sending_again_makes_no_second_copy(self, storescp: Scp, work: Work) -> None:
        archive = storescp()

        archive.destination.send(work.results)
        archive.destination.send(work.results)

        assert len(archive.received) == 2

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (["--refuse"], "refused the association"),
            (["--abort-during"], "gave no answer to the SEG"),
            (
                ["--abort-after"],
                "gave no answer to the SEG|before the SR was sent|gave no answer to the SR",
            ),
            (["--sleep-during", "8"], "gave no answer to the SEG"),
            (["--sleep-after", "8"], "gave no answer to the SR"),
        ],
        ids=lambda value: value[0] if isinstance(value, list) else "",
    )
    def test_every_fault_is_worth_another_try(
        self, options: list[str], sentence: str, storescp: Scp, work: Work
    ) -> None:
        with pytest.raises(TransientDeliveryError, match=sentence) as failure:
            storescp(*options).destination.send(work.results)

        assert failure.value.destination == "pacs"

    def test_a_peer_that_takes_only_the_default_syntax(self, storescp: Scp, work: Work) -> None:
        archive = storescp("+xi")

        archive.destination.send(work.results)

        received = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, archive.received)}
        seg = received[work.results[0].sop_instance_uid]
        assert seg.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2"
        assert seg.PixelData == pydicom.dcmread(work.results[0].path).PixelData
        assert seg.PatientName == "Phantom^Torso"


@pytest.fixture(scope="module")
def orthanc(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[archives.Orthanc]:
    """One Orthanc for this file."""
    running = archives.Orthanc(peer("Orthanc"), tmp_path_factory.mktemp("pacs") / "orthanc")
    yield running
    running.stop()


class TestOrthanc:
    def test_it_answers_the_echo(self, orthanc: archives.Orthanc) -> None:
        orthanc.destination().echo()

    def test_what_it_gives_back_is_what_was_sent(
        self, orthanc: archives.Orthanc, work: Work, tmp_path: Path
    ) -> None:
        orthanc.destination().send(work.results)

        stored = orthanc.stored()
        for result in work.results:
            assert stored[result.sop_instance_uid] == pydicom.dcmread(result.path)
        seg = stored[work.results[0].sop_instance_uid]
        assert seg.PixelData == pydicom.dcmread(work.results[0].path).PixelData
        seg.save_as(tmp_path / "back.dcm")
        check_segmentation(tmp_path / "back.dcm", work.volume, work.segments)

    def test_sending_again_makes_no_duplicate(self, orthanc: archives.Orthanc, work: Work) -> None:
        orthanc.destination().send(work.results)
        before = set(orthanc.stored())

        orthanc.destination().send(work.results)

        assert set(orthanc.stored()) == before

    def test_results_are_series_of_the_sources_study(
        self, orthanc: archives.Orthanc, work: Work
    ) -> None:
        orthanc.destination().send(work.results)

        found = json.loads(
            orthanc.get(f"/dicom-web/studies/{work.volume.study_instance_uid}/series")
        )

        assert {series["00080060"]["Value"][0] for series in found} == {"SEG", "SR"}

    def test_its_dicomweb_gives_viewers_the_mask_frame_by_frame(
        self, orthanc: archives.Orthanc, work: Work
    ) -> None:
        # A frame of 96 x 96 bits fills whole bytes; Orthanc 1.10.1 refuses frames that do not
        orthanc.destination().send(work.results)
        seg = pydicom.dcmread(work.results[0].path)
        place = f"/dicom-web/studies/{seg.StudyInstanceUID}/series/{seg.SeriesInstanceUID}"

        answer = orthanc.get(f"{place}/instances/{seg.SOPInstanceUID}/frames/2")

        _, _, body = answer.partition(b"\r\n\r\n")
        bits = np.unpackbits(np.frombuffer(body[: 96 * 96 // 8], np.uint8), bitorder="little")
        group = seg.PerFrameFunctionalGroupsSequence[1]
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        z = [frame.sop_instance_uid for frame in work.volume.frames].index(source)
        assert np.array_equal(bits.reshape(96, 96).astype(bool), work.segments[0].voxels.plane(z))

    def test_a_title_that_is_not_its_own_is_refused(
        self, orthanc: archives.Orthanc, work: Work
    ) -> None:
        with pytest.raises(TransientDeliveryError, match="must know itself as 'OTHER'"):
            orthanc.destination("OTHER").send(work.results)

    def test_an_object_it_does_not_know_is_refused_for_good(
        self, orthanc: archives.Orthanc, work: Work
    ) -> None:
        # Arrange: a label map segmentation, which this version refuses
        report = work.results[1]
        label_map = WrittenResult(
            ResultKind.SEG,
            report.path,
            "1.2.840.10008.5.1.4.1.1.66.7",
            report.sop_instance_uid,
            report.series_instance_uid,
        )

        with pytest.raises(
            PermanentDeliveryError, match=r"accepts no .*1\.2\.840\.10008\.5\.1\.4\.1\.1\.66\.7"
        ):
            orthanc.destination().send([label_map])

    def test_once_it_has_stopped_it_cannot_be_reached(
        self, peer: Peer, work: Work, tmp_path: Path
    ) -> None:
        archive = archives.Orthanc(peer("Orthanc"), tmp_path / "orthanc")
        archive.stop()

        with pytest.raises(TransientDeliveryError, match="cannot be reached"):
            archive.destination().send(work.results)
