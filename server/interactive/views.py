"""How a client asks for an image to be shown: its modality and window."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.images.presentation import Presentation
from models.images.readers import UNTOLD
from models.images.windows import Window, window_for, window_from
from server.errors import BadImage

AS_SENT = "as sent"
"""What is said of an image whose modality and window are not named."""

_CODE_STRING = re.compile(r"[A-Z][A-Z0-9]{0,15}")  # of Modality (PS3.3 C.7.3.1.1.1), VR CS


@dataclass(frozen=True)
class AskedView:
    """The `modality` of an image (as in DICOM), the `window` for CT, and one that was `asked` for,
    which overrules (None: none was).
    """

    modality: str
    window: Window
    asked: Window | None

    def shown(self, stored: NDArray[Any]) -> tuple[NDArray[np.float32], str]:
        """Stored values (rows, columns) as float32 in 0..1, as `segnode segment` shows a file of
        them, and what to say of it; BadImage for colour, and a window that cannot be had.
        """
        if stored.ndim == 3 and bool((stored == stored[..., :1]).all()):
            stored = stored[..., 0]
        if stored.ndim == 3:
            raise BadImage("an image in colour is shown as it is: leave modality and window out")
        slice_pixels = np.asarray(stored, dtype=np.float32)
        try:
            scale, words = Presentation(slice_pixels, self.modality).shown(self.window, self.asked)
        except ValueError as error:
            raise BadImage(str(error)) from error
        return scale.apply(slice_pixels), words


def asked_view(modality: str | None, window: str | None, structure: str) -> AskedView | None:
    """The view that a client names, of a `structure` (name, "" for none); None where it names
    neither modality nor window.
    """
    if modality is None and window is None:
        return None
    asked = None if window is None else window_from(window)
    return AskedView(modality or UNTOLD, window_for(structure), asked)


def sound_modality(text: str) -> str:
    """`text`, if it is a modality as DICOM writes it; else ValueError."""
    if not _CODE_STRING.fullmatch(text):
        raise ValueError("a modality is written as in DICOM, such as CT or MR")
    return text


def sound_window(text: str) -> str:
    """`text`, if it is a window; else ValueError."""
    window_from(text)
    return text
