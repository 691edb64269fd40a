"""Names as people type them: what is compared, what is left out, and what is not guessed."""

from __future__ import annotations

import pytest

from server.rules.synonyms import Names, Words, fold, spellings, words_of

WORDS = Words.of(
    {
        "left": ["left", "links"],
        "right": ["right", "rechts"],
        "both": ["both", "bilateral"],
        "fillers": ["the", "of", "in", "l", "d"],
        "pictures": ["ct", "mr"],
        "settings": ["in", "abdomen"],
    }
)
NAMES = Names(
    WORDS,
    keys={"liver": ("liver",), "kidneys": ("left_kidney", "right_kidney"), "l 1": ("l1",)},
    sided={"kidney": ("left_kidney", "right_kidney")},
    places={"liver": "liver", "leber": "liver", "kidney": "kidney", "left lung": "left_lung"},
    findings={"cyst": "cyst", "simple cyst": "simple_cyst", "zyste": "cyst"},
    side_of={"liver": "", "left_kidney": "left", "right_kidney": "right", "left_lung": "left"},
    sides_of={"kidney": {"left": "left_kidney", "right": "right_kidney"}},
)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("  The LIVER ", ("liver",)),
        ("liver in abdomen CT", ("liver",)),
        ("kidneys", ("left_kidney", "right_kidney")),
        ("Kidney, rechts", ("right_kidney",)),
        ("both kidneys", ("left_kidney", "right_kidney")),
        ("L1", ("l1",)),  # a letter before a number is no article
        ("simple cyst of the left kidney", ("left_kidney_simple_cyst",)),  # the longest finding
        ("Leberzyste", ("liver_cyst",)),
    ],
)
def test_a_name_is_read_as_it_is_typed(text: str, keys: tuple[str, ...]) -> None:
    assert NAMES.keys_of(text) == keys


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ,-_ ",
        "the",
        "kidney",  # without a side it is two things
        "left",
        "left liver",
        "right left kidney",  # two sides: neither
        "lever",  # a slip of the pen
        "left liver cyst",
        "cyst",
        "zyste",
        "abzyste",  # what is left of it is no word
        "ct",
    ],
)
def test_what_no_name_says_is_not_guessed(text: str) -> None:
    assert NAMES.keys_of(text) is None


def test_letters_that_no_decomposition_takes_apart_are_plain() -> None:
    assert words_of("Œsophage") == ("oesophage",)
    assert words_of("Wątroba, tętnica_płucna") == ("watroba", "tetnica", "plucna")
    assert spellings("speiseröhre") == ("speiseröhre", "speiseroehre")
    assert spellings("Liver") == ("Liver",)


def test_texts_are_compared_without_case_and_spacing() -> None:
    # the second is written with a combining diaeresis
    assert fold("  Große__MILZ-\tVene ") == "grosse milz vene"
    assert fold("Röhre") == fold("Ro\u0308hre")
