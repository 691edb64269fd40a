"""How much the segmentation API takes on before it says no."""

from __future__ import annotations

from dataclasses import dataclass

_BYTES_PER_PIXEL = 3 * 4  # float32 RGB, the largest form in which an image may be sent
_BESIDE_THE_IMAGE_BYTES = 4 * 2**20  # prompts, logits, JSON
_LONGEST_BODY_BYTES = 96 * 2**20  # a radiograph of 40 million pixels fits as PNG


@dataclass(frozen=True)
class Bounds:
    """At most this much, for all clients together where nothing else is said.

    `idle_s` after which a session that nobody used ends; `max_prompts` boxes and clicks of one
    session or one call; `memory_bytes` for what is kept between calls, half of it for encodings;
    `working_bytes` for what calls take while they are worked on; `in_flight` calls at once.
    """

    max_sessions: int = 256
    idle_s: float = 900.0
    max_image_pixels: int = 2048 * 2048
    memory_bytes: int = 2_000_000_000
    working_bytes: int = 2_000_000_000
    max_prompts: int = 100
    in_flight: int = 64

    @property
    def longest_body_bytes(self) -> int:
        """The longest body of a request: the largest image in base64, and what comes with it.

        96 MiB at most.
        """
        image_bytes = self.max_image_pixels * _BYTES_PER_PIXEL * 4 // 3
        return min(image_bytes + _BESIDE_THE_IMAGE_BYTES, _LONGEST_BODY_BYTES)
