"""Many clients at once: what each gets is what it would get alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from agent.fakes import FakeEncoding, FakeSegmenter, ellipse
from agent.ports import Encoding, PromptedSlice
from agent.values import Point, Prompts, Segmentation
from models.serving.served import ServedSegmenter
from server.errors import BadImage
from server.interactive.encodings import Encodings
from server.interactive.service import Service
from server.interactive.wire import image_of

THREADS = 32


class GatheringSegmenter(FakeSegmenter):
    """The fake, which notes how many prompts came in one call, and waits in the first real one for
    others to gather.
    """

    def __init__(self, waiting: Callable[[], bool]) -> None:
        self.batches: list[int] = []
        self.encoded = 0
        self.entered, self.gathered = threading.Event(), threading.Event()
        self._waiting = waiting

    def encode(self, image: NDArray[np.float32]) -> FakeEncoding:
        self.encoded += 1
        return super().encode(image)

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        if self._waiting():
            self.entered.set()
            self.gathered.wait(20)
        self.batches.append(len(asks))
        return super().segment_many(asks)


def picture_of(number: int) -> NDArray[np.uint8]:
    """One of eight images: an ellipse that lies elsewhere in each."""
    inside = ellipse((64, 64), (20.0 + number % 8, 30.0), (9.0, 7.0))
    return np.where(inside, 220, 30).astype(np.uint8)


def episode(api: TestClient, image: str, number: int) -> list[Any]:
    """Box, mask, click, mask, undo, mask: all that a session can do, with prompts of its own."""
    session = f"sessions/{api.post('sessions', json={'image': image}).json()['id']}"
    told = [api.post(f"{session}/boxes", json={"box": [8 + number % 5, 18, 45, 42]}).json()["box"]]
    for step in (None, {"x": 5 + number, "y": 8}, "undo"):
        if step == "undo":
            api.post(f"{session}/undo")
        elif step is not None:
            api.post(f"{session}/points", json=step)
        answer = api.post(f"{session}/segment", json={"mask_format": "rle", "logits": True}).json()
        told.append((answer["mask"]["counts"], answer["predicted_iou"], answer["logits"]))
    api.delete(session)
    return told


def test_thirty_two_sessions_at_once_are_as_one_after_the_other(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    png: Callable[..., str],
) -> None:
    images = [png(picture_of(number)) for number in range(THREADS)]
    alone = make_client()
    expected = [episode(alone, image, number) for number, image in enumerate(images)]
    together = make_client(make_service(in_flight=2 * THREADS))

    with together, ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda n: episode(together, images[n], n), range(THREADS)))

    assert found == expected
    assert len({str(each) for each in found}) == THREADS  # no two are alike by chance
    told = together.get("health").json()
    assert (told["encoder_passes"], told["sessions"]) == (8, 0)


def test_prompts_that_wait_are_drawn_in_one_call(
    make_service: Callable[..., Service], png: Callable[..., str]
) -> None:
    started: list[int] = []
    segmenter = GatheringSegmenter(lambda: bool(started))
    service = make_service({"fake": segmenter})
    drawer = service.segmenters.get()
    image = image_of(png(picture_of(0)))
    drawer.shape_of(image)
    started.append(1)

    def draw(x: int) -> Segmentation:
        return drawer.draw(image, Prompts(points=(Point(float(x), 5.0),)))

    assert isinstance(drawer._segmenter, ServedSegmenter)
    batcher = drawer._segmenter._batcher
    with ThreadPoolExecutor(9) as pool:
        asked = [pool.submit(draw, x) for x in range(9)]
        while len(batcher._queue) < 8:  # one draws, the others are on their way
            threading.Event().wait(0.005)
        segmenter.gathered.set()
        masks = [each.result().mask for each in asked]

    assert segmenter.batches[-2:] == [1, 8]
    assert [bool(mask[5, x]) for x, mask in enumerate(masks)] == [True] * 9


def test_calls_on_one_session_go_one_after_the_other(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    png: Callable[..., str],
) -> None:
    api = make_client(make_service(in_flight=2 * THREADS))
    session = f"sessions/{api.post('sessions', json={'image': png(picture_of(0))}).json()['id']}"

    def click(x: int) -> int:
        code = api.post(f"{session}/points", json={"x": x, "y": 1}).status_code
        api.post(f"{session}/segment")
        return code

    with api, ThreadPoolExecutor(THREADS) as pool:
        codes = list(pool.map(click, range(THREADS)))

    body = api.get(session).json()
    assert codes == [200] * THREADS
    assert body["steps"] == THREADS
    assert sorted(point["x"] for point in body["points"]) == list(range(THREADS))


def test_an_image_is_encoded_once_for_all_who_wait() -> None:
    encodings, made = Encodings(10**9), []
    begun, go_on = threading.Event(), threading.Event()

    def encode() -> Encoding:
        begun.set()
        go_on.wait(20)
        made.append(FakeEncoding(np.zeros((8, 8), np.float32)))
        return made[-1]

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(encodings.get, ("fake", "a"), encode) for _ in range(8)]
        begun.wait(20)
        go_on.set()
        found = [each.result() for each in asked]

    assert len(made) == encodings.passes == 1
    assert all(each is made[0] for each in found)


def test_a_fault_reaches_everybody_who_waits_and_is_not_kept() -> None:
    encodings = Encodings(10**9)
    begun, go_on = threading.Event(), threading.Event()

    def fail() -> Encoding:
        begun.set()
        go_on.wait(20)
        raise BadImage("no")

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(encodings.get, ("fake", "a"), fail) for _ in range(4)]
        begun.wait(20)
        go_on.set()
        faults = [each.exception() for each in asked]

    assert all(isinstance(each, BadImage) for each in faults)
    assert encodings.passes == 0
    mended = encodings.get(("fake", "a"), lambda: FakeEncoding(np.ones((8, 8), np.float32)))
    assert encodings.kept(("fake", "a")) is mended


def test_the_longest_unused_encoding_goes_first() -> None:
    encodings = Encodings(3 * 16_384)  # the fake's take 16,384 bytes each
    for name in ("a", "b", "c"):
        encodings.get(("fake", name), lambda: FakeEncoding(np.zeros((8, 8), np.float32)))

    encodings.kept(("fake", "a"))
    encodings.get(("fake", "d"), lambda: FakeEncoding(np.zeros((8, 8), np.float32)))

    kept = [name for name in "abcd" if encodings.kept(("fake", name)) is not None]
    assert kept == ["a", "c", "d"]
    assert encodings.nbytes == 3 * 16_384


class LargeEncoding(FakeEncoding):
    """An encoding of 40,000 bytes."""

    @property
    def embedding(self) -> NDArray[np.float32]:
        """As an encoder of many channels gives it."""
        return np.zeros((1, 100, 100), np.float32)


def test_an_encoding_beyond_the_budget_is_used_and_not_kept() -> None:
    encodings = Encodings(20_000)
    small = encodings.get(("fake", "a"), lambda: FakeEncoding(np.zeros((8, 8), np.float32)))
    large = LargeEncoding(np.zeros((8, 8), np.float32))

    made = encodings.get(("fake", "b"), lambda: large)

    assert made is large
    assert encodings.kept(("fake", "b")) is None
    assert encodings.kept(("fake", "a")) is small  # nothing else makes room for it


def test_more_calls_than_allowed_are_asked_to_come_back(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    png: Callable[..., str],
) -> None:
    started: list[int] = []
    segmenter = GatheringSegmenter(lambda: bool(started))
    api = make_client(make_service({"fake": segmenter}, in_flight=1))
    body = {"image": png(picture_of(0)), "box": [10, 20, 40, 40]}
    assert api.post("predict", json=body).status_code == 200
    started.append(1)

    with api, ThreadPoolExecutor(1) as pool:
        held = pool.submit(api.post, "predict", json=body)
        segmenter.entered.wait(20)
        refused = api.post("predict", json=body)
        healthy = api.get("health")
        segmenter.gathered.set()

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert healthy.status_code == 200
    assert held.result().status_code == 200
    assert api.post("predict", json=body).status_code == 200


@pytest.mark.parametrize("count", [1, 7])
def test_the_process_answers_while_a_model_works(
    make_client: Callable[..., TestClient],
    make_service: Callable[..., Service],
    png: Callable[..., str],
    count: int,
) -> None:
    started: list[int] = []
    segmenter = GatheringSegmenter(lambda: bool(started))
    api = make_client(make_service({"fake": segmenter}))
    body = {"image": png(picture_of(0)), "box": [10, 20, 40, 40]}
    api.post("predict", json=body)
    started.append(1)

    with api, ThreadPoolExecutor(count) as pool:
        held = [pool.submit(api.post, "predict", json=body) for _ in range(count)]
        healthy = [api.get("health").status_code for _ in range(3)]
        busy = sum(not each.done() for each in held)
        segmenter.gathered.set()

    assert healthy == [200] * 3
    assert busy == count
