"""What choosing and sorting need of an instance, read tolerantly after the peer was answered.

A value that cannot be read, or that the bytes of the file belie, is left out and named in `faults`.
Refused is only a file that is no DICOM at all, or one that says of itself to be two.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from dicom_node.datasets.dataset_files import WalkedFile, guessed_syntax, walk_file
from dicom_node.datasets.element_values import ElementValues, NoValue, tag_of
from dicom_node.datasets.frame_count import frames_that_fit
from dicom_node.datasets.private_values import PRIVATE_TAGS, private_values
from dicom_node.elements import first_item
from dicom_node.errors import FaultyDataset, UnreadableDataset
from dicom_node.reading_errors import quietly
from dicom_node.receive.dataset_uids import IDENTIFYING, is_uid
from dicom_node.routable_keywords import ROUTABLE_KEYWORDS
from dicom_node.series.patients import patient_digests
from dicom_node.values import InstanceHeader

# What may tell images at one position apart (dicom_node.series.image_sets)
SET_KEYWORDS: tuple[str, ...] = (
    "AcquisitionDateTime", "AcquisitionTime", "CardiacCyclePosition", "ComplexImageComponent",
    "ContentDate", "ContentTime", "ConvolutionKernel", "DiffusionBValue",
    "DiffusionDirectionality", "DiffusionGradientOrientation", "EchoNumbers", "EchoTime",
    "FlipAngle", "FrameReferenceTime", "ImageComments", "InversionTime", "KVP",
    "NominalPercentageOfCardiacPhase", "NominalPercentageOfRespiratoryPhase",
    "SeriesDescription", "SliceLocation", "SpacingBetweenSlices", "StackID",
    "TemporalPositionIndex", "TriggerTime",
)  # fmt: skip

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_MACROS = ("PlaneOrientationSequence", "PixelMeasuresSequence")
_PLANE = ("ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
_OTHERS = (
    "FrameOfReferenceUID", "ImagePositionPatient", "InstanceNumber", "IssuerOfPatientID",
    "PatientBirthDate", "TemporalPositionIdentifier",
)  # fmt: skip

_GIVEAWAYS = frozenset(
    tag_of(keyword)
    for keyword in (
        "Modality",
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
    )
)
_TAGS = (
    frozenset(
        tag_of(keyword)
        for keyword in (*ROUTABLE_KEYWORDS, *SET_KEYWORDS, *_OTHERS, *_GROUPS, *_PLANE)
    )
    | frozenset(IDENTIFYING)
    | PRIVATE_TAGS
)
_GROUP_TAGS = frozenset(map(tag_of, _MACROS))
_MACRO_TAGS = frozenset(map(tag_of, _PLANE))


def read_header(path: Path) -> InstanceHeader:
    """Read a DICOM file's header, without its pixels, with or without file meta information.

    Multi-frame objects give the orientation, spacing and thickness that their functional groups
    share, or those of their first frame (PS3.3 C.7.6.16); their positions stay there. Raises
    UnreadableDataset for a file that is no DICOM, FaultyDataset for one that cannot be one instance
    of one patient, OSError as the disk gives it.
    """
    try:
        file = walk_file(path, _TAGS)
    except FaultyDataset:
        raise
    except UnreadableDataset as error:
        raise UnreadableDataset(f"{path.name} cannot be read as DICOM: {error}") from error
    if not file.has_meta and not _GIVEAWAYS & file.elements.first.keys():
        raise UnreadableDataset(f"{path.name} is no DICOM file")
    with quietly():
        return _HeaderReader(path, file).header()


class _HeaderReader:
    """One file's values, and the names of those that could not be read."""

    def __init__(self, path: Path, file: WalkedFile) -> None:
        self._path, self._file = path, file
        self._values = ElementValues(file.elements)
        self._faults: list[str] = []
        self._reason = ""
        self._macros: list[ElementValues] = []

    def header(self) -> InstanceHeader:
        """All values as an InstanceHeader."""
        self._macros = list(self._plane_macros())
        sop_class, sop_instance, study, series = self._filed_under()
        frames = self._frames()
        return InstanceHeader(
            path=self._path,
            study_instance_uid=study,
            series_instance_uid=series,
            sop_instance_uid=sop_instance,
            sop_class_uid=sop_class,
            transfer_syntax_uid=self._transfer_syntax(),
            modality=self._text("Modality"),
            image_type=self._texts("ImageType"),
            instance_number=self._integer("InstanceNumber"),
            series_number=self._integer("SeriesNumber"),
            series_description=self._text("SeriesDescription"),
            frame_of_reference_uid=self._uid("FrameOfReferenceUID"),
            rows=self._integer("Rows"),
            columns=self._integer("Columns"),
            number_of_frames=frames,
            image_position_mm=_three(self._numbers("ImagePositionPatient", 3)),
            image_orientation=_six(self._numbers("ImageOrientationPatient", 6)),
            pixel_spacing_mm=_two(self._numbers("PixelSpacing", 2)),
            slice_thickness_mm=self._number("SliceThickness"),
            acquisition_number=self._integer("AcquisitionNumber"),
            temporal_position=self._integer("TemporalPositionIdentifier"),
            gantry_tilt_deg=self._number("GantryDetectorTilt"),
            manufacturer=self._text("Manufacturer"),
            attributes=self._attributes(ROUTABLE_KEYWORDS),
            of_set=private_values(self._file.elements) | self._attributes(SET_KEYWORDS),
            patient=patient_digests(
                study,
                identifier=self._text("PatientID"),
                issuer=self._text("IssuerOfPatientID"),
                name=self._text("PatientName"),
                birth_date=self._text("PatientBirthDate"),
            ),
            faults=tuple(dict.fromkeys(self._faults)),
            reason=self._reason,
        )

    def _filed_under(self) -> tuple[str, str, str, str]:
        """SOP Class, SOP Instance, Study and Series Instance UID.

        FaultyDataset for a value that is no UID.
        """
        uids = []
        for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            text = self._text(keyword)
            if text and not is_uid(text):
                name = IDENTIFYING[tag_of(keyword)]
                raise FaultyDataset(f"its {name} is no UID of at most 64 digits, letters and dots")
            uids.append(text)
        stated = (self._file.sop_class_uid, self._file.sop_instance_uid)
        in_meta = [uid if is_uid(uid) else "" for uid in stated]
        return uids[0] or in_meta[0], uids[1] or in_meta[1], uids[2], uids[3]

    def _transfer_syntax(self) -> str:
        stated = self._file.transfer_syntax_uid
        if stated and not is_uid(stated):
            self._faults.append("TransferSyntaxUID")
        return stated if is_uid(stated) else guessed_syntax(self._file.elements.encoding)

    def _frames(self) -> int:
        """Number of Frames as far as the pixel data can hold so many, else 1 and a fault."""
        stated = max(self._integer("NumberOfFrames") or 1, 1)
        if stated == 1:
            return 1
        fit = frames_that_fit(self._file.elements.pixels, self._values, self._transfer_syntax())
        if stated <= fit:
            return stated
        self._faults.append("NumberOfFrames")
        there = f"holds at most {fit}" if fit else "is missing"
        self._reason = f"Number of Frames is {stated}, but the pixel data {there}"
        return 1

    def _plane_macros(self) -> Iterator[ElementValues]:
        """Items with the image plane of an enhanced object, those of the shared groups first."""
        for name in _GROUPS:
            group = self._first_item(self._values, name, _GROUP_TAGS)
            if group is not None:
                items = (self._first_item(group, macro, _MACRO_TAGS) for macro in _MACROS)
                yield from (item for item in items if item is not None)

    def _first_item(
        self, values: ElementValues, keyword: str, tags: Container[int]
    ) -> ElementValues | None:
        """The first item of a sequence, None where there is none."""
        try:
            sequence = values.element(keyword)
        except NoValue:
            self._faults.append(keyword)
            return None
        if sequence is None:
            return None
        return ElementValues(first_item(sequence, tags), values.character_sets)

    def _texts(self, keyword: str) -> tuple[str, ...]:
        """Every value as text, none where there is none."""
        try:
            texts = (values.texts(keyword) for values in self._sources(keyword))
            return next(filter(None, texts), ())
        except NoValue:
            self._faults.append(keyword)
            return ()

    def _sources(self, keyword: str) -> tuple[ElementValues, ...]:
        """Where an attribute may be: the data set itself, then the plane macros."""
        return (self._values, *self._macros) if keyword in _PLANE else (self._values,)

    def _text(self, keyword: str) -> str:
        """All values as one text, joined as DICOM joins them."""
        return "\\".join(self._texts(keyword))

    def _uid(self, keyword: str) -> str:
        """A UID, empty and a fault where it is none."""
        text = self._text(keyword)
        if text and not is_uid(text):
            self._faults.append(keyword)
        return text if is_uid(text) else ""

    def _numbers(self, keyword: str, count: int | None = None) -> tuple[float, ...]:
        """Finite numbers; none, and a fault, where the file has other values or another count."""
        try:
            numbers = (values.numbers(keyword, count) for values in self._sources(keyword))
            return next(filter(None, numbers), ())
        except NoValue:
            self._faults.append(keyword)
            return ()

    def _number(self, keyword: str) -> float | None:
        return next(iter(self._numbers(keyword)), None)

    def _integer(self, keyword: str) -> int | None:
        try:
            return self._values.integer(keyword)
        except NoValue:
            self._faults.append(keyword)
            return None

    def _attributes(self, keywords: Sequence[str]) -> dict[str, str]:
        """These attributes as text; only what is there and could be read."""
        texts = {keyword: self._text(keyword) for keyword in keywords}
        return {
            keyword: text for keyword, text in texts.items() if text and keyword not in self._faults
        }


def _two(values: Sequence[float]) -> tuple[float, float] | None:
    return (values[0], values[1]) if values else None


def _three(values: Sequence[float]) -> tuple[float, float, float] | None:
    return (values[0], values[1], values[2]) if values else None


def _six(values: Sequence[float]) -> tuple[float, float, float, float, float, float] | None:
    return (*values,) if values else None  # type: ignore[return-value]  # six of them, as they were asked for
