"""deploy/training/: read by the tools' own classes, or held against the fields of the version that
is pinned; the commands are those that our own parser takes, and their numbers divide.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import HfArgumentParser
from transformers.models.qwen3_vl import modeling_qwen3_vl
from trl import GRPOConfig, TrlParser
from trl.scripts.vllm_serve import ScriptArguments

from models.training import grpo
from models.training.exports.llama_factory import TURNS, dataset_info
from models.training.grpo_settings import GrpoSettings, Sampler, settings_of
from models.training.run_folder import RunFolder
from server.cli import make_parser

REQUIREMENTS = ("vllm", "verl", "llamafactory")


@pytest.fixture
def folder(repository: Path) -> Path:
    return repository / "deploy" / "training"


def commands(script: Path) -> list[list[str]]:
    """The commands of a script as words, its variables as they stand; lines that end in a backslash
    go on.
    """
    text = script.read_text().replace("\\\n", " ")
    return [shlex.split(line.rstrip("&")) for line in text.splitlines() if " --" in line]


def training(script: Path) -> tuple[int, GrpoSettings]:
    """The processes that a script starts, and the settings that its command means."""
    (words,) = (words for words in commands(script) if "accelerate" in words)
    processes = int(words[words.index("--num_processes") + 1])
    said = [word for word in words[words.index("server.cli") + 1 :] if word != "$@"]
    arguments = make_parser(said).parse_args(said)
    names = ("prompts", "group", "per_device", "sampler", "sampler_url", "sampler_memory")
    changes = {name: getattr(arguments, name) for name in (*names, "sampler_gpus")}
    return processes, settings_of(arguments.preset, changes)


class TestAccelerate:
    def test_it_reads_the_configuration_for_8_gpus(self, folder: Path) -> None:
        from accelerate.commands.config.config_args import load_config_from_file

        config = load_config_from_file(str(folder / "fsdp2.yaml"))
        assert (str(config.distributed_type.value), config.num_processes) == ("FSDP", 8)
        layer = config.fsdp_config["fsdp_transformer_layer_cls_to_wrap"]
        assert hasattr(modeling_qwen3_vl, layer)
        assert config.fsdp_config["fsdp_version"] == 2

    @pytest.mark.parametrize(
        ("script", "processes"), [("vllm-colocated.sh", 8), ("vllm-server.sh", 6)]
    )
    def test_its_launcher_takes_what_the_scripts_say(
        self, folder: Path, script: str, processes: int
    ) -> None:
        from accelerate.commands.launch import launch_command_parser

        (words,) = (words for words in commands(folder / script) if "accelerate" in words)
        start = words.index("launch") + 1
        parsed = launch_command_parser().parse_args(words[start:])
        assert (parsed.num_processes, parsed.module) == (processes, True)
        assert parsed.training_script == "server.cli"
        assert Path(parsed.config_file).name == "fsdp2.yaml"


class TestVllm:
    @pytest.mark.parametrize(
        ("script", "sampler"),
        [
            ("vllm-colocated.sh", Sampler.VLLM_COLOCATED),
            ("vllm-server.sh", Sampler.VLLM_SERVER),
        ],
    )
    def test_trls_own_arguments_take_the_settings(
        self,
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        script: str,
        sampler: Sampler,
    ) -> None:
        processes, settings = training(folder / script)
        assert settings.sampler is sampler
        told: dict[str, Any] = {}
        with monkeypatch.context() as launched:
            launched.setenv("WORLD_SIZE", str(processes))
            launched.setattr(grpo, "GRPOConfig", lambda **fields: told.update(fields))
            # raises where prompts, groups and processes do not divide
            grpo.trainer_arguments(RunFolder(tmp_path), settings, on_cpu=True)

        (given,) = HfArgumentParser(GRPOConfig).parse_dict(told)

        rows = settings.prompts * settings.group
        steps = given.steps_per_generation * settings.per_device
        assert (steps * processes, given.num_generations) == (rows, settings.group)
        assert (given.use_vllm, given.vllm_mode) == (True, sampler.removeprefix("vllm-")[:8])
        assert given.vllm_gpu_memory_utilization == settings.sampler_memory == 0.3

    def test_its_server_takes_the_file_and_listens_where_the_trainer_asks(
        self, folder: Path
    ) -> None:
        (words,) = (w for w in commands(folder / "vllm-server.sh") if "vllm-serve" in w)
        said = words[words.index("vllm-serve") + 1 :]
        said[said.index("--config") + 1] = str(folder / "vllm-serve.yaml")
        (serving,) = TrlParser((ScriptArguments,)).parse_args_and_config(said)
        _, settings = training(folder / "vllm-server.sh")
        assert settings.sampler_url == f"http://{serving.host}:{serving.port}"
        assert serving.model == "$base"
        assert serving.data_parallel_size * serving.tensor_parallel_size == 2
        assert serving.max_model_len == 16384
        assert words[0] == "CUDA_VISIBLE_DEVICES=6,7"
        (trainer,) = (w for w in commands(folder / "vllm-server.sh") if "accelerate" in w)
        assert trainer[0] == "CUDA_VISIBLE_DEVICES=0,1,2,3,4,5"


class TestRequirements:
    @pytest.mark.parametrize("name", REQUIREMENTS)
    def test_every_line_is_an_exact_version(self, folder: Path, name: str) -> None:
        text = (folder / f"requirements-{name}.txt").read_text()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert len(lines) > 5
        assert all(re.fullmatch(r"[\w-]+(\[\w+\])?==[\w.]+", line) for line in lines)
        assert re.search(
            r"Resolved by uv for Linux x86_64, Python 3\.11, on 20\d\d-\d\d-\d\d", text
        )

    def test_vllms_trains_with_the_versions_that_are_tested_here(self, folder: Path) -> None:
        pins = dict(pinned(folder / "requirements-vllm.txt"))
        apart = {"vllm", "transformers", "numpy"}  # those that vLLM has to have otherwise
        here = {name: version(name) for name in pins if name not in apart and installed(name)}
        assert len(here) > 20
        assert here == {name: pins[name] for name in here}
        assert here["trl"] == "1.16.0"

    @pytest.mark.parametrize("name", ["vllm", "verl"])
    def test_what_of_segnode_trains_is_pinned_as_here(
        self, folder: Path, repository: Path, name: str
    ) -> None:
        text = (folder / f"requirements-{name}.txt").read_text()
        ours = text.partition("# what of Segnode trains")[2].splitlines()[1:]
        assert len(ours) > 20
        assert set(ours) <= set((repository / "constraints.txt").read_text().splitlines())

    @pytest.mark.parametrize("name", REQUIREMENTS)
    def test_the_script_that_makes_it_names_it(self, folder: Path, name: str) -> None:
        text = (folder / "make-environment.sh").read_text()
        assert "requirements-$kind.txt" in text
        assert name in text.splitlines()[2]


class TestVerl:
    def test_every_field_is_one_of_the_pinned_version(self, folder: Path, repository: Path) -> None:
        known, pin = fields(repository, "verl")
        assert dict(pinned(folder / "requirements-verl.txt"))["verl"] == pin == "0.9.1"
        content = yaml.safe_load((folder / "verl" / "grpo.yaml").read_text())
        assert content.pop("defaults") == ["ppo_trainer", "_self_"]
        assert content.pop("hydra") == {"searchpath": ["pkg://verl.trainer.config"]}
        # a free-form part: what it holds goes to the model's configuration
        del content["actor_rollout_ref"]["model"]["override_config"]
        ours = set(dotted(content))
        assert len(ours) > 50
        assert ours - known == set()

    def test_it_reads_the_columns_that_we_write_and_plays_our_episode(self, folder: Path) -> None:
        content = yaml.safe_load((folder / "verl" / "grpo.yaml").read_text())
        (entry,) = yaml.safe_load((folder / "verl" / "agent_loops.yaml").read_text())
        rollout, data = content["actor_rollout_ref"]["rollout"], content["data"]
        columns = (data["prompt_key"], data["image_key"], data["reward_fn_key"])
        assert columns == ("prompt", "images", "data_source")
        assert rollout["agent"]["default_agent_loop"] == entry["name"] == "segnode"
        assert rollout["agent"]["agent_loop_config_path"].endswith("verl/agent_loops.yaml")
        assert rollout["multi_turn"]["max_assistant_turns"] == entry["turns"]
        assert rollout["limit_images"] == entry["turns"]
        replies = entry["turns"] * entry["reply_tokens"]
        pictures = (entry["turns"] - 1) * (entry["image_px"] // 28) ** 2
        assert data["max_response_length"] > replies + pictures
        paper = settings_of("medsam-agent", {})
        assert (rollout["n"], data["train_batch_size"]) == (paper.group, paper.prompts)
        assert content["actor_rollout_ref"]["actor"]["optim"]["lr"] == paper.learning_rate
        assert "wandb" not in content["trainer"]["logger"]


class TestLlamaFactory:
    def test_every_field_is_one_of_the_pinned_version(self, folder: Path, repository: Path) -> None:
        known, pin = fields(repository, "llamafactory")
        pins = dict(pinned(folder / "requirements-llamafactory.txt"))
        assert pins["llamafactory"] == pin == "0.9.5"
        content = yaml.safe_load((folder / "llama-factory" / "sft.yaml").read_text())
        assert set(content) - known == set()

    def test_it_learns_the_data_set_that_we_write_as_it_is_meant(self, folder: Path) -> None:
        content = yaml.safe_load((folder / "llama-factory" / "sft.yaml").read_text())
        assert content["dataset"] == TURNS
        assert TURNS in dataset_info()
        assert content["mask_history"] is True
        assert (content["packing"], content["report_to"]) == (False, "none")


def test_what_the_readme_says_is_there(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    named = set(re.findall(r"deploy/training/([\w./-]+\.(?:sh|yaml|txt))", text))
    assert {"vllm-colocated.sh", "vllm-server.sh", "fsdp2.yaml"} < named
    assert all((folder / name).is_file() for name in named)
    for script in folder.glob("*.sh"):
        assert script.stat().st_mode & 0o111, f"{script.name} can be started"


def test_the_file_that_trains_names_the_configuration() -> None:
    for name in ("fsdp2.yaml", "vllm-colocated.sh", "vllm-server.sh"):
        assert name in (grpo.__doc__ or "")


def pinned(path: Path) -> list[tuple[str, str]]:
    """Names and versions of a requirements file."""
    return re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+)$", path.read_text(), re.MULTILINE)


def installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def fields(repository: Path, tool: str) -> tuple[set[str], str]:
    """The field names of a tool, and the version that they are of."""
    text = (repository / "tests" / "golden" / "training_fields" / f"{tool}.txt").read_text()
    (pin,) = re.findall(r"^# \S+ ([\d.]+):", text, re.MULTILINE)
    return {line for line in text.splitlines() if not line.startswith("#")}, pin


def dotted(content: dict[str, Any], before: str = "") -> Iterator[str]:
    """The names of all values in nested dictionaries, joined by dots."""
    for name, value in content.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"
