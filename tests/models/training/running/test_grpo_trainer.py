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
from models.training.grpo_settings import GrpoSettings, Sampler
from models.training.rollouts import Room
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
        warmup=3,
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
    assert (given.lr_scheduler_type, given.warmup_steps) == ("constant_with_warmup", 3)
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


def batch_of(rows: int) -> dict[str, torch.Tensor]:
    """What TRL makes of `rows` episodes of three tokens, as far as groups are left out of it."""
    return {
        "advantages": torch.ones(rows),
        "completion_mask": torch.ones(rows, 3),
        "tool_mask": torch.ones(rows, 3, dtype=torch.long),
        "num_items_in_batch": torch.tensor(3.0 * rows),
    }


def test_a_hair_between_rewards_is_a_difference_and_rounding_is_none(trainer: Any) -> None:
    trainer._earned = torch.tensor([0.5, 0.5001, 0.2, 0.2 + 1e-7])
    output = batch_of(4)
    trainer._leave_out_equal(output)
    assert output["tool_mask"].sum(dim=1).tolist() == [3, 3, 0, 0]


def test_a_batch_of_equal_groups_alone_teaches_nothing(trainer: Any) -> None:
    trainer._earned = torch.full((4,), 0.5)
    output = batch_of(4)
    trainer._leave_out_equal(output)
    assert output["tool_mask"].sum() == 0
    assert torch.isfinite(output["advantages"]).all()
    assert trainer._metrics["train"]["groups_left_out"] == [1.0]


def test_each_process_leaves_out_its_own_rows(trainer: Any) -> None:
    """This one is the second of two; in the first the second group differs."""
    theirs = torch.tensor([0.5, 0.5, 0.2, 0.8])
    trainer._earned = torch.tensor([0.1, 0.9, 0.3, 0.3])

    def gather(ours: torch.Tensor) -> torch.Tensor:
        return torch.cat([theirs, ours]) if ours.ndim else torch.stack([ours, ours])

    trainer.accelerator = SimpleNamespace(gather=gather, process_index=1)
    output = batch_of(4)
    trainer._leave_out_equal(output)
    assert output["tool_mask"].sum(dim=1).tolist() == [3, 3, 0, 0]
    assert output["num_items_in_batch"] == 12


@pytest.mark.parametrize(("sharing", "calls"), [("use_vllm", 2), ("is_fsdp_enabled", 4), ("", 1)])
def test_a_process_samples_as_often_as_any_other_may(
    grpo: ModuleType, trainer: Any, monkeypatch: pytest.MonkeyPatch, sharing: str, calls: int
) -> None:
    """Of four rows three go in one run of generate, and all in one call of vLLM, in two turns."""
    monkeypatch.setattr(grpo, "_SAMPLED_AT_ONCE", 3)
    asked: list[Any] = []

    def sample(ids: list[list[int]], pictures: list[list[Any]]) -> None:
        trainer._calls += 1
        asked.append((ids, pictures))

    trainer._sample, trainer._calls = sample, 1
    if sharing:
        setattr(trainer, sharing, True)
    trainer._keep_in_step(SimpleNamespace(prompt_ids=[7], pictures=("first", "second")))

    assert trainer._calls == calls
    assert asked == [([[7]], [["first"]])] * (calls - 1)


def test_vllm_is_given_all_rows_at_once(
    grpo: ModuleType, trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpo, "_SAMPLED_AT_ONCE", 2)
    sizes: list[int] = []

    def sample(ids: list[list[int]], *_: Any, **__: Any) -> Any:
        sizes.append(len(ids))
        return ids, None

    monkeypatch.setattr(trainer, "_generate_single_turn", sample)
    trainer.use_vllm = True
    replies, logprobs = trainer._sample([[n] for n in range(5)], [[grpo.blank_picture(64)]] * 5)

    assert (sizes, logprobs) == ([5], None)
    assert replies == [[n] for n in range(5)]


@pytest.mark.parametrize(("context", "longest"), [(None, 4196), (2000, 2000)])
def test_vllm_is_told_the_length_of_a_reply_and_of_a_conversation(
    grpo: ModuleType,
    raw: Path,
    quick: GrpoSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    context: int | None,
    longest: int,
) -> None:
    class Built(Exception):
        """In the place of TRL's constructor, which wants vLLM."""

    def build(*_: Any, **__: Any) -> None:
        raise Built

    settings = replace(quick, sampler=Sampler.VLLM_COLOCATED)
    arguments = grpo.trainer_arguments(RunFolder(tmp_path), settings, on_cpu=True)
    monkeypatch.setattr(grpo, "room_for", lambda *_: Room(4, 100, context))
    monkeypatch.setattr(grpo.GRPOTrainer, "__init__", build)
    with pytest.raises(Built):
        grpo.EpisodeTrainer(["one", "two"], grpo.load_base(raw, settings), settings, arguments)

    assert arguments.generation_kwargs == {"max_tokens": 4}
    assert (arguments.vllm_max_model_length, arguments.max_completion_length) == (longest, 100)


def test_what_the_sampler_says_of_its_chances_reaches_the_loss(
    trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = trainer.processing_class.tokenizer.eos_token_id
    chances: list[list[float]] | None = [[-0.5], [-0.5]]
    monkeypatch.setattr(trainer._chat, "_generate", lambda ids, _: ([[end]] * len(ids), chances))

    _, completions, trained, _, logprobs, *_ = trainer._generate(["0", "1"])
    assert [len(row) for row in logprobs] == [len(row) for row in completions]
    first = logprobs[0]
    assert [value for value, said in zip(first, trained[0], strict=True) if said] == [-0.5, -0.5]
    assert {value for value, said in zip(first, trained[0], strict=True) if not said} == {0.0}
    chances = None
    assert trainer._generate(["0", "1"])[4] is None


def test_a_pass_over_the_starts_takes_all_updates_of_them(
    trainer: Any, quick: GrpoSettings
) -> None:
    """Two starts, two a step of sampling, of which two steps of the optimiser are made."""
    trainer._settings = replace(quick, updates=2, save_every=2)
    order = trainer._get_train_sampler()
    passes = []
    for step in range(5):
        trainer.state.global_step = step
        passes.append(order._passes())
    assert passes == [0, 0, 1, 1, 2]
