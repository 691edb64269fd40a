"""The embedded planner: what it knows, what it draws first, how it corrects itself, when it says
absent.

The lungs' rule needs no network, so they show the policy's whole course exactly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from agent.actions import Absent, AddBox, Stop
from agent.episode.loop import run_episode
from agent.fakes import ArraySlices, FakeEncoding, FakeSegmenter
from agent.limits import Limits
from agent.ports import Observation
from agent.turns import Outcome, Turn
from agent.values import Box, Role, Segmentation, Target
from models.policies.locator.maps import OrganMaps
from models.policies.locator.net import EMBEDDING_SHAPE, Locator
from models.policies.locator.policy import LocatorPolicy, agreement, expected_dice
from models.policies.locator.presence import area_px, presence

LUNG = Target("right lung", "right_lung")


class WideEncoding(FakeEncoding):
    """The fake's encoding with an embedding (256, 64, 64) that holds nothing but the slice's
    brightness.
    """

    @property
    def embedding(self) -> NDArray[np.float32]:
        """The slice's mean in every channel."""
        return np.full(EMBEDDING_SHAPE, self.image.mean(), dtype=np.float32)


class WideSegmenter(FakeSegmenter):
    """The fake with an embedding of the network's shape."""

    def encode(self, image: NDArray[np.float32]) -> WideEncoding:
        """Keep the slice."""
        return WideEncoding(image)


def chest(*, lungs: bool = True) -> NDArray[np.float32]:
    """A windowed slice with two lungs and vessels in them."""
    y, x = np.mgrid[:128, :160]
    image = np.zeros((128, 160), dtype=np.float32)
    image[((y - 64) / 50) ** 2 + ((x - 80) / 70) ** 2 < 1] = 0.5
    if lungs:
        for centre in (45, 115):
            image[((y - 64) / 32) ** 2 + ((x - centre) / 20) ** 2 < 1] = 0
            image[56:60, centre : centre + 4] = image[70:74, centre : centre + 4] = 0.6
    return image


@pytest.fixture
def policy(tmp_path: Path) -> LocatorPolicy:
    """The planner on weights that know nothing."""
    save_file(Locator().state_dict(), tmp_path / "random.safetensors")
    return LocatorPolicy(tmp_path / "random.safetensors", views=None)


def chest_slices(*shows: bool) -> ArraySlices:
    """A volume with lungs on the slices that say so, 3 mm apart."""
    stack = np.stack([chest(lungs=one) for one in shows])
    return ArraySlices(stack, WideSegmenter(), spacing_mm=(3.0, 1.0, 1.0))


class BrightnessLocator(Locator):
    """Takes what is brighter than the rest of the slice for spleen, cell by cell."""

    def __init__(self) -> None:
        super().__init__()
        background, spleen, picture = slice(0, 4), slice(4, 8), EMBEDDING_SHAPE[0]
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            values = self.state_dict()  # the parameters themselves, by name
            values["stem.1.weight"][0, picture] = 1.0
            values["head.0.weight"].fill_(1.0)
            values["head.2.weight"][spleen, 0] = 20.0
            values["head.2.bias"][background] = 5.0


def lung_of(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The right lung of `chest`, vessels included."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.asarray(((y - 64) / 32) ** 2 + ((x - 45) / 20) ** 2 < 1)


def segmentation(mask: NDArray[np.bool_], iou: float = 0.9) -> Segmentation:
    """A segmenter's answer with `mask`."""
    return Segmentation(mask, np.zeros((4, 4), dtype=np.float32), iou)


def test_it_names_what_it_knows(policy: LocatorPolicy) -> None:
    assert not policy.knowledge.knows(Target("the tumour"))
    assert policy.knowledge.knows(Target("left kidney", "left_kidney"))
    assert policy.knowledge.modalities == ("CT",)


def test_the_survey_finds_the_slices_with_the_structure(policy: LocatorPolicy) -> None:
    survey = policy.localise(LUNG, chest_slices(False, True, True, True, False, False))

    assert not survey.absent
    assert set(survey.key_slices) <= {1, 2, 3}
    assert [likely > 0.5 for likely in survey.presence] == [False, True, True, True, False, False]


def test_the_survey_says_absent_with_a_reason(policy: LocatorPolicy) -> None:
    survey = policy.localise(LUNG, chest_slices(False, False, False))

    assert survey.absent
    assert survey.reason == "not seen on any slice when the whole was surveyed"
    assert max(survey.presence) < 0.5


def test_lungs_on_a_single_thin_slice_are_looked_at_and_never_called_absent(
    policy: LocatorPolicy,
) -> None:
    """A run of 6 mm was asked for, and "absent" said of a presence of 0.99."""
    survey = policy.localise(LUNG, chest_slices(False, False, True, False, False))

    assert survey.key_slices == (2,)
    assert max(survey.presence) > 0.9


def test_an_organ_is_looked_for_with_the_network_on_every_slice(policy: LocatorPolicy) -> None:
    slices = chest_slices(True, True)

    survey = policy.localise(Target("liver", "liver"), slices)

    assert len(survey.presence) == 2
    assert slices.encoder_passes == 2


def test_thin_slices_without_a_sign_of_it_are_not_encoded(tmp_path: Path) -> None:
    """The answer is that of a look at every slice, for fewer runs of the encoder."""
    # Arrange: a bright disc on slices 3 to 5 of 24, 2 mm apart
    save_file(BrightnessLocator().state_dict(), tmp_path / "bright.safetensors")
    stack = np.full((24, 64, 64), 0.3, dtype=np.float32)
    y, x = np.mgrid[:64, :64]
    stack[3:6, (y - 30) ** 2 + (x - 34) ** 2 < 100] = 1.0
    slices = ArraySlices(stack, WideSegmenter(), (2.0, 1.0, 1.0))
    policy = LocatorPolicy(tmp_path / "bright.safetensors", views=None)

    # Act
    survey = policy.localise(Target("spleen", "spleen"), slices)

    # Assert
    passes = slices.encoder_passes
    maps = OrganMaps(policy._locator, slices)
    areas = [area_px(maps.map(z, "spleen")) for z in range(24)]
    assert passes < 20
    assert survey.presence == tuple(presence("spleen", area, alone=False) for area in areas)
    assert {3, 5} <= {z for z, likely in enumerate(survey.presence) if likely > 0.5}


def bright_stack(first: int, end: int, step_mm: float) -> ArraySlices:
    """24 slices `step_mm` apart, a bright disc on those from `first` to before `end`."""
    stack = np.full((24, 64, 64), 0.3, dtype=np.float32)
    y, x = np.mgrid[:64, :64]
    stack[first:end, (y - 30) ** 2 + (x - 34) ** 2 < 100] = 1.0
    return ArraySlices(stack, WideSegmenter(), (step_mm, 1.0, 1.0))


def test_of_thin_slices_it_looks_at_those_the_step_apart(tmp_path: Path) -> None:
    """The survey is that of a volume with every second slice, told for all of them."""
    # Arrange
    save_file(BrightnessLocator().state_dict(), tmp_path / "bright.safetensors")
    policy = LocatorPolicy(tmp_path / "bright.safetensors", views=None, look_step_mm=4.0)
    thin, spleen = bright_stack(5, 16, 2.0), Target("spleen", "spleen")
    thick_stack = np.stack([thin.image(z) for z in (*range(0, 24, 2), 23)])
    thick = ArraySlices(thick_stack, WideSegmenter(), (4.0, 1.0, 1.0))

    # Act
    survey, of_thick = policy.localise(spleen, thin), policy.localise(spleen, thick)

    # Assert
    assert thin.encoder_passes == 13
    assert survey.presence[:23:2] == of_thick.presence[:12]
    assert all(z % 2 == 0 or z == 23 for z in survey.key_slices)
    assert [z // 2 for z in survey.key_slices] == list(of_thick.key_slices)
    # a slice between two is between them in presence too
    for z in range(1, 22, 2):
        low, high = sorted((survey.presence[z - 1], survey.presence[z + 1]))
        assert low <= survey.presence[z] <= high


def test_a_slice_off_the_step_is_looked_at_when_it_is_worked_on(tmp_path: Path) -> None:
    # Arrange
    save_file(BrightnessLocator().state_dict(), tmp_path / "bright.safetensors")
    policy = LocatorPolicy(tmp_path / "bright.safetensors", views=None, look_step_mm=4.0)
    slices, spleen = bright_stack(0, 24, 2.0), Target("spleen", "spleen")
    policy.localise(spleen, slices)
    before = slices.encoder_passes

    # Act
    reply = policy.act(Observation(spleen, slices, 9, Role.CARRY))

    # Assert: itself and no further neighbour
    assert isinstance(reply.action, AddBox)
    assert slices.encoder_passes == before + 1


def test_without_a_step_every_slice_has_a_say(tmp_path: Path) -> None:
    save_file(BrightnessLocator().state_dict(), tmp_path / "bright.safetensors")
    slices = bright_stack(0, 24, 2.0)

    LocatorPolicy(tmp_path / "bright.safetensors", views=None).localise(
        Target("spleen", "spleen"), slices
    )

    assert slices.encoder_passes == 24


def test_an_area_is_that_of_the_map(policy: LocatorPolicy) -> None:
    """All organs are counted at once; the numbers are those of each map by itself."""
    # Arrange
    maps = OrganMaps(policy._locator, chest_slices(True, True))

    # Act, Assert
    for organ in ("liver", "spleen", "aorta", "right_lung"):
        assert maps.area(1, organ) == area_px(maps.map(1, organ))


def test_beside_another_segmenter_it_encodes_each_slice_itself_and_once(tmp_path: Path) -> None:
    # Arrange: the segmenter's own embedding has another shape, as those of IMIS-Net and SAM 2 have
    save_file(BrightnessLocator().state_dict(), tmp_path / "bright.safetensors")
    encoded: list[NDArray[np.float32]] = []

    def own_encoder(image: NDArray[np.float32]) -> WideEncoding:
        encoded.append(image)
        return WideEncoding(image)

    policy = LocatorPolicy(tmp_path / "bright.safetensors", views=None, own_encoder=own_encoder)
    image = np.zeros((256, 256), dtype=np.float32)
    image[100:140, 60:100] = 1.0
    slices = ArraySlices(np.stack([image] * 3), FakeSegmenter(), spacing_mm=(4.0, 1.0, 1.0))
    spleen, liver = Target("spleen", "spleen"), Target("liver", "liver")

    # Act
    survey = policy.localise(spleen, slices)
    policy.localise(liver, slices)
    reply = policy.act(Observation(spleen, slices, 1, Role.KEY))

    # Assert
    assert not survey.absent
    assert isinstance(reply.action, AddBox)
    assert len(encoded) == 3
    assert slices.encoder_passes == 0


def test_the_first_box_goes_round_the_structure(policy: LocatorPolicy) -> None:
    reply = policy.act(Observation(LUNG, chest_slices(True), 0, Role.KEY))

    tight = Box.around(lung_of(chest()))
    assert isinstance(reply.action, AddBox)
    box = reply.action.box
    assert tight.x0 - 4 <= box.x0 <= tight.x0
    assert tight.x1 <= box.x1 <= tight.x1 + 4


def test_a_slice_without_the_structure_is_answered_absent(policy: LocatorPolicy) -> None:
    reply = policy.act(Observation(LUNG, chest_slices(False), 0, Role.KEY))

    assert isinstance(reply.action, Absent)


@pytest.mark.parametrize(
    ("side_px", "count", "expected"), [(12, 1, Absent), (12, 2, AddBox), (40, 1, AddBox)]
)
def test_a_lone_slice_must_show_more_than_one_among_others(
    tmp_path: Path, side_px: int, count: int, expected: type
) -> None:
    # Arrange
    save_file(BrightnessLocator().state_dict(), tmp_path / "bright.safetensors")
    policy = LocatorPolicy(tmp_path / "bright.safetensors", views=None)
    image = np.zeros((256, 256), dtype=np.float32)
    image[100 : 100 + side_px, 60 : 60 + side_px] = 1.0
    slices = ArraySlices(np.stack([image] * count), WideSegmenter(), spacing_mm=(4.0, 1.0, 1.0))
    spleen = Target("spleen", "spleen")

    # Act
    survey = policy.localise(spleen, slices)
    reply = policy.act(Observation(spleen, slices, 0, Role.KEY))

    # Assert
    assert survey.absent == (expected is Absent)
    assert isinstance(reply.action, expected)


def test_a_box_is_never_repeated_and_it_stops_in_the_end(policy: LocatorPolicy) -> None:
    # Arrange
    slices = chest_slices(True)
    turns: list[Turn] = []
    boxes: list[Box] = []

    # Act
    for index in range(8):
        reply = policy.act(Observation(LUNG, slices, 0, Role.KEY, turns=tuple(turns)))
        if not isinstance(reply.action, AddBox):
            break
        boxes.append(reply.action.box)
        turns.append(Turn(0, index, Role.KEY, reply.action, Outcome.KEPT, score=0.5))

    # Assert
    assert isinstance(reply.action, Stop)
    assert len(set(boxes)) == len(boxes)
    assert 1 <= len(boxes) <= 4


def test_a_good_mask_ends_the_episode(policy: LocatorPolicy) -> None:
    drawn = Turn(0, 0, Role.KEY, AddBox(Box(1, 1, 5, 5)), Outcome.KEPT, score=0.97)

    reply = policy.act(Observation(LUNG, chest_slices(True), 0, Role.KEY, turns=(drawn,)))

    assert isinstance(reply.action, Stop)


def test_the_right_mask_scores_above_a_flood_and_a_miss(policy: LocatorPolicy) -> None:
    start = Observation(LUNG, chest_slices(True), 0, Role.KEY)
    right = lung_of(chest())

    scores = [
        policy.score(start, segmentation(mask))
        for mask in (right, np.ones_like(right), np.roll(right, 80, axis=1))
    ]

    assert scores[0] > 0.9
    assert scores[0] > scores[1] > scores[2]


def test_a_neighbours_mask_counts_when_carried(policy: LocatorPolicy) -> None:
    slices = chest_slices(True, True)
    elsewhere = np.zeros((128, 160), dtype=bool)
    elsewhere[60:70, 75:85] = True

    alone = policy.score(Observation(LUNG, slices, 0, Role.CARRY), segmentation(elsewhere))
    carried = policy.score(
        Observation(LUNG, slices, 0, Role.CARRY, carried=elsewhere), segmentation(elsewhere)
    )

    assert carried > alone


def test_another_neighbours_mask_is_not_mistaken_for_the_last_one(policy: LocatorPolicy) -> None:
    slices = chest_slices(True, True)
    drawn = lung_of(chest())

    def score(carried: NDArray[np.bool_] | None) -> float:
        start = Observation(LUNG, slices, 0, Role.CARRY, carried=carried)
        return policy.score(start, segmentation(drawn, iou=0.5))

    agreeing, elsewhere = score(drawn), score(np.roll(drawn, 80, axis=1))

    assert agreeing > elsewhere
    assert score(None) > elsewhere
    assert score(drawn) == agreeing


def test_an_episode_runs_through_the_agents_loop(policy: LocatorPolicy) -> None:
    segmenter = WideSegmenter()
    slices = ArraySlices(chest()[None], segmenter)
    turns = list(run_episode(Observation(LUNG, slices, 0, Role.KEY), policy, segmenter, Limits()))

    assert isinstance(turns[0].action, AddBox)
    assert turns[0].outcome is Outcome.KEPT
    assert len(turns) <= Limits().max_turns


def test_agreement_is_dice_for_a_map_that_is_sure() -> None:
    mask = np.zeros((4, 4), dtype=bool)
    mask[:2] = True
    half = np.zeros((4, 4), dtype=np.float32)
    half[1:3] = 1

    assert agreement(mask, mask.astype(np.float32)) == 1
    assert agreement(mask, half) == pytest.approx(0.5)
    assert agreement(np.zeros_like(mask), np.zeros_like(half)) == 0


def test_the_expected_dice_is_a_share() -> None:
    assert expected_dice(0.0, 0.0) == 0
    assert expected_dice(1.0, 1.0) == 1
    assert 0.4 < expected_dice(0.7, 0.7) < 0.9


def test_neighbouring_slices_are_averaged(policy: LocatorPolicy, tmp_path: Path) -> None:
    network = Locator().eval()
    dark, bright = np.zeros((64, 64), np.float32), np.full((64, 64), 0.8, np.float32)
    stack = np.stack([dark, bright, dark])

    def spread(step_mm: float) -> float:
        slices = ArraySlices(stack, WideSegmenter(), spacing_mm=(step_mm, 1.0, 1.0))
        maps = OrganMaps(network, slices)
        return float(np.abs(maps.map(0, "liver") - maps.map(1, "liver")).max())

    assert spread(1.0) < spread(50.0)


def test_maps_have_the_slices_own_shape(policy: LocatorPolicy) -> None:
    slices = ArraySlices(np.zeros((1, 96, 200), np.float32), WideSegmenter())

    shown = OrganMaps(Locator().eval(), slices).map(0, "aorta")

    assert shown.shape == (96, 200)
    assert 0 <= shown.min() <= shown.max() <= 1
