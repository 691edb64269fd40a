"""64 rollouts of 5 turns with a tiny model: python tests/benchmarks/bench_rollouts.py [--sample N]

Ours (all episodes in lock-step, each picture prepared once) beside one episode at a time whose
whole conversation is read, and its pictures prepared, again at every turn. Model, prompts,
segmenter and the script that the actions come from are the same; both sample the same number of
tokens. The other way is timed on a share of the episodes and scaled: they are alike and
independent. Written to bench-out/rollouts.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from agent.fakes import FakeSegmenter
from agent.language.chat import Picture
from agent.limits import Limits
from models.policies.chat.in_process.loading import Loaded
from models.policies.chat.in_process.pictures import processed, side_by_side
from models.training.rollouts import RolloutChat, Room, Sampled, roll_out, vision_tokens
from tests.support.planners import toy_planner

ROOT = Path(__file__).resolve().parents[2]
EPISODES, TURNS, REPLY_TOKENS = 64, 5, 4
GOAL = 5.0


class Sampling:
    """Samples with the model's own generate; `again` prepares pictures at every call."""

    def __init__(self, loaded: Loaded, *, again: bool) -> None:
        self._loaded, self._again = loaded, again
        self._prepared: dict[str, Mapping[str, Any]] = {}
        self._settings = GenerationConfig(
            max_new_tokens=REPLY_TOKENS,
            min_new_tokens=REPLY_TOKENS,
            do_sample=True,
            pad_token_id=loaded.processor.tokenizer.pad_token_id,
            suppress_tokens=vision_tokens(loaded.model),
        )

    def __call__(self, ids: list[list[int]], pictures: list[list[Picture]]) -> Sampled:
        longest = max(map(len, ids))
        pad = self._loaded.processor.tokenizer.pad_token_id
        rows = torch.tensor([[pad] * (longest - len(row)) + row for row in ids])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids])
        flat = [picture for row in pictures for picture in row]
        with torch.inference_mode():
            self._loaded.model.generate(
                input_ids=rows,
                attention_mask=mask,
                mm_token_type_ids=(rows == self._loaded.model.config.image_token_id).int(),
                generation_config=self._settings,
                **side_by_side(self._loaded.processor, [self._pixels(picture) for picture in flat]),
            )
        # asked in earnest, for the time that takes; the reply is the script's, so that both ways
        # have the same turns
        words = self._loaded.processor.tokenizer(toy_planner.WORDS)["input_ids"]
        return [words for _ in ids], None

    def _pixels(self, picture: Picture) -> Mapping[str, Any]:
        if self._again or picture.digest not in self._prepared:
            self._prepared[picture.digest] = processed(self._loaded.processor, picture)
        return self._prepared[picture.digest]


def seconds(loaded: Loaded, prompts: Path, episodes: int, *, together: bool) -> float:
    """The seconds of so many episodes."""
    settings = toy_planner.toy_settings(prompts)
    chat = RolloutChat(
        loaded.model,
        loaded.processor,
        Sampling(loaded, again=not together),
        Room(settings.max_new_tokens, 4000),
        settings.temperature,
    )
    starts = toy_planner.toy_starts(toy_planner.toy_squares(episodes))
    limits = Limits(max_turns=TURNS, refusals_in_a_row=TURNS)
    batches = [starts] if together else [[start] for start in starts]
    began = time.perf_counter()
    turns = sum(
        len(rollout.episode.turns)
        for batch in batches
        for rollout in roll_out(batch, FakeSegmenter(), chat, settings, limits)
    )
    if turns != episodes * TURNS:
        raise RuntimeError(f"{turns} turns were taken, not {episodes * TURNS}")
    return time.perf_counter() - began


def main() -> int:
    """Run both ways, print the table, write the file; 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=8, help="episodes of the other way")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prompts = toy_planner.write_prompts(Path(folder) / "prompts")
        toy_planner.save_toy(Path(folder) / "model")
        loaded = toy_planner.load_toy(Path(folder) / "model")
        seconds(loaded, prompts, 2, together=True)  # warm
        ours_s = seconds(loaded, prompts, EPISODES, together=True)
        other_s = seconds(loaded, prompts, options.sample, together=False)
    scaled_s = other_s / options.sample * EPISODES
    ratio = scaled_s / ours_s
    sys.stdout.write(
        f"{EPISODES} episodes x {TURNS} turns: {ours_s:.2f} s together, {scaled_s:.2f} s one at a "
        f"time; {ratio:.1f} times as fast (goal {GOAL})\n"
    )
    figures = {"ours_s": ours_s, "one_at_a_time_s": scaled_s, "ratio": ratio, "goal": GOAL}
    out = ROOT / "bench-out"
    out.mkdir(exist_ok=True)
    (out / "rollouts.json").write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    raise SystemExit(main())
