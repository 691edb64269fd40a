"""A volume's slices, each encoded once however many targets and turns ask for it, and kept on disk.

The files are named by what went into them (slice, image, encoder), so a worker that was killed
finds its encodings again and nobody can be given the encoding of another image.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.ports import Encoding, Segmenter
from agent.values import Volume
from models.images.image_facts import facts_of
from models.runtime.cache import write_atomically
from models.runtime.encoding import Features

_log = logging.getLogger(__name__)

V = TypeVar("V")

MEMORY_BYTES = 1 << 30
"""Of encodings that are kept nowhere else: some 250 slices of LiteMedSAM or of SAM 2 at 512
pixels.
"""

Normalise = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Intensities of a slice (rows, columns) float32 -> the same in 0..1, as the models see it."""


OnEncoded = Callable[[int, int], None]
"""Takes how many slices the encoder has run on, and how many slices the volume has."""


def ignore_progress(encoded: int, depth: int) -> None:
    """For callers that do not follow the encoder."""


class EncodedSlices:
    """The axial slices of a volume on the working grid (agent.ports.Slices), safe to share between
    threads.

    `volume` on the working grid, `normalise` shows what `window` says in words and
    `levels` in stored intensities. `folder` keeps the
    encodings, with the `in_memory` latest beside it in memory; `encoder` names network and weights
    and goes into the files' names. Kept embeddings are rounded to float16 before first use (at most
    3e-4 of LiteMedSAM's ±0.61), so that a run that was interrupted goes on with exactly the same
    numbers. `on_encoded` is called after each run of the encoder.

    Without a folder the latest stay in memory as the segmenter made them, up to
    `memory_bytes`; older ones are made anew.
    """

    def __init__(
        self,
        volume: Volume,
        segmenter: Segmenter,
        normalise: Normalise,
        *,
        window: str = "",
        levels: tuple[float, float] | None = None,
        encoder: str = "",
        folder: Path | None = None,
        in_memory: int = 16,
        memory_bytes: int = MEMORY_BYTES,
        on_encoded: OnEncoded = ignore_progress,
    ) -> None:
        self._volume, self._segmenter, self._normalise = volume, segmenter, normalise
        self.window, self.levels, self.modality = window, levels, volume.modality
        self.facts = facts_of(volume)
        self._encoder, self._folder, self._in_memory = encoder, folder, in_memory
        self._memory_bytes, self._on_encoded = memory_bytes, on_encoded
        self._images: OrderedDict[int, NDArray[np.float32]] = OrderedDict()
        self._encodings: OrderedDict[int, Encoding] = OrderedDict()
        self._lock = threading.RLock()
        self._passes = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) of the working grid."""
        return self._volume.geometry.shape

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """(z, y, x) of the working grid, mm."""
        return self._volume.geometry.spacing_mm

    @property
    def encoder_passes(self) -> int:
        """How often the image encoder has run: at most once a slice, none for what was on disk."""
        return self._passes

    def image(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns) float32 in 0..1; IndexError outside the volume."""
        self._check(z)
        with self._lock:
            image = self._images.get(z)
            if image is None:
                image = self._normalise(np.ascontiguousarray(self._volume.intensities[z]))
            _remember(self._images, z, image, self._in_memory)
            return image

    def intensities(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns) float32 as measured; IndexError outside the volume."""
        self._check(z)
        return np.asarray(self._volume.intensities[z])

    def picture(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns, 3) float32 RGB in 0..1, grey repeated; IndexError outside the
        volume.
        """
        self._check(z)
        colour = self._volume.colour
        if colour is not None:
            return np.ascontiguousarray(colour[z], dtype=np.float32) / np.float32(255)
        return np.repeat(self.image(z)[..., None], 3, axis=2)

    def encoding(self, z: int) -> Encoding:
        """The segmenter's encoding of slice `z`; the encoder runs only if it never did. IndexError
        outside.
        """
        self._check(z)
        with self._lock:  # one at a time: the encoder takes all cores as it is
            encoding = self._encodings.get(z) or self._from_disk(z) or self._encode(z)
            _remember(self._encodings, z, encoding, self._room(encoding))
            return encoding

    def _room(self, encoding: Encoding) -> int:
        """How many encodings like this one are held in memory."""
        if self._folder is not None:
            return self._in_memory
        maps = (encoding.embedding, *encoding.high_res)
        size = sum(feature_map.nbytes for feature_map in maps)
        return max(self._in_memory, self._memory_bytes // size)

    def _check(self, z: int) -> None:
        if not 0 <= z < self.shape[0]:
            raise IndexError(f"there is no slice {z}: the volume has {self.shape[0]}")

    def _path(self, z: int) -> Path | None:
        """Where the encoding of slice `z` is kept; the name holds a digest of image and encoder."""
        if self._folder is None:
            return None
        image = self._encoded_image(z)
        digest = hashlib.blake2b(f"{self._encoder}|{image.shape}|".encode(), digest_size=8)
        digest.update(image.tobytes())
        return self._folder / f"slice-{z:04d}-{digest.hexdigest()}.npz"

    def _encoded_image(self, z: int) -> NDArray[np.float32]:
        """What the encoder is given: the colours where there are any, else the grey slice."""
        return self.image(z) if self._volume.colour is None else self.picture(z)

    def _from_disk(self, z: int) -> Features | None:
        path = self._path(z)
        if path is None or not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                rounded = [arrays[f"arr_{n}"] for n in range(len(arrays.files))]
        except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as fault:
            _log.warning("the kept encoding %s cannot be read (%s): made anew", path.name, fault)
            return None
        return self._widened(rounded)

    def _encode(self, z: int) -> Encoding:
        self._passes += 1
        encoding = self._segmenter.encode(self._encoded_image(z))
        self._on_encoded(self._passes, self.shape[0])
        path = self._path(z)
        if path is None:
            return encoding
        maps = (encoding.embedding, *encoding.high_res)
        rounded = [feature_map.astype(np.float16) for feature_map in maps]
        content = io.BytesIO()
        np.savez(content, *rounded)
        try:
            write_atomically(path, content.getvalue())
        except OSError as fault:  # a full disk costs time later, not the study now
            _log.warning("the encoding of slice %d could not be kept (%s)", z, fault)
        return self._widened(rounded)

    def _widened(self, rounded: list[NDArray[np.float16]]) -> Features:
        embedding, *high_res = (feature_map.astype(np.float32) for feature_map in rounded)
        return Features(embedding, self.shape[1:], tuple(high_res))


def _remember(memory: OrderedDict[int, V], z: int, value: V, at_most: int) -> None:
    """Put `value` in as the youngest; the oldest goes when there are more than `at_most`."""
    memory[z] = value
    memory.move_to_end(z)
    while len(memory) > at_most:
        memory.popitem(last=False)
