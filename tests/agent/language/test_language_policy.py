"""The language policy as its port promises: what it asks, how often, how warm, and what it makes of
the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.actions import Absent, AddPoint, Malformed, NameSlices, Stop
from agent.errors import BadPrompts, ChatFailed, NoAnswer
from agent.fakes import ArraySlices, segmentation
from agent.language.chat import Answer, Call, Conversation
from agent.language.fakes import ScriptedChat
from agent.language.policy import LanguagePolicy
from agent.language.settings import LanguageSettings
from agent.ports import Assessment, BatchPolicy, Localisation, Observation
from agent.protocol.dialects import Dialect
from agent.turns import Outcome, Turn, Usage
from agent.values import Point, Role, Segmentation, Target

BILE = Target("the organ that stores bile")
Written = Callable[..., str]


def turn(outcome: Outcome, reply: str = "?") -> Turn:
    return Turn(0, 0, Role.KEY, Malformed("no"), outcome, reply, "no")


def policy(
    *script: str | Answer | ChatFailed, **settings: Any
) -> tuple[LanguagePolicy, ScriptedChat]:
    chat, ticks = ScriptedChat(script), count()
    chosen = LanguageSettings(**settings)
    return LanguagePolicy(chat, chosen, "qwen", clock=lambda: next(ticks) * 1.5), chat


def drawn(volume: ArraySlices, *slices: int) -> NDArray[np.bool_]:
    voxels = np.zeros(volume.shape, dtype=np.bool_)
    voxels[list(slices), 8:16, 8:16] = True
    return voxels


class TestSurvey:
    def test_the_slices_that_are_named(self, volume: ArraySlices, call: Written) -> None:
        said = "Best in the middle.\n" + call("name_slices", slices=[2, 4])
        planner, chat = policy(said)

        survey = planner.localise(BILE, volume)

        assert (survey.key_slices, survey.presence, survey.absent) == ((2, 4), (), False)
        (reply,) = survey.replies
        assert (reply.action, reply.text, reply.seconds) == (NameSlices((2, 4)), said, 1.5)
        assert reply.usage == Usage(3, len(said.split(" ")), model="scripted-chat")
        assert len(chat.conversations) == 1

    def test_absent_with_its_reason(self, volume: ArraySlices, call: Written) -> None:
        planner, _ = policy(call("absent_action", reason="it was removed"))

        survey = planner.localise(BILE, volume)

        assert (survey.absent, survey.reason) == (True, "it was removed")
        assert survey.replies[0].action == Absent("it was removed")

    def test_a_single_slice_is_not_asked_about(self, volume: ArraySlices) -> None:
        planner, chat = policy()
        alone = ArraySlices(volume.image(0)[None], volume._segmenter)

        assert planner.localise(BILE, alone) == Localisation((), (0,))
        assert chat.conversations == []

    def test_each_fault_is_told_and_the_next_try_is_warmer(
        self, volume: ArraySlices, call: Written
    ) -> None:
        tries = ["Slice two.", call("name_slices", slices=[5]), call("name_slices", slices=[2])]
        planner, chat = policy(*tries, temperature=0.1, retry_temperature=0.4)

        survey = planner.localise(BILE, volume)

        assert survey.key_slices == (2,)
        assert [reply.text for reply in survey.replies] == tries
        assert chat.temperatures == pytest.approx([0.1, 0.5, 0.9])
        told = [talk.messages[-1].text for talk in chat.conversations]
        assert "holds no tool call" in told[1]
        assert "5 is no slice of this volume; its slices are numbered 0 to 4" in told[2]
        assert (
            chat.conversations[2].messages[: len(chat.conversations[1].messages)]
            == chat.conversations[1].messages
        )

    @pytest.mark.parametrize("retries", [0, 2])
    def test_after_the_last_try_no_slice_is_guessed(
        self, volume: ArraySlices, retries: int
    ) -> None:
        planner, chat = policy(*["Slice two."] * 9, retries=retries)

        with pytest.raises(
            NoAnswer,
            match=rf'\(scripted-chat\).* in {retries + 1} tries: its last reply was "Slice two."',
        ) as failed:
            planner.localise(BILE, volume)

        assert len(failed.value.replies) == len(chat.conversations) == retries + 1

    def test_native_calls(self, volume: ArraySlices) -> None:
        planner, chat = policy(
            Answer("", (Call("name_slices", '{"slices": [9]}'),)),
            Answer("", (Call("name_slices", '{"slices": [3]}'),)),
            native_tools=True,
        )

        assert planner.localise(BILE, volume).key_slices == (3,)
        assert [tool.name for tool in chat.conversations[0].tools] == [
            "name_slices",
            "absent_action",
        ]
        assert chat.conversations[1].messages[2].calls == (Call("name_slices", '{"slices": [9]}'),)

    def test_a_server_that_fails_is_not_hidden(self, volume: ArraySlices) -> None:
        planner, _ = policy(ChatFailed("nobody listens at the endpoint"))

        with pytest.raises(ChatFailed, match="nobody listens"):
            planner.localise(BILE, volume)


class TestInspection:
    @pytest.mark.parametrize(
        ("name", "arguments", "slices"),
        [("name_slices", {"slices": [3, 1]}, (3, 1)), ("stop_action", {}, ())],
    )
    def test_the_worst_slices_or_none(
        self,
        volume: ArraySlices,
        call: Written,
        name: str,
        arguments: dict[str, object],
        slices: tuple[int, ...],
    ) -> None:
        planner, _ = policy(call(name, **arguments))

        inspection = planner.assess(BILE, volume, drawn(volume, 1, 2, 3))

        assert inspection.slices == slices
        assert [reply.action for reply in inspection.replies] == [NameSlices(slices)]

    def test_tries_are_bounded(self, volume: ArraySlices) -> None:
        planner, _ = policy(*["All is well."] * 9)

        with pytest.raises(NoAnswer, match="what is wrong with the outlines in 3 tries") as failed:
            planner.assess(BILE, volume, drawn(volume, 2))

        assert len(failed.value.replies) == 3

    def test_nothing_drawn_is_not_asked_about(self, volume: ArraySlices) -> None:
        planner, chat = policy()

        assert planner.assess(BILE, volume, drawn(volume)) == Assessment()
        assert chat.conversations == []


class TestActing:
    def test_it_is_a_policy_for_batches(self) -> None:
        assert isinstance(policy()[0], BatchPolicy)

    def test_a_place_in_the_picture_is_a_place_on_the_slice(
        self, volume: ArraySlices, call: Written
    ) -> None:
        # 64 x 32 is shown 8 times enlarged, 128 rows below the top of 512 x 512. The middle of the
        # picture is 255.5: x = (255.5 + 0.5) / 8 - 0.5 = 31.5, y = (255.5 - 128 + 0.5) / 8 - 0.5 =
        # 15.5
        half = 999 / 2
        planner, _ = policy(call("add_point", point_2d=[round(half), 500], point_type="positive"))

        reply = planner.act(Observation(BILE, volume, 0, Role.KEY))

        assert isinstance(reply.action, AddPoint)
        assert reply.action.point.x == pytest.approx(31.5, abs=0.05)
        assert reply.action.point.y == pytest.approx(15.5, abs=0.05)

    @pytest.mark.parametrize(
        ("reply", "says"),
        [
            ("Somewhere at the left.", "no tool call"),
            (
                '<tool_call>{"name":"add_point","arguments":{"point_2d":[5,5],"point_type":"positive"}}',
                "padding",
            ),
        ],
    )
    def test_what_is_no_action_is_handed_on_as_a_fault(
        self, volume: ArraySlices, reply: str, says: str
    ) -> None:
        planner, chat = policy(reply)

        said = planner.act(Observation(BILE, volume, 0, Role.KEY))

        assert isinstance(said.action, Malformed)
        assert says in said.action.fault
        assert said.text == reply
        assert len(chat.conversations) == 1

    @pytest.mark.parametrize(
        ("outcomes", "temperature"),
        [
            ([], 0.0),
            ([Outcome.KEPT], 0.0),
            ([Outcome.REFUSED], 0.3),
            ([Outcome.REFUSED, Outcome.DUPLICATE, Outcome.NO_MASK], 0.9),
            ([Outcome.REFUSED, Outcome.KEPT, Outcome.REFUSED], 0.3),
            ([Outcome.REFUSED, Outcome.ROLLED_BACK], 0.0),
        ],
    )
    def test_a_try_after_one_without_effect_is_warmer(
        self, volume: ArraySlices, call: Written, outcomes: list[Outcome], temperature: float
    ) -> None:
        planner, chat = policy(call("stop_action"))
        turns = tuple(turn(outcome) for outcome in outcomes)

        planner.act(
            Observation(BILE, volume, 0, Role.KEY, turns=turns, best_masks=(None,) * len(turns))
        )

        assert chat.temperatures == pytest.approx([temperature])

    def test_many_are_asked_in_one_go_and_answered_in_order(
        self, volume: ArraySlices, call: Written
    ) -> None:
        def by_slice(talk: Conversation) -> str:
            z = talk.messages[1].text.split("slice ")[1].split(" ")[0]
            return f"slice {z}" + call("add_point", point_2d=[500, 500], point_type="positive")

        chat, ticks = ScriptedChat(by_slice), count()
        planner = LanguagePolicy(chat, LanguageSettings(), clock=lambda: float(next(ticks)))
        warmer = Observation(
            BILE, volume, 1, Role.KEY, turns=(turn(Outcome.REFUSED),), best_masks=(None,)
        )
        asked = [Observation(BILE, volume, z, Role.KEY) for z in (0, 2, 3)]

        replies = planner.act_many([asked[0], warmer, *asked[1:]])

        assert [reply.text[:7] for reply in replies] == ["slice 0", "slice 1", "slice 2", "slice 3"]
        assert chat.batches == [3, 1]
        assert chat.temperatures == pytest.approx([0, 0, 0, 0.3])
        assert [reply.seconds for reply in replies] == pytest.approx([1 / 3, 1, 1 / 3, 1 / 3])

    def test_one_by_one_or_together_is_the_same(
        self, volume: ArraySlices, scripts: dict[Dialect, list[str]]
    ) -> None:
        asked = [Observation(BILE, volume, z, Role.KEY) for z in range(4)]
        together, _ = policy(*scripts[Dialect.TOOL_CALL])
        alone, _ = policy(*scripts[Dialect.TOOL_CALL])

        many, single = together.act_many(asked), [alone.act(one) for one in asked]

        assert [reply.action for reply in many] == [reply.action for reply in single]

    def test_nobody_asks_nothing(self) -> None:
        planner, chat = policy()

        assert planner.act_many([]) == []
        assert chat.batches == []

    def test_too_few_answers_are_a_fault_of_the_server(self, volume: ArraySlices) -> None:
        class Deaf(ScriptedChat):
            def answer(self, conversations: Any, **_: Any) -> list[Answer]:
                return []

        planner = LanguagePolicy(Deaf([]), LanguageSettings())

        with pytest.raises(ChatFailed, match="gave 0 answers to 1 questions"):
            planner.act(Observation(BILE, volume, 0, Role.KEY))

    def test_absent_on_a_slice(self, volume: ArraySlices) -> None:
        said = "<think>fat only</think><action>Absent</action><answer>below it</answer>"
        planner, _ = policy(said, dialect=Dialect.THINK_ACTION)

        reply = planner.act(Observation(BILE, volume, 0, Role.CARRY))

        assert (reply.action, reply.text) == (Absent("below it"), said)


class TestAppraisal:
    def test_a_mask_that_hangs_on_the_threshold_is_worth_less(self, volume: ArraySlices) -> None:
        planner, _ = policy()
        here = Observation(BILE, volume, 0, Role.KEY)
        mask = np.ones((32, 64), dtype=np.bool_)
        # 4 logits above 1, 4 between -1 and 1: half of the wider mask is sure
        logits = np.array(
            [[3, 3, 3, 3], [0.5, 0.5, -0.5, -0.5], [-3, -3, -3, -3]], dtype=np.float32
        )
        firm, shaky = segmentation(mask, 0.8), Segmentation(mask, logits, 0.8)

        assert planner.score(here, firm) == pytest.approx((0.8 + 1.0) / 2)
        assert planner.score(here, shaky) == pytest.approx((0.8 + 0.5) / 2)
        assert planner.score(here, Segmentation.of_mask(mask)) == 0.0

    def test_next_to_a_slice_that_is_done_the_common_part_counts(
        self, volume: ArraySlices, square_at: Callable[[int, int], NDArray[np.bool_]]
    ) -> None:
        planner, _ = policy()
        here = Observation(BILE, volume, 0, Role.CARRY, carried=square_at(8, 8))
        over, half, apart = (segmentation(square_at(x, 8), 1.0) for x in (8, 12, 40))

        # Dice with the neighbour 1, 0.5 and 0, at a quarter of the weight
        assert planner.score(here, over) == pytest.approx(1.0)
        assert planner.score(here, half) == pytest.approx(0.875)
        assert planner.score(here, apart) == pytest.approx(0.75)
        assert planner.score(replace(here, carried=None), apart) == pytest.approx(1.0)

    def test_opinions_stay_within_bounds(self, volume: ArraySlices) -> None:
        planner, _ = policy()
        here = Observation(BILE, volume, 0, Role.KEY)

        assert planner.score(here, segmentation(np.ones((32, 64), dtype=np.bool_), 1.7)) == 1.0


class TestSettings:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"image_px": -1},
            {"sheets": 0},
            {"sheet_slices": 0},
            {"tile_px": 10},
            {"temperature": -0.1},
            {"retry_temperature": float("nan")},
            {"retries": -1},
            {"max_new_tokens": 0},
        ],
    )
    def test_numbers_that_cannot_be_meant(self, wrong: dict[str, Any]) -> None:
        (name,) = wrong

        with pytest.raises(ValueError, match=f"{name} must be at least"):
            LanguageSettings(**wrong)

    def test_prompts_are_looked_at_when_the_policy_is_made(self, tmp_path: Path) -> None:
        with pytest.raises(BadPrompts):
            policy(prompts=tmp_path / "nowhere")

    def test_think_action_has_no_native_form(self, volume: ArraySlices) -> None:
        planner, chat = policy(
            "<action>Terminate</action>", dialect=Dialect.THINK_ACTION, native_tools=True
        )

        reply = planner.act(Observation(BILE, volume, 0, Role.KEY))

        assert reply.action == Stop()
        assert chat.conversations[0].tools == ()
        assert "Take exactly one action" in chat.conversations[0].messages[0].text

    def test_any_target_will_do_in_the_users_words(
        self, volume: ArraySlices, call: Written
    ) -> None:
        target = Target("das Organ, das die Galle speichert ($0)", "gallbladder")
        planner, chat = policy(call("add_point", point_2d=[500, 500], point_type="positive"))

        assert planner.knowledge.knows(target)
        reply = planner.act(Observation(target, volume, 0, Role.KEY))

        assert "das Organ, das die Galle speichert ($0)" in chat.conversations[0].messages[1].text
        assert isinstance(reply.action, AddPoint)
        assert isinstance(reply.action.point, Point)
