"""The fakes do a whole job on a synthetic torso, the same way every time."""

from __future__ import annotations

import numpy as np
import pytest

from agent.actions import Absent, AddBox, Stop
from agent.errors import SegmenterFailed, UnknownTarget
from agent.fakes import (
    ArraySlices,
    Band,
    FakeEncoding,
    FakeSegmenter,
    ScriptedPolicy,
    ScriptedSegmenter,
    ThresholdPolicy,
    ellipse,
    segmentation,
)
from agent.ports import Localisation, Observation
from agent.trace import turn_record
from agent.turns import TargetResult, Turn
from agent.values import Box, Point, PromptKind, Prompts, Role, Target, TargetStatus
from agent.volume.order import segment_target
from tests.support import phantoms
from tests.support.fixture_types import RunToEnd


def dice(one: np.ndarray | None, other: np.ndarray) -> float:
    assert one is not None
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.fixture
def torso() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The synthetic torso under the abdominal window, with a little noise, and its masks."""
    grid = phantoms.Grid(shape=(24, 96, 96))
    hu, masks = phantoms.anatomy(grid)
    noisy = hu + np.random.default_rng(5).normal(0, 3, hu.shape)
    return np.clip((noisy + 160) / 400, 0, 1).astype(np.float32), masks


def segment(
    image: np.ndarray, target: Target, run: RunToEnd
) -> tuple[list[Turn], TargetResult, ArraySlices]:
    segmenter = FakeSegmenter()
    slices = ArraySlices(image, segmenter, (5.0, 4.0, 4.0))
    turns, result = run(segment_target(target, slices, ThresholdPolicy(), segmenter))
    return turns, result, slices


@pytest.mark.parametrize(
    ("target", "least"),
    [
        (Target("liver", "liver"), 0.97),
        (Target("the spleen", "spleen"), 0.95),
        (Target("Left kidney"), 0.9),
        (Target("right kidney"), 0.9),
        (Target("aorta"), 0.85),
    ],
)
def test_the_torso_end_to_end(
    torso: tuple[np.ndarray, dict[str, np.ndarray]], run: RunToEnd, target: Target, least: float
) -> None:
    image, masks = torso
    name = (target.structure or target.text.lower()).replace("_", " ")

    turns, result, slices = segment(image, target, run)

    assert result.status is TargetStatus.SEGMENTED
    assert dice(result.voxels, masks[name]) > least
    assert result.confidence > 0.8
    assert len({(turn.slice_index, turn.index) for turn in turns}) == len(turns)
    assert slices.encoder_passes == len({turn.slice_index for turn in turns})


def test_a_band_of_ones_own_finds_what_is_hardly_darker_than_the_rest(
    torso: tuple[np.ndarray, dict[str, np.ndarray]], run: RunToEnd
) -> None:
    image, masks = torso
    segmenter = FakeSegmenter()
    policy = ThresholdPolicy({"stomach": Band(0.46, 0.505, left=0.5)})  # 35 HU in tissue of 50
    slices = ArraySlices(image, segmenter, (5.0, 4.0, 4.0))

    _, result = run(segment_target(Target("stomach"), slices, policy, segmenter))

    assert dice(result.voxels, masks["stomach"]) > 0.9


def test_the_same_work_twice_is_the_same(
    torso: tuple[np.ndarray, dict[str, np.ndarray]], run: RunToEnd
) -> None:
    timeless = {"policy_s": 0, "segmenter_s": 0}

    first, one, _ = segment(torso[0], Target("liver"), run)
    second, other, _ = segment(torso[0], Target("liver"), run)

    assert [turn_record(t) | timeless for t in first] == [turn_record(t) | timeless for t in second]
    assert one.voxels is not None
    assert other.voxels is not None
    assert np.array_equal(one.voxels, other.voxels)


def test_a_torso_without_the_organ_is_absent(
    torso: tuple[np.ndarray, dict[str, np.ndarray]], run: RunToEnd
) -> None:
    image, masks = torso
    image[masks["spleen"]] = 0.525  # like the tissue round it

    _, result, _ = segment(image, Target("spleen"), run)

    assert result.status is TargetStatus.ABSENT
    assert result.reason == "nothing as bright as spleen is there"
    assert result.confidence == 1.0


def test_a_structure_at_the_volumes_edge_is_told(
    torso: tuple[np.ndarray, dict[str, np.ndarray]], run: RunToEnd
) -> None:
    _, result, _ = segment(torso[0], Target("aorta"), run)

    assert {"lower", "upper"} <= {warning.split()[-5] for warning in result.warnings}


class TestFakeSegmenter:
    @pytest.fixture
    def encoding(self) -> FakeEncoding:
        image = np.full((40, 50), 0.2, dtype=np.float32)
        image[ellipse((40, 50), (25, 20), (10, 8))] = 0.8
        return FakeSegmenter().encode(image)

    def test_a_box_is_filled_where_it_is_as_bright_as_its_centre(
        self, encoding: FakeEncoding
    ) -> None:
        answer = FakeSegmenter().segment(encoding, Prompts(Box(12, 10, 38, 30)))

        assert dice(answer.mask, ellipse((40, 50), (25, 20), (10, 8))) > 0.97
        assert answer.mask.dtype == np.bool_
        assert answer.mask.shape == encoding.source_shape == (40, 50)
        assert ((answer.logits > 0).mean()) == pytest.approx(answer.mask.mean(), abs=0.02)

    def test_an_ellipse_fills_pi_quarters_of_its_box(self, encoding: FakeEncoding) -> None:
        answer = FakeSegmenter().segment(encoding, Prompts(Box(12, 10, 38, 30)))

        assert answer.predicted_iou == pytest.approx(
            np.pi / 4, abs=0.07
        )  # its tips are smoothed away

    def test_clicks_add_and_take_away(self, encoding: FakeEncoding) -> None:
        fake = FakeSegmenter()

        added = fake.segment(encoding, Prompts(points=(Point(5, 5),)))
        taken = fake.segment(
            encoding, Prompts(Box(12, 10, 38, 30), (Point(25, 20, positive=False),))
        )

        assert added.mask.sum() == 29  # pixels whose centres lie within 3 px
        assert not taken.mask[20, 25]

    def test_a_box_at_the_corner_of_one_pixel(self, encoding: FakeEncoding) -> None:
        answer = FakeSegmenter().segment(encoding, Prompts(Box(0, 0, 0, 0)))

        assert answer.mask.sum() == 1

    @pytest.mark.parametrize(
        "prompts",
        [Prompts(), Prompts(text="liver"), Prompts(mask=np.ones((40, 50), dtype=np.bool_))],
        ids=["nothing", "text", "an outline"],
    )
    def test_it_needs_a_box_or_clicks(self, encoding: FakeEncoding, prompts: Prompts) -> None:
        with pytest.raises(SegmenterFailed, match="fake needs a box or clicks"):
            FakeSegmenter().segment(encoding, prompts)

    def test_anothers_encoding_is_refused(self) -> None:
        class Other:
            embedding = np.zeros((1, 2, 2), dtype=np.float32)
            high_res = ()
            source_shape = (2, 2)

        with pytest.raises(SegmenterFailed, match="another segmenter"):
            FakeSegmenter().segment(Other(), Prompts())

    def test_what_it_understands(self) -> None:
        assert FakeSegmenter.supported_prompts == {PromptKind.BOX, PromptKind.POINT}


class TestArraySlices:
    def test_each_slice_is_encoded_once_and_only_when_asked_for(self) -> None:
        slices = ArraySlices(np.zeros((3, 8, 9), dtype=np.float32), FakeSegmenter())

        first, again = slices.encoding(1), slices.encoding(1)

        assert first is again
        assert slices.encoder_passes == 1
        assert slices.shape == (3, 8, 9)
        assert slices.image(2).shape == (8, 9)

    def test_an_encoding_has_an_embedding(self) -> None:
        slices = ArraySlices(np.ones((1, 8, 9), dtype=np.float32), FakeSegmenter())

        assert slices.encoding(0).embedding.shape == (1, 64, 64)


class TestThresholdPolicy:
    def test_an_unknown_target_names_the_known_ones(self) -> None:
        slices = ArraySlices(np.zeros((1, 32, 32), dtype=np.float32), FakeSegmenter())

        with pytest.raises(UnknownTarget, match=r"does not know 'soul'\. It knows: liver"):
            ThresholdPolicy().localise(Target("soul"), slices)

    def test_a_carried_slice_without_it_is_absent(self) -> None:
        slices = ArraySlices(np.zeros((1, 32, 32), dtype=np.float32), FakeSegmenter())

        reply = ThresholdPolicy().act(Observation(Target("bright"), slices, 0, Role.CARRY))

        assert reply.action == Absent("nothing in the band")

    def test_any_bright_blob_can_be_asked_for(self, run: RunToEnd) -> None:
        image = np.zeros((5, 32, 32), dtype=np.float32)
        image[1:4, 8:20, 10:24] = 0.9

        _, result, _ = segment(image, Target("bright"), run)

        assert dice(result.voxels, image > 0.5) > 0.97  # the corners are smoothed away


class TestScripts:
    def test_replies_by_slice_come_before_replies_by_role(self) -> None:
        box = AddBox(Box(0, 0, 1, 1))
        policy = ScriptedPolicy(
            Localisation((), (0,)), {(2, Role.CARRY): [box], Role.CARRY: [Absent("ended")]}
        )
        slices = ArraySlices(np.zeros((3, 4, 4), dtype=np.float32), FakeSegmenter())
        seen = Observation(Target("x"), slices, 2, Role.CARRY)

        said = [policy.act(seen).action for _ in range(3)]

        assert said == [box, Absent("ended"), Stop()]
        assert len(policy.observations) == 3

    def test_a_segmenters_script_may_fail_and_ends_failing(self) -> None:
        mask = segmentation(np.ones((4, 4), dtype=np.bool_))
        segmenter = ScriptedSegmenter(["no", mask])
        encoding = segmenter.encode(np.zeros((4, 4), dtype=np.float32))

        with pytest.raises(SegmenterFailed, match="no"):
            segmenter.segment(encoding, Prompts())
        assert segmenter.segment(encoding, Prompts()) is mask
        with pytest.raises(SegmenterFailed, match="the script has ended"):
            segmenter.segment(encoding, Prompts())
        assert len(segmenter.prompts) == 3
