"""A chat template that cannot write an episode down is refused wherever one is first rendered."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("trl")

from agent.fakes import FakeSegmenter, ScriptedPolicy
from agent.ports import Localisation
from models.errors import UnusableModel
from models.loaded_models import LoadedModels
from models.policies.chat.in_process.loading import Loaded
from models.training.grpo_settings import GrpoSettings
from models.training.rollouts import RolloutChat, Room
from models.training.running.chat_roles import require_roles
from models.training.token_table import write_table
from models.training.trajectory_files import Trajectories
from tests.models.training.test_learnt_tokens import with_template
from tests.support.chat_folders import QWEN
from tests.support.fixture_types import PlannerFolders
from tests.support.token_golden import loaded_planner

NO_SYSTEM = QWEN.replace("in messages %}", "in messages[1:] %}")
REFUSES_SYSTEM = """\
{%- for message in messages %}{% if message.role == 'system' %}
{{- raise_exception('no system role') }}{% endif %}{% endfor %}"""


@pytest.fixture
def loaded(planner_folders: PlannerFolders) -> Loaded:
    return loaded_planner(planner_folders("qwen3_vl"))


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        (NO_SYSTEM, "leaves out what the system says"),
        (REFUSES_SYSTEM, "cannot write an episode down .no system role"),
        (QWEN.replace("<|image_pad|>", ""), "does not show every picture"),
    ],
)
def test_a_template_without_the_roles_is_refused(loaded: Loaded, template: str, fault: str) -> None:
    planner = with_template(loaded, template)

    with pytest.raises(UnusableModel, match=fault):
        require_roles(planner.tokens, planner.name)


def test_fine_tuning_refuses_it(loaded: Loaded, toy_trajectories: Path, tmp_path: Path) -> None:
    planner = with_template(loaded, NO_SYSTEM)

    with pytest.raises(UnusableModel, match="leaves out what the system says"):
        write_table(tmp_path / "tokens.arrow", Trajectories(toy_trajectories), planner)


def test_rollouts_refuse_it_before_the_first(loaded: Loaded) -> None:
    loaded.processor.chat_template = NO_SYSTEM
    room = Room(reply_tokens=8, completion_tokens=64)
    # what verl's adapter gives: the configuration alone
    model: Any = SimpleNamespace(config=loaded.model.config)

    with pytest.raises(UnusableModel, match="leaves out what the system says"):
        RolloutChat(model, loaded.processor, lambda *_: ([], None), room, 1.0)


def test_grpo_refuses_it_before_a_folder_is_there(
    toy: Any, grpo: Any, raw: Path, quick: GrpoSettings, tmp_path: Path, monkeypatch: Any
) -> None:
    load = grpo.load_base

    def without_system(*of: Any) -> Loaded:
        base: Loaded = load(*of)
        base.processor.chat_template = NO_SYSTEM
        return base

    monkeypatch.setattr(grpo, "load_base", without_system)
    models = LoadedModels(ScriptedPolicy(Localisation((), (0,)), {}), FakeSegmenter())

    with pytest.raises(UnusableModel, match="leaves out what the system says"):
        grpo.train_grpo(toy.toy_squares(2), raw, models, tmp_path / "run", quick, device="cpu")
    assert not (tmp_path / "run" / "training.json").exists()
