"""`serve` does not start on what `check` finds wrong with the configuration, in the same words."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from server.cli import main
from server.compose.soundness.configuration import Finding, findings, require_sound
from server.errors import ConfigurationError
from server.settings import Settings, load_settings
from tests.support.ports import free_port

ROUTE = '[[routes]]\nname = "r"\ntargets = ["{target}"]\n'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site.toml"


def settings(site: Path, text: str, storage: Path | None = None) -> Settings:
    """The defaults with this text over them."""
    site.write_text(text)
    folder = storage or site.parent / "var"
    return load_settings([site], {"SEGNODE_STORAGE__DIR": str(folder)})


def told(site: Path, text: str) -> list[str]:
    return [finding.sentence for finding in findings(settings(site, text))]


def test_the_defaults_are_sound_and_nothing_is_made(site: Path, tmp_path: Path) -> None:
    assert findings(settings(site, ROUTE.format(target="liver"))) == ()
    assert [path.name for path in tmp_path.iterdir()] == ["site.toml"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROUTE.format(target="livr"), "does not know 'livr'"),
        (ROUTE.format(target=" "), "route 'r': target 1 is empty"),
        (ROUTE.format(target="liver") + 'when = { Modalty = "CT" }\n', "did you mean 'Modality'?"),
        (ROUTE.format(target="liver") + 'when = { Modality = "MR" }\n', "is made for CT"),
        ('[agent]\npolicy = "gpt"\n', "there is no policy called 'gpt'"),
        ('[agent]\nsegmenter = "gpt"\n', "there is no segmenter called 'gpt'"),
        ('[agent]\npolicy = "transformers"\n', "language.model: name the folder"),
        ('[agent]\npolicy = "openai"\n', "language.endpoints: name a server"),
        ('[agent]\nsecond_segmenter = "gpt"\n', "there is no segmenter called 'gpt'"),
        ('[agent]\nsecond_segmenter = "litemedsam"\n', "would agree with itself"),
        ('[sessions]\nsegmenters = ["gpt"]\n', "there is no segmenter called 'gpt'"),
        ('[http]\ntokens_file = "/nowhere/tokens"\n', "cannot read tokens from /nowhere/tokens"),
    ],
)
def test_each_fault_is_a_sentence(site: Path, text: str, said: str) -> None:
    (sentence,) = told(site, text)

    assert said in sentence


def test_all_faults_are_told_at_once(site: Path) -> None:
    text = '[agent]\npolicy = "threshold"\n' + ROUTE.format(target="brain") * 2
    text += 'when = { Modalty = "CT" }\n[http]\ntokens_file = "/nowhere"\n'

    sentences = told(site, text)

    assert len(sentences) == 4
    assert (
        len([line for line in sentences if "policy threshold does not know 'brain'" in line]) == 2
    )
    with pytest.raises(ConfigurationError) as error:
        require_sound(settings(site, text))
    assert list(error.value.faults) == sentences


def test_a_storage_that_is_a_file(site: Path) -> None:
    (finding,) = findings(settings(site, "", storage=site / "var"))

    assert finding == Finding(
        "configuration", f"storage.dir: {site} is a file, and no folder; choose another one"
    )


def test_a_storage_that_cannot_be_written(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere

    (finding,) = findings(settings(site, ""))

    assert f"storage.dir: nothing can be written in {tmp_path} by this user" in finding.sentence


def test_a_token_that_others_can_read(site: Path, tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "token").write_text("a-token-of-good-length\n")
    (tmp_path / "var" / "token").chmod(0o644)

    (sentence,) = told(site, "")

    assert "others can read" in sentence


def test_what_may_be_meant_or_pass_keeps_no_node_from_starting(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (
        '[language]\nendpoints = ["http://h/v1"]\nallowed_hosts = ["h"]\nmodel = "m"\n'
        '[agent]\nsegmenter = "sam2-tiny"\n'
    )

    require_sound(settings(site, text + ROUTE.format(target="livr")))

    first, second = caplog.records
    assert {first.levelno, second.levelno} == {logging.WARNING}
    assert "'livr' is no structure that is known" in first.getMessage()
    assert "the weights of sam2.1_hiera_tiny are not at" in second.getMessage()


def test_serve_says_what_check_says_and_does_not_start(
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Arrange: a fault, beside a destination that is only away
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.setenv("SEGNODE_STORAGE__DIR", str(tmp_path / "var"))
    site.write_text(
        f'[[destinations]]\nname = "pacs"\nae_title = "P"\nhost = "127.0.0.1"\nport = {free_port()}'
        f"\n{ROUTE.format(target='livr')}"
    )
    # Act
    checked = main(["check", "--config", str(site)])
    lines = capsys.readouterr().out.splitlines()
    served = main(["serve", "--config", str(site)])
    error = capsys.readouterr().err.splitlines()

    # Assert
    assert checked == served == 1
    (fault,) = [line for line in lines if line.startswith("FAIL  configuration: ")]
    assert error == [f"segnode: {fault.removeprefix('FAIL  configuration: ')}"]
    assert any(line.startswith("FAIL  destination pacs: Destination pacs cannot") for line in lines)
    assert lines[-1].startswith("ok    disk")
    assert not (tmp_path / "var").exists()
