"""A toy planner and the pictures that it works on: one bright square each, short prompts, a tiny
model that was shown, in equal parts, a good way to begin and bad ones.

Imported within a fixture: transformers takes seconds to load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import torch

from agent.actions import AddBox, Stop
from agent.case import Case, Truth
from agent.fakes import ArraySlices, FakeSegmenter
from agent.geometry import Geometry
from agent.language.chat import Picture
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.ports import Observation
from agent.protocol.dialects import Dialect, render_reply
from agent.protocol.view import View
from agent.values import Box, Role, Target, Volume
from models.policies.chat.in_process.loading import Loaded, load_chat_model
from models.policies.chat.in_process.pictures import processed, side_by_side
from models.runtime.resources import LanguageOptions, Resources
from models.training.rollouts import Rollout, RolloutChat, Room, Sampled, roll_out
from tests.support.chat_folders import Size, save_qwen3_vl

SIDE = 64
PROMPTS = {
    "system": "You outline.",
    "tools": "$tools",
    "first": "The target is: $target",
    "next": "Next action.",
    "fault": "No effect: $observation",
    "form": "No effect: $observation",
}
VIEW = View.squash((SIDE, SIDE), (SIDE, SIDE))
GOOD = render_reply(AddBox(Box(4, 4, 59, 59)), VIEW, Dialect.TOOL_CALL)
"""The box about every square."""
CORNER = render_reply(AddBox(Box(0, 0, 9, 9)), VIEW, Dialect.TOOL_CALL)
"""A box beside every square."""
STOP = render_reply(Stop(), VIEW, Dialect.TOOL_CALL)
WORDS = "I look."
FIRST_REPLIES = (GOOD, CORNER, WORDS, STOP)
REPLY_TOKENS = 4


def toy_squares(count: int, *, seed: int = 0) -> list[Case]:
    """`count` images (1, 64, 64) of one bright square about the middle, 20 to 36 pixels wide."""
    return [_square(np.random.default_rng([seed, index]), index) for index in range(count)]


def _square(rng: np.random.Generator, index: int) -> Case:
    image = rng.normal(0.1, 0.002, (1, SIDE, SIDE)).astype(np.float32)
    top, left = rng.integers(14, 17, 2)
    height, width = rng.integers(26, 36, 2)
    voxels = np.zeros(image.shape, dtype=np.bool_)
    voxels[0, top : top + height, left : left + width] = True
    image[voxels] += 0.8
    geometry = Geometry(image.shape, np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]])
    volume = Volume(image, geometry, "MR")
    truth = Truth(Target("square"), voxels)
    return Case(f"square-{index}", f"patient-{index}", "toy", "train", volume, (truth,))


def toy_starts(cases: Sequence[Case]) -> list[Observation]:
    """The first observation of an episode on each case, as it is stored."""
    return [
        Observation(
            case.truths[0].target,
            ArraySlices(case.volume.intensities.clip(0, 1), FakeSegmenter()),
            0,
            Role.KEY,
        )
        for case in cases
    ]


def write_prompts(folder: Path) -> Path:
    """A site's own prompts, of a few words each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in PROMPTS.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def toy_settings(prompts: Path, dialect: Dialect = Dialect.TOOL_CALL) -> LanguageSettings:
    """How the toy is asked in training."""
    return LanguageSettings(
        dialect=dialect,
        image_px=SIDE,
        temperature=1.0,
        retry_temperature=0.0,
        max_new_tokens=REPLY_TOKENS,
        prompts=prompts,
    )


def save_toy(folder: Path, save: Callable[[Path, Size], None] = save_qwen3_vl) -> None:
    """A tiny model of random weights; each of the toy's replies is one token of it."""
    sentences = (*PROMPTS.values(), "square user assistant system") * 8
    save(folder, Size(sentences=sentences, words=FIRST_REPLIES))


def load_toy(folder: Path) -> Loaded:
    """The model as serving loads it."""
    return load_chat_model(Resources(device="cpu", language=LanguageOptions(model=str(folder))))


SECOND_REPLIES = {GOOD: STOP, CORNER: GOOD, WORDS: GOOD, STOP: GOOD}
"""What comes after each first reply: stop after a mask of the square, else the good box."""


def scripted_rollouts(
    loaded: Loaded,
    settings: LanguageSettings,
    replies: Sequence[str],
    cases: Sequence[Case],
    after: Mapping[str, str] = SECOND_REPLIES,
) -> list[Rollout]:
    """Episodes of at most two turns in which the first reply of each is the next of `replies`, and
    the second is what comes `after` it.
    """
    ends = loaded.processor.tokenizer.eos_token_id
    first = cycle(replies)
    said: dict[tuple[int, ...], str] = {}

    def generate(ids: list[list[int]], _: list[list[Picture]]) -> Sampled:
        sampled = []
        for row in ids:
            text = loaded.processor.tokenizer.decode(row)
            before = next((reply for reply in FIRST_REPLIES if reply in text), None)
            reply = next(first) if before is None else after[before]
            said[tuple(row)] = reply
            sampled.append([*loaded.processor.tokenizer(reply)["input_ids"], ends])
        return sampled, None

    room = Room(settings.max_new_tokens, 4000)
    chat = RolloutChat(loaded.model, loaded.processor, generate, room, settings.temperature)
    starts = toy_starts(cases)
    return roll_out(starts, FakeSegmenter(), chat, settings, Limits(max_turns=2))


def teach(loaded: Loaded, rollouts: Sequence[Rollout], steps: int, rate: float = 4e-3) -> float:
    """Teach the model what it "said" in `rollouts`, all of them at once in each of `steps`; the
    last loss in nats a token.
    """
    torch.manual_seed(0)
    inputs = batch_of(loaded, rollouts)
    labels = inputs.pop("labels")
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=rate, weight_decay=0.0)
    loaded.model.train()
    loss = torch.zeros(())
    for _ in range(steps):
        loss = loaded.model(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(loaded.model.parameters(), 1.0)
        optimizer.step()
    loaded.model.eval()
    return float(loss.detach())


def batch_of(loaded: Loaded, rollouts: Sequence[Rollout]) -> dict[str, torch.Tensor]:
    """Rollouts as the model's own inputs, with `labels` on what is trained."""
    rows = [rollout.prompt_ids + rollout.completion_ids for rollout in rollouts]
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), loaded.processor.tokenizer.pad_token_id)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for number, (row, rollout) in enumerate(zip(rows, rollouts, strict=True)):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
        trained = torch.tensor([0] * len(rollout.prompt_ids) + rollout.trained).bool()
        labels[number, : len(row)][trained] = ids[number, : len(row)][trained]
    pictures = [picture for rollout in rollouts for picture in rollout.pictures]
    pixels = side_by_side(
        loaded.processor, [processed(loaded.processor, picture) for picture in pictures]
    )
    kinds = (ids == loaded.model.config.image_token_id).int()
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "mm_token_type_ids": kinds,
        **pixels,
    }


def save_taught(folder: Path, prompts: Path, *, steps: int = 30) -> float:
    """A toy planner that begins well one time in four; the loss that it was left at."""
    raw = folder.with_name(f"{folder.name}-raw")
    save_toy(raw)
    loaded = load_toy(raw)
    # every picture with every reply: which one to give cannot be told from the picture
    cases = [case for case in toy_squares(2, seed=1) for _ in FIRST_REPLIES]
    loss = teach(
        loaded, scripted_rollouts(loaded, toy_settings(prompts), FIRST_REPLIES, cases), steps
    )
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)
    return loss


def with_carried(start: Observation, mask: np.ndarray) -> Observation:
    """The same start beside a slice that has a mask."""
    return replace(start, carried=mask)
