"""verl's agent loop plays our episodes: tokens, masks and rewards are those of our own rollouts."""

from __future__ import annotations

import asyncio
import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from agent.actions import AddBox
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.protocol.dialects import Dialect, render_reply
from agent.training.episode_facts import episode_facts
from agent.training.rewards import medsam_agent_reward
from agent.values import Box
from models.errors import TrainingRefused, UnreadableFile
from models.training.datasets.opening import open_dataset
from models.training.exports.rl_parquet import write_rl_parquet
from tests.support.chat_folders import Size, save_qwen2_5_vl, save_qwen3_vl
from tests.support.toy_cases import toy_cases
from tests.support.training import verl_stand_in
from tests.support.training.toy_trajectories import toy_run, write_toy_folder
from tests.support.training.verl_stand_in import Server, in_turn, row_as_verl_gives_it

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra segnode[train]")

MODULE = "models.training.verl_adapter.agent_loop"
FAMILIES = {"qwen3_vl": save_qwen3_vl, "qwen2_5_vl": save_qwen2_5_vl}
REPLY_TOKENS, SIDE = 60, 64


@pytest.fixture(scope="module")
def toy() -> ModuleType:
    from tests.support.planners import toy_planner

    return toy_planner


@pytest.fixture(scope="module")
def prompts(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_prompts(tmp_path_factory.mktemp("prompts"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trajectories")
    write_toy_folder(folder, toy_run(image_px=SIDE), toy_cases(1))
    write_rl_parquet(folder)
    return folder / "rl.parquet"


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, toy: ModuleType, tmp_path: Path) -> Path:
    FAMILIES[request.param](
        tmp_path / "model",
        Size(sentences=(toy.GOOD, toy.STOP, toy.WORDS) * 8, vocabulary=700),
    )
    return tmp_path / "model"


@pytest.fixture
def loop_class(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The class as verl would find it, with the stand-in under verl's names."""
    found, registered = verl_stand_in.modules()
    for name, module in found.items():
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules.pop(MODULE, None)
    importlib.import_module(MODULE)
    yield registered["segnode"]
    sys.modules.pop(MODULE, None)


def opened(
    loop_class: Any, toy: ModuleType, model: Path, prompts: Path, server: Server, **more: Any
) -> Any:
    """An instance made as verl's worker makes it: its own arguments by keyword, and the entry's."""
    lengths = {"prompt_length": more.pop("prompt_length", 400), "response_length": 900}
    config = verl_stand_in.trainer_config(str(model), **lengths)
    entry = {"segmenter": "fake", "reply_tokens": REPLY_TOKENS, "image_px": SIDE, "turns": 3}
    processor = more.pop("processor", toy.load_toy(model).processor)
    return loop_class(
        trainer_config=verl_stand_in.wrapped(config),
        server_manager=server,
        tokenizer=processor.tokenizer if processor else None,
        processor=processor,
        hf_model_type="qwen3_vl",
        dataset_cls=object,
        data_config=verl_stand_in.wrapped({}),
        tools=object(),
        name="segnode",
        prompts_folder=str(prompts),
        **{**entry, **more},
    )


def replies_of(toy: ModuleType, model: Path, row: dict[str, Any]) -> list[list[int]]:
    """A box round the truth, words without an action, stop."""
    truth = np.array(Image.open(io.BytesIO(row["reward_model"]["ground_truth"]["bytes"])))
    box = Box.around(truth > 0)
    tokenizer = toy.load_toy(model).processor.tokenizer
    said = [render_reply(AddBox(box), toy.VIEW, Dialect.TOOL_CALL), "words", toy.STOP]
    return [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in said]


def ours(toy: ModuleType, model: Path, prompts: Path, data: Path, replies: list[list[int]]) -> Any:
    """The same episode by `segnode train grpo`'s own rollouts, and its truth."""
    from models.training.rollouts import RolloutChat, Room, roll_out
    from models.training.starts import EpisodeStarts
    from models.training.verl_adapter.episode import models_of

    loaded, models = toy.load_toy(model), models_of("fake", "cpu")
    start = EpisodeStarts(open_dataset(data).cases(), models)[0]
    reply = in_turn(replies)

    def generate(ids: list[list[int]], _: Any) -> Any:
        said, logprobs = reply(ids[0])
        return [said], [logprobs]

    settings = LanguageSettings(
        image_px=SIDE,
        temperature=1.0,
        retry_temperature=0.0,
        max_new_tokens=REPLY_TOKENS,
        prompts=prompts,
    )
    chat = RolloutChat(loaded.model, loaded.processor, generate, Room(REPLY_TOKENS, 900), 1.0)
    (rollout,) = roll_out(
        [start.observation], models.segmenter, chat, settings, Limits(max_turns=3)
    )
    return rollout, start.truth


def test_an_episode_is_token_for_token_that_of_our_rollouts(
    loop_class: Any, toy: ModuleType, model: Path, prompts: Path, data: Path
) -> None:
    stored = parquet.read_table(data).to_pylist()[0]
    replies = replies_of(toy, model, stored)
    server = Server(in_turn(replies))
    agent_loop = opened(loop_class, toy, model, prompts, server)
    sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "logprobs": True}

    output = asyncio.run(agent_loop.run(sampling, **row_as_verl_gives_it(stored)))

    rollout, truth = ours(toy, model, prompts, data, replies)
    assert output.prompt_ids == rollout.prompt_ids
    assert output.response_ids == rollout.completion_ids
    assert output.response_mask == rollout.trained
    assert output.response_logprobs == rollout.logprobs
    learnt = [t for t, mask in zip(output.response_ids, output.response_mask, strict=True) if mask]
    assert learnt == [token for reply in replies for token in reply]
    assert 0 < sum(output.response_mask) < len(output.response_mask)
    shown = output.multi_modal_data["images"]
    assert len(shown) == 2  # what could not be read changed nothing
    for image, picture in zip(shown, rollout.pictures, strict=True):
        assert np.array_equal(np.array(image), picture.pixels)
    facts = episode_facts(rollout.episode, truth, Dialect.TOOL_CALL)
    assert output.reward_score == medsam_agent_reward(facts).total > 0.5
    assert output.num_turns == 6
    assert output.extra_fields["reward_extra_info"]["turns"] == 3.0
    assert output.extra_fields["reward_extra_info"]["malformed_share"] == pytest.approx(1 / 3)
    assert output.extra_fields["min_global_steps"] == 1
    assert output.extra_fields["max_global_steps"] == 3


def test_the_server_is_asked_as_verl_asks_it(
    loop_class: Any, toy: ModuleType, model: Path, prompts: Path, data: Path
) -> None:
    stored = parquet.read_table(data).to_pylist()[0]
    replies = replies_of(toy, model, stored)
    server = Server(in_turn(replies))
    agent_loop = opened(loop_class, toy, model, prompts, server)

    output = asyncio.run(
        agent_loop.run({"temperature": 1.0, "top_k": -1}, **row_as_verl_gives_it(stored))
    )

    assert {asked["request_id"] for asked in server.asked} == {server.asked[0]["request_id"]}
    assert [len(asked["image_data"]) for asked in server.asked] == [1, 2, 2]
    whole = output.prompt_ids + output.response_ids
    for asked in server.asked:
        assert asked["prompt_ids"] == whole[: len(asked["prompt_ids"])]
        assert asked["sampling_params"] == {
            "temperature": 1.0,
            "top_k": -1,
            "max_tokens": REPLY_TOKENS,
        }


def test_many_episodes_run_beside_each_other(
    loop_class: Any, toy: ModuleType, model: Path, prompts: Path, data: Path
) -> None:
    rows = parquet.read_table(data).to_pylist()
    tokenizer = toy.load_toy(model).processor.tokenizer
    stop = [*tokenizer(toy.STOP)["input_ids"], tokenizer.eos_token_id]
    server = Server(lambda _: (stop, [-1.0] * len(stop)))
    loops = [opened(loop_class, toy, model, prompts, server) for _ in range(8)]

    async def all_of_them() -> list[Any]:
        given = [row_as_verl_gives_it(rows[n % len(rows)]) for n in range(8)]
        return await asyncio.gather(
            *(
                agent_loop.run({"temperature": 0}, **row)
                for agent_loop, row in zip(loops, given, strict=True)
            )
        )

    outputs = asyncio.run(all_of_them())

    assert len({tuple(output.prompt_ids) for output in outputs}) == len(rows)
    assert all(output.reward_score < 0.3 for output in outputs)


class TestRefusals:
    def test_a_prompt_wider_than_the_batches(
        self, loop_class: Any, toy: ModuleType, model: Path, prompts: Path, data: Path
    ) -> None:
        stored = parquet.read_table(data).to_pylist()[0]
        server = Server(in_turn(replies_of(toy, model, stored)))
        agent_loop = opened(loop_class, toy, model, prompts, server, prompt_length=5)
        with pytest.raises(TrainingRefused, match=r"data.max_prompt_length is 5: raise it"):
            asyncio.run(agent_loop.run({"temperature": 1.0}, **row_as_verl_gives_it(stored)))

    def test_replies_longer_than_the_batches(
        self, loop_class: Any, toy: ModuleType, model: Path, prompts: Path
    ) -> None:
        with pytest.raises(TrainingRefused, match=r"max_response_length \(900\) has no room"):
            opened(loop_class, toy, model, prompts, Server(in_turn([])), reply_tokens=901)

    def test_a_model_without_pictures(
        self, loop_class: Any, toy: ModuleType, model: Path, prompts: Path
    ) -> None:
        with pytest.raises(TrainingRefused, match="no processor for pictures"):
            opened(loop_class, toy, model, prompts, Server(in_turn([])), processor=None)

    def test_a_row_without_its_mask(
        self, loop_class: Any, toy: ModuleType, model: Path, prompts: Path, data: Path
    ) -> None:
        row = row_as_verl_gives_it(parquet.read_table(data).to_pylist()[0])
        row["reward_model"] = {"style": "rule", "ground_truth": None}
        agent_loop = opened(loop_class, toy, model, prompts, Server(in_turn([])))
        with pytest.raises(UnreadableFile, match="a row has no picture, or no mask"):
            asyncio.run(agent_loop.run({"temperature": 1.0}, **row))


def test_the_entry_that_verl_reads_is_taken(
    loop_class: Any, toy: ModuleType, model: Path, repository: Path
) -> None:
    text = (repository / "deploy" / "training" / "verl" / "agent_loops.yaml").read_text()
    (entry,) = yaml.safe_load(text)
    module, _, name = entry.pop("_target_").rpartition(".")
    assert (module, name) == (MODULE, loop_class.__name__)
    config = verl_stand_in.trainer_config(str(model), prompt_length=2048, response_length=4096)
    processor = toy.load_toy(model).processor
    loop_class(
        trainer_config=verl_stand_in.wrapped(config),
        server_manager=None,
        tokenizer=processor.tokenizer,
        processor=processor,
        dataset_cls=object,
        data_config=verl_stand_in.wrapped({}),
        tools=object(),
        **{**entry, "segmenter": "fake"},
    )
