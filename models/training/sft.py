"""Supervised fine-tuning of a planner, read from top to bottom. The command for one device, and for
eight GPUs:

    segnode train sft trajectories/ --base Qwen2.5-VL-7B-Instruct/ --out run/ --lora 8
    torchrun --nproc-per-node 8 -m server.cli train sft trajectories/ --base … --out run/

(1) Every trajectory becomes tokens by the code that serves; what cannot be used is named and left
out. (2) Some patients are held out. (3) TRL's trainer steps over the rest: loss on right replies
alone, nothing packed, nothing cut. (4) The model is saved as `policy = "transformers"` loads it.

Departures from IBISAgent's recipe (LLaMA-Factory, LoRA r 8, lr 1e-5, cosine, warm-up 0.1, batch 1,
16 accumulated, 10 epochs, cutoff 2048), with the reason:
- Nothing is cut off: a conversation that is longer than the model's context is refused by its name.
- All turns of an episode are learnt in one sequence; masking earlier turns, as LLaMA-Factory does
  to leave wrong ones out, costs one sequence a turn.
- LoRA is on the language layers' linear maps; the projector that follows the vision tower is left
  alone with it.
- Three epochs, not ten: generated trajectories are plenty.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import logging as transformers_logging
from trl import SFTConfig, SFTTrainer

from models.errors import TrainingRefused, TrainingStopped
from models.policies.chat.in_process.loading import Loaded, load_chat_model
from models.runtime.devices import chosen_device, chosen_dtype
from models.runtime.resources import LanguageOptions, Precision, Resources
from models.training.collating import Collator
from models.training.curves import curve_of, draw_curves
from models.training.planner_tokens import PlannerTokens, planner_tokens
from models.training.run_folder import RunFolder, package_versions, write_whole
from models.training.running.faults import ending_in_a_sentence, whole_checkpoint
from models.training.running.finishing import train_to_last_step
from models.training.running.processes import refuse_impossible_processes
from models.training.running.saved_model import base_identity, save_served, whole_model
from models.training.running.trackers import tensorboard
from models.training.token_table import open_table, write_table
from models.training.trajectory_files import Trajectories

Progress = Callable[[str], None]
"""Told where the run stands, in words."""

_LEARNT_SPLITS = ("train", "training", "")
_HELD_OUT_SPLITS = ("validation", "val")
_AT_ONCE = ("batch", "accumulate")
_LANGUAGE_LAYERS = ".language_model."


@dataclass(frozen=True)
class SftSettings:
    """How a model is fine-tuned.

    `lora` the rank of adapters on the language layers, 0: all weights are trained. `epochs` over
    the data, or `steps` in their place. A step has `batch` conversations a device, `accumulate`
    times. `held_out` the share of patients whose trajectories are not learnt. `save_every` steps a
    checkpoint and a look at the held-out ones. `device` "auto" or "cpu".
    """

    lora: int = 0
    epochs: float = 3.0
    steps: int = 0
    batch: int = 1
    accumulate: int = 16
    learning_rate: float = 1e-5
    held_out: float = 0.05
    seed: int = 0
    save_every: int = 100
    device: str = "auto"


@dataclass(frozen=True)
class SftResult:
    """What a run came to: the `model` folder, its `steps`, the trajectories that were `learnt` and
    those that were left out, and the mean held-out loss (nats a token) before and after, None
    without held-out patients.
    """

    model: Path
    steps: int
    learnt: int
    left_out: int
    loss_before: float | None
    loss_after: float | None


def train_sft(
    data: Path,
    base: Path,
    out: Path,
    settings: SftSettings,
    *,
    resume: bool = False,
    progress: Progress = lambda _: None,
) -> SftResult:
    """Fine-tune the model in `base` on the trajectories in `data`; the run is kept in `out`.

    UnusableModel, UnusableData or TrainingRefused before the first step, TrainingStopped after
    it: then the last whole checkpoint is kept, and `resume` goes on from it, bit for bit on one
    CPU process.
    """
    refuse_impossible(settings)
    transformers_logging.disable_progress_bar()
    on_cpu = chosen_device(settings.device).type == "cpu"
    loaded = load_base(base, settings)
    planner = planner_tokens(loaded)
    run, trajectories = RunFolder(out), Trajectories(data)
    arguments = trainer_arguments(run, settings, loaded, on_cpu=on_cpu)
    begun_with = {
        "base": base_identity(base),
        "data": trajectories.manifest_sha256(),
        "settings": identity_of(settings),
    }
    table_file = out / "tokens.arrow"
    with arguments.main_process_first(local=False):
        checkpoint = run.resume(begun_with) if resume else None
        if arguments.process_index == 0:
            if not resume:
                run.require_unused()
            write_tokens(table_file, trajectories, planner)
    table = open_table(table_file)
    learnt, held_out = shared_out(table, data, settings)
    if arguments.process_index == 0 and not resume:
        run.begin(begun_with)
    progress(f"{len(learnt)} sequences are learnt, {len(held_out)} held out")

    trainer = Trainer(
        model=loaded.model,
        args=arguments,
        data_collator=Collator(loaded.model, loaded.processor, planner.filler),
        train_dataset=table.select(learnt),
        eval_dataset=table.select(held_out) if held_out else None,
        processing_class=loaded.processor,
        peft_config=lora(loaded, settings) if settings.lora else None,
        callbacks=[tensorboard(out, checkpoint), _Watching(progress)],
    )
    trainer.remove_callback(PrinterCallback)  # it prints what `progress` is told
    steps = run_trainer(trainer, checkpoint, settings)

    history = trainer.state.log_history
    losses = [loss for _, loss in curve_of(history, "eval_loss")]
    result = SftResult(
        run.model,
        steps,
        len(set(table.select(learnt)["trajectory_id"])),
        len(trajectories.left_out),
        losses[0] if losses else None,
        losses[-1] if losses else None,
    )
    main = trainer.is_world_process_zero()
    trained = whole_model(trainer.accelerator.unwrap_model(trainer.model), here=main)
    if main:
        with ending_in_a_sentence(lambda: steps, ""):
            draw(history, out / "curves.png")
        run.finish(
            lambda folder: save_served(trained, loaded.processor, folder),
            summary(begun_with, settings, result),
        )
        table_file.unlink(missing_ok=True)
    arguments.distributed_state.wait_for_everyone()
    return result


def refuse_impossible(settings: SftSettings) -> None:
    """TrainingRefused for what the trainer would quietly do otherwise, or fail at late."""
    if not 0 <= settings.held_out < 1:
        raise TrainingRefused(f"a share held out is 0 up to 1, not {settings.held_out}: --held-out")
    for name in ("batch", "accumulate", "save_every"):
        if getattr(settings, name) < 1:
            raise TrainingRefused(f"{name} is at least 1, not {getattr(settings, name)}")
    if settings.steps < 0 or (not settings.steps and settings.epochs <= 0):
        raise TrainingRefused("say how long to train: --epochs or --steps, above 0")
    refuse_impossible_processes(
        settings.device, "torchrun --nproc-per-node N -m server.cli train sft …"
    )


def load_base(base: Path, settings: SftSettings) -> Loaded:
    """The model to train, in main memory: the trainer puts it on its device. All weights are
    trained in float32 (and computed with in bfloat16 where the GPU has it); under adapters the
    frozen ones are kept as they are computed with.
    """
    precision = Precision.FLOAT32
    if settings.lora:
        dtype = chosen_dtype(Precision.AUTO, chosen_device(settings.device))
        precision = Precision.BFLOAT16 if dtype is torch.bfloat16 else Precision.FLOAT32
    options = LanguageOptions(model=str(base))
    return load_chat_model(Resources(device="cpu", precision=precision, language=options))


def identity_of(settings: SftSettings) -> dict[str, Any]:
    """What a run is gone on with only as it was begun with: all settings, but of the conversations
    of a step only how many they are, not how many go through the model at once.
    """
    apart = {name: value for name, value in asdict(settings).items() if name not in _AT_ONCE}
    return apart | {"conversations": settings.batch * settings.accumulate}


def write_tokens(file: Path, trajectories: Trajectories, planner: PlannerTokens) -> None:
    """Write the table of tokens, and beside it what was left out of it and why."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_table(file, trajectories, planner)
    told = [f"{name}: {reason}\n" for name, reason in trajectories.left_out.items()]
    write_whole(file.with_name("left-out.txt"), "".join(told))


def shared_out(table: Dataset, folder: Path, settings: SftSettings) -> tuple[list[int], list[int]]:
    """The rows that are learnt and those that are held out, by patient.

    The data set's own validation patients are held out where it has some, else a share of its
    training patients, chosen by the seed; rows of other splits are neither. TrainingRefused for a
    patient in two splits, or where nobody could be held out.
    """
    patients, splits = list(table["patient"]), list(table["split"])
    split_of: dict[str, str] = {}
    for patient, split in zip(patients, splits, strict=True):
        if split_of.setdefault(patient, split) != split:
            raise TrainingRefused(
                f"a patient of {folder} is in the splits {split_of[patient]!r} and {split!r} "
                f"({patient}): what is measured would have been learnt"
            )
    training = sorted(name for name, split in split_of.items() if split in _LEARNT_SPLITS)
    apart = {name for name, split in split_of.items() if split in _HELD_OUT_SPLITS}
    if not settings.held_out:
        apart = set()
    elif not apart:
        if len(training) < 2:
            raise TrainingRefused(
                f"the trajectories in {folder} are of {len(training)} training patients: none can "
                "be held out. Make more, or say --held-out 0"
            )
        training.sort(key=lambda name: hashlib.sha256(f"{settings.seed}:{name}".encode()).digest())
        count = min(max(1, round(settings.held_out * len(training))), len(training) - 1)
        apart, training = set(training[:count]), training[count:]
    learnt_patients = set(training)
    learnt = [row for row, patient in enumerate(patients) if patient in learnt_patients]
    if not learnt:
        raise TrainingRefused(f"{folder} has no trajectory of a training patient")
    return learnt, [row for row, patient in enumerate(patients) if patient in apart]


def trainer_arguments(
    run: RunFolder, settings: SftSettings, loaded: Loaded, *, on_cpu: bool
) -> SFTConfig:
    """The trainer's settings; nothing is sent anywhere."""
    bfloat16 = not on_cpu and torch.cuda.is_bf16_supported(including_emulation=False)
    # it saves memory for a fifth more time; main memory holds what a processor can train
    checkpointed = loaded.model.supports_gradient_checkpointing and not on_cpu
    return SFTConfig(
        output_dir=str(run.checkpoints),
        max_length=None,  # 1024 if not said, and cut through a picture's tokens
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        num_train_epochs=settings.epochs,
        max_steps=settings.steps or -1,
        per_device_train_batch_size=settings.batch,
        per_device_eval_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        activation_checkpointing=checkpointed,
        activation_checkpointing_kwargs={"use_reentrant": False} if checkpointed else None,
        bf16=bfloat16,
        use_cpu=on_cpu,
        seed=settings.seed,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=2,
        eval_strategy="steps" if settings.held_out else "no",
        eval_steps=settings.save_every,
        eval_on_start=bool(settings.held_out),
        prediction_loss_only=True,
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is no number is told, not smoothed over
        dataloader_num_workers=0 if on_cpu else 4,
        dataloader_pin_memory=not on_cpu,
        report_to="none",
        disable_tqdm=True,
    )


def lora(loaded: Loaded, settings: SftSettings) -> LoraConfig:
    """Adapters on the linear maps of the language layers: not on the vision tower, and not on the
    head, which GRPO could not go on from.
    """
    names = [
        name
        for name, module in loaded.model.named_modules()
        if isinstance(module, torch.nn.Linear) and _LANGUAGE_LAYERS in f".{name}"
    ]
    if not names:
        raise TrainingRefused(
            f"{loaded.name} has no part called 'language_model' for adapters: train it whole"
        )
    return LoraConfig(
        r=settings.lora, lora_alpha=2 * settings.lora, target_modules=names, task_type="CAUSAL_LM"
    )


class Trainer(SFTTrainer):  # type: ignore[misc]  # trl is not typed
    """TRL's trainer, whose loss is one mean over all learnt tokens of a step; it stops at a loss
    that is no number and leaves no half checkpoint.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        # Qwen's models say that they take no count of tokens. TRL's loss does, and without it a
        # step is a mean of its passes' means, in which a short reply's tokens weigh more
        self.model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The mean loss over the learnt tokens; TrainingStopped with step and trajectories for one
        that is not finite.
        """
        trajectory_ids = inputs.pop("trajectory_ids")
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if not bool(torch.isfinite(loss[0] if return_outputs else loss)):
            raise self._stopped("the loss is no number", trajectory_ids)
        self._trajectory_ids = trajectory_ids
        return loss

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        if norm is not None and not math.isfinite(float(norm)):
            raise self._stopped("the gradient is no number", self._trajectory_ids)
        return norm

    def _stopped(self, fault: str, trajectory_ids: Sequence[str]) -> TrainingStopped:
        step = self.state.global_step
        place = f"in step {step + 1}" if self.model.training else f"after step {step}, held out"
        return TrainingStopped(
            f"{fault} {place}, with the trajectories {', '.join(trajectory_ids)}. The checkpoints "
            "before it are kept: look at these trajectories, or lower the learning rate."
        )

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        step = self.state.global_step
        with whole_checkpoint(Path(self.args.output_dir) / f"checkpoint-{step}", step):
            super()._save_checkpoint(model, trial)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: a card is written where trajectories are published, not in each checkpoint."""


class _Watching(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Tells of the steps, and has the held-out ones looked at after the last."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == state.max_steps and arguments.eval_strategy != "no":
            control.should_evaluate = True

    def on_log(self, _: Any, state: Any, __: Any, logs: Any = None, **___: Any) -> None:
        if state.is_world_process_zero and logs and "loss" in logs:
            step, loss = state.global_step, float(logs["loss"])
            self._progress(f"step {step} of {state.max_steps}, loss {loss:.3f}")


def run_trainer(trainer: Trainer, checkpoint: Path | None, settings: SftSettings) -> int:
    """Train to the end, from `checkpoint` if there is one; the number of steps."""
    remedy = (
        f"With {settings.batch} conversations at once: lower --batch and raise --accumulate by as "
        "much, train adapters (--lora 8), or show smaller pictures"
    )
    with ending_in_a_sentence(lambda: int(trainer.state.global_step), remedy):
        train_to_last_step(trainer, checkpoint)
    return int(trainer.state.global_step)


def draw(history: Sequence[dict[str, Any]], file: Path) -> None:
    """Draw the curves of a run from its log."""
    losses = {"learnt": curve_of(history, "loss"), "held out": curve_of(history, "eval_loss")}
    panels = {
        "loss (nats a token)": losses,
        "token accuracy": {"learnt": curve_of(history, "mean_token_accuracy")},
        "gradient norm": {"": curve_of(history, "grad_norm")},
    }
    draw_curves(file, panels)


def summary(begun_with: dict[str, Any], settings: SftSettings, result: SftResult) -> dict[str, Any]:
    """What training.json says of the model: no patient, no picture."""
    return begun_with | {
        "method": "sft",
        "settings": asdict(settings),
        "steps": result.steps,
        "trajectories": result.learnt,
        "left_out": result.left_out,
        "held_out_loss": {"before": result.loss_before, "after": result.loss_after},
        "versions": package_versions(),
    }
