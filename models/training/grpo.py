"""GRPO of a planner over whole episodes, read from top to bottom. The command for one device, and
for eight GPUs (deploy/training/ has the configurations):

    segnode train grpo DATA --base sft-run/model --segmenter litemedsam --out run/
    accelerate launch --config_file deploy/training/fsdp2.yaml -m server.cli train grpo DATA …
    deploy/training/vllm-colocated.sh, vllm-server.sh                replies by vLLM

(1) Starts: a slice, a target, its truth. (2) Rollouts: a group of episodes from each start, through
the loop, the policy and the segmenter that serve (rollouts.py). (3) Rewards of each episode as a
whole, less the mean of its group, over its deviation. (4) TRL's loss on the tokens that the model
said. (5) The model is saved as `policy = "transformers"` loads it.

What differs from the papers, with the reason:
- An episode is one sample (IBISAgent: one turn), so that credit goes to what led there.
- No second reply is asked for after a stop, and a malformed reply is told and goes on, as in
  serving; MedSAM-Agent's training ends there.
- A reply without effect is not sampled at a raised temperature, as serving does it: the loss
  reckons with one temperature.
- Replies end where serving stops listening; what a model says behind its action is not learnt.

TRL has no public way for pictures that come during an episode: `_generate` is overridden, which
returns a tuple of 8, and `_generate_single_turn` is called. trl is pinned, and a test holds both.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from PIL import Image
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import logging as transformers_logging
from trl import GRPOConfig, GRPOTrainer

from agent.case import Case
from agent.language.chat import Picture
from agent.training.episode_facts import EpisodeFacts, episode_facts
from agent.training.rewards import REWARDS, Reward
from models.errors import TrainingRefused, TrainingStopped
from models.loaded_models import LoadedModels
from models.policies.chat.in_process.loading import Loaded, load_chat_model
from models.policies.chat.in_process.pictures import processed, side_by_side
from models.runtime.devices import chosen_device
from models.runtime.resources import LanguageOptions, Precision, Resources
from models.training.curves import curve_of
from models.training.grpo_figures import draw_figures, figures_of
from models.training.grpo_settings import GrpoSettings, Sampler
from models.training.rollouts import Rollout, RolloutChat, Sampled, roll_out, vision_tokens
from models.training.room import blank_picture, require_pictures, room_for
from models.training.run_folder import RunFolder, package_versions
from models.training.running.faults import ending_in_a_sentence, whole_checkpoint
from models.training.running.finishing import train_to_last_step
from models.training.running.processes import refuse_impossible_processes
from models.training.running.saved_model import base_identity, save_served, whole_model
from models.training.running.start_order import StartOrder
from models.training.running.trackers import tensorboard
from models.training.starts import EpisodeStarts

Progress = Callable[[str], None]
"""Told where the run stands, in words."""

_EQUAL = 1e-6  # rewards of a group that differ by less are equal
_PROMPT_TOKENS = 4096  # words and one picture are some 2,000
_SAMPLED_AT_ONCE = 64  # rows in one run of generate: their pictures lie in memory together


@dataclass(frozen=True)
class GrpoResult:
    """What a run came to: the `model` folder, its `steps`, and the mean reward of the first and of
    the last tenth of them.
    """

    model: Path
    steps: int
    reward_first: float
    reward_last: float


def train_grpo(
    cases: Iterable[Case],
    base: Path,
    models: LoadedModels,
    out: Path,
    settings: GrpoSettings,
    *,
    slices_per_truth: int = 1,
    device: str = "auto",
    resume: bool = False,
    progress: Progress = lambda _: None,
) -> GrpoResult:
    """Train the model in `base` on episodes over `cases`, drawn by the segmenter of `models`; the
    run is kept in `out`.

    UnusableModel, UnusableData or TrainingRefused before the first step; TrainingStopped after it:
    then the last whole checkpoint is kept, and `resume` goes on from it.
    """
    refuse_impossible_processes(device, "accelerate launch (deploy/training/)")
    transformers_logging.disable_progress_bar()
    loaded = load_base(base, settings)
    run = RunFolder(out)
    arguments = trainer_arguments(run, settings, on_cpu=chosen_device(device).type == "cpu")
    starts = EpisodeStarts(
        cases, models, slices_per_truth=slices_per_truth, folder=out / "encodings"
    )
    trainer = EpisodeTrainer(starts, loaded, settings, arguments, [_Watching(progress)])
    begun_with = {
        "base": base_identity(base),
        "settings": settings.identity,
        "segmenter": models.segmenter.name,
        "starts": starts.digest,
    }
    with arguments.main_process_first(local=False):
        if arguments.process_index == 0 and not resume:
            run.begin(begun_with)
        checkpoint = run.resume(begun_with) if resume else None
    progress(f"{len(starts)} starts, {settings.prompts} x {settings.group} episodes a step")
    trainer.add_callback(tensorboard(out, checkpoint))
    with ending_in_a_sentence(lambda: int(trainer.state.global_step), _less_memory(settings)):
        train_to_last_step(trainer, checkpoint)
        if trainer.is_world_process_zero():
            draw_figures(out / "curves.png", trainer.state.log_history)

    result = _result(run, trainer)
    main = trainer.is_world_process_zero()
    trained = whole_model(trainer.accelerator.unwrap_model(trainer.model), here=main)
    if main:
        summary = begun_with | {
            "method": "grpo",
            "settings": settings.record,
            "steps": result.steps,
            "reward": {"first": result.reward_first, "last": result.reward_last},
            "versions": package_versions(),
        }
        run.finish(lambda folder: save_served(trained, loaded.processor, folder), summary)
    arguments.distributed_state.wait_for_everyone()
    return result


def load_base(base: Path, settings: GrpoSettings) -> Loaded:
    """The model to train, float32 in main memory: the trainer puts it on its device.

    UnusableModel; TrainingRefused for a kind whose pictures' tokens cannot be counted.
    """
    loaded = load_chat_model(
        Resources(
            device="cpu",
            precision=Precision.FLOAT32,
            language=LanguageOptions(model=str(base), image_px=settings.image_px),
        )
    )
    blank = processed(loaded.processor, blank_picture(settings.image_px))
    if "image_grid_thw" not in blank or not hasattr(loaded.model.config, "image_token_id"):
        raise TrainingRefused(
            f"{loaded.name} does not tell how many tokens a picture has; GRPO trains models of the "
            "Qwen2.5-VL and Qwen3-VL kinds"
        )
    return loaded


def trainer_arguments(run: RunFolder, settings: GrpoSettings, *, on_cpu: bool) -> GRPOConfig:
    """TRL's settings; nothing is sent anywhere, and no picture or text is logged."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    rows, at_once = settings.prompts * settings.group, settings.per_device * processes
    passes, rest = divmod(rows, at_once * settings.updates)
    if rest or not passes:
        raise TrainingRefused(
            f"{settings.prompts} prompts x {settings.group} episodes cannot be shared among "
            f"{settings.updates} updates of {processes} processes with {settings.per_device} rows "
            "each: choose numbers that divide"
        )
    return GRPOConfig(
        output_dir=str(run.checkpoints),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.per_device,
        gradient_accumulation_steps=passes,
        steps_per_generation=passes * settings.updates,
        num_generations=settings.group,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=settings.warmup,
        epsilon=settings.clip,
        epsilon_high=settings.clip_high,
        beta=settings.kl,
        temperature=settings.temperature,
        loss_type=settings.loss,
        scale_rewards=settings.scale_rewards,
        max_completion_length=max(settings.completion_tokens, settings.reply_tokens),
        use_vllm=settings.sampler is not Sampler.GENERATE,
        vllm_mode="server" if settings.sampler is Sampler.VLLM_SERVER else "colocate",
        vllm_server_base_url=settings.sampler_url or None,
        vllm_gpu_memory_utilization=settings.sampler_memory,
        vllm_tensor_parallel_size=settings.sampler_gpus,
        bf16=not on_cpu and torch.cuda.is_bf16_supported(including_emulation=False),
        use_cpu=on_cpu,
        activation_checkpointing=not on_cpu,
        seed=settings.seed,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is no number is told, not smoothed over
        log_completions=False,
        log_multimodal=False,  # patients' pictures never go to a tracker
        dataloader_pin_memory=not on_cpu,
        report_to="none",
        disable_tqdm=True,
    )


class EpisodeTrainer(GRPOTrainer):  # type: ignore[misc]  # trl is not typed
    """TRL's GRPO with episodes of our loop as its samples.

    Rows of a batch are numbers of `starts`. TrainingStopped where pictures and their tokens do not
    match, and for a loss or gradient that is no number.
    """

    def __init__(
        self,
        starts: EpisodeStarts,
        loaded: Loaded,
        settings: GrpoSettings,
        arguments: GRPOConfig,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self._starts, self._loaded, self._settings = starts, loaded, settings
        self._image_token = int(loaded.model.config.image_token_id)
        self._processed: dict[str, Mapping[str, Any]] = {}
        self._calls, self._earned = 0, torch.zeros(0)
        room = room_for(loaded, settings)
        if len(starts) < settings.prompts:
            raise TrainingRefused(
                f"the data give {len(starts)} starts, fewer than the {settings.prompts} of a step: "
                "lower --prompts, or take more slices of a structure (--slices)"
            )
        arguments.max_completion_length = room.completion_tokens
        # else vLLM makes room for the longest conversation that the model was made for
        longest = _PROMPT_TOKENS + room.completion_tokens
        arguments.vllm_max_model_length = min(longest, room.context_tokens or longest)
        # vLLM calls the length of one reply otherwise, and knows its suppressed tokens not at all
        arguments.generation_kwargs = (
            {"max_tokens": room.reply_tokens}
            if arguments.use_vllm
            else {
                "max_new_tokens": room.reply_tokens,
                "suppress_tokens": vision_tokens(loaded.model),
            }
        )
        super().__init__(
            model=loaded.model,
            reward_funcs=[_episode_reward],
            args=arguments,
            train_dataset=Dataset.from_dict({"prompt": [str(n) for n in range(len(starts))]}),
            processing_class=loaded.processor,
            peft_config=_lora(settings) if settings.lora_rank else None,
            callbacks=list(callbacks),
        )
        self.remove_callback(PrinterCallback)
        # not empty, or the forward pass takes the branch for pictures in prompts only; set after
        # construction, or the template would have to know tools
        self.tools = [_episode_reward]
        self._chat = RolloutChat(
            loaded.model, loaded.processor, self._sample, room, settings.temperature
        )

    # (1) starts

    def _get_train_sampler(self, dataset: Dataset | None = None) -> StartOrder:
        order = super()._get_train_sampler(dataset)
        steps_a_pass = len(self._starts) // self._settings.prompts * self._settings.updates
        return StartOrder(
            order.data_source,
            order.mini_repeat_count,
            order.batch_size,
            order.repeat_count,
            seed=order.seed,
            passes=lambda: int(self.state.global_step) // steps_a_pass,
        )

    # (2) rollouts, in place of TRL's one reply

    def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
        starts = [self._starts[int(prompt)] for prompt in prompts]
        self._calls = 0
        self._processed.clear()
        rollouts = roll_out(
            [start.observation for start in starts],
            self._starts.segmenter,
            self._chat,
            self._settings.language,
            self._settings.limits,
        )
        self._keep_in_step(rollouts[0])
        facts = [
            episode_facts(rollout.episode, start.truth, self._settings.dialect)
            for rollout, start in zip(rollouts, starts, strict=True)
        ]
        rewards = [REWARDS[self._settings.reward](episode) for episode in facts]
        self._tell(rollouts, facts, rewards)
        pictures = [[_pil(picture) for picture in rollout.pictures] for rollout in rollouts]
        logprobs = [rollout.logprobs for rollout in rollouts]
        return (
            [rollout.prompt_ids for rollout in rollouts],
            [rollout.completion_ids for rollout in rollouts],
            [rollout.trained for rollout in rollouts],
            ["\n".join(turn.reply for turn in rollout.episode.turns) for rollout in rollouts],
            None if None in logprobs else logprobs,
            {"earned": [reward.total for reward in rewards]},
            pictures,
            pictures,  # never empty: TRL then counts tokens in prompt and completion alike
        )

    def _sample(self, ids: list[list[int]], pictures: list[list[Picture]]) -> Sampled:
        """One reply for each row, by the model or by vLLM."""
        at_once = len(ids) if self.use_vllm else _SAMPLED_AT_ONCE
        replies: list[list[int]] = []
        logprobs: list[list[float]] = []
        for start in range(0, len(ids), at_once):
            some = pictures[start : start + at_once]
            sampled, sampled_logprobs = self._generate_single_turn(
                ids[start : start + at_once],
                [[_pil(picture) for picture in row] for row in some],
                self._pixels([picture for row in some for picture in row]),
                1,
                has_tool_images=True,
            )
            self._calls += 1
            replies += sampled
            logprobs += sampled_logprobs or []
        return replies, logprobs or None

    def _pixels(self, pictures: Sequence[Picture]) -> dict[str, torch.Tensor]:
        """Pictures as the vision tower takes them, each prepared once in a batch of episodes."""
        for picture in pictures:
            if picture.digest not in self._processed:
                self._processed[picture.digest] = processed(self.processing_class, picture)
        return side_by_side(
            self.processing_class, [self._processed[picture.digest] for picture in pictures]
        )

    def _keep_in_step(self, rollout: Rollout) -> None:
        """Sample for nothing until this process has called as often as any other may have: where
        sampling gathers weights or prompts over processes, a missing call is waited for for ever.
        """
        if not (self.use_vllm or self.is_deepspeed_enabled or self.is_fsdp_enabled):
            return
        rows = self.args.per_device_train_batch_size * self.args.steps_per_generation
        calls = -(-rows // (rows if self.use_vllm else _SAMPLED_AT_ONCE))
        first = list(rollout.pictures[:1])
        while self._calls < self._settings.turns * calls:
            self._sample([rollout.prompt_ids], [first])

    # (3) rewards

    def _tell(
        self,
        rollouts: Sequence[Rollout],
        facts: Sequence[EpisodeFacts],
        rewards: Sequence[Reward],
    ) -> None:
        """Log the means over all processes' episodes; a figure that is of none is left out."""
        self._earned = torch.tensor([reward.total for reward in rewards])
        mode = "train" if self.model.training else "eval"
        figures = figures_of(rollouts, facts, rewards)
        sums = [[sum(values), float(len(values))] for values in figures.values()]
        gathered = self.accelerator.gather(torch.tensor(sums, device=self.accelerator.device))
        totals = gathered.reshape(-1, len(sums), 2).sum(dim=0).tolist()
        for name, (total, count) in zip(figures, totals, strict=True):
            if count:
                self._metrics[mode][name].append(total / count)
        tokens = sum(len(rollout.prompt_ids) + len(rollout.completion_ids) for rollout in rollouts)
        all_tokens = self.accelerator.gather(torch.tensor([tokens], device=self.accelerator.device))
        self.state.num_input_tokens_seen += int(all_tokens.sum())

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        output["start"] = torch.tensor([int(row["prompt"]) for row in inputs])
        if self._settings.dynamic_sampling:
            self._leave_out_equal(output)
        return output

    def _leave_out_equal(self, output: dict[str, Any]) -> None:
        """Take groups of equal reward out of the batch: they teach nothing, and would still count
        in its means.
        """
        device = output["advantages"].device
        rewards = self.accelerator.gather(self._earned.to(device)).view(-1, self.num_generations)
        unequal = rewards.amax(dim=1) - rewards.amin(dim=1) > _EQUAL
        learnt = unequal.repeat_interleave(self.num_generations)
        rank, rows = self.accelerator.process_index, len(output["advantages"])
        output["tool_mask"] *= learnt[rank * rows : (rank + 1) * rows, None]
        if self.loss_type in ("grpo", "dr_grpo"):  # a mean over all rows: over those that are left
            output["advantages"] *= learnt.numel() / max(int(learnt.sum()), 1)
        left = (output["completion_mask"] * output["tool_mask"]).sum()
        output["num_items_in_batch"] = self.accelerator.gather(left).sum()
        self._metrics["train"]["groups_left_out"].append(1 - float(unequal.float().mean()))

    # (4) the loss, TRL's own, behind what must hold before every step

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss of a micro-batch; TrainingStopped where a picture is missing from it, or it is
        no number.
        """
        require_pictures(inputs, self._image_token, self._merged_patches)
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        self._learning = [int(number) for number in inputs["start"]]
        if not bool(torch.isfinite(loss)):
            raise self._stopped("loss")
        return loss

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        if norm is not None and not math.isfinite(float(norm)):
            raise self._stopped("gradient")
        return norm

    def _stopped(self, what: str) -> TrainingStopped:
        names = ", ".join(dict.fromkeys(self._starts.name(number) for number in self._learning))
        return TrainingStopped(
            f"the {what} of step {self.state.global_step + 1} is no number, in episodes of "
            f"{names}. The checkpoints before it are kept: look at these cases, lower the learning "
            "rate, or go on from the last one by --resume."
        )

    @property
    def _merged_patches(self) -> int:
        return int(getattr(self.processing_class.image_processor, "merge_size", 2)) ** 2

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: a card is written where a model is published, not in each checkpoint."""

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        step = self.state.global_step
        with whole_checkpoint(Path(self.args.output_dir) / f"checkpoint-{step}", step):
            super()._save_checkpoint(model, trial)


def _result(run: RunFolder, trainer: EpisodeTrainer) -> GrpoResult:
    rewards = [value for _, value in curve_of(trainer.state.log_history, "reward")]
    tenth = max(1, len(rewards) // 10)
    first, last = float(np.mean(rewards[:tenth])), float(np.mean(rewards[-tenth:]))
    return GrpoResult(run.model, int(trainer.state.global_step), first, last)


def _less_memory(settings: GrpoSettings) -> str:
    return (
        f"With {settings.per_device} rows in one pass and {settings.turns} pictures in each: lower "
        "--per-device (the step keeps its episodes), or begin a run with lower --image-px, --turns "
        "or --reply-tokens, or with adapters (--lora 8)"
    )


def _episode_reward(*, earned: Sequence[float], **_: Any) -> list[float]:
    """What the episodes earned, as it was reckoned where they ended."""
    return list(earned)


def _lora(settings: GrpoSettings) -> LoraConfig:
    """Adapters on all linear maps but those of the vision tower and the head, which TRL's loss does
    not go through.
    """
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=2 * settings.lora_rank,
        target_modules="all-linear",
        exclude_modules=r".*(visual|lm_head).*",
        task_type="CAUSAL_LM",
    )


def _pil(picture: Picture) -> Image.Image:
    return Image.fromarray(picture.pixels)


class _Watching(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Tells of the steps."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_log(self, _: Any, state: Any, __: Any, logs: Any = None, **___: Any) -> None:
        if state.is_world_process_zero and logs and "reward" in logs:
            sentence = f"step {state.global_step} of {state.max_steps}, reward {logs['reward']:.3f}"
            if logs.get("out_of_room"):
                sentence += f", {logs['out_of_room']:.0%} of the episodes out of room for a turn"
            self._progress(sentence)
