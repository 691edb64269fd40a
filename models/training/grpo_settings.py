"""How GRPO is run: one frozen value, and the papers' tables as presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from agent.language.overlay import Overlay
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.protocol.dialects import Dialect
from agent.training.rewards import RewardName
from models.errors import TrainingRefused


class Sampler(StrEnum):
    """What samples replies: the model's own generate, or vLLM beside it or on a server."""

    GENERATE = "generate"
    VLLM_COLOCATED = "vllm-colocated"
    VLLM_SERVER = "vllm-server"


_LEAST_PX = 28  # a vision encoder's smallest picture; its own size would make tokens uncountable


@dataclass(frozen=True)
class GrpoSettings:
    """Group-relative policy optimisation over whole episodes; TrainingRefused for what cannot be.

    A step of generation takes `prompts` starts with `group` episodes each, and makes `updates`
    steps of the optimiser from them, `per_device` rows in one pass. `clip` (and `clip_high`, or the
    same) bounds the ratio, `kl` weighs the divergence from the model that training began with,
    `loss` and `scale_rewards` are TRL's names of how tokens are averaged and how a group's rewards
    are normalised ("group", "batch", "none"). The rate rises over the first `warmup` steps, where
    Adam's step is as long for chance as for what is there to learn. `dynamic_sampling` leaves out
    groups of equal reward. `completion_tokens` 0 is reckoned from turns and pictures. `lora_rank` 0
    trains all weights. A vLLM beside the model takes `sampler_memory` (0..1) of each GPU and lies
    on `sampler_gpus`.
    """

    reward: RewardName = RewardName.SEGNODE
    dialect: Dialect = Dialect.TOOL_CALL
    turns: int = 5
    steps: int = 1000
    prompts: int = 8
    group: int = 8
    updates: int = 1
    per_device: int = 1
    learning_rate: float = 1e-6
    warmup: int = 0
    clip: float = 0.2
    clip_high: float | None = None
    kl: float = 0.0
    temperature: float = 1.0
    loss: str = "grpo"
    scale_rewards: str = "group"
    dynamic_sampling: bool = False
    reply_tokens: int = 512
    completion_tokens: int = 0
    image_px: int = 512
    prompts_folder: Path | None = None
    overlay: Overlay = Overlay.CONTOUR
    repeat_pictures: bool = False
    lora_rank: int = 0
    save_every: int = 200
    seed: int = 0
    sampler: Sampler = Sampler.GENERATE
    sampler_url: str = ""
    sampler_memory: float = 0.3
    sampler_gpus: int = 1

    def __post_init__(self) -> None:
        counts = ("turns", "steps", "prompts", "updates", "per_device", "reply_tokens")
        for name in (*counts, "sampler_gpus"):
            if getattr(self, name) < 1:
                raise TrainingRefused(f"{name} is at least 1, not {getattr(self, name)}")
        if self.save_every < 1 or self.save_every % self.updates:
            # between the updates of one sampling its episodes are in memory alone
            raise TrainingRefused(
                f"save_every is a multiple of updates ({self.updates}), not {self.save_every}: a "
                "run cannot be gone on with from between the updates of one sampling"
            )
        if self.group < 2:
            raise TrainingRefused(
                "a group has at least 2 episodes: an advantage is over the others"
            )
        if self.temperature <= 0:
            raise TrainingRefused("temperature is above 0: a greedy group has no differences")
        if min(self.kl, self.learning_rate, self.clip, self.warmup) < 0:
            raise TrainingRefused("kl, learning_rate, clip and warmup are not negative")
        if self.image_px < _LEAST_PX:
            raise TrainingRefused(f"image_px is at least {_LEAST_PX}, not {self.image_px}")
        if not 0 < self.sampler_memory < 1:
            raise TrainingRefused(
                f"sampler_memory is a share of a GPU, 0..1, not {self.sampler_memory}"
            )
        if (self.sampler is Sampler.VLLM_SERVER) is not bool(self.sampler_url):
            needed = self.sampler is Sampler.VLLM_SERVER
            raise TrainingRefused(
                "say where the vLLM server is: --sampler-url"
                if needed
                else "only a vLLM server has a URL: leave --sampler-url away"
            )

    @property
    def record(self) -> dict[str, Any]:
        """All settings as JSON can hold them."""
        folder = self.prompts_folder
        return asdict(self) | {"prompts_folder": None if folder is None else str(folder)}

    @property
    def identity(self) -> dict[str, Any]:
        """What a run is gone on with only as it was begun with: all but how many rows go through
        the model in one pass, which changes no step.
        """
        return {name: value for name, value in self.record.items() if name != "per_device"}

    @property
    def language(self) -> LanguageSettings:
        """How the model is asked: as it will be served, but at one temperature whatever went
        before, since that is the one the loss reckons with.
        """
        return LanguageSettings(
            dialect=self.dialect,
            image_px=self.image_px,
            temperature=self.temperature,
            retry_temperature=0.0,
            max_new_tokens=self.reply_tokens,
            prompts=self.prompts_folder,
            overlay=self.overlay,
            repeat_pictures=self.repeat_pictures,
        )

    @property
    def limits(self) -> Limits:
        """Serving's budgets, none of them above the turns that a row of tokens has room for."""
        usual = Limits()
        return Limits(
            max_turns=self.turns,
            carry_turns=min(usual.carry_turns, self.turns),
            review_turns=min(usual.review_turns, self.turns),
            planner_decides=True,
        )


PRESETS: Mapping[str, GrpoSettings] = {
    # 8 rollouts, batch 8 / mini 8 / micro 1, 1e-6, clip 0.2, no KL, temperature 1, 5 turns,
    # saved every 200 steps
    "medsam-agent": GrpoSettings(reward=RewardName.MEDSAM_AGENT),
    # 4 rollouts, batch 256 / mini 128 / micro 16, 1e-6, no KL, at most 20 actions, saved every 40
    # steps. The paper trains single turns from the clicks before them; here a whole episode is one
    # sample, and its reward the mean of the turns'
    "ibis": GrpoSettings(
        reward=RewardName.IBIS,
        dialect=Dialect.THINK_ACTION,
        turns=20,
        prompts=256,
        group=4,
        updates=2,
        per_device=16,
        save_every=40,
    ),
}
"""The papers' settings by name."""


def settings_of(preset: str | None, changes: Mapping[str, Any]) -> GrpoSettings:
    """The settings of a preset (None: ours) with `changes` that are not None; TrainingRefused for a
    preset that is not there.
    """
    if preset is not None and preset not in PRESETS:
        raise TrainingRefused(f"there is no preset '{preset}': choose one of {', '.join(PRESETS)}")
    base = GrpoSettings() if preset is None else PRESETS[preset]
    kinds: dict[str, Any] = {
        "reward": RewardName,
        "dialect": Dialect,
        "sampler": Sampler,
        "overlay": Overlay,
    }
    new: dict[str, Any] = {
        name: kinds[name](value) if name in kinds else value
        for name, value in changes.items()
        if value is not None
    }
    return replace(base, **new)
