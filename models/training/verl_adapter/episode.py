"""One row of the reinforcement learning parquet played as an episode, its replies sampled by verl.

The loop, the policy, its prompts, the segmenter and the rewards are those of `segnode train grpo`
(models/training/rollouts.py): only who samples is another. verl samples in coroutines of one event
loop, and an episode is plain code, so each is played in a thread of its own that waits for its
replies. Knows nothing of verl's classes; agent_loop.py is what verl loads.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Protocol

from PIL import Image
from transformers import PreTrainedConfig, ProcessorMixin

from agent.actions import Malformed
from agent.case import Case
from agent.language.chat import Picture
from agent.limits import Limits
from agent.training.episode_facts import EpisodeFacts, episode_facts
from agent.training.rewards import REWARDS
from models.errors import TrainingRefused
from models.loaded_models import LoadedModels, open_workbench
from models.runtime.resources import Resources
from models.training.datasets.layouts.rl_parquet import contents_of_row
from models.training.grpo_settings import GrpoSettings
from models.training.rollouts import Rollout, RolloutChat, Room, Sampled, roll_out
from models.training.starts import EpisodeStarts, Start

_WITHOUT_WEIGHTS = "threshold"  # a policy that loads nothing: the model in training plans
_FILE = "the training parquet"  # verl does not say which of its files a row is of


class SampledReply(Protocol):
    """What verl's server answers, as far as we look at it."""

    token_ids: list[int]
    log_probs: list[float] | None
    num_preempted: int | None
    extra_fields: dict[str, Any]


class ReplyServer(Protocol):
    """Who samples: verl's LLMServerClient, as far as we ask it."""

    def generate(
        self,
        request_id: str,
        *,
        prompt_ids: list[int],
        sampling_params: dict[str, Any],
        image_data: list[Any] | None = None,
    ) -> Awaitable[SampledReply]:
        """The tokens that follow `prompt_ids`, which hold all tokens of the pictures."""


class ServerSampler:
    """Samples the replies of one episode from the thread that plays it (rollouts.Generate);
    `seconds` it waited, and the server's `fields` about the replies.
    """

    def __init__(
        self,
        server: ReplyServer,
        loop: asyncio.AbstractEventLoop,
        sampling: Mapping[str, Any],
        request_id: str,
    ) -> None:
        self._server, self._loop = server, loop
        self._sampling, self._request_id = dict(sampling), request_id
        self.seconds, self.preempted = 0.0, -1
        self.fields: dict[str, Any] = {}

    def __call__(self, ids: list[list[int]], pictures: list[list[Picture]]) -> Sampled:
        """A reply for the one row there is."""
        (row,), (row_pictures,) = ids, pictures
        began = time.perf_counter()
        request = self._ask(row, [Image.fromarray(picture.pixels) for picture in row_pictures])
        reply = asyncio.run_coroutine_threadsafe(request, self._loop).result()
        self.seconds += time.perf_counter() - began
        if reply.num_preempted is not None:
            self.preempted = max(self.preempted, 0) + reply.num_preempted
        first_step = self.fields.get("min_global_steps")
        self.fields |= reply.extra_fields
        if first_step is not None:
            self.fields["min_global_steps"] = first_step
        return [list(reply.token_ids)], [list(reply.log_probs)] if reply.log_probs else None

    async def _ask(self, row: list[int], images: list[Image.Image]) -> SampledReply:
        return await self._server.generate(
            request_id=self._request_id,
            prompt_ids=list(row),
            sampling_params=dict(self._sampling),
            image_data=images,
        )


@dataclass(frozen=True, eq=False)
class PlayedEpisode:
    """An episode as verl takes it: its `rollout`, its pictures as images, what it earned, and
    `figures` of it by name, the same names for every episode.
    """

    rollout: Rollout
    images: list[Image.Image]
    reward: float
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class EpisodePlayer:
    """Plays episodes with a segmenter of `models` for a model of `config` and `processor`, as
    `settings` say; `prompt_tokens` and `response_tokens` are the widths of verl's batches.
    """

    models: LoadedModels
    processor: ProcessorMixin
    config: PreTrainedConfig
    settings: GrpoSettings
    prompt_tokens: int
    response_tokens: int

    def __post_init__(self) -> None:
        if self.response_tokens < self.settings.reply_tokens:
            raise TrainingRefused(
                f"data.max_response_length ({self.response_tokens}) has no room for one reply of "
                f"{self.settings.reply_tokens} tokens: raise it, or lower reply_tokens"
            )

    def play(
        self, row: Mapping[str, Any], sampler: ServerSampler, temperature: float
    ) -> PlayedEpisode:
        """The episode of a row; UnreadableFile for a row that cannot be used,
        TrainingRefused for a prompt that is wider than verl's batches.
        """
        start = self._start(row)
        language = replace(self.settings.language, temperature=temperature)
        chat = RolloutChat(
            # of a model in training its configuration alone is looked at; verl has the rest
            SimpleNamespace(config=self.config),
            self.processor,
            sampler,
            Room(self.settings.reply_tokens, self.response_tokens),
            temperature,
        )
        limits = Limits(max_turns=self.settings.turns, planner_decides=True)
        (rollout,) = roll_out([start.observation], self.models.segmenter, chat, language, limits)
        if len(rollout.prompt_ids) > self.prompt_tokens:
            raise TrainingRefused(
                f"a prompt has {len(rollout.prompt_ids)} tokens, and data.max_prompt_length is "
                f"{self.prompt_tokens}: raise it, or show smaller pictures (image_px)"
            )
        facts = episode_facts(rollout.episode, start.truth, self.settings.dialect)
        reward = REWARDS[self.settings.reward](facts)
        images = [Image.fromarray(picture.pixels) for picture in rollout.pictures]
        return PlayedEpisode(rollout, images, reward.total, _figures(facts))

    def _start(self, row: Mapping[str, Any]) -> Start:
        """Where an episode on a row begins."""
        columns = {**row, "images": [{"bytes": picture_bytes(row["raw_prompt"])}]}
        faults: list[str] = []
        contents = contents_of_row(columns, _FILE, "a row", lambda _, why: faults.append(why))
        if not contents.truths:
            raise TrainingRefused(f"a row of {_FILE} cannot be used: {'; '.join(faults)}")
        name = str((row.get("extra_info") or {}).get("id") or "a row")
        source = str(row.get("data_source") or "")
        case = Case(name, name, source, "training", contents.volume, contents.truths)
        return EpisodeStarts([case], self.models)[0]


def picture_bytes(messages: Iterable[Mapping[str, Any]]) -> bytes | None:
    """The file of the first picture in `messages` as verl's RLHFDataset makes them of a row; None
    where there is none.
    """
    for message in messages:
        parts = message["content"]
        for part in () if isinstance(parts, str) else parts:
            if part.get("type") != "image":
                continue
            if isinstance(part.get("bytes"), bytes):
                content: bytes = part["bytes"]
                return content
            file = io.BytesIO()
            part["image"].save(file, "PNG")
            return file.getvalue()
    return None


@lru_cache(maxsize=1)
def models_of(segmenter: str, device: str) -> LoadedModels:
    """The segmenter of a worker process, loaded once; slices are prepared for it as for a language
    model. Asked from the event loop alone, so never twice at a time.
    """
    opened = open_workbench(_WITHOUT_WEIGHTS, segmenter, resources=Resources(device=device))
    return replace(opened, window=None)


def _figures(facts: EpisodeFacts) -> dict[str, float]:
    turns = max(len(facts.turns), 1)
    malformed = sum(isinstance(turn.action, Malformed) for turn in facts.turns)
    return {
        "final_iou": facts.overlaps[-1][0] if facts.overlaps else 0.0,
        "turns": float(len(facts.turns)),
        "malformed_share": malformed / turns,
        "ended_by_itself": float(facts.ended_by_itself),
    }
