"""What verl 0.9.1 has of an agent loop, as far as an adapter meets it: the base class with its
arguments, the output with its fields, the registry, the server that samples.

The names were copied by hand from verl/experimental/agent_loop/agent_loop.py and
verl/workers/rollout/replica.py of that version; what is not among them is refused.
"""

from __future__ import annotations

import asyncio
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

from PIL import Image
from pydantic import BaseModel, ConfigDict

VERSION = "0.9.1"


class AgentLoopMetrics(BaseModel):
    model_config = ConfigDict(extra="forbid")
    generate_sequences: float = 0.0
    tool_calls: float = 0.0
    compute_score: float = 0.0
    num_preempted: int = -1


class AgentLoopOutput(BaseModel):
    model_config = ConfigDict(extra="forbid")
    prompt_ids: list[int]
    response_ids: list[int]
    response_mask: list[int]
    response_logprobs: list[float] | None = None
    routed_experts: Any | None = None
    multi_modal_data: dict[str, Any] | None = None
    reward_score: float | None = None
    num_turns: int = 0
    metrics: AgentLoopMetrics
    extra_fields: dict[str, Any] = {}
    mm_processor_kwargs: dict[str, Any] | None = None
    mm_processor_output: list[dict[str, Any]] | None = None


class AgentLoopBase(ABC):
    def __init__(
        self,
        trainer_config: Any,
        server_manager: Any,
        tokenizer: Any,
        processor: Any,
        dataset_cls: Any,
        data_config: Any,
        hf_model_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.config = trainer_config.config
        self.rollout_config = self.config.actor_rollout_ref.rollout
        self.server_manager = server_manager
        self.tokenizer, self.processor = tokenizer, processor
        self.dataset_cls, self.data_config = dataset_cls, data_config.config

    @abstractmethod
    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> AgentLoopOutput:
        raise NotImplementedError


class Server:
    """verl's server manager, that says what `reply` makes of the tokens and pictures so far."""

    def __init__(self, reply: Callable[[list[int]], tuple[list[int], list[float]]]) -> None:
        self._reply, self.asked = reply, list[dict[str, Any]]()

    async def generate(
        self,
        request_id: str,
        *,
        prompt_ids: list[int],
        sampling_params: dict[str, Any],
        image_data: list[Any] | None = None,
        video_data: list[Any] | None = None,
        audio_data: list[Any] | None = None,
        mm_processor_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        self.asked.append(
            {
                "request_id": request_id,
                "prompt_ids": list(prompt_ids),
                "sampling_params": dict(sampling_params),
                "image_data": list(image_data or []),
            }
        )
        await asyncio.sleep(0)
        token_ids, log_probs = self._reply(prompt_ids)
        return SimpleNamespace(
            token_ids=token_ids,
            log_probs=log_probs,
            num_preempted=None,
            extra_fields={
                "min_global_steps": len(self.asked),
                "max_global_steps": len(self.asked),
            },
        )


def modules() -> tuple[dict[str, ModuleType], dict[str, type]]:
    """The modules to be found under verl's names, and what registers itself there."""
    names = ("verl", "verl.experimental", "verl.experimental.agent_loop")
    made = {name: ModuleType(name) for name in (*names, f"{names[-1]}.agent_loop")}
    registered: dict[str, type] = {}

    def register(agent_name: str) -> Callable[[type], type]:
        return lambda subclass: registered.setdefault(agent_name, subclass)

    vars(made[f"{names[-1]}.agent_loop"]).update(
        AgentLoopBase=AgentLoopBase, AgentLoopOutput=AgentLoopOutput, register=register
    )
    return made, registered


def row_as_verl_gives_it(stored: dict[str, Any]) -> dict[str, Any]:
    """A row of the parquet as verl's RLHFDataset gives it to an agent loop: the pictures in the
    messages, their column gone.
    """
    row, pictures = dict(stored), iter(stored["images"])
    row["raw_prompt"] = [
        {"role": message["role"], "content": _parts(message["content"], pictures)}
        for message in stored["prompt"]
    ]
    del row["images"]
    return row | {"index": 0, "tools_kwargs": {}, "interaction_kwargs": {}, "uid": "u"}


def _parts(text: str, pictures: Any) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for segment in filter(None, re.split("(<image>)", text)):
        if segment == "<image>":
            stored = next(pictures)
            parts.append(
                {"type": "image", **stored, "image": Image.open(io.BytesIO(stored["bytes"]))}
            )
        else:
            parts.append({"type": "text", "text": segment})
    return parts


def wrapped(config: Any) -> Any:
    """A configuration as verl hands it to an agent loop."""
    return SimpleNamespace(config=config)


def trainer_config(model: str, *, prompt_length: int, response_length: int) -> Any:
    """The part of verl's configuration that agent loops look at."""
    rollout = SimpleNamespace(prompt_length=prompt_length, response_length=response_length)
    return SimpleNamespace(
        actor_rollout_ref=SimpleNamespace(rollout=rollout, model=SimpleNamespace(path=model))
    )


def in_turn(
    replies: Sequence[list[int]],
) -> Callable[[list[int]], tuple[list[int], list[float]]]:
    """A reply function that says `replies` one after the other, the n-th at log-probability -n."""
    rest = iter(enumerate(replies, start=1))

    def reply(_: list[int]) -> tuple[list[int], list[float]]:
        number, ids = next(rest)
        return list(ids), [-float(number)] * len(ids)

    return reply
