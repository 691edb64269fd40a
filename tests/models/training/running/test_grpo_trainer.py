"""The episode trainer around TRL's: what it is set to, and what it tells of all processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("trl")

import torch

from agent.fakes import FakeSegmenter, ScriptedPolicy
from agent.ports import Localisation
from models.errors import TrainingStopped
from models.loaded_models import LoadedModels
from models.training.grpo_settings import GrpoSettings
from models.training.run_folder import RunFolder


@pytest.fixture
def trainer(
    toy: ModuleType, grpo: ModuleType, raw: Path, quick: GrpoSettings, tmp_path: Path
) -> Any:
    """A trainer over two squares."""
    loaded = grpo.load_base(raw, quick)
    arguments = grpo.trainer_arguments(RunFolder(tmp_path), quick, on_cpu=True)
    models = LoadedModels(ScriptedPolicy(Localisation((), (0,)), {}), FakeSegmenter())
    starts = grpo.EpisodeStarts(toy.toy_squares(2), models)
    return grpo.EpisodeTrainer(starts, loaded, quick, arguments)


def test_all_settings_reach_trl(grpo: ModuleType, tmp_path: Path) -> None:
    settings = GrpoSettings(
        steps=7,
        kl=0.03,
        clip=0.1,
        clip_high=0.4,
        temperature=0.7,
        loss="dapo",
        scale_rewards="batch",
        seed=11,
        save_every=5,
    )
    given = grpo.trainer_arguments(RunFolder(tmp_path), settings, on_cpu=True)

    assert (given.max_steps, given.save_steps, given.seed) == (7, 5, 11)
    assert (given.beta, given.epsilon, given.epsilon_high) == (0.03, 0.1, 0.4)
    assert (given.temperature, given.loss_type, given.scale_rewards) == (0.7, "dapo", "batch")
    assert given.lr_scheduler_type == "constant"
    assert (given.report_to, given.log_completions, given.log_multimodal) == ([], False, False)
    assert given.save_total_limit == 2  # the last good one stays while the next is written
    assert (given.activation_checkpointing, given.bf16) == (False, False)


def test_replies_and_episodes_have_their_own_bounds(trainer: Any, quick: GrpoSettings) -> None:
    from models.training.rollouts import vision_tokens
    from models.training.room import room_for

    room = room_for(trainer._loaded, quick)
    assert trainer.max_completion_length == room.completion_tokens > 2 * quick.reply_tokens
    sampling = trainer.args.generation_kwargs
    assert sampling["max_new_tokens"] == quick.reply_tokens
    assert sampling["suppress_tokens"] == vision_tokens(trainer._loaded.model)
    assert len(sampling["suppress_tokens"]) >= 3


def test_a_batch_that_has_lost_its_pictures_is_not_learnt(trainer: Any) -> None:
    row = torch.full((1, 3), trainer._image_token)
    cut = {"prompt_ids": row, "completion_ids": row, "start": torch.tensor([0])}
    with pytest.raises(TrainingStopped, match="dropped the pictures of a batch"):
        trainer.compute_loss(trainer.model, cut)


def test_rows_beyond_one_run_of_generate_keep_their_order(
    grpo: ModuleType, toy: ModuleType, trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpo, "_SAMPLED_AT_ONCE", 2)
    sizes: list[int] = []

    def sample(ids: list[list[int]], *_: Any, **__: Any) -> Any:
        sizes.append(len(ids))
        return [[row[0] + 100] for row in ids], [[-float(row[0])] for row in ids]

    monkeypatch.setattr(trainer, "_generate_single_turn", sample)
    picture = grpo.blank_picture(64)

    replies, logprobs = trainer._sample([[n] for n in range(5)], [[picture]] * 5)

    assert sizes == [2, 2, 1]
    assert replies == [[100 + n] for n in range(5)]
    assert logprobs == [[-float(n)] for n in range(5)]


def test_figures_are_means_over_the_episodes_of_all_processes(
    grpo: ModuleType, trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process has as many episodes of three times the value, and absent cases alone."""
    figures = {"iou": [0.1, 0.2], "absent_right": [], "nobody": []}
    monkeypatch.setattr(grpo, "figures_of", lambda *_: figures)

    def gather(ours: torch.Tensor) -> torch.Tensor:
        theirs = ours * torch.tensor([3.0, 1.0]) if ours.ndim == 2 else 2 * ours
        if ours.ndim == 2:
            theirs[1] = torch.tensor([1.0, 4.0])
        return torch.cat([ours, theirs])

    monkeypatch.setattr(trainer.accelerator, "gather", gather)
    rows = [SimpleNamespace(prompt_ids=[1, 2], completion_ids=[3])] * 2
    rewards = [SimpleNamespace(total=0.25), SimpleNamespace(total=0.75)]
    trainer.model.train()
    trainer._tell(rows, [], rewards)

    told = trainer._metrics["train"]
    assert told["iou"] == pytest.approx([0.3])
    assert told["absent_right"] == [0.25]
    assert "nobody" not in told  # a figure of no episode is none, and not 0
    assert trainer.state.num_input_tokens_seen == 6 + 12
    assert trainer._earned.tolist() == [0.25, 0.75]


def test_what_was_earned_is_told_of_the_first_and_last_tenth(
    grpo: ModuleType, tmp_path: Path
) -> None:
    history = [{"step": n, "reward": float(n)} for n in range(1, 21)]
    trainer = SimpleNamespace(state=SimpleNamespace(log_history=history, global_step=20))
    result = grpo._result(RunFolder(tmp_path), trainer)
    assert (result.steps, result.reward_first, result.reward_last) == (20, 1.5, 19.5)
    assert result.model == tmp_path / "model"


def test_groups_are_left_out_only_where_it_is_said(
    toy: ModuleType, grpo: ModuleType, trainer: Any, quick: GrpoSettings
) -> None:
    left_out: list[Any] = []
    trainer._leave_out_equal = left_out.append
    rows = [{"prompt": "0"}, {"prompt": "0"}, {"prompt": "1"}, {"prompt": "1"}]
    trainer.model.train()

    trainer._generate_and_score_completions(rows)
    assert left_out == []
    trainer._settings = replace(quick, dynamic_sampling=True)
    output = trainer._generate_and_score_completions(rows)
    assert left_out == [output]
    assert output["start"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("loss", "scaled"), [("grpo", 2.0), ("dr_grpo", 2.0), ("dapo", 1.0)])
def test_what_is_left_is_averaged_over_itself(trainer: Any, loss: str, scaled: float) -> None:
    trainer.loss_type = loss
    trainer._earned = torch.tensor([0.5, 0.5, 0.2, 0.8])
    output = {
        "advantages": torch.ones(4),
        "completion_mask": torch.ones(4, 3),
        "tool_mask": torch.ones(4, 3, dtype=torch.long),
        "num_items_in_batch": torch.tensor(12.0),
    }
    trainer._leave_out_equal(output)
    assert output["advantages"].tolist() == [scaled] * 4
    assert output["num_items_in_batch"] == 6
