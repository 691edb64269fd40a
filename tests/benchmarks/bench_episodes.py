"""50 episodes of 5 turns on one image set: python tests/benchmarks/bench_episodes.py [--device
cuda:0] [--episodes N]

Ours (lock-step batches, what was read is kept, a slice is encoded once) beside the original's way
as its published code goes: one episode at a time, the whole history read again each turn, the
segmenter's encoder run at every click. Prompts, pictures, language model, segmenter and clicks are
the same. The model's weights are random (the geometry is Qwen2.5-VL's, tens of millions of
parameters), so it is asked in earnest, for the time that takes, and the action is taken from a
script. On a CPU the original's way is timed on a share of the episodes, half before and half after
ours, and scaled: its episodes are alike and independent. Written to bench-out/episodes.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig

from agent.actions import AddBox
from agent.episode.loop import run_episode, run_together
from agent.language.chat import Answer, ChatModel, Conversation, Picture
from agent.language.policy import LanguagePolicy
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.ports import Encoding, Observation, Segmenter
from agent.protocol.dialects import Dialect, render_reply
from agent.protocol.view import View
from agent.protocol.vocabulary import TOOLS
from agent.turns import Usage
from agent.values import UNTOLD_FACTS, Box, Role, Target
from models.policies.chat.in_process.transformers_chat import transformers_chat
from models.runtime.resources import LanguageOptions, Resources
from models.segmenters.litemedsam import LiteMedSam

ROOT = Path(__file__).resolve().parents[2]
TURNS, SLICES, REPLY_TOKENS = 5, 10, 32
TARGETS = ("liver", "spleen", "left kidney", "right kidney", "aorta")
GOAL = {"cpu": 2.5, "cuda": 5.0}
GEOMETRY = {
    "cpu": {
        "width": 384,
        "layers": 8,
        "heads": 6,
        "vision_width": 256,
        "vision_layers": 8,
        "image_px": 224,
    },
    "cuda": {
        "width": 2048,
        "layers": 28,
        "heads": 16,
        "vision_width": 1280,
        "vision_layers": 32,
        "image_px": 448,
    },
}


class ImageSet:
    """Slices of smooth noise; `keeps` their encodings, or encodes again whenever one is needed."""

    spacing_mm = (1.0, 1.0, 1.0)
    window = modality = ""
    levels = None
    facts = UNTOLD_FACTS

    def __init__(self, segmenter: Segmenter, side_px: int, *, keeps: bool) -> None:
        rng = np.random.default_rng(0)
        coarse = rng.random((SLICES, side_px // 16, side_px // 16), dtype=np.float32)
        self._array = coarse.repeat(16, axis=1).repeat(16, axis=2)
        self._segmenter, self._keeps = segmenter, keeps
        self._encodings: dict[int, Encoding] = {}
        self.encoded = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x)."""
        depth, rows, columns = self._array.shape
        return depth, rows, columns

    def image(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns)."""
        return self._array[z]

    def intensities(self, z: int) -> NDArray[np.float32]:
        """Slice `z`: nothing was windowed."""
        return self.image(z)

    def picture(self, z: int) -> NDArray[np.float32]:
        """Slice `z` (rows, columns, 3)."""
        return np.repeat(self._array[z][..., None], 3, axis=2)

    def encoding(self, z: int) -> Encoding:
        """The encoding of slice `z`."""
        if z not in self._encodings or not self._keeps:
            self.encoded += 1
            self._encodings[z] = self._segmenter.encode(self.image(z))
        return self._encodings[z]


class Directed:
    """Asks a chat model in earnest and answers with the next box of a script instead."""

    def __init__(self, chat: ChatModel, side_px: int) -> None:
        self._chat, self._view = chat, View.letterbox((side_px, side_px), (512, 512))
        self.name = chat.name
        self.asked_s, self.input_tokens, self.output_tokens = 0.0, 0, 0

    def answer(
        self, conversations: Sequence[Conversation], *, temperature: float, max_new_tokens: int
    ) -> list[Answer]:
        """One box further in at every turn, so that no two are alike."""
        began = time.perf_counter()
        said = self._chat.answer(
            conversations, temperature=temperature, max_new_tokens=max_new_tokens
        )
        self.asked_s += time.perf_counter() - began
        self.input_tokens += sum(each.usage.input_tokens for each in said)
        self.output_tokens += sum(each.usage.output_tokens for each in said)
        return [
            Answer(self._box(talk), usage=each.usage)
            for talk, each in zip(conversations, said, strict=True)
        ]

    def _box(self, talk: Conversation) -> str:
        turn = sum(message.role == "assistant" for message in talk.messages)
        near, far = 40.0 + 12 * turn, 300.0 - 12 * turn
        return render_reply(AddBox(Box(near, near, far, far)), self._view, Dialect.TOOL_CALL)


class ReadsWhole:
    """The original's way: each conversation alone, all of it and all of its pictures, in one
    `generate`.
    """

    name = "original"

    def __init__(self, folder: Path, device: str, dtype: torch.dtype) -> None:
        self._model = (
            AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).to(device).eval()
        )
        self._processor = AutoProcessor.from_pretrained(folder)

    def answer(
        self, conversations: Sequence[Conversation], *, temperature: float, max_new_tokens: int
    ) -> list[Answer]:
        """One after the other, greedy."""
        return [self._one(talk, max_new_tokens) for talk in conversations]

    def _one(self, talk: Conversation, max_new_tokens: int) -> Answer:
        said = [
            {
                "role": message.role,
                "content": [
                    {"type": "image"}
                    if isinstance(part, Picture)
                    else {"type": "text", "text": part}
                    for part in message.parts
                ],
            }
            for message in talk.messages
        ]
        text = self._processor.apply_chat_template(said, add_generation_prompt=True)
        pixels = [picture.pixels for picture in talk.pictures]
        inputs = self._processor(text=[text], images=pixels, return_tensors="pt").to(
            self._model.device
        )
        columns = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            tokens = self._model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
        reply = tokens[0, columns:]
        return Answer(self._processor.decode(reply), usage=Usage(columns, len(reply)))


@dataclass(frozen=True)
class Arm:
    """What one way took: seconds in all, of this process's processors, and in the language model;
    times that a slice was encoded.
    """

    episodes: int
    turns: int
    seconds: float
    processor_s: float
    language_s: float
    encoded: int
    input_tokens: int
    output_tokens: int

    def plus(self, other: Arm) -> Arm:
        """Both together."""
        return Arm(
            *(getattr(self, each) + getattr(other, each) for each in self.__dataclass_fields__)
        )


def main() -> int:
    """Measure, print a table, write it down; 1 when the goal is missed."""
    options = _options()
    torch.set_num_threads(options.threads)
    kind = torch.device(options.device).type
    # bfloat16 on a GPU on both sides, so that the ratio is of the method alone
    dtype = torch.bfloat16 if kind == "cuda" else torch.float32
    segmenter = LiteMedSam(threads=options.threads)
    side_px = 352
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "language-model"
        parameters = _save_model(folder, kind)
        share = options.episodes if kind == "cuda" else min(options.sample, options.episodes)
        chat = transformers_chat(
            Resources(
                device=options.device,
                language=LanguageOptions(model=str(folder), batch=options.batch),
            )
        )
        original = ReadsWhole(folder, options.device, dtype)
        first, second = share - share // 2, share // 2

        def ask_original(count: int) -> Arm:
            return _run(Directed(original, side_px), segmenter, side_px, count, together=False)

        _run(Directed(original, side_px), segmenter, side_px, 1, together=False)  # warm
        _run(Directed(chat, side_px), segmenter, side_px, 1, together=True)
        theirs = ask_original(first)
        ours = _run(Directed(chat, side_px), segmenter, side_px, options.episodes, together=True)
        if second:
            theirs = theirs.plus(ask_original(second))
    return _report(ours, theirs, kind, parameters, options)


def _run(
    chat: Directed, segmenter: Segmenter, side_px: int, episodes: int, *, together: bool
) -> Arm:
    """Run so many episodes and count what they took."""
    settings = LanguageSettings(max_new_tokens=REPLY_TOKENS)
    policy = LanguagePolicy(chat, settings)
    slices = ImageSet(segmenter, side_px, keeps=together)
    starts = [
        Observation(
            Target(TARGETS[number % len(TARGETS)]),
            slices,
            number // len(TARGETS) % SLICES,
            Role.KEY,
        )
        for number in range(episodes)
    ]
    # what random words lead to must not end an episode early: it is the time of five turns that is
    # asked for
    limits = replace(Limits(), max_turns=TURNS, refusals_in_a_row=99, stalls_in_a_row=99)
    began, worked = time.perf_counter(), time.process_time()
    if together:
        turns = sum(1 for _ in run_together(starts, policy, segmenter, limits))
    else:
        turns = sum(1 for start in starts for _ in run_episode(start, policy, segmenter, limits))
    seconds = time.perf_counter() - began
    if turns != TURNS * episodes:
        raise RuntimeError(f"{turns} turns were taken, not {TURNS * episodes}")
    return Arm(
        episodes,
        turns,
        seconds,
        time.process_time() - worked,
        chat.asked_s,
        slices.encoded,
        chat.input_tokens,
        chat.output_tokens,
    )


def _save_model(folder: Path, kind: str) -> int:
    """A random Qwen2.5-VL whose replies all have the same length; the number of its parameters."""
    from tests.support import chat_folders as folders

    # learnt from our own prompts, so that they take about as many tokens as with the real tokenizer
    prompts = (ROOT / "agent" / "language" / "prompts").rglob("*.txt")
    sentences = (
        *(file.read_text() for file in prompts),
        *(json.dumps(tool.schema) for tool in TOOLS),
    )
    size = replace(
        folders.TINY,
        context_tokens=32_768,
        vocabulary=1500,
        sentences=sentences,
        words=(),
        **GEOMETRY[kind],
    )
    folders.save_qwen2_5_vl(folder, size)
    processor = AutoProcessor.from_pretrained(folder)
    settings = GenerationConfig.from_pretrained(folder)
    closes = [
        each for each in processor.tokenizer.get_vocab() if ">" in each
    ]  # the end mark as well
    settings.suppress_tokens = processor.tokenizer.convert_tokens_to_ids(closes)
    settings.save_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    return sum(each.numel() for each in model.parameters())


def _report(ours: Arm, theirs: Arm, kind: str, parameters: int, options: argparse.Namespace) -> int:
    ratio = (theirs.seconds / theirs.episodes) / (ours.seconds / ours.episodes)
    rows: Iterator[tuple[str, Callable[[Arm], str]]] = iter(
        [
            ("episodes run", lambda arm: f"{arm.episodes}"),
            ("seconds an episode", lambda arm: f"{arm.seconds / arm.episodes:.2f}"),
            ("  processors at work", lambda arm: f"{arm.processor_s / arm.episodes:.2f}"),
            ("  of it the language model", lambda arm: f"{arm.language_s / arm.episodes:.2f}"),
            ("encodings a turn", lambda arm: f"{arm.encoded / arm.turns:.2f}"),
            ("tokens in a turn", lambda arm: f"{arm.input_tokens / arm.turns:.0f}"),
            ("tokens out a turn", lambda arm: f"{arm.output_tokens / arm.turns:.0f}"),
            (
                f"seconds for {options.episodes}",
                lambda arm: f"{arm.seconds / arm.episodes * options.episodes:.1f}",
            ),
        ]
    )
    sys.stdout.write(
        f"\n{options.episodes} episodes x {TURNS} turns, {parameters / 1e6:.0f} M parameters, "
        f"{kind}\n"
    )
    sys.stdout.write(f"{'':<28}{'ours':>10}{'original':>10}\n")
    for name, figure in rows:
        sys.stdout.write(f"{name:<28}{figure(ours):>10}{figure(theirs):>10}\n")
    sys.stdout.write(f"{ratio:.2f} times as fast (goal {GOAL[kind]})\n")
    figures = {
        "device": torch.cuda.get_device_name() if kind == "cuda" else "cpu",
        "threads": options.threads,
        "parameters": parameters,
        "batch": options.batch,
        "ours": ours.__dict__,
        "original": theirs.__dict__,
        "original_scaled_to_episodes": options.episodes,
        "ratio": ratio,
        "goal": GOAL[kind],
    }
    out = ROOT / "bench-out"
    out.mkdir(exist_ok=True)
    (out / "episodes.json").write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if ratio >= GOAL[kind] else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument(
        "--sample", type=int, default=4, help="episodes of the original's way on a CPU"
    )
    parser.add_argument("--batch", type=int, default=10 if device == "cpu" else 50)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
