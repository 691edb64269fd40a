"""Every kind of picture, with every planner and every segmenter, from file to 0/255 mask at the
picture's own size.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from agent.fakes import FakeSegmenter, ThresholdPolicy
from agent.language.chat import Conversation
from agent.language.fakes import ScriptedChat
from agent.language.policy import LanguagePolicy
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.ports import Policy, Segmenter
from agent.trace import read_trace
from models.images.windows import ABDOMEN
from models.loaded_models import LoadedModels
from models.policies.locator.net import EMBEDDING_SHAPE, Locator
from models.policies.locator.policy import LocatorPolicy
from models.runtime.encoding import Features
from models.runtime.resources import Resources
from models.segmenters.litemedsam import LiteMedSam
from server.local import LocalModels, LocalRun, asked_targets, segment_files
from server.rules.catalogue import load_catalogue
from server.values import TargetSummary
from tests.support import seeded_networks

CATALOGUE = load_catalogue()
LIMITS = Limits()
UNKNOWN = "unicorn"


def scene(rows: int, columns: int) -> NDArray[np.float32]:
    """A dim body on black with a bright spot left of its middle, (rows, columns) in 0..1."""
    y, x = np.mgrid[:rows, :columns] / np.array([rows, columns]).reshape(2, 1, 1)
    image = np.zeros((rows, columns), dtype=np.float32)
    image[(y - 0.5) ** 2 + (x - 0.5) ** 2 < 0.2] = 0.4
    image[(y - 0.5) ** 2 + (x - 0.35) ** 2 < 0.02] = 0.9
    image += np.random.default_rng(1).random((rows, columns), dtype=np.float32) / 50
    return image


def tinted(rows: int, columns: int, *, tint: tuple[float, float, float]) -> Image.Image:
    levels = scene(rows, columns)[..., None] * np.array(tint) * 255
    return Image.fromarray(levels.astype(np.uint8))


def grey(rows: int, columns: int, kind: type[np.unsignedinteger] = np.uint8) -> Image.Image:
    return Image.fromarray((scene(rows, columns) * np.iinfo(kind).max).astype(kind))


PICTURES: dict[str, Callable[[], Image.Image]] = {
    "xray.png": lambda: grey(120, 90),
    "xray-16-bit.png": lambda: grey(64, 96, np.uint16),
    "ct.tif": lambda: grey(96, 96, np.uint16),
    "mr.bmp": lambda: grey(80, 80),
    "ultrasound.jpg": lambda: tinted(75, 100, tint=(0.9, 0.9, 1.0)),
    "ultrasound-with-alpha.png": lambda: tinted(75, 100, tint=(1, 0.9, 0.6)).convert("RGBA"),
    "fundus.png": lambda: tinted(90, 91, tint=(1.0, 0.5, 0.2)),
    "endoscopy.jpeg": lambda: tinted(60, 100, tint=(1.0, 0.6, 0.6)),
    "dermoscopy-palette.png": lambda: tinted(66, 99, tint=(0.9, 0.7, 0.5)).quantize(32),
    "printed.tif": lambda: tinted(50, 60, tint=(0.9, 0.8, 0.9)).convert("CMYK"),
    "flat.png": lambda: Image.new("L", (40, 30), 128),
    "wide.png": lambda: grey(8, 1500),
    "high.png": lambda: tinted(1500, 8, tint=(1.0, 0.6, 0.6)),
    "one-pixel.png": lambda: Image.new("L", (1, 1), 7),
    "one-pixel-in-colour.png": lambda: Image.new("RGB", (1, 1), (9, 8, 7)),
}


def box_of_the_spot(_: Conversation) -> str:
    """What the scripted model always says: a box round the bright spot, in thousandths of what it
    sees.
    """
    arguments = {"bbox_2d": [195, 345, 505, 655]}
    return f"<tool_call>{json.dumps({'name': 'add_bbox', 'arguments': arguments})}</tool_call>"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A locator that knows nothing, and says something on every slice."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("locator") / "random.safetensors"
    save_file(Locator().state_dict(), path)
    return path


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noise_encoder(image: NDArray[np.float32]) -> Features:
    """LiteMedSAM's place beside another segmenter: an embedding of the right shape, in no time."""
    noise = np.random.default_rng(0).normal(0, 0.2, EMBEDDING_SHAPE).astype(np.float32)
    return Features(noise, (image.shape[0], image.shape[1]))


@pytest.fixture(scope="module")
def policies(weights: Path) -> dict[str, Callable[[], Policy]]:
    """Every planner, made anew for each run."""
    return {
        "locator": lambda: LocatorPolicy(weights, views=None, own_encoder=noise_encoder),
        "threshold": ThresholdPolicy,
        "language": lambda: LanguagePolicy(ScriptedChat(box_of_the_spot), LanguageSettings()),
    }


@pytest.fixture(scope="module")
def segmenters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[], Segmenter]]:
    """Every segmenter, narrow, with seeded weights."""
    from models.segmenters.imisnet.segmenter import ImisNetSegmenter
    from models.segmenters.sam.segmenter import SamSegmenter
    from models.segmenters.sam2.segmenter import Sam2Segmenter

    folder = tmp_path_factory.mktemp("segmenters")
    here = Resources(cache_dir=folder, threads=1, device="cpu")
    made: dict[str, Segmenter] = {
        "fake": FakeSegmenter(),
        "sam2": Sam2Segmenter(
            "sam2", seeded_networks.sam2_checkpoint(folder), seeded_networks.NARROW, resources=here
        ),
        "sam": SamSegmenter(
            "sam",
            seeded_networks.sam_checkpoint(folder),
            seeded_networks.NARROW_SAM,
            resources=here,
        ),
        "imisnet": ImisNetSegmenter(
            seeded_networks.narrow_imisnet(), reader=seeded_networks.LetterReader()
        ),
    }
    return {name: partial(made.__getitem__, name) for name in made}


@pytest.fixture(scope="module")
def litemedsam() -> LiteMedSam:
    """The shipped segmenter, run by torch: the export alone would take longer than these
    pictures.
    """
    return LiteMedSam(threads=1, eager=True)


def run(
    path: Path, out: Path, policy: Policy, segmenter: Segmenter, *targets: str
) -> dict[str, TargetSummary]:
    bench = LoadedModels(policy=policy, segmenter=segmenter, window=ABDOMEN)
    models = LocalModels(lambda: bench, CATALOGUE, LIMITS)
    asked = asked_targets(targets, CATALOGUE)
    summaries = segment_files(LocalRun(path, asked, out), models, lambda index, turn: None)
    return {summary.text: summary for summary in summaries}


@pytest.mark.parametrize("policy", ["locator", "threshold", "language"])
@pytest.mark.parametrize("segmenter", ["fake", "sam2", "sam", "imisnet"])
def test_every_picture_passes_with_every_planner_and_segmenter(
    policy: str,
    segmenter: str,
    policies: dict[str, Callable[[], Policy]],
    segmenters: dict[str, Callable[[], Segmenter]],
    tmp_path: Path,
) -> None:
    for name, draw in PICTURES.items():
        # Arrange
        picture = draw()
        path, out = tmp_path / name, tmp_path / f"out-{name}"
        picture.save(path)

        # Act
        found = run(path, out, policies[policy](), segmenters[segmenter](), "spleen", UNKNOWN)

        # Assert
        drawn = {file.stem: file for file in out.glob("*.png") if file.stem != "preview"}
        segmented = {text for text, summary in found.items() if str(summary.status) == "segmented"}
        assert drawn.keys() == segmented, name
        for file in drawn.values():
            with Image.open(file) as mask:
                assert (mask.mode, mask.size) == ("L", picture.size), name
                assert set(np.unique(np.asarray(mask))) <= {0, 255}, name
        assert set(found) == {"spleen", UNKNOWN}, name
        assert all(
            str(summary.status) in {"segmented", "absent", "failed"} for summary in found.values()
        )
        assert [one.target.text for one in read_trace(out / "trace.json").targets] == [
            "spleen",
            UNKNOWN,
        ]
        assert (out / "preview.png").is_file()
        if policy != "language":  # a language model takes any words
            assert str(found[UNKNOWN].status) == "failed", name
            assert found[UNKNOWN].reason


MODALITIES = ["xray.png", "ct.tif", "mr.bmp", "ultrasound.jpg", "fundus.png", "endoscopy.jpeg"]


@pytest.mark.parametrize("segmenter", ["fake", "sam2", "sam", "imisnet"])
def test_what_a_language_model_boxes_is_drawn_in_every_modality(
    segmenter: str,
    policies: dict[str, Callable[[], Policy]],
    segmenters: dict[str, Callable[[], Segmenter]],
    tmp_path: Path,
) -> None:
    drawn = 0
    for name in MODALITIES:
        PICTURES[name]().save(tmp_path / name)
        language, out = policies["language"](), tmp_path / f"out-{name}"

        found = run(tmp_path / name, out, language, segmenters[segmenter](), "the bright spot")

        turns = read_trace(out / "trace.json").targets[0].turns
        assert any(turn.area_px is not None for turn in turns), name
        drawn += str(found["the bright spot"].status) == "segmented"
    assert drawn >= len(MODALITIES) / 2  # seeded weights may find nothing in a picture


@pytest.mark.parametrize("name", ["mr.bmp", "ultrasound.jpg", "fundus.png"])
def test_the_shipped_segmenter_draws_the_spot_in_grey_and_in_colour(
    name: str,
    policies: dict[str, Callable[[], Policy]],
    litemedsam: LiteMedSam,
    tmp_path: Path,
) -> None:
    # Arrange
    picture = PICTURES[name]()
    columns, rows = picture.size
    picture.save(tmp_path / name)

    # Act
    run(tmp_path / name, tmp_path / "out", policies["language"](), litemedsam, "bright spot")

    # Assert
    truth = scene(rows, columns) > 0.7
    with Image.open(tmp_path / "out" / "bright_spot.png") as drawn:
        mask = np.asarray(drawn) > 0
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.8
