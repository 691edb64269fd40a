"""Words and codes of data sets as the catalogue knows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.values import Target
from dicom_node.annotations.annotated_structure import AnnotatedStructure
from dicom_node.values import Code
from models.errors import UnreadableFile
from models.training.datasets.opening import open_dataset
from server.rules.catalogue import load_catalogue
from server.training.catalogue_targets import (
    target_of_structure,
    target_of_words,
    with_structures,
)
from server.training.label_maps_beside import label_maps, read_with_label_map
from tests.support import phantoms
from tests.support.dataset_folders import nnunet_folder, write_nifti

CATALOGUE = load_catalogue()
KIDNEY, RIGHT = Code("64033007", "SCT", "Kidney"), Code("24028007", "SCT", "Right")


def structure(label: Any, type_code: Any = None, laterality: Any = None) -> Any:
    return AnnotatedStructure(label, np.zeros((1, 1, 1), bool), type_code, laterality)


@pytest.mark.parametrize(
    ("drawn", "target"),
    [
        (structure("Segment_1", KIDNEY, RIGHT), Target("right kidney", "right_kidney")),
        (structure("Kidney_L"), Target("left Kidney", "left_kidney")),
        (structure("GTV"), Target("GTV", None)),
        (structure("", Code("T-62000", "SRT", "Liver")), Target("Liver", "liver")),
        # one segment for both: its words stand for two structures, so it has no key
        (structure("Kidneys", KIDNEY), Target("Kidneys", None)),
    ],
)
def test_codes_come_before_words(drawn: Any, target: Any) -> None:
    assert target_of_structure(drawn, CATALOGUE) == target


def test_words_for_several_structures_stay_words() -> None:
    assert target_of_words("kidneys", CATALOGUE) == Target("kidneys", None)
    assert target_of_words("left kidney", CATALOGUE) == Target("left kidney", "left_kidney")


def test_a_data_sets_targets_get_their_keys(tmp_path: Path) -> None:
    dataset = with_structures(open_dataset(nnunet_folder(tmp_path, cases=1)), CATALOGUE)

    (case,) = dataset.cases()

    assert [t.target.structure for t in case.truths] == ["liver", "liver_tumour"]


def labelled_series(folder: Path, **affine: Any) -> Any:
    """A series, a label map on it whose axes run the NIfTI way, and its labels.json."""
    phantom = phantoms.torso_ct(folder / "ct", shape=(6, 20, 24), spacing_mm=(5.0, 4.0, 3.0))
    labels = np.zeros((6, 20, 24), np.uint8)
    labels[2, 3, 4] = 1
    lps = phantom.affine_zyx_to_lps
    # rows run from back to front in the file, as TotalSegmentator writes them
    mirrored = lps.copy()
    mirrored[:, 3] += lps[:, 1] * 19
    mirrored[:, 1] *= -1
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ mirrored[:, [2, 1, 0, 3]]
    ras[0, 3] += affine.get("shift", 0)
    write_nifti(folder / "seg.nii.gz", labels[:, ::-1], ras)
    (folder / "labels.json").write_text(json.dumps({"0": "background", "1": "kidney_right"}))
    return [path.relative_to(folder).as_posix() for path in phantom.paths]


def test_a_label_map_comes_onto_its_series_by_its_affine(tmp_path: Path) -> None:
    images = labelled_series(tmp_path)

    assert list(label_maps(tmp_path)) == ["seg.nii.gz"]
    contents = read_with_label_map(tmp_path, images, "seg.nii.gz", CATALOGUE, lambda *_: None)

    (truth,) = contents.truths
    assert truth.target == Target("right kidney", "right_kidney")
    assert np.argwhere(truth.voxels).tolist() == [[2, 3, 4]]


def test_a_label_map_of_another_place_is_refused(tmp_path: Path) -> None:
    images = labelled_series(tmp_path, shift=5.0)

    with pytest.raises(UnreadableFile, match="place is another"):
        read_with_label_map(tmp_path, images, "seg.nii.gz", CATALOGUE, lambda *_: None)


def test_a_labels_file_that_is_none_is_refused(tmp_path: Path) -> None:
    images = labelled_series(tmp_path)
    (tmp_path / "labels.json").write_text('["liver"]')

    with pytest.raises(UnreadableFile, match="does not name structures"):
        read_with_label_map(tmp_path, images, "seg.nii.gz", CATALOGUE, lambda *_: None)
