"""The registry says of every data set what a person has to know, and maps what it can."""

from __future__ import annotations

import pytest

from agent.values import Target
from models.training.datasets.opening import LAYOUTS
from models.training.datasets.registry import (
    KnownDataset,
    dataset_of_file,
    find_dataset,
    known_datasets,
)

KNOWN = known_datasets()
NAMED_BY_THE_PAPERS = {
    *("biomedparse", "unibiomed", "mecovqa-g-plus", "btcv", "kits2023", "flare22", "neopolyp"),
    *("breastus", "liverus", "polypgen", "msd", "totalsegmentator", "left-atrium", "deeplesion"),
    "medscribble",
}


def test_the_papers_data_sets_are_in_it() -> None:
    assert KNOWN.keys() >= NAMED_BY_THE_PAPERS


@pytest.mark.parametrize("entry", KNOWN.values(), ids=str)
def test_every_entry_is_whole(entry: KnownDataset) -> None:
    assert entry.title
    assert entry.licence
    assert entry.where.startswith("http")
    assert entry.modalities
    assert set(entry.layouts) <= set(LAYOUTS)
    assert entry.layouts
    assert entry.files is None or "patient" in entry.files.groupindex


# stated by files of the data themselves, or of their repository, that were read for this project
CONFIRMED = {"btcv", "btcv-cervix", "chaos", "pyradiomics-brain", "medscribble", "oasis"}


def test_a_licence_that_nobody_could_confirm_is_not_asserted() -> None:
    asserted = {k for k, e in KNOWN.items() if not e.licence.startswith("check at the source")}

    assert asserted == CONFIRMED


@pytest.mark.parametrize(
    ("stem", "key", "patient"),
    [
        ("ABD_037_91", "btcv", "037"),
        ("CT_Lesion_000015_01_01_081-093", "deeplesion", "000015"),
        ("BTCV_0763890-Image_axis1_maxslice", "btcv-cervix", "0763890"),
        ("OASIS_OASIS_OAS1_0066_MR1_axis2_midslice", "oasis", "OAS1_0066"),
        ("LIDC-IDRI-0140_143_280_CT_lung", "lidc-idri", "0140"),
        ("TCGA_HT_7856_19950831_8_MRI-FLAIR_brain", "lgg", "HT_7856"),
        ("case_00000", "kits2023", "00000"),
    ],
)
def test_a_files_name_tells_data_set_and_patient(stem: str, key: str, patient: str) -> None:
    known = dataset_of_file(stem)

    assert known is not None
    assert (known.key, known.patient_of(stem)) == (key, patient)


def test_a_name_or_another_of_its_names_is_found_in_any_spelling() -> None:
    assert find_dataset("KiTS 23", "").key == "kits2023"
    assert find_dataset("FLARE_22", "").key == "flare22"


def test_what_nobody_knows_keeps_its_name_and_its_words() -> None:
    known = find_dataset("our own", "scan_1")

    assert (known.key, known.patient_of("scan_1")) == ("our own", None)
    assert known.target("kidney_right") == Target("right kidney", None)


def test_a_label_for_two_structures_has_no_key() -> None:
    assert KNOWN["kits2023"].target("kidney") == Target("kidney", None)
