"""What verl loads (deploy/training/verl/agent_loops.yaml): our episode as one of its agent loops.

Written for verl 0.9.1, whose AgentLoopBase it subclasses; verl is in an environment of its own, and
nothing else of ours imports this file.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from transformers import AutoConfig, PreTrainedConfig
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput, register

from agent.protocol.dialects import Dialect
from agent.training.rewards import RewardName
from models.errors import TrainingRefused
from models.training.grpo_settings import GrpoSettings
from models.training.verl_adapter.episode import (
    EpisodePlayer,
    PlayedEpisode,
    ServerSampler,
    models_of,
)
from models.training.verl_adapter.older_processor import complete

_EPISODES_AT_ONCE = 256  # threads that wait for replies: more rows than a worker is given
_episodes = ThreadPoolExecutor(_EPISODES_AT_ONCE, thread_name_prefix="episode")


@register("segnode")
class SegnodeAgentLoop(AgentLoopBase):  # type: ignore[misc]  # verl is not here
    """An episode of a planner with one of our segmenters; its settings are those of `segnode train
    grpo`, and the keyword arguments of verl's entry in agent_loops.yaml.
    """

    def __init__(
        self,
        *args: Any,
        segmenter: str = "litemedsam",
        segmenter_device: str = "cpu",
        reward: str = "medsam-agent",
        dialect: str = "tool_call",
        turns: int = 5,
        reply_tokens: int = 512,
        image_px: int = 512,
        prompts_folder: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.processor is None:
            raise TrainingRefused(
                "the model has no processor for pictures: name one that is shown images"
            )
        settings = GrpoSettings(
            reward=RewardName(reward),
            dialect=Dialect(dialect),
            turns=turns,
            reply_tokens=reply_tokens,
            image_px=image_px,
            prompts_folder=Path(prompts_folder) if prompts_folder else None,
        )
        self._reply_tokens = reply_tokens
        self._player = EpisodePlayer(
            models_of(segmenter, segmenter_device),
            complete(self.processor),
            _config_of(str(self.config.actor_rollout_ref.model.path)),
            settings,
            prompt_tokens=int(self.rollout_config.prompt_length),
            response_tokens=int(self.rollout_config.response_length),
        )

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """The episode of a row of the parquet, as verl takes it."""
        loop = asyncio.get_running_loop()
        limited = {**sampling_params, "max_tokens": self._reply_tokens}
        sampler = ServerSampler(self.server_manager, loop, limited, uuid4().hex)
        temperature = float(sampling_params["temperature"])
        began = time.perf_counter()
        played: PlayedEpisode = await loop.run_in_executor(
            _episodes, partial(self._player.play, row, sampler, temperature)
        )
        rollout = played.rollout
        return AgentLoopOutput(
            prompt_ids=rollout.prompt_ids,
            response_ids=rollout.completion_ids,
            response_mask=rollout.trained,
            response_logprobs=rollout.logprobs,
            multi_modal_data={"images": played.images},
            reward_score=played.reward,
            num_turns=2 * len(rollout.episode.turns),  # of the chat: what it was told, its reply
            metrics={
                "generate_sequences": sampler.seconds,
                "tool_calls": time.perf_counter() - began - sampler.seconds,
                "num_preempted": sampler.preempted,
            },
            extra_fields={
                **sampler.fields,
                "turn_scores": [],
                "tool_rewards": [],
                "reward_extra_info": dict(played.figures),
            },
        )


@lru_cache(maxsize=1)
def _config_of(folder: str) -> PreTrainedConfig:
    """The configuration of the model in training: which tokens stand for pictures."""
    return AutoConfig.from_pretrained(
        Path(folder).expanduser(), local_files_only=True, trust_remote_code=False
    )
