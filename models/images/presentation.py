"""How an image is shown to a segmenter: the one choice of scale, for the pipeline and the
segmentation API alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from models.images.normalise import DISPLAY_LEVELS, Scale, Stored, display_scale, measure
from models.images.windows import Window, seen_through


@dataclass(frozen=True, eq=False)
class Presentation:
    """The scales of `intensities`, a slice (y, x) or volume (z, y, x) in the unit of `modality` (as
    in DICOM); `in_colour` where they are but the luminance of a picture in colour.
    """

    intensities: Stored
    modality: str
    in_colour: bool = False

    def shown(self, window: Window, asked: Window | None = None) -> tuple[Scale, str]:
        """The scale, in stored values, and what to say of it.

        CT is shown through `window`, on a scale measured in it; colour, and CT in 8 bits that was
        windowed before, as they are; everything else by its percentiles. `asked` overrules: a
        window in HU for CT, in stored values for everything else. ValueError, in a sentence, where
        the image cannot be shown through it.
        """
        if self.in_colour:
            if asked is not None:
                raise ValueError("an image in colour has no window: leave it out")
            return DISPLAY_LEVELS, f"{self.modality} in colour, as it is"
        if self.modality != "CT":
            scale = self._measured if asked is None else Scale(asked.low_hu, asked.high_hu)
            origin = "percentiles" if asked is None else "as asked"
            return scale, f"{self.modality} {scale.low:.4g}..{scale.high:.4g} ({origin})"
        if self._windowed_before:
            if asked is not None:
                raise ValueError(
                    "the image was windowed before it was stored in 8 bits: leave the window out"
                )
            return DISPLAY_LEVELS, "CT as it was windowed before, 0..255"
        scale = seen_through(self._measured, asked or window)
        return scale, f"{asked or window}, measured as {scale.low:.0f}..{scale.high:.0f}"

    @cached_property
    def _measured(self) -> Scale:
        return measure(self.intensities, self.modality)

    @cached_property
    def _windowed_before(self) -> bool:
        return display_scale(self.intensities) is not None
