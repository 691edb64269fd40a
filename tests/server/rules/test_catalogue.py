"""What a person types becomes a coded structure, or free text that is passed on as said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes

from agent.values import Target
from server.errors import ConfigurationError
from server.rules.catalogue import load_catalogue

CATALOGUE = load_catalogue()


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ("liver", ["liver"]),
        ("  LIVER ", ["liver"]),
        ("Left_Kidney", ["left_kidney"]),
        ("left-kidney", ["left_kidney"]),
        ("linke Niere", ["left_kidney"]),
        ("Hígado", ["liver"]),
        ("Hi\u0301gado", ["liver"]),  # the accent as a character of its own (NFD)
        ("oesophagus", ["esophagus"]),
        ("kidneys", ["right_kidney", "left_kidney"]),
    ],
)
def test_names_resolve(typed: str, keys: list[str]) -> None:
    assert [target.structure for target in CATALOGUE.targets(typed)] == keys


def test_free_text_stays_as_it_was_said() -> None:
    (target,) = CATALOGUE.targets("the organ that stores bile")

    assert target == Target("the organ that stores bile", None)
    coded = CATALOGUE.structure(target)
    assert coded.label == "the organ that stores bile"
    assert coded.type.scheme == "99SEGNODE"
    assert 1 <= len(coded.type.value) <= 16


@pytest.mark.parametrize("text", ["", "   ", "x" * 5000, "🫀"])
def test_any_text_gets_a_code_that_dicom_takes(text: str) -> None:
    coded = CATALOGUE.structure(Target(text, None))

    assert 1 <= len(coded.type.value) <= 16
    assert 1 <= len(coded.type.meaning) <= 64


@pytest.mark.parametrize(
    ("key", "keyword", "side"),
    [
        ("liver", "Liver", None),
        ("spleen", "Spleen", None),
        ("stomach", "Stomach", None),
        ("aorta", "Aorta", None),
        ("left_kidney", "Kidney", "Left"),
        ("right_kidney", "Kidney", "Right"),
        ("gallbladder", "Gallbladder", None),
        ("esophagus", "Esophagus", None),
        ("inferior_vena_cava", "InferiorVenaCava", None),
        ("portal_and_splenic_vein", "PortalVein", None),
        ("pancreas", "Pancreas", None),
        ("left_adrenal_gland", "AdrenalGland", "Left"),
        ("right_lung", "Lung", "Right"),
    ],
)
def test_codes_are_those_of_the_standards_dictionary(
    key: str, keyword: str, side: str | None
) -> None:
    structure = CATALOGUE.structures[key]

    assert structure.type.value == getattr(codes.SCT, keyword).value
    assert (structure.laterality.value if structure.laterality else None) == (
        getattr(codes.SCT, side).value if side else None
    )


def test_every_colour_is_a_cielab_colour_of_its_own() -> None:
    colours = [structure.cielab for structure in CATALOGUE.structures.values()]

    assert len(set(colours)) == len(colours)
    assert all(
        0 <= light <= 100 and -128 <= a <= 127 and -128 <= b <= 127 for light, a, b in colours
    )


CODING = """
[categories]
anatomical_structure = ["1", "m"]
[sides]
left = ["7771000", "Left"]
right = ["24028007", "Right"]
[words]
left = ["left"]
right = ["right"]
both = []
fillers = ["of"]
pictures = []
settings = []
"""
ONE = '[one]\nnames=["same"]\ntype=["1","One"]\ncielab=[1.0,2.0,3.0]\n'


@pytest.mark.parametrize(
    ("second", "fault"),
    [
        ('[two]\nnames=["Sáme"]\ntype=["2","Two"]\ncielab=[1.0,2.0,4.0]\n', "'same' stands for two"),
        ('[one]\nnames=["other"]\ntype=["2","Two"]\ncielab=[1.0,2.0,4.0]\n', "'one' is in .* twice"),
        ('[two]\nnames=["both"]\nall_of=["one", "gone"]\n', "'two' refers to 'gone'"),
        ('[two\n', "two.toml cannot be read"),
    ],
)  # fmt: skip
def test_a_catalogue_that_contradicts_itself_is_refused(
    second: str, fault: str, tmp_path: Path
) -> None:
    (tmp_path / "coding.toml").write_text(CODING, encoding="utf-8")
    (tmp_path / "one.toml").write_text(ONE, encoding="utf-8")
    (tmp_path / "two.toml").write_text(second, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=fault):
        load_catalogue(tmp_path)


def test_free_text_in_any_script_has_a_code_of_its_own() -> None:
    texts = [
        "胆汁を溜める臓器",
        "胆汁を溜める器官",
        "орган желчи",
        "x" * 63 + "a" * 9,
        "x" * 63 + "b" * 9,
    ]

    coded = [CATALOGUE.structure(Target(text)) for text in texts]

    assert len({one.type.value for one in coded}) == len(texts)
    assert len({one.tracking_id for one in coded}) == len(texts)
    assert all(re.fullmatch("[A-Z0-9]{1,16}", one.type.value) for one in coded)
    # what the result's character set cannot hold is named by its code, not by question marks
    assert coded[0].label == f"Free text {coded[0].type.value}"
    assert coded[3].label == ("x" * 63 + "a")


def test_the_same_words_in_free_text_have_the_same_code() -> None:
    one, other = (CATALOGUE.structure(Target(text)) for text in ("The  Thing", "the thing"))

    assert one.type.value == other.type.value
