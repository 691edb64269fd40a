"""What can go wrong at the DICOM edge, and in which words.

DicomNodeError
├── InboxError                 an instance could not be kept
│   ├── StorageFull            no room left on the storage volume
│   ├── UnreadableDataset      the bytes are no data set, or lack the UIDs they are filed under
│   │   └── FaultyDataset      a data set that contradicts itself, or is larger than any image
│   └── WrongUids              the data set's UIDs are not those of the C-STORE request
├── NotAVolume                 a series makes no volume; the sentence names instance numbers
│   ├── NoUsableSeries         nothing in the study can be segmented
│   ├── UnusableValue          an attribute of an image says nothing that can be used
│   └── UndecodablePixels      pixel data that no installed codec reads, or too short
├── UnusableAnnotation         a SEG or RTSTRUCT cannot be laid onto the images of its series
├── ResultMismatch             a SEG or SR read back from its bytes differs from what was meant
└── DeliveryError              a destination did not take an instance
    ├── TransientDeliveryError worth trying again later (A7xx, time-out, refused connection, abort)
    └── PermanentDeliveryError not worth it (no accepted context, A9xx, Cxxx, 0x0122)
"""

from __future__ import annotations

EXPORT_AGAIN = "Export the series again from the scanner."


class DicomNodeError(Exception):
    """Root of the DICOM edge's errors."""


class InboxError(DicomNodeError):
    """An instance could not be kept."""


class StorageFull(InboxError):
    """No room left where instances are stored."""


class UnreadableDataset(InboxError):
    """The bytes are no data set, or lack the UIDs they are filed under."""


class FaultyDataset(UnreadableDataset):
    """A data set that contradicts itself (two patients, two studies) or exceeds any image."""


class WrongUids(InboxError):
    """The data set's SOP Class or Instance UID is not that of the request that carried it."""


class NotAVolume(DicomNodeError):
    """A series is no volume. The message is one sentence for a PACS administrator."""


class NoUsableSeries(NotAVolume):
    """Nothing in the study can be segmented.

    The message says what was looked at and why each was left out.
    """


class UnusableValue(NotAVolume):
    """An attribute that holds no usable value.

    `attribute` is its name in PS3.6, `problem` says what is wrong.

    `problem` follows the attribute and the instances in a sentence: "is "NaN", which is no finite
    number".
    """

    def __init__(self, attribute: str, problem: str, advice: str = EXPORT_AGAIN) -> None:
        self.attribute, self.problem, self.advice = attribute, problem, advice
        super().__init__(f"{attribute} {problem}. {advice}")

    def of(self, names: str) -> UnusableValue:
        """The same error in a sentence that says of which instances."""
        return UnusableValue(f"{self.attribute} of {names}", self.problem, self.advice)


class UndecodablePixels(NotAVolume):
    """Pixel data that no installed codec reads, or that is shorter than its header says."""


class UnusableAnnotation(DicomNodeError):
    """What a reader drew cannot be laid onto the images; the message is the reason in words."""


class ResultMismatch(DicomNodeError):
    """A result read back from its bytes differs from what was meant; it must never be sent."""


class DeliveryError(DicomNodeError):
    """A destination did not take an instance.

    `destination` is its name, `status` the DIMSE status if there is one.
    """

    def __init__(self, message: str, *, destination: str, status: int | None = None) -> None:
        self.destination, self.status = destination, status
        super().__init__(message)


class TransientDeliveryError(DeliveryError):
    """Worth trying again: out of resources, time-out, refused connection, abort."""


class PermanentDeliveryError(DeliveryError):
    """A failure that repeating cannot cure: the object is not taken, or was found wrong."""
