"""Why a study matches a route, or does not, and how the command says it."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset

from server.cli import main
from server.commands.node_client.route import MOST_VALUES
from server.rules.explained import MOST_ROUTES, explained, why_unrouted
from server.settings import RouteSettings

ABDOMEN = RouteSettings(
    name="abdomen", when={"Modality": "CT", "StudyDescription": "*abdom*"}, targets=("liver",)
)
CT = {"Modality": "CT", "StudyDescription": "CT CHEST"}
STUDY = "1.2.826.0.1.3680043.8.498.7"
Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("instances", "expected"),
    [
        ([{"Modality": "CT", "StudyDescription": "Abdomen"}], (True, [True, True], False)),
        ([CT, CT], (False, [True, False], False)),
        ([{"Modality": "CT"}], (False, [True, False], False)),
        ([CT, {"Modality": "SR", "StudyDescription": "abdomen"}], (False, [True, True], True)),
    ],
)
def test_each_condition_is_judged(
    instances: list[dict[str, str]], expected: tuple[bool, list[bool], bool]
) -> None:
    explanation = explained(ABDOMEN, instances)

    holds = [condition.holds for condition in explanation.conditions]
    assert (explanation.matches, holds, explanation.never_together) == expected


def test_a_value_is_told_once_and_a_missing_one_as_empty() -> None:
    explanation = explained(ABDOMEN, [CT, CT, {"Modality": "CT"}])

    assert [one.values for one in explanation.conditions] == [("CT",), ("CT CHEST", "")]


@pytest.mark.parametrize(
    ("instances", "why"),
    [
        ([{"Modality": "CT", "StudyDescription": "Abdomen"}], None),
        ([CT], "no instance has StudyDescription = '*abdom*'"),
        ([{}], "no instance has Modality = 'CT' or StudyDescription = '*abdom*'"),
        (
            [CT, {"Modality": "SR", "StudyDescription": "abdomen"}],
            "no instance fits all its conditions together",
        ),
    ],
)
def test_why_a_route_does_not_match_is_said_without_what_the_study_holds(
    instances: list[dict[str, str]], why: str | None
) -> None:
    assert explained(ABDOMEN, instances).why_not == why


def test_of_many_routes_the_sentence_names_a_few() -> None:
    routes = [ABDOMEN.model_copy(update={"name": f"route-{n}"}) for n in range(MOST_ROUTES + 3)]

    sentence = why_unrouted([explained(route, [CT]) for route in routes])

    assert sentence.startswith(
        "no route of the 8 configured matches: route-0 (no instance has Study"
    )
    assert sentence.endswith("'*abdom*'), 3 more")


def test_a_route_without_conditions_matches() -> None:
    assert explained(RouteSettings(name="all", targets=("liver",)), [CT]).matches


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site with one route and a node's storage."""
    monkeypatch.setenv("SEGNODE_STORAGE__DIR", str(tmp_path / "var"))
    file = tmp_path / "site.toml"
    file.write_text(
        '[[routes]]\nname = "abdomen"\ntargets = ["liver"]\n'
        'when = { Modality = "CT", StudyDescription = "*abdom*" }\n'
    )
    return file


def write_ct(file: Path, description: str) -> None:
    """One CT instance's header."""
    data_set = Dataset()
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data_set.SOPInstanceUID = f"{STUDY}.1.1"
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = STUDY, f"{STUDY}.1"
    data_set.Modality, data_set.StudyDescription = "CT", description
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.parent.mkdir(parents=True, exist_ok=True)
    data_set.save_as(file, enforce_file_format=True)


@pytest.mark.parametrize("way", ["file", "folder", "study"])
def test_the_command_says_what_the_study_has(
    capsys: Capture, site: Path, tmp_path: Path, way: str
) -> None:
    file = tmp_path / "var" / "inbox" / STUDY / f"{STUDY}.1" / f"{STUDY}.1.1.dcm"
    write_ct(file, "CT CHEST")
    source = {"file": str(file), "folder": str(file.parent), "study": STUDY}[way]

    assert main(["route", "--explain", source, "--config", str(site)]) == 0

    assert capsys.readouterr().out == (
        "route abdomen: does not match\n"
        "  yes  Modality = 'CT': the study has 'CT'\n"
        "  NO   StudyDescription = '*abdom*': the study has 'CT CHEST'\n"
        "0 of 1 routes match (1 instances)\n"
    )


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("9.9.9", "is no file here and no study in"),
        ("../no/such/place", "is no file here and no study in"),
        ("{folder}", "no DICOM file lies in this folder"),
        ("{folder}/site.toml", "site.toml"),
    ],
)
def test_what_cannot_be_explained_is_a_sentence(
    capsys: Capture, site: Path, source: str, sentence: str
) -> None:
    (site.parent / "var" / "inbox").mkdir(parents=True)

    code = main(["route", "--explain", source.format(folder=site.parent), "--config", str(site)])

    assert code == 1
    assert sentence in capsys.readouterr().err


def test_a_line_names_some_of_many_values(capsys: Capture, site: Path, tmp_path: Path) -> None:
    for number in range(MOST_VALUES + 2):
        write_ct(tmp_path / "many" / f"{number}.dcm", f"CT {number}")

    assert main(["route", "--explain", str(tmp_path / "many"), "--config", str(site)]) == 0
    assert f"'CT {MOST_VALUES - 1}' and 2 more\n" in capsys.readouterr().out
