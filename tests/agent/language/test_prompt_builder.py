"""The conversation grows and never changes, and shows at every turn what was there at that turn."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.actions import Malformed, Stop
from agent.fakes import ArraySlices, FakeSegmenter
from agent.language.chat import Answer, Call, Conversation, Message, Picture
from agent.language.fakes import ScriptedChat
from agent.language.overlay import Overlay
from agent.language.prompt_builder import PromptBuilder, shown_before, supported_tools
from agent.language.settings import LanguageSettings
from agent.language.views import view_of
from agent.ports import Observation
from agent.protocol.dialects import Dialect
from agent.protocol.view import Crop
from agent.turns import Outcome, Turn
from agent.values import UNTOLD_FACTS, ImageFacts, PromptKind, Role, Target

GOLDEN = Path(__file__).parents[2] / "golden"
DIALECTS = list(Dialect)
FiveTurns = Callable[..., tuple[ScriptedChat, list[Turn]]]
SquareAt = Callable[[int, int], NDArray[np.bool_]]
BILE = Target("the organ that stores bile")


def record(conversation: Conversation) -> list[dict[str, Any]]:
    """A conversation as JSON: words as lines, pictures by size and digest."""

    def part(one: str | Picture) -> object:
        if isinstance(one, Picture):
            return {"picture": list(one.size), "sha256": one.digest}
        return one.splitlines()

    return [{"role": m.role, "parts": [part(p) for p in m.parts]} for m in conversation.messages]


def texts(conversation: Conversation) -> list[str]:
    return [m.text for m in conversation.messages if m.role == "user"]


def green(picture: Picture) -> NDArray[np.bool_]:
    """Where a grey picture is tinted."""
    pixels = picture.pixels.astype(int)
    return np.asarray(pixels[..., 1] - pixels[..., 0] > 10)


class TestFiveTurns:
    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_as_in_the_golden_file(self, five_turns: FiveTurns, dialect: Dialect) -> None:
        chat, _ = five_turns(LanguageSettings(dialect))

        golden = json.loads((GOLDEN / f"conversation-{dialect}.json").read_text("utf-8"))

        assert record(chat.conversations[-1]) == golden

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_each_is_the_last_one_a_reply_and_a_message(
        self, five_turns: FiveTurns, dialect: Dialect, scripts: dict[Dialect, list[str]]
    ) -> None:
        chat, turns = five_turns(LanguageSettings(dialect))

        assert len(chat.conversations) == len(turns) == 5
        for earlier, later, said in zip(
            chat.conversations, chat.conversations[1:], scripts[dialect], strict=False
        ):
            grown = len(earlier.messages)
            assert later.messages[:grown] == earlier.messages
            assert later.messages[grown] == Message("assistant", (said,))
            assert [m.role for m in later.messages[grown:]] == ["assistant", "user"]

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_every_picture_shows_what_was_there_at_its_turn(
        self, five_turns: FiveTurns, dialect: Dialect, square_at: SquareAt
    ) -> None:
        # the originals showed the first turn's overlay as the clean image, and the clean one as
        # "updated mask"
        chat, turns = five_turns(
            LanguageSettings(dialect, overlay=Overlay.FILL, repeat_pictures=True)
        )
        kept = [Outcome.KEPT, Outcome.REFUSED, Outcome.ROLLED_BACK, Outcome.KEPT, Outcome.STOPPED]
        first, second = square_at(8, 8), square_at(16, 16)
        expected = [np.zeros_like(first), first, first, first, second]

        assert [turn.outcome for turn in turns] == kept
        for picture, mask in zip(chat.conversations[-1].pictures, expected, strict=True):
            shown = np.zeros((512, 512), dtype=np.bool_)
            shown[128:384] = np.kron(mask, np.ones((8, 8), dtype=np.bool_))  # 64 rows of padding
            np.testing.assert_array_equal(green(picture), shown)

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_a_picture_is_sent_once_and_named_where_it_comes_again(
        self, five_turns: FiveTurns, dialect: Dialect
    ) -> None:
        papers, _ = five_turns(LanguageSettings(dialect, repeat_pictures=True))
        ours, _ = five_turns(LanguageSettings(dialect))
        every = papers.conversations[-1].pictures
        sent = ours.conversations[-1].pictures

        told = [re.findall(r"same as image (\d+)", text) for text in texts(ours.conversations[-1])]

        # nothing was read in turn 2, so turn 3 is shown what turn 2 was
        assert told == [[], [], ["2"], [], []]
        assert sent == (every[0], every[1], every[3], every[4])
        assert sent[int(told[2][0]) - 1] == every[2]

    @pytest.mark.parametrize("repeats", [True, False])
    def test_the_system_prompt_says_when_the_image_comes_again(
        self, five_turns: FiveTurns, repeats: bool
    ) -> None:
        chat, _ = five_turns(LanguageSettings(repeat_pictures=repeats))

        system = chat.conversations[0].messages[0].text

        assert ("again where anything in it has changed, with" in system) is not repeats
        assert ("you are shown the image again, with" in system) is repeats

    def test_a_contour_hides_nothing_and_what_was_undone_is_red(
        self, five_turns: FiveTurns, square_at: SquareAt
    ) -> None:
        chat, turns = five_turns(LanguageSettings(repeat_pictures=True))
        undone_at = [turn.outcome for turn in turns].index(Outcome.ROLLED_BACK) + 1
        pictures = chat.conversations[-1].pictures
        said = texts(chat.conversations[-1])
        inside = np.zeros((512, 512), dtype=np.bool_)
        inside[128:384] = np.kron(square_at(8, 8), np.ones((8, 8), dtype=np.bool_))

        for picture, words in zip(pictures, said, strict=True):
            coloured = np.ptp(picture.pixels, axis=2) > 0
            is_red = np.all(picture.pixels == (255, 64, 64), axis=2)
            assert is_red.any() == (picture is pictures[undone_at])
            assert ("red contour" in words) == (picture is pictures[undone_at])
            assert not (coloured & ~is_red & inside).any() or picture is pictures[-1]
        assert np.all(pictures[1].pixels[191, 64:128] == (0, 255, 0))  # just above the mask

    def test_what_came_of_a_turn_stands_in_the_next_message(self, five_turns: FiveTurns) -> None:
        chat, turns = five_turns(LanguageSettings())

        told = texts(chat.conversations[-1])

        assert "The target is: the organ that stores bile" in told[0]
        assert "There is no mask yet." in told[0]
        for turn, message in zip(turns[:4], told[1:], strict=True):
            assert turn.observation.removesuffix(".") in message
        assert "could not be read, so nothing was done: the reply holds no tool call" in told[2]
        assert "write the same once more in the right form" in told[2]
        assert ["Turns left: 4" in told[1], "Turns left: 1" in told[4]] == [True, True]

    def test_without_history_only_the_newest_picture_is_shown(self, five_turns: FiveTurns) -> None:
        settings = LanguageSettings(Dialect.THINK_ACTION, history=False)
        whole, _ = five_turns(LanguageSettings(Dialect.THINK_ACTION, repeat_pictures=True))

        chat, _ = five_turns(settings)

        for alone, grown in zip(chat.conversations, whole.conversations, strict=True):
            assert alone.messages == (grown.messages[0], grown.messages[-1])

    def test_native_calls_are_replayed_as_calls(self, five_turns: FiveTurns) -> None:
        box = Call("add_bbox", '{"bbox_2d": [100, 350, 300, 650]}')
        replies = [Answer("left", (box,)), Answer("", (Call("stop_action", "{}"),))]

        chat, turns = five_turns(LanguageSettings(native_tools=True), replies)

        assert chat.conversations[1].messages[2] == Message("assistant", ("left",), (box,))
        assert [tool.name for tool in chat.conversations[0].tools] == [
            "add_bbox",
            "add_point",
            "stop_action",
            "absent_action",
        ]
        assert "<tools>" not in chat.conversations[0].messages[0].text
        assert turns[-1].action == Stop()


class TestSystem:
    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_functions_a_segmenter_does_not_understand_are_not_offered(
        self, dialect: Dialect, volume: ArraySlices
    ) -> None:
        observation = Observation(
            BILE,
            volume,
            0,
            Role.KEY,
            supported_prompts=frozenset({PromptKind.BOX, PromptKind.MASK}),
        )

        talk = PromptBuilder.of(LanguageSettings(dialect)).about_slice(observation)

        offered = talk.messages[0].text
        assert ("add_bbox" in offered) is (dialect is Dialect.TOOL_CALL)
        assert ("Box (" in offered) is (dialect is Dialect.THINK_ACTION)
        assert "add_point" not in offered
        assert "Positive Point" not in offered
        assert "understands boxes only" in texts(talk)[0]
        assert "point" not in offered.split("<")[0]  # nor is it told to click

    def test_the_schemas_are_those_of_the_vocabulary(self, volume: ArraySlices) -> None:
        talk = PromptBuilder.of(LanguageSettings()).about_slice(
            Observation(BILE, volume, 0, Role.KEY)
        )

        listed = talk.messages[0].text.split("<tools>\n")[1].split("\n</tools>")[0]

        names = [json.loads(line)["function"]["name"] for line in listed.splitlines()]
        assert names == ["add_bbox", "add_point", "stop_action", "absent_action"]

    def test_points_only(self) -> None:
        names = [tool.name for tool in supported_tools({PromptKind.POINT})]

        assert names == ["add_point", "stop_action", "absent_action"]


class TestRoles:
    def test_a_carried_outline_is_drawn_and_explained(
        self, volume: ArraySlices, square_at: SquareAt
    ) -> None:
        observation = Observation(BILE, volume, 1, Role.CARRY, carried=square_at(8, 8))

        settings = LanguageSettings(zoom=False)
        talk = PromptBuilder.of(settings).about_slice(observation)

        (picture,) = talk.pictures
        yellow = np.all(picture.pixels == (255, 255, 0), axis=2)
        assert yellow[128 + 63, 64:128].all()  # beside its upper edge
        assert not yellow[128 + 64 : 128 + 128, 64:128].any()  # its inside
        assert "128 mm wide and 64 mm high" in texts(talk)[0]
        zoomed = PromptBuilder.of(LanguageSettings()).about_slice(observation)
        assert "40 mm wide and 40 mm high" in texts(zoomed)[0]  # of what is shown
        assert "yellow outline" in texts(talk)[0]
        assert "absent" in texts(talk)[0]

    def test_a_mask_under_review_is_shown_until_there_is_a_better_one(
        self, volume: ArraySlices, square_at: SquareAt
    ) -> None:
        fault = Turn(1, 0, Role.REVIEW, Malformed("no"), Outcome.REFUSED, "?", "a whole sentence.")
        drawn = square_at(24, 8)
        observation = Observation(
            BILE,
            volume,
            1,
            Role.REVIEW,
            turns=(fault, replace(fault, index=1)),
            best_masks=(None, drawn),
            opening=square_at(8, 8),
            doubt="it is empty between two slices that are not",
        )

        shown = [shown_before(observation, turn) for turn in range(3)]

        np.testing.assert_array_equal(shown[0], square_at(8, 8))
        np.testing.assert_array_equal(shown[1], square_at(8, 8))
        np.testing.assert_array_equal(shown[2], drawn)
        talk = PromptBuilder.of(LanguageSettings()).about_slice(observation)
        assert "another look: it is empty between two slices that are not.\n" in texts(talk)[0]
        assert "nothing was done: a whole sentence.\n" in texts(talk)[1]  # one full stop is enough

    def test_an_image_on_its_own_is_no_slice_of_a_volume(self, volume: ArraySlices) -> None:
        alone = ArraySlices(volume.image(2)[None], volume._segmenter)
        about = PromptBuilder.of(LanguageSettings()).about_slice

        in_volume = texts(about(Observation(BILE, volume, 2, Role.KEY)))[0]
        single = texts(about(Observation(BILE, alone, 0, Role.KEY)))[0]

        assert (
            "slice 2 of a volume whose slices are numbered 0 (towards the feet) to 4" in in_volume
        )
        assert "128 mm wide and 64 mm high" in in_volume  # 64 and 32 pixels of 2 mm
        assert "slice" not in single
        assert "What is shown is 64 mm wide and 32 mm high" in single  # pixels of 1 mm


class TestWhatIsKnownOfTheImage:
    """What is known is said, and nothing of what is not."""

    def opening(self, facts: ImageFacts, modality: str = "", window: str = "") -> str:
        array = np.zeros((1, 32, 64), dtype=np.float32)
        slices = ArraySlices(
            array, FakeSegmenter(), (1.0, 2.0, 2.0), window, modality=modality, facts=facts
        )
        talk = PromptBuilder.of(LanguageSettings()).about_slice(
            Observation(BILE, slices, 0, Role.KEY)
        )
        return texts(talk)[0]

    def test_modality_plane_window_contrast_sides_and_scale(self) -> None:
        facts = ImageFacts("axial", "right", "front", sized=True, contrast=True)

        told = self.opening(facts, "CT", "abdomen -160..240 HU, measured as -158..243")

        assert told.splitlines()[:4] == [
            "The patient's right is on the left of the image, the front at the top.",
            "What is shown is 128 mm wide and 64 mm high.",
            "The image is axial CT with contrast medium.",
            "The grey levels shown are abdomen -160..240 HU.",
        ]

    def test_other_sides(self) -> None:
        told = self.opening(ImageFacts("sagittal", "front", "head"), "MR", "MR 0..9 (percentiles)")

        assert "The patient's front is on the left of the image, the head at the top." in told
        assert "The image is sagittal MR." in told
        assert "mm" not in told
        assert "grey levels" not in told

    @pytest.mark.parametrize("modality", ["", "OT"])
    def test_nothing_is_said_of_an_image_that_tells_nothing(self, modality: str) -> None:
        told = self.opening(UNTOLD_FACTS, modality, "OT 0..255 (percentiles)")

        assert told.splitlines()[0] == "The target is: the organ that stores bile"

    def test_sheets_have_no_scale_where_none_is_known(self, volume: ArraySlices) -> None:
        voxels = np.ones((5, 32, 64), dtype=np.bool_)
        volume.facts = UNTOLD_FACTS
        builder = PromptBuilder.of(LanguageSettings())

        talks = builder.about_volume(BILE, volume), builder.about_object(BILE, volume, voxels)

        for talk in talks:
            told = texts(talk)[0]
            assert " mm" not in told
            assert "patient" not in told
            assert "bar" not in told
            foot = talk.pictures[0].pixels[-28:]
            assert not foot.any()


class TestViews:
    @pytest.mark.parametrize(
        ("image_px", "size"), [(512, (512, 512)), (0, (64, 32)), (48, (48, 48))]
    )
    def test_the_side_of_the_picture(
        self, volume: ArraySlices, image_px: int, size: tuple[int, int]
    ) -> None:
        observation = Observation(BILE, volume, 0, Role.KEY)

        talk = PromptBuilder.of(LanguageSettings(image_px=image_px)).about_slice(observation)

        assert talk.pictures[0].size == size

    @pytest.mark.parametrize(
        ("corner", "crop"),
        [
            ((30, 12), Crop(24, 6, 20, 20)),  # 8 px, and three quarters of it on each side
            ((0, 0), Crop(0, 0, 20, 20)),  # moved into the slice
            ((56, 24), Crop(44, 12, 20, 20)),
        ],
    )
    def test_zoom_shows_the_surroundings_of_what_is_known(
        self, volume: ArraySlices, square_at: SquareAt, corner: tuple[int, int], crop: Crop
    ) -> None:
        settings = LanguageSettings(zoom=True)
        observation = Observation(BILE, volume, 0, Role.CARRY, carried=square_at(*corner))

        assert view_of(observation, settings).crop == crop
        assert view_of(replace(observation, carried=None), settings).crop == Crop(0, 0, 64, 32)
        assert view_of(observation, LanguageSettings(zoom=False)).crop == Crop(0, 0, 64, 32)

    def test_zoom_keeps_some_of_the_slice_about_a_tiny_outline(self, volume: ArraySlices) -> None:
        dot = np.zeros((32, 64), dtype=np.bool_)
        dot[16, 32] = True
        observation = Observation(BILE, volume, 0, Role.CARRY, carried=dot)

        crop = view_of(observation, LanguageSettings(zoom=True)).crop

        assert (crop.width, crop.height) == (16, 16)  # a quarter of the longer side


class TestVolumes:
    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_the_survey_shows_sheets_and_asks_for_slices(
        self, dialect: Dialect, volume: ArraySlices
    ) -> None:
        interviewer = PromptBuilder.of(LanguageSettings(dialect, sheets=2, sheet_slices=2))

        talk = interviewer.about_volume(BILE, volume)

        assert len(talk.pictures) == 2
        assert [m.role for m in talk.messages] == ["system", "user"]
        assert "numbered 0 (towards the feet) to 4" in texts(talk)[0]
        assert "3 mm apart" in texts(talk)[0]
        assert "are left out; they may be named" in texts(talk)[0]
        every_slice = PromptBuilder.of(LanguageSettings(dialect)).about_volume(BILE, volume)
        assert "left out" not in texts(every_slice)[0]  # all five are shown
        assert "the organ that stores bile" in texts(talk)[0]
        offered = talk.messages[0].text
        assert ("name_slices" in offered) or ("Slices (n1, n2, ...)" in offered)
        assert ("absent_action" in offered) or ("Absent" in offered)
        assert "add_point" not in offered

    def test_the_same_pictures_come_before_any_target(self, volume: ArraySlices) -> None:
        # so that a server that keeps what it has read reads the sheets once for all targets
        about = PromptBuilder.of(LanguageSettings()).about_volume

        one, other = about(Target("liver"), volume), about(Target("spleen"), volume)

        assert one.messages[0] == other.messages[0]
        assert one.messages[1].parts[0] == other.messages[1].parts[0]

    def test_the_inspection_shows_outlines_and_a_slice_beyond_each_end(
        self, volume: ArraySlices, square_at: SquareAt
    ) -> None:
        voxels = np.zeros((5, 32, 64), dtype=np.bool_)
        voxels[2] = square_at(8, 8)

        talk = PromptBuilder.of(LanguageSettings(tile_px=64)).about_object(BILE, volume, voxels)

        # slices 1, 2 and 3 in two columns, which are as wide as five of 64 px
        outlined = np.all(talk.pictures[0].pixels == (0, 255, 0), axis=2)
        assert outlined[:160, 162:].any()
        assert not outlined[:160, :160].any()
        assert not outlined[162:].any()
        assert "stop_action" in talk.messages[0].text

    def test_nothing_drawn_cannot_be_looked_over(self, volume: ArraySlices) -> None:
        nothing = np.zeros((5, 32, 64), dtype=np.bool_)

        with pytest.raises(ValueError, match="empty object"):
            PromptBuilder.of(LanguageSettings()).about_object(BILE, volume, nothing)

    def test_asking_again_keeps_what_was_said(self, volume: ArraySlices) -> None:
        interviewer = PromptBuilder.of(LanguageSettings())
        first = interviewer.about_volume(BILE, volume)

        again = interviewer.with_fault(first, "slice ninety", "90 is no slice")

        assert again.messages[:2] == first.messages
        assert again.messages[2] == Message("assistant", ("slice ninety",))
        assert again.messages[3].role == "user"
        assert "90 is no slice" in again.messages[3].text
