"""`segnode train grpo` from a folder of data to a model that serving loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.training.grpo_settings import GrpoSettings
from server.errors import ConfigurationError
from server.settings import load_settings
from tests.support.dataset_folders import nnunet_folder

SITE = {"SEGNODE_AGENT__SEGMENTER": "fake", "SEGNODE_MODELS__DEVICE": "cpu"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, a toy planner and its prompts."""
    import torch

    torch.set_num_threads(1)
    from tests.support.planners.toy_planner import save_toy, write_prompts

    folder = tmp_path_factory.mktemp("made")
    save_toy(folder / "base")
    write_prompts(folder / "prompts")
    nnunet_folder(folder / "data")
    return folder


def training(made: Path, **more: Any) -> GrpoSettings:
    """One step of two short episodes."""
    values: dict[str, Any] = {"turns": 1, "steps": 1, "prompts": 1, "group": 2, "per_device": 2}
    values |= {"reply_tokens": 2, "image_px": 64, "prompts_folder": made / "prompts"}
    return GrpoSettings(**values | more)


def test_a_data_set_becomes_a_planner(made: Path, tmp_path: Path) -> None:
    from server.compose.training.grpo import GrpoRun, run
    from tests.support.planners.toy_planner import load_toy

    told: list[str] = []
    of = GrpoRun(made / "data", "train", made / "base", tmp_path / "run")

    result = run(load_settings([], environment=SITE), training(made), of, told.append)

    assert result.steps == 1
    assert told[0] == "2 starts, 1 x 2 episodes a step"  # liver and tumour of the training patient
    assert told[1].startswith("step 1 of 1, reward ")
    assert load_toy(result.model).name == "model"


def test_a_server_draws_as_the_segmenter_does_in_process(made: Path, tmp_path: Path) -> None:
    """The planner is taught to draw; from then on rewards, and so weights, hang on the masks."""
    from server.compose.sessions import segmentation_service
    from server.compose.training.grpo import GrpoRun, run
    from server.http.tokens import load_tokens
    from server.interactive.app import create_app
    from tests.support.http.loopback import on_loopback
    from tests.support.planners.toy_planner import save_taught

    save_taught(tmp_path / "taught", made / "prompts")
    site = load_settings([], SITE | {"SEGNODE_STORAGE__DIR": str(tmp_path)})
    service = segmentation_service(site)
    app = create_app(service, load_tokens("", tmp_path))
    weights = []
    with on_loopback(app) as url:
        for name, where in (("here", ""), ("there", url)):
            of = GrpoRun(
                made / "data",
                "train",
                tmp_path / "taught",
                tmp_path / name,
                segmenter_url=where,
                segmenter_token=tmp_path / "token" if where else None,
            )
            more = {"turns": 2, "group": 8, "per_device": 8, "reply_tokens": 4, "steps": 2}
            settings = training(made, learning_rate=1e-3, **more)
            model = run(site, settings, of, lambda _: None).model
            weights.append((model / "model.safetensors").read_bytes())

    assert weights[0] == weights[1] != (tmp_path / "taught" / "model.safetensors").read_bytes()
    assert service.encodings.passes > 1  # one is of the trial at the start
    records = [(tmp_path / name / "run.json").read_text() for name in ("here", "there")]
    assert records[0] == records[1]


def test_a_token_that_is_not_there_is_told(made: Path, tmp_path: Path) -> None:
    from server.compose.training.grpo import GrpoRun, run

    (tmp_path / "empty").touch()
    for file, sentence in (("none", "cannot be read"), ("empty", "holds no token")):
        of = GrpoRun(
            made / "data",
            "train",
            made / "base",
            tmp_path / "run",
            segmenter_url="http://127.0.0.1:1",
            segmenter_token=tmp_path / file,
        )
        with pytest.raises(ConfigurationError, match=f"--segmenter-token: .*{sentence}"):
            run(load_settings([], SITE), training(made), of, lambda _: None)
