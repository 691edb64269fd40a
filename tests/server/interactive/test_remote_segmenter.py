"""The client of the segmentation API, against the API itself on a socket: masks as in process, few
calls, and a sentence for a server that is away or is none.
"""

from __future__ import annotations

import base64
import io
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI, Request, Response
from numpy.typing import NDArray
from PIL import Image

from agent.errors import SegmenterFailed
from agent.fakes import FakeSegmenter
from agent.ports import Encoding, PromptedSlice, Segmenter
from agent.values import Box, Point, PromptKind, Prompts, Segmentation
from models.errors import SegmenterAway
from models.serving import remote_segmenter
from models.serving.remote_calls import PREFIX, CallRetries
from models.serving.remote_segmenter import MOST_ASKS, RemoteSegmenter, open_remote_segmenter
from server.http.tokens import tokens_of
from server.interactive import app as interactive_app
from server.interactive.app import create_app
from server.interactive.schemas import MOST_TOGETHER
from server.interactive.service import Service
from tests.support.http.loopback import on_loopback

TOKEN = "a-token-of-good-length"
HURRIED = CallRetries(waits_s=(0.0, 0.0), timeout_s=20.0, sleep=lambda _: None)

Serve = Callable[..., RemoteSegmenter]


@pytest.fixture
def calls() -> list[str]:
    """The paths that were asked for."""
    return []


@pytest.fixture
def serve(
    make_service: Callable[..., Service], calls: list[str]
) -> Iterator[Callable[..., RemoteSegmenter]]:
    """Serves segmenters by name (none: the fake) within bounds, and opens the first from there."""
    running: list[Any] = []

    def made(segmenters: dict[str, Segmenter] | None = None, **bounds: Any) -> RemoteSegmenter:
        app = create_app(make_service(segmenters, **bounds), tokens_of((TOKEN,)))

        @app.middleware("http")
        async def noted(request: Request, answer: Any) -> Response:
            calls.append(request.url.path.removeprefix(f"{PREFIX}/"))
            response: Response = await answer(request)
            return response

        running.append(on_loopback(app))
        return open_remote_segmenter(running[-1].__enter__(), token=TOKEN, retries=HURRIED)

    yield made
    for server in running:
        server.__exit__(None, None, None)


def slices(count: int, shape: tuple[int, ...] = (60, 80)) -> list[NDArray[np.float32]]:
    """Noise with a bright rectangle, in floats that no picture of 8 or 16 bits holds."""
    made = [np.random.default_rng(seed).random(shape, np.float32) * 0.2 for seed in range(count)]
    for image in made:
        image[15:40, 20:50] += 0.6
    return made


PROMPTS = (
    Prompts(Box(16.25, 12.5, 52.0, 44.0)),
    Prompts(Box(16, 12, 52, 44), (Point(22.0, 17.0), Point(48.5, 38.0, positive=False))),
    Prompts(points=(Point(30.0, 25.0),)),
)


def asked(segmenter: Segmenter, images: Sequence[NDArray[np.float32]]) -> list[Segmentation]:
    """All prompts on all images at once."""
    encodings = [segmenter.encode(image) for image in images]
    return segmenter.segment_many(
        [PromptedSlice(encoding, prompts) for encoding in encodings for prompts in PROMPTS]
    )


def answer_of(shape: tuple[int, int]) -> dict[str, Any]:
    """A whole answer of a server whose mask has `shape`."""
    picture = io.BytesIO()
    Image.fromarray(np.ones(shape, np.uint8)).save(picture, "PNG")
    logits = np.zeros((1, 1), "<f4").tobytes()
    return {
        "mask": {"data": base64.b64encode(picture.getvalue()).decode()},
        "logits": {"shape": [1, 1], "data": base64.b64encode(logits).decode()},
        "predicted_iou": 0.5,
        "choice": 0,
        "candidate_ious": [0.5],
    }


def alike(ours: Segmentation, theirs: Segmentation) -> bool:
    return (
        np.array_equal(ours.mask, theirs.mask)
        and np.array_equal(ours.logits, theirs.logits)
        and ours.logits.dtype == theirs.logits.dtype
        and (ours.predicted_iou, ours.choice) == (theirs.predicted_iou, theirs.choice)
        and ours.candidate_ious == theirs.candidate_ious
    )


def test_its_address_and_bounds_are_those_of_the_server() -> None:
    assert (PREFIX, MOST_ASKS) == (interactive_app.PREFIX, MOST_TOGETHER)


def test_masks_are_those_in_process_bit_for_bit_and_come_in_one_call(
    serve: Serve, calls: list[str]
) -> None:
    remote = serve()
    assert (remote.name, remote.supported_prompts) == ("fake", FakeSegmenter.supported_prompts)
    assert calls[0] == "sessions"
    assert calls[1].startswith("sessions/")  # it is ended again
    calls.clear()

    drawn = asked(remote, slices(3))

    assert calls == ["predict_many"]
    assert len(drawn) == 9
    assert all(map(alike, drawn, asked(FakeSegmenter(), slices(3))))
    assert alike(
        remote.segment(remote.encode(slices(1)[0]), PROMPTS[1]),
        FakeSegmenter().segment(FakeSegmenter().encode(slices(1)[0]), PROMPTS[1]),
    )


def test_a_real_networks_masks_are_those_in_process_bit_for_bit(serve: Serve) -> None:
    from models.segmenters.litemedsam import LiteMedSam

    alone = LiteMedSam(threads=1, eager=True)
    remote = serve({"litemedsam": alone})
    asks: list[list[Segmentation]] = []
    for segmenter in (alone, remote):
        encoding = segmenter.encode(slices(1)[0])
        boxes = (Prompts(Box(16, 12, 52, 44)), Prompts(Box(20, 15, 30, 30)))
        asks.append(segmenter.segment_many([PromptedSlice(encoding, box) for box in boxes]))

    assert all(map(alike, asks[0], asks[1]))
    assert asks[0][0].mask.any()
    assert remote.supported_prompts == {PromptKind.BOX}


class Echo:
    """A segmenter that takes every prompt and remembers what it was given."""

    name = "echo"
    supported_prompts = frozenset(PromptKind) - {PromptKind.SCRIBBLE}

    def __init__(self) -> None:
        self.prompts: list[Prompts] = []

    def encode(self, image: NDArray[np.float32]) -> Encoding:
        return FakeSegmenter().encode(image)

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        return self.segment_many([PromptedSlice(encoding, prompts)])[0]

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        self.prompts += [ask.prompts for ask in asks]
        logits = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
        mask = np.ones(asks[0].encoding.source_shape, np.bool_)
        return [Segmentation(mask, logits, 0.1, 2, (0.3, 0.2, 0.1)) for _ in asks]


def test_every_kind_of_prompt_arrives_as_it_was(serve: Serve) -> None:
    echo = Echo()
    remote = serve({"echo": echo})
    image = slices(1, (60, 80, 3))[0]
    outline = image[..., 0] > 0.5
    logits = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    points = (Point(3.5, 4.25), Point(70.0, 50.0, positive=False))

    drawn = remote.segment(
        remote.encode(image), Prompts(Box(1.5, 2, 30, 40), points, logits, outline, "liver")
    )

    arrived = echo.prompts[-1]
    assert (arrived.box, arrived.points, arrived.text) == (Box(1.5, 2, 30, 40), points, "liver")
    assert arrived.mask is not None
    assert arrived.previous_logits is not None
    assert np.array_equal(arrived.mask, outline)
    assert np.array_equal(arrived.previous_logits, logits)
    assert (drawn.choice, drawn.candidate_ious) == (2, (0.3, 0.2, 0.1))


def test_an_image_that_the_server_does_not_keep_is_sent_again(
    serve: Serve, calls: list[str]
) -> None:
    remote = serve(memory_bytes=2)

    first, again = asked(remote, slices(1)), asked(remote, slices(1))

    assert calls.count("predict_many") == 3  # the second is refused for the hash, and sent again
    assert all(map(alike, first, again))


def test_an_image_goes_there_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = serve()
    sent: list[int] = []
    whole = remote_segmenter._base64

    def noted(content: bytes) -> str:
        sent.append(len(content))
        return whole(content)

    monkeypatch.setattr(remote_segmenter, "_base64", noted)

    asked(remote, slices(2))
    asked(remote, slices(2))

    assert len(sent) == 2


def test_many_prompts_and_large_images_are_shared_out(
    serve: Serve, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = serve()
    encoding = remote.encode(slices(1)[0])
    calls.clear()
    assert len(remote.segment_many([PromptedSlice(encoding, PROMPTS[0])] * 130)) == 130
    assert calls == ["predict_many"] * 3

    monkeypatch.setattr(remote_segmenter, "_LONGEST_CALL_BYTES", 2 * 60 * 80 * 4 + 1000)
    calls.clear()
    assert len(asked(serve(), slices(5))) == 15
    assert calls.count("predict_many") == 3  # two images each


def test_a_segmenter_that_fails_there_has_failed(serve: Serve) -> None:
    remote = serve()

    with pytest.raises(SegmenterFailed, match="made by another segmenter"):
        remote.segment(FakeSegmenter().encode(slices(1)[0]), PROMPTS[0])

    class Failing(Echo):
        name = "failing"

        def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
            if self.prompts:
                raise SegmenterFailed("the network has no such mask")
            return super().segment_many(asks)

    failing = serve({"failing": Failing()})
    with pytest.raises(SegmenterFailed, match="has no such mask"):
        failing.segment(failing.encode(slices(1)[0]), PROMPTS[0])


class TestAServerThatIsAwayOrNone:
    def test_nothing_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as bound:
            port = bound.getsockname()[1]
        waits: list[float] = []
        with pytest.raises(
            SegmenterAway,
            match=rf"127\.0\.0\.1:{port} cannot be reached .*tried 3 times.*segnode sessions",
        ):
            open_remote_segmenter(
                f"http://127.0.0.1:{port}", retries=CallRetries((0.5, 1.0), 5.0, waits.append)
            )
        assert waits == [0.5, 1.0]

    def test_it_does_not_answer_in_time(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with pytest.raises(SegmenterAway, match=r"no answer within 0\.2 s; tried 1 times"):
                open_remote_segmenter(url, retries=CallRetries((), 0.2))

    @pytest.mark.parametrize("url", ["host:8200", "ftp://host", "http://user:word@host", "http://"])
    def test_it_is_no_url(self, url: str) -> None:
        with pytest.raises(SegmenterAway, match="is no URL of a server"):
            open_remote_segmenter(url)

    def test_the_token_is_another(self, make_service: Callable[..., Service]) -> None:
        with (
            on_loopback(create_app(make_service(), tokens_of((TOKEN,)))) as url,
            pytest.raises(SegmenterAway, match=r"does not take the token: .*--segmenter-token"),
        ):
            open_remote_segmenter(url, token="another-of-good-length", retries=HURRIED)

    def test_it_has_no_segmenter_of_that_name(self, make_service: Callable[..., Service]) -> None:
        with (
            on_loopback(create_app(make_service(), tokens_of((TOKEN,)))) as url,
            pytest.raises(SegmenterAway, match=r"answers 422: there is no segmenter called 'sam9'"),
        ):
            open_remote_segmenter(url, name="sam9", token=TOKEN, retries=HURRIED)

    def test_it_is_something_else(self) -> None:
        with (
            on_loopback(FastAPI()) as url,
            pytest.raises(SegmenterAway, match="answers 404: it is no segnode sessions"),
        ):
            open_remote_segmenter(url, retries=HURRIED)

    @pytest.mark.parametrize(
        ("masks", "fault"),
        [
            ([], "no mask of the slice"),
            ([{}], "no mask of the slice"),
            ([{"mask": {"data": "AAAA"}, "logits": {"shape": [1, 1], "data": ""}}], "no mask"),
            (None, "no mask of the slice"),
            ([answer_of((60, 81))], r"it is \(60, 81\), the slice is \(60, 80\)"),
        ],
    )
    def test_it_answers_in_another_shape(self, masks: Any, fault: str) -> None:
        app = FastAPI()

        @app.post(f"{PREFIX}/sessions")
        def opened() -> dict[str, Any]:
            return {"id": "1", "segmenter": "odd", "understands": ["box"]}

        @app.post(f"{PREFIX}/predict_many")
        def drawn() -> dict[str, Any]:
            return {"masks": masks}

        with on_loopback(app) as url:
            remote = open_remote_segmenter(url, retries=HURRIED)
            with pytest.raises(SegmenterAway, match=fault):
                remote.segment(remote.encode(slices(1)[0]), PROMPTS[0])

    def test_it_does_not_say_what_it_has(self) -> None:
        app = FastAPI()

        @app.post(f"{PREFIX}/sessions")
        def opened() -> dict[str, Any]:
            return {"id": "1", "segmenter": "odd", "understands": ["a glance"]}

        with (
            on_loopback(app) as url,
            pytest.raises(SegmenterAway, match="does not say which segmenter it has"),
        ):
            open_remote_segmenter(url, retries=HURRIED)

    def test_it_is_busy_and_is_waited_for(self) -> None:
        app, waits = FastAPI(), list[float]()

        @app.post(f"{PREFIX}/sessions")
        def opened(response: Response) -> dict[str, Any]:
            response.status_code = 200 if waits else 503
            response.headers["Retry-After"] = "7"
            return {"id": "1", "segmenter": "late", "understands": ["box"]}

        with on_loopback(app) as url:
            remote = open_remote_segmenter(url, retries=CallRetries((1.0,), 20.0, waits.append))
        assert (remote.name, waits) == ("late", [7.0])
