"""Multi-frame images: each frame's plane is in the functional groups (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_node.datasets.attribute_values import decimals, items, texts, value_of
from dicom_node.datasets.dataset_files import read_dataset
from dicom_node.errors import NotAVolume, UnusableValue
from dicom_node.reading_errors import parsing, quietly
from dicom_node.series.plane import Plane, counted, named_frames
from dicom_node.sop_classes import MULTIFRAME_VOLUMES, class_name
from dicom_node.values import InstanceHeader, SourceFrame

# What tells frames at one position apart: functional group macro, attribute (PS3.3 C.7.6.16.2,
# C.8.13.5, C.8.15.3)
PHASE_ATTRIBUTES: tuple[tuple[str, str], ...] = (
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("FrameContentSequence", "FrameAcquisitionNumber"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("MRDiffusionSequence", "DiffusionDirectionality"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    ("CTReconstructionSequence", "ConvolutionKernel"),
    ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    ("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),
    ("MRImageFrameTypeSequence", "ComplexImageComponent"),
    ("MRImageFrameTypeSequence", "FrameType"),
    ("CTImageFrameTypeSequence", "FrameType"),
    ("FrameContentSequence", "StackID"),
)


class FunctionalGroups:
    """Attributes of frames, wherever they are: per frame, shared, or at the top level."""

    def __init__(self, ds: Dataset) -> None:
        self._ds = ds
        self._shared = next(iter(items(ds, "SharedFunctionalGroupsSequence")), Dataset())
        self._per_frame = items(ds, "PerFrameFunctionalGroupsSequence")

    @property
    def frames(self) -> int:
        """How many frames have a group of their own."""
        return len(self._per_frame)

    def find(self, macro: str, keyword: str, frame_index: int) -> Any:
        """The value for a zero-based frame, None where it is missing or empty.

        UnusableValue where it cannot be read.
        """
        return value_of(self.holder(macro, keyword, frame_index), keyword)

    def holder(self, macro: str, keyword: str, frame_index: int) -> Dataset:
        """The item with a frame's attribute: per-frame, else shared, else the data set."""
        groups = [*self._per_frame[frame_index : frame_index + 1], self._shared]
        for group in groups:
            for item in items(group, macro)[:1]:
                if keyword in item and texts(item, keyword):
                    return item
        return self._ds


def is_multiframe(header: InstanceHeader) -> bool:
    """Whether the header's planes are in functional groups.

    That includes enhanced objects of one frame.
    """
    return header.number_of_frames > 1 or header.sop_class_uid in MULTIFRAME_VOLUMES


def frame_planes(header: InstanceHeader) -> list[Plane]:
    """A plane for every frame, in the order of storage.

    NotAVolume names the frames that have none.
    """
    name = named_frames([source_of(header)])
    with (
        quietly(),
        _naming(name),
        parsing(NotAVolume, f"The functional groups of {name} cannot be read"),
    ):
        groups = FunctionalGroups(read_dataset(header.path))
        _refuse_unplaced(header, groups.frames, name)
        planes = [_plane(header, groups, index) for index in range(header.number_of_frames)]
    missing = [number for number, plane in enumerate(planes, start=1) if plane is None]
    if missing:
        raise NotAVolume(
            "Position, orientation or pixel spacing is missing from the functional groups of "
            f"{counted('frame', missing)} "
            f"of {name}: without them the frames have no place in the patient. Export the series "
            "again from the scanner."
        )
    return [plane for plane in planes if plane is not None]


def _refuse_unplaced(header: InstanceHeader, placed: int, name: str) -> None:
    """Refuse more frames than there are functional groups to place them, before reading any."""
    if placed >= header.number_of_frames or header.number_of_frames == 1:
        return
    if placed or header.sop_class_uid in MULTIFRAME_VOLUMES:
        problem = f"is {header.number_of_frames}, but functional groups place {placed} of them"
        raise UnusableValue("Number of Frames", problem)
    raise NotAVolume(
        f"{name[:1].upper()}{name[1:]} is one {class_name(header.sop_class_uid)} of "
        f"{header.number_of_frames} frames without "
        "functional groups, as some cone beam scanners write a whole volume: nothing says where "
        "its frames lie. "
        "Send it as single slices, or as an enhanced multi-frame image."
    )


def source_of(header: InstanceHeader, frame_number: int | None = None) -> SourceFrame:
    """How a volume names this instance, or its one-based frame."""
    return SourceFrame(
        header.path,
        header.sop_class_uid,
        header.sop_instance_uid,
        header.instance_number,
        frame_number,
    )


def named_headers(headers: Iterable[InstanceHeader]) -> str:
    """Which instances these are, for a PACS administrator."""
    return named_frames(source_of(header) for header in headers)


def _plane(header: InstanceHeader, groups: FunctionalGroups, index: int) -> Plane | None:
    """The plane of a zero-based frame, None where the groups do not place it."""
    position = _numbers(groups, ("PlanePositionSequence", "ImagePositionPatient"), index, 3)
    orientation = _numbers(
        groups, ("PlaneOrientationSequence", "ImageOrientationPatient"), index, 6
    )
    spacing = _numbers(groups, ("PixelMeasuresSequence", "PixelSpacing"), index, 2)
    thickness = _numbers(groups, ("PixelMeasuresSequence", "SliceThickness"), index, 1)
    between = _numbers(groups, ("PixelMeasuresSequence", "SpacingBetweenSlices"), index, 1)
    if not (position and orientation and spacing and header.rows and header.columns):
        return None
    phase = {
        keyword: _text(value)
        for macro, keyword in PHASE_ATTRIBUTES
        if (value := groups.find(macro, keyword, index)) is not None
    }
    frame_type = tuple(phase["FrameType"].split("\\")) if "FrameType" in phase else ()
    return Plane(
        source=source_of(header, index + 1),
        position_mm=position,
        orientation=orientation,
        pixel_spacing_mm=spacing,
        shape=(header.rows, header.columns),
        frame_of_reference_uid=header.frame_of_reference_uid,
        image_type=frame_type or header.image_type,
        gantry_tilt_deg=header.gantry_tilt_deg,
        slice_thickness_mm=thickness[0] if thickness else None,
        spacing_between_slices_mm=between[0] if between else None,
        phase=phase | {"SOPInstanceUID": header.sop_instance_uid},
    )


def _text(value: Any) -> str:
    """A value, or several as DICOM joins them."""
    several = isinstance(value, MultiValue | list | tuple)
    return "\\".join(map(str, value)) if several else str(value)


def _numbers(
    groups: FunctionalGroups, attribute: tuple[str, str], index: int, count: int
) -> tuple[float, ...]:
    """The `count` numbers of (macro, keyword) for a frame; none for another count."""
    values = decimals(groups.holder(*attribute, index), attribute[1])
    return values if len(values) == count else ()


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Add the name of the instance to the error of an unusable attribute."""
    try:
        yield
    except UnusableValue as error:
        raise error.of(name) from error
