"""GRPO on a toy: what TRL must keep for it, what holds before every step, and that it learns."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from agent.episode.loop import run_together
from agent.fakes import FakeSegmenter, ScriptedPolicy
from agent.language.policy import LanguagePolicy
from agent.limits import Limits
from agent.ports import Localisation
from agent.protocol.dialects import Dialect
from agent.training.episode_facts import episode_facts
from agent.training.rewards import segnode_reward
from models.errors import TrainingRefused, TrainingStopped
from models.loaded_models import LoadedModels
from models.training.grpo_settings import GrpoSettings

STEPS = 10


def models() -> LoadedModels:
    return LoadedModels(ScriptedPolicy(Localisation((), (0,)), {}), FakeSegmenter())


class TestContractOfTrl:
    """The private methods that are overridden or called: another version may not keep them."""

    def test_is_of_the_version_that_is_pinned(self) -> None:
        assert version("trl") == "1.16.0"

    @pytest.mark.parametrize(
        ("method", "parameters"),
        [
            ("_generate", ["self", "prompts"]),
            (
                "_generate_single_turn",
                [
                    "self",
                    "prompt_ids",
                    "images",
                    "multimodal_fields",
                    "num_generations",
                    "has_tool_images",
                ],
            ),
            ("_generate_and_score_completions", ["self", "inputs"]),
            ("_clip_grad_norm", ["self", "model"]),
            ("compute_loss", ["self", "model", "inputs", "return_outputs", "num_items_in_batch"]),
        ],
    )
    def test_has_the_methods(self, method: str, parameters: list[str]) -> None:
        from trl import GRPOTrainer

        assert list(inspect.signature(getattr(GRPOTrainer, method)).parameters) == parameters

    def test_generate_returns_eight_things_in_this_order(self) -> None:
        from trl import GRPOTrainer

        tree = ast.parse(textwrap.dedent(inspect.getsource(GRPOTrainer._generate)))
        (returned,) = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
        assert isinstance(returned, ast.Tuple)
        assert [name.id for name in returned.elts if isinstance(name, ast.Name)] == [
            "prompt_ids",
            "completion_ids",
            "tool_mask",
            "completions",
            "logprobs",
            "extra_fields",
            "images",
            "tool_images",
        ]

    def test_single_turn_gives_ids_and_log_probabilities(self) -> None:
        from trl import GRPOTrainer

        source = inspect.getsource(GRPOTrainer._generate_single_turn)
        assert source.rstrip().endswith("return completion_ids, logprobs")


class TestBeforeEveryStep:
    @pytest.fixture(scope="class")
    @classmethod
    def steps(
        cls,
        toy: ModuleType,
        grpo: ModuleType,
        raw: Path,
        quick: GrpoSettings,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> list[dict[str, Any]]:
        """What TRL's loss was given in two steps, pictures checked, with each row's start."""
        seen: list[dict[str, Any]] = []

        class Watched(grpo.EpisodeTrainer):  # type: ignore[misc,name-defined]  # of a fixture
            def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
                seen.append(inputs)
                return super()._compute_loss(model, inputs)

        out = tmp_path_factory.mktemp("watched")
        trainer_on(toy, grpo, raw, quick, out, kind=Watched).train()
        return seen

    def test_image_tokens_equal_image_features_in_every_row(
        self, steps: list[dict[str, Any]], toy: ModuleType, raw: Path
    ) -> None:
        image = toy.load_toy(raw).model.config.image_token_id
        for inputs in steps:
            ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
            assert (ids == image).sum(dim=1).tolist() == [4 * n for n in inputs["num_images"]]
            patches = int(inputs["image_grid_thw"].prod(dim=-1).sum())
            assert len(inputs["pixel_values"]) == patches == 16 * sum(inputs["num_images"])
        assert len(steps) == 4
        assert {count for inputs in steps for count in inputs["num_images"]} == {2}

    def test_only_replies_are_trained(
        self, steps: list[dict[str, Any]], toy: ModuleType, raw: Path
    ) -> None:
        image = toy.load_toy(raw).model.config.image_token_id
        for inputs in steps:
            trained = (inputs["completion_mask"] * inputs["tool_mask"]).bool()
            assert trained.any(dim=1).all()
            assert not (inputs["completion_ids"][trained] == image).any()
            assert int(trained.sum(dim=1).max()) <= 2 * 4  # two replies of four tokens

    def test_rows_keep_their_starts(self, steps: list[dict[str, Any]]) -> None:
        assert sorted(n for inputs in steps[:2] for n in inputs["start"].tolist()) == [0, 0, 1, 1]


def trainer_on(
    toy: ModuleType,
    grpo: ModuleType,
    base: Path,
    settings: GrpoSettings,
    out: Path,
    kind: Callable[..., Any] | None = None,
) -> Any:
    """A trainer over two squares."""
    run = grpo.RunFolder(out)
    loaded = grpo.load_base(base, settings)
    arguments = grpo.trainer_arguments(run, settings, on_cpu=True)
    starts = grpo.EpisodeStarts(toy.toy_squares(2), models())
    return (kind or grpo.EpisodeTrainer)(starts, loaded, settings, arguments)


@pytest.mark.parametrize("no_number", ["nan", "inf"])
def test_a_loss_that_is_no_number_stops_with_step_and_cases(
    toy: ModuleType,
    grpo: ModuleType,
    raw: Path,
    quick: GrpoSettings,
    tmp_path: Path,
    no_number: str,
) -> None:
    class Diverging(grpo.EpisodeTrainer):  # type: ignore[misc,name-defined]  # of a fixture
        def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
            loss = super()._compute_loss(model, inputs)
            return loss + (float(no_number) if self.state.global_step else 0.0)

    trainer = trainer_on(toy, grpo, raw, quick, tmp_path, kind=Diverging)
    with pytest.raises(
        TrainingStopped, match=r"loss of step 2 is no number, in episodes of square"
    ):
        trainer.train()

    (checkpoint,) = (tmp_path / "checkpoints").glob("checkpoint-*")
    assert checkpoint.name == "checkpoint-1"
    weights = [p for p in trainer.model.parameters() if not torch.isfinite(p).all()]
    assert not weights  # nothing was stepped


def test_a_gradient_that_is_no_number_stops_before_it_is_stepped(
    toy: ModuleType, grpo: ModuleType, raw: Path, quick: GrpoSettings, tmp_path: Path
) -> None:
    trainer = trainer_on(toy, grpo, raw, quick, tmp_path)
    weight = next(trainer.model.parameters())
    trainer._learning = [1]
    weight.grad = torch.full_like(weight, float("inf"))

    with pytest.raises(TrainingStopped, match=r"gradient of step 1 is no number.*square-1, square"):
        trainer._clip_grad_norm(trainer.model)


def test_groups_of_equal_reward_are_left_out(
    toy: ModuleType, grpo: ModuleType, raw: Path, quick: GrpoSettings, tmp_path: Path
) -> None:
    settings = replace(quick, dynamic_sampling=True)
    trainer = trainer_on(toy, grpo, raw, settings, tmp_path)
    trainer._earned = torch.tensor([0.5, 0.5, 0.2, 0.8])
    output = {
        "advantages": torch.tensor([0.0, 0.0, -0.7, 0.7]),
        "completion_mask": torch.ones(4, 3),
        "tool_mask": torch.ones(4, 3, dtype=torch.long),
        "num_items_in_batch": torch.tensor(12.0),
    }

    trainer._leave_out_equal(output)

    assert output["tool_mask"].sum(dim=1).tolist() == [0, 0, 3, 3]
    assert output["num_items_in_batch"] == 6
    # a mean over four rows of which two are zero, made the mean of the two
    assert output["advantages"].tolist() == pytest.approx([0, 0, -1.4, 1.4])
    assert trainer._metrics["train"]["groups_left_out"] == [0.5]


class TestRefusals:
    def test_fsdp_on_a_cpu(
        self,
        toy: ModuleType,
        grpo: ModuleType,
        raw: Path,
        quick: GrpoSettings,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
        with pytest.raises(TrainingRefused, match="FSDP is configured and there is no GPU"):
            grpo.train_grpo(
                toy.toy_squares(2), raw, models(), tmp_path / "run", quick, device="cpu"
            )
        assert not (tmp_path / "run").exists()

    def test_rows_that_cannot_be_shared_out(
        self, grpo: ModuleType, quick: GrpoSettings, tmp_path: Path
    ) -> None:
        with pytest.raises(TrainingRefused, match="choose numbers that divide"):
            grpo.trainer_arguments(
                grpo.RunFolder(tmp_path), replace(quick, per_device=3), on_cpu=True
            )

    def test_fewer_starts_than_a_step_takes(
        self, toy: ModuleType, grpo: ModuleType, raw: Path, quick: GrpoSettings, tmp_path: Path
    ) -> None:
        """TRL would end the run without a step, and not say so; nothing is begun."""
        with pytest.raises(TrainingRefused, match=r"1 starts, fewer than the 2 .*--prompts"):
            grpo.train_grpo(
                toy.toy_squares(1), raw, models(), tmp_path / "run", quick, device="cpu"
            )
        assert not (tmp_path / "run" / "run.json").exists()

    def test_a_model_whose_pictures_cannot_be_counted(
        self, grpo: ModuleType, quick: GrpoSettings, tmp_path: Path
    ) -> None:
        from tests.support.chat_folders import save_llava

        save_llava(tmp_path / "llava")
        with pytest.raises(TrainingRefused, match=r"Qwen2\.5-VL and Qwen3-VL"):
            grpo.load_base(tmp_path / "llava", quick)


def test_what_papers_say_reaches_trl(grpo: ModuleType, tmp_path: Path) -> None:
    from models.training.grpo_settings import PRESETS

    given = grpo.trainer_arguments(grpo.RunFolder(tmp_path), PRESETS["medsam-agent"], on_cpu=True)
    assert (given.num_generations, given.generation_batch_size) == (8, 64)
    assert (given.per_device_train_batch_size, given.gradient_accumulation_steps) == (1, 64)
    assert (given.learning_rate, given.beta, given.epsilon, given.temperature) == (1e-6, 0, 0.2, 1)
    assert (given.loss_type, given.scale_rewards, given.log_multimodal) == ("grpo", "group", False)

    given = grpo.trainer_arguments(grpo.RunFolder(tmp_path), PRESETS["ibis"], on_cpu=True)
    assert (given.num_generations, given.generation_batch_size) == (4, 1024)
    assert (given.gradient_accumulation_steps, given.steps_per_generation) == (32, 64)


def test_a_run_that_is_gone_on_with_ends_the_same_bit_for_bit(
    toy: ModuleType, grpo: ModuleType, taught: Path, quick: GrpoSettings, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = replace(
        quick, turns=1, prompts=1, group=8, per_device=8, reply_tokens=toy.REPLY_TOKENS
    )

    def train(out: Path, squares: int = 2, **more: Any) -> Any:
        return grpo.train_grpo(
            toy.toy_squares(squares), taught, models(), out, settings, device="cpu", **more
        )

    class Killed(Exception):
        """Stands for the end of the process."""

    def kill(told: str) -> None:
        if told.startswith("step 2"):
            raise Killed

    train(whole)
    with pytest.raises(Killed):
        train(broken, progress=kill)
    with pytest.raises(TrainingRefused, match="begun with another starts"):
        train(broken, squares=3, resume=True)
    resumed = train(broken, resume=True)

    assert resumed.steps == 2
    assert weights(whole / "model") == weights(broken / "model")
    first = whole / "checkpoints" / "checkpoint-1"
    assert len({weights(folder) for folder in (taught, first, whole / "model")}) == 3


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


class TestLearning:
    @pytest.fixture(scope="class")
    @classmethod
    def runs(
        cls,
        toy: ModuleType,
        grpo: ModuleType,
        prompts: Path,
        taught: Path,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> tuple[Path, Path]:
        """The planner before, and the folder of its training."""
        root = tmp_path_factory.mktemp("learning")
        settings = GrpoSettings(
            turns=2,
            steps=STEPS,
            prompts=2,
            group=12,
            per_device=24,
            reply_tokens=toy.REPLY_TOKENS,
            image_px=64,
            learning_rate=1e-3,
            save_every=STEPS,
            prompts_folder=prompts,
        )
        grpo.train_grpo(toy.toy_squares(4), taught, models(), root / "run", settings, device="cpu")
        return taught, root / "run"

    def test_reward_on_a_fixed_set_rises(
        self, toy: ModuleType, prompts: Path, runs: tuple[Path, Path]
    ) -> None:
        """Judged through the policy that serves, which loads what was saved."""
        base, run = runs
        before = _mean_reward(toy, base, prompts)
        after = _mean_reward(toy, run / "model", prompts)
        assert after > before + 0.1

    def test_every_part_of_the_model_was_trained(
        self, toy: ModuleType, runs: tuple[Path, Path]
    ) -> None:
        base, run = (
            toy.load_toy(folder).model.state_dict() for folder in (runs[0], runs[1] / "model")
        )
        changed = {name for name in base if not torch.equal(base[name], run[name])}
        for part in ("visual.blocks", "visual.merger", "language_model.layers", "embed_tokens"):
            assert any(part in name for name in changed), part

    def test_figures_are_left_and_no_picture(self, runs: tuple[Path, Path]) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        folder = runs[1]
        assert (folder / "curves.png").stat().st_size > 10_000
        events = EventAccumulator(str(folder / "tensorboard"))
        events.Reload()
        tags = events.Tags()
        wanted = {"iou", "turns", "malformed", "reward", "reward_form", "reward_quality"}
        assert wanted <= {tag.removeprefix("train/") for tag in tags["scalars"]}
        assert tags["images"] == []
        assert (folder / "model" / "training.json").exists()


def _mean_reward(toy: ModuleType, folder: Path, prompts: Path) -> float:
    """Over 64 episodes on 16 squares that were not learnt from, sampled at temperature 1."""
    from models.policies.chat.in_process.transformers_chat import TransformersChat

    torch.manual_seed(5)
    cases = toy.toy_squares(16, seed=9) * 4
    policy = LanguagePolicy(
        TransformersChat(toy.load_toy(folder), batch=64), toy.toy_settings(prompts)
    )
    running = run_together(toy.toy_starts(cases), policy, FakeSegmenter(), Limits(max_turns=2))
    while True:
        try:
            next(running)
        except StopIteration as ended:
            episodes = ended.value
            break
    rewards = [
        segnode_reward(episode_facts(episode, case.truths[0].voxels[0], Dialect.TOOL_CALL)).total
        for episode, case in zip(episodes, cases, strict=True)
    ]
    return sum(rewards) / len(rewards)
