"""A label map's values have their names in the header and beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel
import numpy as np
import pytest

from agent.geometry import Geometry
from agent.values import Mask
from models.images.label_names import LabelName, label_descriptions, label_table
from models.images.writers import LabelledStructure, write_label_map

NAMES = [LabelName(1, "liver", (221, 130, 101)), LabelName(2, 'a "<mass>" & more', (0, 255, 51))]


def test_the_table_has_every_value_with_its_colour() -> None:
    labels = ElementTree.fromstring(label_table(NAMES)).findall(
        "VolumeInformation/LabelTable/Label"
    )

    assert [(label.get("Key"), label.text) for label in labels] == [
        ("1", "liver"),
        ("2", 'a "<mass>" & more'),
    ]
    assert [labels[1].get(channel) for channel in ("Red", "Green", "Blue", "Alpha")] == [
        "0",
        "1",
        "0.2",
        "1",
    ]


def test_descriptions_have_eight_columns() -> None:
    lines = label_descriptions(NAMES).splitlines()

    assert [line.split(None, 7) for line in lines[1:]] == [
        ["0", "0", "0", "0", "0", "0", "0", '"Clear Label"'],
        ["1", "221", "130", "101", "1", "1", "1", '"liver"'],
        ["2", "0", "255", "51", "1", "1", "1", "\"a '<mass>' & more\""],
    ]


def written(folder: Path, affine_zyx_to_lps: Any) -> Any:
    grid = Geometry((2, 3, 4), np.asarray(affine_zyx_to_lps, dtype=float))
    mask = Mask(np.ones((2, 3, 4), dtype=bool), grid)
    structure = LabelledStructure("liver", (221, 130, 101))
    write_label_map(folder / "map.nii.gz", grid, [(structure, mask)])
    return nibabel.load(folder / "map.nii.gz")


def test_the_names_are_in_the_file(tmp_path: Path) -> None:
    (extension,) = written(tmp_path, np.diag([2.0, 1, 1, 1])).header.extensions

    assert extension.get_code() == 0
    content = extension.get_content()
    text = content if isinstance(content, bytes) else content.encode()
    label = ElementTree.fromstring(text.rstrip(b"\0")).find(".//Label")
    assert label is not None
    assert label.text == "liver"
    assert '"liver"' in (tmp_path / "map_labels.txt").read_text("utf-8")


@pytest.mark.parametrize(("shear", "code"), [(0.0, 1), (0.4, 0)])
def test_a_qform_is_stated_only_where_it_is_true(tmp_path: Path, shear: float, code: int) -> None:
    affine = np.diag([2.0, 1, 1, 1])
    affine[1, 0] = shear  # slices that move sideways, as with a tilted gantry
    image = written(tmp_path, affine)

    assert int(image.header["qform_code"]) == code
    assert int(image.header["sform_code"]) == 1
    np.testing.assert_allclose(
        image.affine, np.diag([-1.0, -1, 1, 1]) @ affine[:, [2, 1, 0, 3]], atol=1e-5
    )
