"""What is worked on is reserved before it is taken: by the header of an image, in every format, and
bombs in none.
"""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from starlette.testclient import TestClient

from agent.fakes import FakeEncoding, FakeSegmenter
from server.errors import BadImage, ImageTooLarge, TooManyCalls
from server.interactive.images import SentImage
from server.interactive.memory import MemoryAccount
from server.interactive.service import Service

# what each kind of file takes, in bytes a pixel, when it is read: printed as "kind reserved taken"
MEASURE = """
import io, sys
import numpy as np
from PIL import Image
from server.interactive.images import SentImage

SIDE = 1500
stripes = np.zeros((SIDE, SIDE), np.uint8)
stripes[::2] = 200
grey = Image.fromarray(stripes)

def picture(image, kind="PNG", **how):
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()

def array(values):
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()

def memory(line):
    with open("/proc/self/status") as status:
        return next(int(each.split()[1]) for each in status if each.startswith(line)) * 1024

files = {
    mode: picture(grey.convert(mode)) for mode in ("L", "1", "LA", "P", "RGB", "RGBA")
} | {
    "16 bits": picture(Image.fromarray(stripes.astype(np.uint16) * 257)),
    "JPEG": picture(grey.convert("RGB"), "JPEG"),
    "progressive": picture(grey.convert("RGB"), "JPEG", progressive=True, subsampling=0),
    "CMYK": picture(grey.convert("CMYK"), "JPEG", progressive=True),
    "uint8": array(stripes),
    "uint16": array(stripes.astype(np.uint16)),
    "float32": array(np.repeat(stripes[..., None], 3, 2).astype(np.float32) / 255),
}
for kind, content in files.items():
    image = SentImage(content)
    reserved = image.working_bytes(SIDE * SIDE)
    with open("/proc/self/clear_refs", "w") as peaks:
        peaks.write("5")  # the peak counts from here
    before = memory("VmRSS")
    pixels = image.pixels(SIDE * SIDE)
    segmenters_copy = 12  # at most: RGB as float32
    taken = (memory("VmHWM") - before) / SIDE**2 + segmenters_copy
    print(kind.replace(" ", "-"), reserved / SIDE**2, taken)
    del pixels
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_an_image_takes_is_reserved_in_every_format() -> None:
    command = [sys.executable, "-c", MEASURE]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    measured = {
        line.split()[0]: [float(each) for each in line.split()[1:]] for line in told.splitlines()
    }

    assert len(measured) == 13
    assert {kind: each for kind, each in measured.items() if each[0] < each[1]} == {}


def flat_png(side: int) -> bytes:
    """A PNG of side x side pixels that are all the same: some bytes of file, many of memory."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 7).save(buffer, "PNG")
    return buffer.getvalue()


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_an_image_that_takes_more_than_there_is_is_refused_before_it_is_unpacked(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unpacked: list[int] = []
    monkeypatch.setattr(SentImage, "pixels", lambda *_: unpacked.append(1))
    api = make_client(make_service(working_bytes=1_000_000))

    answer = api.post("sessions", json={"image": in_base64(flat_png(500))})

    assert answer.status_code == 413
    assert "sessions.working_bytes" in answer.json()["detail"]
    assert unpacked == []


class HeldSegmenter(FakeSegmenter):
    """The fake, which encodes when a test says so, and notes how many do at once."""

    def __init__(self) -> None:
        self.go_on, self.inside, self.most = threading.Event(), 0, 0
        self._lock = threading.Lock()

    def encode(self, image: NDArray[np.float32]) -> FakeEncoding:
        if image.shape[0] > 64:  # not the trial
            with self._lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            self.go_on.wait(20)
            with self._lock:
                self.inside -= 1
        return super().encode(image)


def test_images_wait_for_one_another_s_memory(
    make_service: Callable[..., Service], until: Callable[..., Any]
) -> None:
    # Arrange: room for two of eight images
    segmenter = HeldSegmenter()
    one_bytes = SentImage(flat_png(100)).working_bytes(10_000)
    service = make_service({"held": segmenter}, working_bytes=2 * one_bytes)
    drawer = service.segmenters.get()
    images = []
    for number in range(8):
        buffer = io.BytesIO()
        Image.new("L", (100, 100), number).save(buffer, "PNG")
        images.append(SentImage(buffer.getvalue()))

    # Act
    with ThreadPoolExecutor(8) as pool:
        shapes = [pool.submit(drawer.shape_of, image) for image in images]
        until(lambda: service.account.reserved_bytes == 2 * one_bytes)
        segmenter.go_on.set()
        told = {shape.result() for shape in shapes}

    # Assert
    assert told == {(100, 100)}
    assert segmenter.most <= 2
    assert service.account.reserved_bytes == 0


def test_an_account_gives_what_there_is_and_no_more() -> None:
    account = MemoryAccount(100)

    with account.reserved(60):
        with pytest.raises(TooManyCalls), account.reserved(50, wait_s=0.01):
            pass
        assert account.take(40)
        assert not account.take(1)
        account.give(40)
    with pytest.raises(ImageTooLarge), account.reserved(101):
        pass

    assert account.reserved_bytes == 0


def test_room_goes_to_who_waits_for_it() -> None:
    account, entered = MemoryAccount(100), threading.Event()

    def wait() -> None:
        with account.reserved(80, wait_s=20):
            entered.set()

    with account.reserved(30):
        thread = threading.Thread(target=wait)
        thread.start()
        early = entered.wait(0.05)
    thread.join(20)

    assert not early
    assert entered.is_set()


def test_a_fault_within_gives_back_what_was_reserved() -> None:
    account = MemoryAccount(100)

    with pytest.raises(ZeroDivisionError), account.reserved(50):
        raise ZeroDivisionError

    assert account.reserved_bytes == 0


def test_bodies_are_counted_while_they_come(
    make_client: Callable[..., TestClient], make_service: Callable[..., Service]
) -> None:
    service = make_service(working_bytes=300_000)
    api = make_client(service)

    answer = api.post("sessions", content=b" " * 200_000)

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"
    assert service.account.reserved_bytes == 0


def test_a_jpeg_of_thousands_of_scans_is_refused_unread() -> None:
    # each scan is a few bytes of file and a pass over all pixels
    buffer = io.BytesIO()
    Image.new("L", (64, 64), 7).save(buffer, "JPEG", progressive=True)
    whole = buffer.getvalue()
    last = whole.rindex(b"\xff\xda")
    bomb = whole[:last] + 5000 * whole[last:-2] + whole[-2:]

    with pytest.raises(BadImage, match="scans"):
        SentImage(bomb).pixels(10_000)


def test_a_usual_progressive_jpeg_is_read() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (7, 8, 9)).save(buffer, "JPEG", progressive=True)

    assert SentImage(buffer.getvalue()).pixels(10_000).shape == (64, 64, 3)


def test_a_png_holds_any_bytes_and_has_no_scans() -> None:
    buffer, words = io.BytesIO(), PngInfo()
    words.add_text("Comment", b"\xff\xda".decode("latin-1") * 1000)
    Image.new("L", (64, 64), 7).save(buffer, "PNG", pnginfo=words)
    assert buffer.getvalue().count(b"\xff\xda") >= 1000

    assert SentImage(buffer.getvalue()).pixels(10_000).shape == (64, 64)
