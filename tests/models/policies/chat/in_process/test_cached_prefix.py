"""What two conversations have in common, and what a store of states holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.policies.chat.in_process.cached_prefix import CachedPrefix, KeptStates
from models.policies.chat.in_process.token_sequences import Placed, TokenSequence, placed_pictures

IMAGE = 9


def reading(ids: list[int], *digests: str) -> TokenSequence:
    """Tokens in which each run of three image tokens is the next picture."""
    array = np.array(ids, np.int64)
    return TokenSequence(array, placed_pictures(array, IMAGE, digests, [3] * len(digests)))


def kept(ids: list[int], prompt_tokens: int | None = None) -> CachedPrefix:
    """A state of 8 bytes a token."""
    state = torch.zeros(1, len(ids), 1)
    return CachedPrefix(
        reading(ids), len(ids) if prompt_tokens is None else prompt_tokens, ((state, state),)
    )


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (reading([1, 2, 3]), reading([1, 2, 3]), 3),
        (reading([1, 2, 3]), reading([1, 2, 3, 4]), 3),
        (reading([1, 2, 3]), reading([1, 5, 3]), 1),
        (reading([1, 2]), reading([7, 2]), 0),
        (reading([1, 9, 9, 9, 2], "a"), reading([1, 9, 9, 9, 2, 4], "a"), 5),
        (reading([1, 9, 9, 9, 2], "a"), reading([1, 9, 9, 9, 2], "b"), 1),  # other pixels
        (reading([1, 9, 9, 9, 9, 9, 9], "a", "b"), reading([1, 9, 9, 9, 9, 9, 9], "a", "c"), 4),
    ],
)
def test_what_is_the_same_from_the_start(
    one: TokenSequence, other: TokenSequence, common: int
) -> None:
    assert one.shared(other) == other.shared(one) == common


def test_what_is_common_never_ends_inside_a_picture() -> None:
    cut = TokenSequence(np.array([1, 9, 9], np.int64), (Placed("a", 1, 4),))

    assert cut.shared(reading([1, 9, 9, 9, 2], "a")) == 1


def test_pictures_lie_where_their_tokens_lie() -> None:
    ids = np.array([1, IMAGE, 5, IMAGE, 2, IMAGE], np.int64)

    placed = placed_pictures(ids, IMAGE, ["a", "b"], [2, 1])

    assert placed == (Placed("a", 1, 4), Placed("b", 5, 6))


def test_a_wrong_number_of_image_tokens_is_said() -> None:
    with pytest.raises(ValueError, match="2 tokens stand for pictures, not 3"):
        placed_pictures(np.array([IMAGE, IMAGE]), IMAGE, ["a"], [3])


def test_the_longest_common_start_is_found_but_for_the_last_token() -> None:
    store = KeptStates(1000)
    store.put(kept([1, 2]))
    store.put(kept([1, 2, 3, 4]))

    found = store.find(reading([1, 2, 3, 4]))

    assert found is not None
    assert found.tokens == 3
    assert found.entry.reading.ids.tolist() == [1, 2, 3, 4]


def test_nothing_in_common_finds_nothing() -> None:
    store = KeptStates(1000)
    store.put(kept([1, 2]))

    assert store.find(reading([2, 1])) is None


def test_the_continuation_of_an_episode_takes_its_place() -> None:
    store = KeptStates(1000)
    store.put(kept([1, 2, 7, 7], prompt_tokens=2))
    longer = reading([1, 2, 7, 3, 4])

    store.put(kept([1, 2, 7, 3, 4]), store.find(longer))

    assert len(store) == 1


def test_an_episode_that_only_begins_alike_stays_beside() -> None:
    store = KeptStates(1000)
    store.put(kept([1, 2, 3], prompt_tokens=3))
    other = reading([1, 2, 8, 8])

    store.put(kept([1, 2, 8, 8]), store.find(other))

    assert len(store) == 2


def test_the_one_used_longest_ago_goes_first() -> None:
    store = KeptStates(3 * 16)
    for first in (1, 2, 3):
        store.put(kept([first, 0]))
    store.find(reading([1, 0, 0]))

    store.put(kept([4, 0]))

    assert store.nbytes == 3 * 16
    assert [store.find(reading([first, 0, 0])) is None for first in (1, 2, 3, 4)] == [
        False,
        True,
        False,
        False,
    ]


def test_a_state_larger_than_the_limit_drives_nothing_out() -> None:
    store = KeptStates(3 * 16)
    store.put(kept([1, 2]))

    store.put(kept(list(range(10, 20))))

    assert store.find(reading([1, 2, 3])) is not None
    assert len(store) == 1
