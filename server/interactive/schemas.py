"""The JSON of the segmentation API, field by field.

Coordinates are pixels (x, y), zero at the first pixel's centre.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from server.interactive.views import AskedView, asked_view, sound_modality, sound_window

MOST_TOGETHER = 64
"""Masks of one call."""

EXAMPLE_IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAAAAACMmsGiAAAAFUlEQVR4nGNgYGBgYGA4cYKBiQEGABOwAZOwYMOx"
    "AAAAAElFTkSuQmCC"
)
EXAMPLE_ID = "5f0c2d1e9a8b7c6d5e4f3a2b1c0d9e8f"
EXAMPLE_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

Coordinate = Annotated[float, Field(allow_inf_nan=False)]
BoxPx = Annotated[
    tuple[Coordinate, Coordinate, Coordinate, Coordinate],
    Field(strict=False, description="left, top, right, bottom in pixels, both corners included"),
]
ImageText = Annotated[
    str,
    Field(
        min_length=1,
        description="base64 of a PNG, JPEG or .npy file; .npy: uint8, uint16 or float32 in 0..1, "
        "(rows, columns) or (rows, columns, 3); with a modality or a window also int16 and "
        "float32 of any range, such as HU",
    ),
]
SegmenterName = Annotated[
    str | None, Field(max_length=64, description="see /health for the names; null is the first")
]
OutlineText = Annotated[
    str, Field(description="an outline to start from: base64 of a grey PNG of the image's size")
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="of the image's file, in hex")]


class MaskFormat(StrEnum):
    """How a mask is sent."""

    PNG = "png"
    RLE = "rle"


class _Taken(BaseModel):
    # strict: what is sent is of its kind already, "5" is no number and 1 no yes; but JSON has no
    # tuples and no enumerations
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _unless_none(check: Callable[[str], str]) -> Callable[[str | None], str | None]:
    return lambda text: None if text is None else check(text)


class _Answered(BaseModel):
    model_config = ConfigDict(frozen=True)


class _ViewIn(_Taken):
    """How an image is to be shown; where both are left out, its own 0..1 is shown as sent."""

    modality: Annotated[
        str | None,
        AfterValidator(_unless_none(sound_modality)),
        Field(
            max_length=16,
            description="as in DICOM: CT is shown through the window of what is looked for, on a "
            "scale measured in the image, everything else by its percentiles, as `segnode "
            "segment` does; null with a window: not told",
        ),
    ] = None
    window: Annotated[
        str | None,
        AfterValidator(_unless_none(sound_window)),
        Field(
            max_length=32,
            description='"-160..240" (its ends) or "40/400" (level/width): in HU for CT, in '
            "stored values for everything else; null chooses by what is looked for",
        ),
    ] = None

    def view_of(self, structure: str) -> AskedView | None:
        """What is asked for, to look for `structure` (name, "" for none); None: as sent."""
        return asked_view(self.modality, self.window, structure)


class LogitsJson(_Taken):
    """Low-resolution logits of a segmenter, > 0 inside; to be given back as they were."""

    shape: Annotated[tuple[int, int], Field(strict=False, description="(height, width)")]
    data: Annotated[str, Field(description="base64 of float32, little-endian, row by row")]


class PointJson(_Taken):
    """A click inside the target (positive) or outside."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"x": 2, "y": 1, "positive": True}]})

    x: Coordinate
    y: Coordinate
    positive: bool = True


class BoxIn(_Taken):
    """A box round the target; it replaces the session's earlier box."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"box": [1, 1, 2, 2]}]})

    box: BoxPx


class SessionIn(_ViewIn):
    """A session to be opened on an image."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE, "target": "liver"}]}
    )

    image: ImageText
    target: Annotated[
        str, Field(max_length=1000, description="named to segmenters that read; others ignore it")
    ] = ""
    segmenter: SegmenterName = None


class AskIn(_Taken):
    """How the answer is wanted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"mask_format": "png"}]})

    mask_format: Annotated[MaskFormat, Field(strict=False)] = MaskFormat.PNG
    logits: Annotated[bool, Field(description="whether to send the logits along")] = False


class _PromptsIn(_ViewIn):
    """Prompts in the image's own pixels."""

    box: BoxPx | None = None
    points: list[PointJson] = []
    text: Annotated[str, Field(max_length=1000)] = ""
    previous_logits: LogitsJson | None = None


class PredictIn(_PromptsIn, AskIn):
    """Everything for one mask; the image in full."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE, "box": [1, 1, 2, 2]}]}
    )

    image: ImageText
    segmenter: SegmenterName = None
    mask: OutlineText | None = None


class PredictStateIn(_PromptsIn, AskIn):
    """All prompts so far and the logits of the last answer; the image in full or by its hash."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "image_sha256": EXAMPLE_SHA256,
                    "box": [1, 1, 2, 2],
                    "points": [{"x": 2, "y": 2, "positive": False}],
                }
            ]
        }
    )

    image: ImageText | None = None
    image_sha256: Sha256 | None = None
    segmenter: SegmenterName = None
    logits: bool = True


class PromptedImageIn(_PromptsIn):
    """All prompts so far on one image, in full or by its hash."""

    image: ImageText | None = None
    image_sha256: Sha256 | None = None
    mask: OutlineText | None = None


class PredictManyIn(AskIn):
    """Prompts on many images, or many on the same; all masks are drawn together."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "asks": [
                        {"image": EXAMPLE_IMAGE, "box": [1, 1, 2, 2]},
                        {"image_sha256": EXAMPLE_SHA256, "points": [{"x": 2, "y": 2}]},
                    ]
                }
            ]
        }
    )

    segmenter: SegmenterName = None
    asks: Annotated[list[PromptedImageIn], Field(min_length=1, max_length=MOST_TOGETHER)]


class MaskOut(_Answered):
    """A mask at the image's own size."""

    format: MaskFormat
    shape: Annotated[tuple[int, int], Field(description="(rows, columns)")]
    data: Annotated[str | None, Field(description="png: base64, 0 outside and 255 inside")] = None
    counts: Annotated[
        list[int] | None,
        Field(description="rle: run lengths row by row, the first of background"),
    ] = None


ShownText = Annotated[
    str, Field(description="how the segmenter is shown the image: modality, window, stored values")
]


class SegmentationOut(_Answered):
    """What the segmenter drew; of several candidates the one it thinks best."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "image_sha256": EXAMPLE_SHA256,
                    "shown": "as sent",
                    "mask": {
                        "format": "rle",
                        "shape": [4, 4],
                        "data": None,
                        "counts": [5, 2, 2, 2, 5],
                    },
                    "area_px": 4,
                    "predicted_iou": 0.97,
                    "choice": 1,
                    "candidate_ious": [0.81, 0.97, 0.90],
                    "logits": None,
                }
            ]
        }
    )

    image_sha256: str
    shown: ShownText
    mask: MaskOut
    area_px: int
    predicted_iou: Annotated[float, Field(description="the segmenter's own opinion, 0 to 1")]
    choice: Annotated[int, Field(description="zero-based among the candidates")]
    candidate_ious: tuple[float, ...]
    logits: LogitsJson | None


class SegmentationsOut(_Answered):
    """What the segmenter drew, in the order of what was asked."""

    masks: tuple[SegmentationOut, ...]


class SessionOut(_Answered):
    """Where a session stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": EXAMPLE_ID,
                    "segmenter": "medsam2",
                    "understands": ["box", "point", "mask"],
                    "image_sha256": EXAMPLE_SHA256,
                    "shown": "as sent",
                    "shape": [4, 4],
                    "target": "liver",
                    "box": [1, 1, 2, 2],
                    "points": [],
                    "steps": 1,
                    "segmented": True,
                    "predicted_iou": 0.97,
                }
            ]
        }
    )

    id: str
    segmenter: str
    understands: Annotated[tuple[str, ...], Field(description="kinds of prompt it can use")]
    image_sha256: str
    shown: ShownText
    shape: Annotated[tuple[int, int], Field(description="(rows, columns) of the image")]
    target: str
    box: tuple[float, float, float, float] | None
    points: tuple[PointJson, ...]
    steps: Annotated[int, Field(description="boxes and clicks that undo can take back")]
    segmented: Annotated[bool, Field(description="whether the last mask answers all prompts")]
    predicted_iou: Annotated[float | None, Field(description="of the last mask; null if none")]


class HealthOut(_Answered):
    """The process works, and how full it is."""

    status: Literal["ready"]
    segmenters: Annotated[tuple[str, ...], Field(description="the first is the default")]
    sessions: int
    max_sessions: int
    encodings_bytes: int
    encoder_passes: int
