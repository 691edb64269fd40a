"""The one place where errors of pydicom and its codecs become errors of ours."""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from dicom_node.errors import DicomNodeError, UnreadableDataset

log = logging.getLogger(__name__)

# Words for what a library raised; the first row that fits counts.
_IN_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (MemoryError, "there is not enough memory for it"),
    (FileNotFoundError, "the file is gone"),
    (PermissionError, "the file may not be opened"),
    (EOFError, "it ends too early"),
    (OSError, "the disk does not give it"),
    (zlib.error, "its compressed bytes are damaged"),
    (RecursionError, "it is nested too deeply"),
)
_OTHERWISE = "its bytes are not what its header says"


@contextmanager
def parsing(error: type[DicomNodeError], sentence: str) -> Iterator[None]:
    """Turn anything that goes wrong inside into `error`: `sentence` and a short reason.

    It surrounds the reading and decoding of files; our own errors pass through unchanged. The
    library's message may quote a value of the file, so it goes no further than the error's cause.
    """
    try:
        yield
    except UnreadableDataset as reason:
        raise error(f"{sentence}: {reason}") from reason
    except DicomNodeError:
        raise
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    # A damaged file makes pydicom and six codecs raise nearly every built-in error and some of
    # their own (AttributeError, KeyError, struct.error, zlib.error, RuntimeError,
    # BytesLengthException, …): the list is open, and a panic in the RLE codec, which is written in
    # Rust, is not even an Exception.
    except BaseException as reason:
        log.debug("%s: %s", sentence, type(reason).__name__)
        raise error(f"{sentence}: {in_words(reason)}") from reason


def in_words(reason: BaseException) -> str:
    """The end of a sentence about an error, without the words of the library."""
    return next((words for kind, words in _IN_WORDS if isinstance(reason, kind)), _OTHERWISE)


@contextmanager
def quietly() -> Iterator[None]:
    """Silence pydicom's warnings about odd values; our own sentences say what matters of them.

    Filters belong to the process, not to a thread: enter this in the calling thread, around any
    pool.
    """
    with warnings.catch_warnings(action="ignore"):
        yield
