"""The whole catalogue: every name one thing, every code from a list that is not ours, every
language understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydicom.sr._concepts_dict import concepts

from agent.values import Target
from models.images.windows import ABDOMEN, BONE, BRAIN, LUNG, MEDIASTINUM, window_for
from server.rules.catalogue import PRIVATE_SCHEME, Structure, load_catalogue

CATALOGUE = load_catalogue()
DICOMS_OWN: Mapping[str, Mapping[str, Any]] = concepts  # scheme -> keyword -> by value
LISTED = {
    scheme: {value for values in keywords.values() for value in values}
    for scheme, keywords in DICOMS_OWN.items()
}

_SIDES = ("left", "right")
_RIBS = [f"rib_{side}_{n}" for side in _SIDES for n in range(1, 13)]
_VERTEBRAE = [
    f"vertebrae_{level}{n}" for level, last in (("C", 7), ("T", 12), ("L", 5)) for n in range(1, last + 1)
]  # fmt: skip
_PAIRED = "adrenal_gland kidney lung_upper_lobe lung_lower_lobe iliac_artery iliac_vena humerus scapula clavicula femur hip gluteus_maximus gluteus_medius gluteus_minimus autochthon iliopsoas"
_SINGLE = "spleen gallbladder liver stomach pancreas lung_middle_lobe_right esophagus trachea small_bowel duodenum colon urinary_bladder aorta inferior_vena_cava portal_vein_and_splenic_vein brain sacrum"
_BOTH_VERSIONS = [
    *_SINGLE.split(),
    *(f"{name}_{side}" for name in _PAIRED.split() for side in _SIDES),
    *_RIBS,
    *_VERTEBRAE,
]
#: The classes of TotalSegmentator's tasks, as its own package lists them (2.18, "map to binary")
TOTAL_V1 = [
    *_BOTH_VERSIONS,
    *[
        "face",
        "heart_myocardium",
        "heart_atrium_left",
        "heart_ventricle_left",
        "heart_atrium_right",
        "heart_ventricle_right",
        "pulmonary_artery",
    ],
]
TOTAL_V2 = [
    *_BOTH_VERSIONS,
    *["thyroid_gland", "prostate", "kidney_cyst_left", "kidney_cyst_right", "vertebrae_S1", "heart", "pulmonary_vein", "brachiocephalic_trunk"],
    *(f"{name}_{side}" for name in ("subclavian_artery", "common_carotid_artery", "brachiocephalic_vein") for side in _SIDES),
    *["atrial_appendage_left", "superior_vena_cava", "spinal_cord", "skull", "sternum", "costal_cartilages"],
]  # fmt: skip
TOTAL_MR = [
    "spleen",
    "kidney_right",
    "kidney_left",
    "gallbladder",
    "liver",
    "stomach",
    "pancreas",
    "adrenal_gland_right",
    "adrenal_gland_left",
    "lung_left",
    "lung_right",
    "esophagus",
    "small_bowel",
    "duodenum",
    "colon",
    "urinary_bladder",
    "prostate",
    "sacrum",
    "intervertebral_discs",
    "spinal_cord",
    "heart",
    "aorta",
    "inferior_vena_cava",
    "portal_vein_and_splenic_vein",
    "iliac_artery_left",
    "iliac_artery_right",
    "iliac_vena_left",
    "iliac_vena_right",
    "humerus_left",
    "humerus_right",
    "scapula_left",
    "scapula_right",
    "clavicula_left",
    "clavicula_right",
    "femur_left",
    "femur_right",
    "hip_left",
    "hip_right",
    "gluteus_maximus_left",
    "gluteus_maximus_right",
    "gluteus_medius_left",
    "gluteus_medius_right",
    "gluteus_minimus_left",
    "gluteus_minimus_right",
    "autochthon_left",
    "autochthon_right",
    "iliopsoas_left",
    "iliopsoas_right",
    "brain",
]

#: Targets of the papers' data sets as far as they are known, in the words of their labels
DATASETS = [
    # BTCV, FLARE22, CHAOS
    *["spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta", "inferior vena cava"],
    *["portal vein and splenic vein", "pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "postcava"],
    # KiTS, LiTS and the decathlon
    *["kidney tumor", "kidney cyst", "liver tumor", "lung nodule", "pancreas tumor", "colon cancer", "hepatic vessels", "lung lesion"],
    # polyps, breast and liver ultrasound
    *["polyp", "neoplastic polyp", "non-neoplastic polyp", "benign tumor in breast ultrasound", "malignant tumor in breast ultrasound", "liver in ultrasound"],
    # fundus, X-ray, endoscopy
    *["optic disc in retinal fundus", "optic cup in retinal fundus", "retinal vessels", "heart in chest x-ray", "surgical instrument in endoscopy"],
    # hearts
    *["left ventricle", "right ventricle", "left heart ventricle in cardiac MRI", "left ventricular myocardium", "left heart atrium"],
    # brain tumours, prostates
    *["whole tumor", "tumor core", "enhancing tumor", "peritumoral edema", "necrotic core", "prostate", "peripheral zone of prostate", "transition zone"],
]  # fmt: skip


def keys(text: str) -> list[str | None]:
    """The structures that a text stands for."""
    return [target.structure for target in CATALOGUE.targets(text)]


def side_of(structure: Structure) -> str:
    """The side that a code is modified by, of the structure or of where it lies."""
    region = structure.region
    side = structure.laterality or (region.laterality if region else None)
    return side.meaning.lower() if side else ""


class TestWhatIsKnown:
    def test_all_classes_of_the_ct_and_mr_tasks(self) -> None:
        assert (len(TOTAL_V1), len(TOTAL_V2), len(TOTAL_MR) + 1) == (104, 117, 50)
        unknown = [
            name
            for name in {*TOTAL_V1, *TOTAL_V2, *TOTAL_MR}
            if len(keys(name)) != 1 or keys(name) == [None]
        ]

        assert unknown == []

    def test_the_one_class_for_all_vertebrae_is_a_group(self) -> None:
        assert len(keys("vertebrae")) == 24

    def test_classes_are_told_apart(self) -> None:
        for task in (TOTAL_V1, TOTAL_V2, TOTAL_MR):
            assert len({keys(name)[0] for name in task}) == len(task)

    @pytest.mark.parametrize("text", DATASETS)
    def test_targets_of_the_papers_data(self, text: str) -> None:
        assert len(keys(text)) == 1
        assert keys(text) != [None]


class TestNames:
    @pytest.mark.parametrize(
        "typed",
        [
            "left kidney", "kidney left", "kidney, left", "Left_Kidney", "the left kidney", "lt kidney",
            "linke Niere", "Niere links", "die linke Niere", "rein gauche", "le rein gauche",
            "riñón izquierdo", "rinon izquierdo", "Riñon  Izquierdo", "rene sinistro", "il rene sinistro", "rene sx",
        ],
    )  # fmt: skip
    def test_a_side_in_any_place_and_language(self, typed: str) -> None:
        assert keys(typed) == ["left_kidney"]

    @pytest.mark.parametrize(
        ("typed", "key"),
        [
            ("Speiseroehre", "esophagus"),  # no umlauts on the keyboard
            ("Œsophage", "esophagus"),
            ("foie", "liver"),
            ("hígado", "liver"),
            ("fegato", "liver"),
            ("vésicule biliaire", "gallbladder"),
            ("Bauchspeicheldrüse", "pancreas"),
            ("vejiga", "urinary_bladder"),
            ("Rückenmark", "spinal_cord"),
            ("untere Hohlvene", "inferior_vena_cava"),
            ("upper lobe of the left lung", "left_lung_upper_lobe"),
            ("left upper lobe", "left_lung_upper_lobe"),
            ("right middle lobe", "lung_middle_lobe"),
            ("linker Ventrikel", "left_heart_ventricle"),
            ("left lateral ventricle", "left_lateral_ventricle"),
            ("L1", "vertebra_l1"),
            ("LWK 1", "vertebra_l1"),
            ("12. Brustwirbel", "vertebra_t12"),
            ("Th12", "vertebra_t12"),
            ("second lumbar vertebra", "vertebra_l2"),
            ("4th rib on the left", "left_rib_4"),
            ("linke vierte Rippe", "left_rib_4"),
            ("quatrième côte gauche", "left_rib_4"),
        ],
    )
    def test_one_structure(self, typed: str, key: str) -> None:
        assert keys(typed) == [key]

    @pytest.mark.parametrize(
        ("typed", "count", "first"),
        [
            ("kidneys", 2, "right_kidney"),
            ("both kidneys", 2, "right_kidney"),
            ("beide Nieren", 2, "right_kidney"),
            ("i reni", 2, "right_kidney"),
            ("lungs", 2, "right_lung"),
            ("ribs", 24, "right_rib_1"),
            ("left ribs", 12, "left_rib_1"),
            ("côtes droites", 12, "right_rib_1"),
            ("lumbar vertebrae", 5, "vertebra_l1"),
            ("lung lobes", 5, "right_lung_upper_lobe"),
            ("left lung lobes", 2, "left_lung_upper_lobe"),
        ],
    )
    def test_several_structures(self, typed: str, count: int, first: str) -> None:
        found = keys(typed)

        assert (len(found), found[0]) == (count, first)

    @pytest.mark.parametrize(
        "typed",
        [
            "the organ that stores bile",
            "livre", "kidnye", "spleeen",  # slips of the pen are not guessed
            "left liver", "left middle lobe",  # there is none
            "ventricle",  # of the heart or of the brain
            "left right kidney",
            "tumour next to the liver",
            "liver and spleen",
            "left", "the", "1", "",
        ],
    )  # fmt: skip
    def test_what_no_name_says_stays_as_it_was_said(self, typed: str) -> None:
        assert CATALOGUE.targets(typed) == (Target(typed, None),)

    def test_every_key_and_label_names_its_own_structure(self) -> None:
        for key, structure in CATALOGUE.structures.items():
            assert keys(key) == [key]
            assert keys(structure.label) == [key]


class TestFindings:
    @pytest.mark.parametrize(
        ("typed", "key"),
        [
            ("liver lesion", "liver_lesion"),
            ("lesion in the liver", "liver_lesion"),
            ("hepatic lesions", "liver_lesion"),
            ("Leberläsion", "liver_lesion"),
            ("Läsion der Leber", "liver_lesion"),
            ("lésion hépatique", "liver_lesion"),
            ("lesión hepática", "liver_lesion"),
            ("lesione epatica", "liver_lesion"),
            ("Lebermetastase", "liver_metastasis"),
            ("kidney tumour", "kidney_tumour"),
            ("Nierentumor", "kidney_tumour"),
            ("tumour of the left kidney", "left_kidney_tumour"),
            ("tumeur du rein gauche", "left_kidney_tumour"),
            ("linke Nierenzyste", "left_kidney_cyst"),
            ("nodulo polmonare destro", "right_lung_nodule"),
            ("brain tumor", "brain_tumour"),
            ("polyp", "polyp"),
            ("colorectal polyps", "colon_polyp"),
            ("L1 metastasis", "vertebra_l1_metastasis"),
            ("bone metastases", "bone_metastasis"),
        ],
    )
    def test_a_finding_and_its_place(self, typed: str, key: str) -> None:
        assert keys(typed) == [key]

    def test_a_finding_is_coded_where_it_lies(self) -> None:
        coded = CATALOGUE.structure(Target("Nierentumor links", "left_kidney_tumour"))

        assert coded.label == "Left kidney tumor"
        assert (coded.category.value, coded.type.value) == ("49755003", "108369006")
        assert coded.laterality is None
        assert coded.region is not None
        assert (coded.region.type.value, coded.region.laterality) == (
            "64033007",
            CATALOGUE.structures["left_kidney"].laterality,
        )

    def test_the_same_finding_in_two_places_has_two_colours(self) -> None:
        liver, spleen = (
            CATALOGUE.structure(Target("", key)).cielab for key in ("liver_cyst", "spleen_cyst")
        )

        assert liver != spleen

    def test_any_finding_in_any_place_has_a_name_and_is_found_again(self) -> None:
        for place in CATALOGUE.places:
            for finding in CATALOGUE.findings:
                assert CATALOGUE.structure(Target("", f"{place}_{finding}")).key

    def test_a_key_that_is_nothing_is_refused(self) -> None:
        with pytest.raises(KeyError, match="moon_lesion"):
            CATALOGUE.structure(Target("", "moon_lesion"))


class TestCodes:
    def test_every_code_is_listed_elsewhere_or_says_where_it_is_from(self) -> None:
        known = {**CATALOGUE.structures, **CATALOGUE.places}

        unlisted = [
            key
            for key, one in known.items()
            if one.type.value not in LISTED.get(one.type.scheme, ()) and not one.source
        ]

        assert unlisted == []

    @pytest.mark.parametrize("scheme", ["SCT", "NCIt"])
    def test_categories_and_sides_are_the_standards(self, scheme: str) -> None:
        for one in CATALOGUE.structures.values():
            assert one.category.value in LISTED["SCT"]
            assert one.laterality is None or one.laterality.value in {"7771000", "24028007"}

    def test_private_codes_are_few_and_fit(self) -> None:
        private = [o for o in CATALOGUE.structures.values() if o.type.scheme == PRIVATE_SCHEME]

        assert {one.key for one in private} == {
            "optic_cup", "brain_tumour_core", "neoplastic_polyp", "non_neoplastic_polyp", "benign_tumour",
        }  # fmt: skip
        assert all(len(one.type.value) <= 16 and one.source for one in private)

    def test_no_two_structures_are_coded_alike(self) -> None:
        seen: dict[tuple[object, ...], str] = {}
        for key, one in CATALOGUE.structures.items():
            coded = (one.category, one.type, one.laterality, one.region)
            assert seen.setdefault(coded, key) == key

    def test_the_codes_of_the_ct_and_mr_tasks_are_those_published_with_them(
        self, repository: Path
    ) -> None:
        published = (repository / "tests/golden/totalsegmentator-snomed.csv").read_text("utf-8")
        rows = [line.split(",") for line in published.splitlines() if not line.startswith("#")][1:]

        ours = {name: CATALOGUE.structure(Target("", keys(name)[0])) for name, *_ in rows}
        others = {
            name
            for name, value, side in rows
            if (ours[name].type.value, side_of(ours[name])) != (value, side)
        }

        assert len(rows) == 124
        # SNOMED CT's 29700009 is the right subclavian artery alone; the left appendage has a code
        # of its own; both veins together are coded as the portal vein, as PS3.16 lists it
        assert others == {
            "subclavian_artery_left",
            "subclavian_artery_right",
            "atrial_appendage_left",
            "portal_vein_and_splenic_vein",
        }

    def test_codes_by_hand(self) -> None:
        """Written down from PS3.16 CID 7151 and SNOMED CT's own browser, not from the catalogue."""
        expected = {
            "duodenum": "38848004", "trachea": "44567001", "heart": "80891009", "brain": "12738006",
            "superior_vena_cava": "48345005", "left_femur": "71341001", "vertebra_c1": "14806007",
            "vertebra_l5": "49668003", "right_rib_1": "48535007", "sternum": "56873002", "polyp": "41329004",
            "left_heart_ventricle": "87878005", "optic_disc": "81016008", "prostate": "41216001",
        }  # fmt: skip

        assert {key: CATALOGUE.structures[key].type.value for key in expected} == expected


@pytest.mark.parametrize(
    ("keys_of_group", "window"),
    [
        ("left_lung right_lung_lower_lobe trachea left_bronchus pneumothorax left_lung_nodule", LUNG),
        ("heart left_heart_atrium myocardium pericardial_effusion coronary_arteries mediastinum_mass", MEDIASTINUM),
        ("brain left_hippocampus right_lateral_ventricle third_ventricle whole_brain_tumour brain_haemorrhage", BRAIN),
        ("left_rib_4 vertebra_l1 left_hip right_metacarpal_bones skull mandible bone_metastasis spine", BONE),
        ("liver liver_lesion aorta left_iliopsoas spinal_cord polyp left_kidney_cyst portal_and_splenic_vein", ABDOMEN),
    ],
)  # fmt: skip
def test_structures_are_seen_through_the_window_of_their_kind(
    keys_of_group: str, window: object
) -> None:
    assert {key: window_for(key) for key in keys_of_group.split()} == dict.fromkeys(
        keys_of_group.split(), window
    )


def test_the_planner_without_a_language_model_finds_its_structures() -> None:
    locator = "spleen right_kidney left_kidney gallbladder esophagus liver stomach aorta inferior_vena_cava portal_and_splenic_vein pancreas right_adrenal_gland left_adrenal_gland left_lung right_lung"

    assert set(locator.split()) <= CATALOGUE.structures.keys()
