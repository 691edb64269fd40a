"""The file of turns' masks: added to once, whole after a crash, refused when it was changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.actions import Stop
from agent.fakes import ellipse
from agent.turn_masks import TurnMasks
from agent.turns import Outcome, Turn
from agent.values import Role
from server.errors import ReplayError
from server.study.turn_mask_file import TurnMaskFile, read_turn_masks


def drawn(slice_index: int, index: int, radius: float = 5.0) -> Turn:
    """A turn with a round mask."""
    mask = ellipse((64, 64), (30, 30), (radius, radius))
    masks = TurnMasks.of({slice_index: mask})
    return Turn(slice_index, index, Role.KEY, Stop(), Outcome.KEPT, masks=masks)


def key_of(target: int, turn: Turn) -> tuple[int, int, int, str]:
    assert turn.masks is not None
    return target, turn.slice_index, turn.index, turn.masks.digest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "turns.masks"


def test_every_mask_is_found_by_target_slice_and_turn(path: Path) -> None:
    # Arrange
    kept = TurnMaskFile(path)
    turns = [(0, drawn(3, 0)), (0, drawn(3, 1, 7)), (1, drawn(3, 0, 9))]

    # Act
    for target, turn in turns:
        kept.add(target, turn)

    # Assert
    stored = read_turn_masks(path)
    assert list(stored) == [key_of(*pair) for pair in turns]
    for pair in turns:
        masks = pair[1].masks
        assert masks is not None
        expected = masks.unpacked()[3]
        np.testing.assert_array_equal(stored[key_of(*pair)].unpacked()[3], expected)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_repeated_turn_adds_nothing_whoever_repeats_it(path: Path) -> None:
    first = TurnMaskFile(path)
    first.add(0, drawn(3, 0))
    size = path.stat().st_size

    first.add(0, drawn(3, 0))
    TurnMaskFile(path).add(0, drawn(3, 0))

    assert path.stat().st_size == size


def test_the_same_turn_with_another_mask_is_kept_beside_the_first(path: Path) -> None:
    # a model that answers otherwise after a crash: the row will name the second by its digest
    first, second = drawn(3, 0), drawn(3, 0, 8)
    TurnMaskFile(path).add(0, first)

    TurnMaskFile(path).add(0, second)

    assert list(read_turn_masks(path)) == [key_of(0, first), key_of(0, second)]


def test_a_turn_that_drew_nothing_makes_no_file(path: Path) -> None:
    TurnMaskFile(path).add(0, Turn(3, 0, Role.KEY, Stop(), Outcome.STOPPED))
    TurnMaskFile(path).add(
        0, Turn(3, 0, Role.KEY, Stop(), Outcome.KEPT, masks=TurnMasks("00" * 16))
    )

    assert not path.exists()


@pytest.mark.parametrize("cut", [1, 30, 60])
def test_what_a_crash_cut_off_is_written_again(path: Path, cut: int) -> None:
    # Arrange: the second record is torn
    TurnMaskFile(path).add(0, drawn(3, 0))
    whole = path.stat().st_size
    TurnMaskFile(path).add(0, drawn(3, 1, 7))
    complete = path.read_bytes()
    path.write_bytes(complete[: whole + cut])
    assert list(read_turn_masks(path)) == [key_of(0, drawn(3, 0))]

    # Act: the step is repeated from its beginning
    again = TurnMaskFile(path)
    again.add(0, drawn(3, 0))
    again.add(0, drawn(3, 1, 7))

    # Assert
    assert path.read_bytes() == complete


def test_two_files_objects_on_one_path_lose_nothing(path: Path) -> None:
    one, other = TurnMaskFile(path), TurnMaskFile(path)

    one.add(0, drawn(1, 0))
    other.add(0, drawn(2, 0))
    one.add(0, drawn(3, 0))

    assert [key[1] for key in read_turn_masks(path)] == [1, 2, 3]


def test_the_mask_is_there_before_anybody_is_told(path: Path) -> None:
    heard = []

    def tell(turn: Turn) -> None:
        heard.append(key_of(0, turn) in read_turn_masks(path))

    TurnMaskFile(path).keeping(0, tell)(drawn(3, 0))

    assert heard == [True]


def test_a_file_that_is_gone_or_none_of_ours_is_told_in_a_sentence(path: Path) -> None:
    with pytest.raises(ReplayError, match="the masks of these turns are gone"):
        read_turn_masks(path)
    path.write_bytes(b"x" * 100)
    with pytest.raises(ReplayError, match="was changed"):
        read_turn_masks(path)
