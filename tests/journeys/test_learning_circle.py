"""What a node draws, a reader corrects, a training learns and a gate lets into use: by the commands
alone, with a tiny model, from DICOM to DICOM.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest

from server.cli import main
from server.compose.training.cases import open_cases

pytest.importorskip("trl")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]

PATIENTS = 6  # the least that the gate judges by; of as many corrections four are for training
SITE = """
[models]
device = "cpu"
[agent]
policy = "transformers"
segmenter = "fake"
max_turns = 2
[language]
model = "reader"
image_px = 64
max_new_tokens = 60
"""
SHORT = [
    "--steps",
    "60",
    "--batch",
    "4",
    "--accumulate",
    "1",
    "--learning-rate",
    "3e-3",
    "--save-every",
    "30",
]


@dataclass(frozen=True)
class Site:
    """A site's folder, and what is said to its commands."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def says(self, *words: object, code: int = 0) -> str:
        """What a command printed, after it ended with `code`."""
        self.capture.readouterr()
        ended = main([*map(str, words), "--config", str(self.folder / "site.toml")])
        told = "".join(self.capture.readouterr())
        assert ended == code, told
        return told

    def evaluated(self, model: Path, name: str) -> Path:
        """An evaluation of the model in a folder on the validation patients."""
        out = self.folder / name
        with self.monkeypatch.context() as changed:
            changed.setenv("SEGNODE_LANGUAGE__MODEL", str(model))
            self.says("evaluate", self.folder / "held-out", "--out", out, "--baselines", "none")
        return out

    def weights_served(self, image: Path, name: str) -> str:
        """The SHA-256 that the SEG of a new request states, of the first weights it was made by."""
        out = self.folder / name
        self.says("segment", image, "--target", "liver", "--out", out)
        equipment = pydicom.dcmread(out / "seg.dcm").ContributingEquipmentSequence[0]
        hashes = str(equipment.ContributionDescription).partition("SHA-256 ")[2]
        return hashes[: hashlib.sha256().digest_size * 2]


@pytest.fixture
def site(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Site:
    prompts = f'prompts = "{tmp_path / "prompts"}"\n'
    (tmp_path / "site.toml").write_text(f'{SITE}{prompts}[storage]\ndir = "{tmp_path / "var"}"\n')
    monkeypatch.setenv("PYTHONSAFEPATH", "")  # every command sets it, for itself and its children
    return Site(tmp_path, capsys, monkeypatch)


def test_a_corrected_mask_becomes_a_better_policy_and_a_worse_one_is_refused(site: Site) -> None:
    import torch

    torch.set_num_threads(1)
    from tests.support.planners import circle

    # Arrange: a policy in use that draws beside the structure, judged on patients held out
    begun, folder = site.folder / "begun", site.folder
    circle.save_beginner(begun, folder / "prompts")
    for number in range(PATIENTS):
        held_out = circle.radiograph(folder / "held-out" / str(number), f"H{number}")
        circle.write_readers_segmentation(
            held_out.path.with_name("reader.dcm"), held_out.path, held_out.mask
        )
    old = site.evaluated(begun, "old")
    told = site.says("models", "promote", begun, "--as", "reader", "--evaluation", old)
    assert "there is none to be worse than" in told

    # Act: its results, each beside what a reader made of it, are learnt by the model that serves
    corrections = folder / "corrections"
    for number in range(PATIENTS):
        image = circle.radiograph(corrections / str(number), f"C{number}")
        weights_begun = site.weights_served(image.path, f"request-{number}")
        shutil.copy(folder / f"request-{number}" / "seg.dcm", image.path.with_name("ours.dcm"))
        circle.write_readers_segmentation(
            image.path.with_name("reader.dcm"), image.path, image.mask
        )
    learnt = folder / "learnt"
    words = ("train", "sft", corrections, "--from", "corrections", "--out", learnt, *SHORT)
    told = site.says(*words)
    assert "60 steps on 3 trajectories" in told  # of four patients in training one is held out
    rows = (learnt / "trajectories").glob("trajectories-*.jsonl")
    records = [json.loads(line) for file in rows for line in file.read_text().splitlines()]
    assert {record["kind"] for record in records} == {"review"}
    assert {record["turns"][-1]["outcome"] for record in records} == {"stopped"}

    # Assert: not worse, so it is put in use; the old one would be worse than that, so it is not
    new = site.evaluated(learnt / "model", "new")
    promoted = ("models", "promote", learnt / "model", "--as", "reader", "--evaluation", new)
    assert "no worse than the margin" in site.says(*promoted, "--against", old)
    weights_learnt = site.weights_served(image.path, "promoted")
    worse = ("models", "promote", begun, "--as", "reader", "--evaluation", old, "--against", new)
    told = site.says(*worse, code=1)
    assert "may be worse than the margin" in told
    assert "reader stays as it is" in told
    assert site.weights_served(image.path, "refused") == weights_learnt != weights_begun
    assert str((folder / "var" / "weights" / "reader").readlink()).endswith(weights_learnt[:16])
    assert "again" in site.says("models", "rollback", "--as", "reader")
    assert site.weights_served(image.path, "rolled-back") == weights_begun


def test_the_model_that_serves_is_rewarded_on_what_readers_corrected(site: Site) -> None:
    import torch

    torch.set_num_threads(1)
    from tests.support.planners import circle

    begun, corrections = site.folder / "var" / "weights" / "reader", site.folder / "corrections"
    circle.save_beginner(begun, site.folder / "prompts")
    for number in range(2):
        image = circle.radiograph(corrections / str(number), f"C{number}")
        reader, ours = (image.path.with_name(name) for name in ("reader.dcm", "ours.dcm"))
        circle.write_readers_segmentation(reader, image.path, image.mask)
        if number:  # the other has a truth, and nothing of ours that was corrected
            site.says("segment", image.path, "--target", "liver", "--out", site.folder / "request")
            shutil.copy(site.folder / "request" / "seg.dcm", ours)
    words = ("train", "grpo", corrections, "--from", "corrections")
    tiny = [
        "--steps",
        "1",
        "--prompts",
        "1",
        "--group",
        "2",
        "--per-device",
        "2",
        "--turns",
        "2",
        "--image-px",
        "64",
    ]
    tiny += ["--reply-tokens", "60"]

    for split in ("training", "validation"):
        cases = open_cases(corrections, split).cases()
        corrected = any(truth.corrected_from is not None for case in cases for truth in case.truths)
        out = ("--out", site.folder / split, "--split", split)
        told = site.says(*words, *out, *tiny, code=0 if corrected else 1)
        expected = "1 starts, 1 x 2 episodes a step" if corrected else "holds no correction in the"
        assert expected in told
