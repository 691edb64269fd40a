"""The one place where whatever pydicom and its codecs raise becomes an error of ours."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from dicom_node.errors import DicomNodeError, NotAVolume, UnreadableDataset


@contextmanager
def parsing(error: type[NotAVolume], sentence: str) -> Iterator[None]:
    """Turn anything that goes wrong inside into `error`, with `sentence` and the reason in short.

    For reading and decoding of files that other people wrote; our own errors pass through unchanged.
    """
    try:
        yield
    except UnreadableDataset as reason:
        raise error(f"{sentence}: {reason}") from reason
    except DicomNodeError:
        raise
    except MemoryError as reason:
        raise error(f"{sentence}: there is not enough memory for it") from reason
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    # A damaged file makes pydicom and six codecs raise nearly every built-in error and some of their own
    # (AttributeError, KeyError, struct.error, zlib.error, RuntimeError, BytesLengthException, …): the list is open,
    # and a panic in the RLE codec, which is written in Rust, is not even an Exception.
    except BaseException as reason:
        raise error(f"{sentence}: {_in_short(reason)}") from reason


@contextmanager
def quietly() -> Iterator[None]:
    """Leave pydicom's warnings about odd values unsaid: what matters of them is in our own sentences.

    Filters are the process's own, not the thread's: enter it in the calling thread, around any pool.
    """
    with warnings.catch_warnings(action="ignore"):
        yield


def _in_short(reason: BaseException) -> str:
    """What was raised, on one line and short enough for one sentence."""
    text = " ".join(str(reason).split())
    return f"{type(reason).__name__} {text[:160]}".strip()
