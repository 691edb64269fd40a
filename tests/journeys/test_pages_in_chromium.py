"""The pages as people meet them: in Chromium, by keys and clicks, in light, dark and on a phone.

A complaint of the browser (a script's error, a file that is not there, what the content security
policy forbids) fails each test that is not about one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dicom_node.fakes import FakeDestination
from server.errors import RecordUnavailable, TurnsGone
from server.http.fakes import FakeCounting, FakePictures, FakeRecord
from server.pages.app import create_pages
from server.pages.fakes import FakeOverview
from server.pages.routes.story import BLOCK
from server.values import RequestState, StepProgress, WorkStep
from tests.support.http.filled_record import SCRIPT, ask, fill, play, poison
from tests.support.http.loopback import on_loopback
from tests.support.http.page_site import STUDY, TOKEN, page_services_of

pytestmark = [pytest.mark.peer, pytest.mark.slow]

LIMIT_MS = 60_000
LOOKS = {
    "light": ("light", 1280),
    "dark": ("dark", 1280),
    "phone": ("light", 390),
    "dark phone": ("dark", 390),
}


class DrawnPictures(FakePictures):
    """Pictures that a browser can show: each is as wide as its turn's slice says."""

    def png(self, request_id: str, target_index: int, turn: Any) -> bytes:
        super().png(request_id, target_index, turn)
        stream = io.BytesIO()
        Image.new("RGB", (200 + turn["slice_index"], 120), (60, 90, 120)).save(stream, "PNG")
        return stream.getvalue()


@dataclass
class OpenNode:
    """The pages on a socket, their record, and a browser's page that is logged in."""

    address: str
    page: Any
    record: FakeRecord
    overview: FakeOverview
    pictures: DrawnPictures
    ids: dict[str, str]
    complaints: list[str]

    def open(self, place: str) -> None:
        """Go to a place and wait until all of it is there."""
        self.page.goto(self.address + place)
        self.page.wait_for_load_state("networkidle")

    def where(self) -> str:
        """Which turn the story is at."""
        text: str = self.page.locator("#where").inner_text()
        return text

    def wait_for_picture(self, slice_index: int) -> None:
        """Wait until the picture of a slice is shown."""
        self.page.wait_for_function(
            "width => document.getElementById('picture').naturalWidth === width",
            arg=200 + slice_index,
        )


@pytest.fixture
def node(browser_page: Any, tmp_path: Path) -> Iterator[OpenNode]:
    """A busy node, and a browser that has logged in."""
    record = FakeRecord()
    record.add_study(STUDY)
    overview, pictures = FakeOverview(record), DrawnPictures()
    overview.attributes_of[STUDY] = [
        {"Modality": "CT", "StudyDescription": "Abdomen^portal venous", "StudyDate": "20260102"}
    ]
    counting, pacs = FakeCounting(record), FakeDestination("pacs")
    pages = create_pages(page_services_of(record, overview, counting, pictures, pacs, tmp_path))
    complaints: list[str] = []
    browser_page.set_default_timeout(LIMIT_MS)
    browser_page.on("pageerror", lambda error: complaints.append(str(error)))
    browser_page.on(
        "console",
        lambda told: complaints.append(told.text) if told.type in ("error", "warning") else None,
    )
    with on_loopback(pages) as address:
        ids = fill(record, STUDY)
        opened = OpenNode(address, browser_page, record, overview, pictures, ids, complaints)
        opened.open("/studies")
        browser_page.get_by_label("Token").fill(TOKEN)
        browser_page.get_by_label("Token").press("Enter")
        browser_page.wait_for_url(f"{address}/studies")
        yield opened
        browser_page.goto("about:blank")  # hangs up, so that the server can end


def places(ids: dict[str, str]) -> list[str]:
    """Every page that there is."""
    stories = [f"/requests/{request_id}" for request_id in ids.values()]
    return [
        "/", "/?state=CANCELLED", "/studies", f"/studies/{STUDY}", "/destinations", "/undelivered",
        "/node", "/setup", "/login", *stories,
    ]  # fmt: skip


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_can_be_used_by_everybody(node: OpenNode, axe_source: str, look: str) -> None:
    scheme, width = LOOKS[look]
    node.page.emulate_media(color_scheme=scheme)
    node.page.set_viewport_size({"width": width, "height": 900})
    violations = []
    for place in places(node.ids):
        node.open(place)
        node.page.evaluate(axe_source)
        answer = node.page.evaluate("axe.run()")
        assert answer["passes"]
        violations += [
            (place, each["id"], [at["html"][:200] for at in each["nodes"]][:3])
            for each in answer["violations"]
        ]
        scrolled = node.page.evaluate("document.documentElement.scrollWidth")
        assert scrolled <= width, f"{place} is {scrolled} pixels wide"

    assert violations == []
    assert node.complaints == []


def test_what_cannot_be_used_would_be_found(node: OpenNode, axe_source: str) -> None:
    node.open("/login")
    node.page.evaluate("document.querySelector('label').remove()")
    node.page.evaluate(axe_source)

    found = {each["id"] for each in node.page.evaluate("axe.run()")["violations"]}
    assert "label" in found


def test_arrow_keys_go_through_the_turns(node: OpenNode) -> None:
    node.open(f"/requests/{node.ids['done']}?turn=2")
    node.wait_for_picture(9)

    node.page.keyboard.press("ArrowRight")
    node.page.keyboard.press("ArrowRight")
    assert node.where() == "Turn 4 of 40: liver, slice 10"
    assert node.page.locator("#action").inner_text() == "Clicks outside, at x 310, y 99"
    node.wait_for_picture(10)
    assert node.page.url.endswith("?turn=4")

    for _ in range(5):
        node.page.keyboard.press("ArrowLeft")
    assert node.where() == "Turn 1 of 40: liver, whole volume"
    assert node.page.locator("#back").get_attribute("aria-disabled") == "true"
    node.page.get_by_role("link", name="Forward").click()
    assert node.where() == "Turn 2 of 40: liver, slice 9"
    node.page.locator(".turns a[data-number='40']").click()
    assert node.where().startswith("Turn 40 of 40: Nierenzyste links")
    node.page.keyboard.press("ArrowRight")
    assert node.where().startswith("Turn 40 of 40")
    node.wait_for_picture(13)
    assert node.complaints == []


def test_arrow_keys_go_on_into_the_next_part(node: OpenNode) -> None:
    view = ask(node.record, STUDY, "liver", state=RequestState.DONE)
    play(node.record, view, BLOCK + 10)
    node.open(f"/requests/{view.id}?turn={BLOCK}")

    node.page.keyboard.press("ArrowRight")

    node.page.wait_for_url(f"**/requests/{view.id}?turn={BLOCK + 1}*")
    assert node.where().startswith(f"Turn {BLOCK + 1} of {BLOCK + 10}")


def test_only_the_pictures_that_are_looked_at_are_drawn(node: OpenNode) -> None:
    node.open(f"/requests/{node.ids['done']}?turn=2")
    node.wait_for_picture(9)
    node.pictures.asked.clear()

    for _ in range(31):
        node.page.keyboard.press("ArrowRight")
    node.wait_for_picture(10)  # that of the 33rd turn

    assert node.where().startswith("Turn 33 of 40")
    assert 1 <= len(node.pictures.asked) < 10


def test_a_picture_that_is_gone_says_why(node: OpenNode) -> None:
    node.pictures.fault = TurnsGone("the masks of the turns are not kept any more")
    node.open(f"/requests/{node.ids['done']}?turn=2")

    node.page.get_by_text("The masks of the turns are not kept any more.").wait_for()
    assert not node.page.locator("#picture").is_visible()
    node.pictures.fault = None
    node.page.keyboard.press("ArrowRight")
    node.wait_for_picture(10)
    assert node.page.locator("#picture").is_visible()
    assert not node.page.locator("#missing").is_visible()


@pytest.mark.parametrize("place", ["/", "/requests/{}", "/node"])
def test_progress_is_shown_as_it_comes(node: OpenNode, place: str) -> None:
    node.open(place.format(node.ids["working"]))
    node.page.get_by_text("encoding slices: 42 of 120").wait_for()
    working = node.record.kept_requests[node.ids["working"]]

    step = StepProgress(WorkStep.ENCODE, 77, 120)
    node.record.kept_requests[working.id] = replace(working, progress=step)

    node.page.get_by_text("encoding slices: 77 of 120").wait_for()
    assert node.complaints == []


def test_what_is_not_up_to_date_says_so(node: OpenNode) -> None:
    node.open("/")
    assert not node.page.locator("#stale").inner_text()

    node.record.away = RecordUnavailable("PostgreSQL does not answer")
    node.page.get_by_text("Not up to date since").wait_for()
    node.record.away = None
    node.page.wait_for_function("() => !document.getElementById('stale').textContent")

    node.page.context.clear_cookies()
    node.page.get_by_text("your login has ended").wait_for()


def test_who_has_a_link_under_the_keyboard_keeps_it(node: OpenNode) -> None:
    node.open("/")
    link = node.page.locator(f"a[href='/requests/{node.ids['working']}']")
    link.focus()
    working = node.record.kept_requests[node.ids["working"]]
    step = StepProgress(WorkStep.ENCODE, 78, 120)
    node.record.kept_requests[working.id] = replace(working, progress=step)
    node.page.get_by_text("encoding slices: 78 of 120").wait_for()

    focused = node.page.evaluate("document.activeElement.getAttribute('href')")
    assert focused == f"/requests/{node.ids['working']}"


def test_names_are_completed_while_they_are_typed(node: OpenNode) -> None:
    node.open(f"/studies/{STUDY}")
    field = node.page.get_by_label("Structure 1", exact=True)
    field.press_sequentially("linke Niere")
    node.page.locator("#means-1", has_text="Left kidney").wait_for()
    field.fill("nier")
    node.page.wait_for_function(
        "() => document.querySelector('#structures option')?.value === 'niere'"
    )
    node.page.get_by_role("button", name="One more").click()
    node.page.keyboard.type("milza")
    node.page.locator("#means-5", has_text="Spleen").wait_for()
    field.fill("Leber")

    node.page.get_by_role("button", name="Ask", exact=True).click()

    node.page.wait_for_url("**/requests/*")
    newest = list(node.record.kept_requests.values())[-1]
    assert [target.text for target in newest.targets] == ["Leber", "milza"]
    assert node.complaints == []


def test_cancelling_asks_first(node: OpenNode) -> None:
    node.open("/")
    button = node.page.get_by_role("button", name="Cancel: urinary bladder")
    node.page.once("dialog", lambda dialog: dialog.dismiss())
    button.click()
    assert node.record.kept_requests[node.ids["waiting"]].state == RequestState.QUEUED

    node.page.once("dialog", lambda dialog: dialog.accept())
    button.click()
    node.page.locator(f"#request-{node.ids['waiting']} .badge.cancelled").wait_for()
    assert node.record.kept_requests[node.ids["waiting"]].state == RequestState.CANCELLED


def test_the_keyboard_reaches_everything_and_sees_where_it_is(node: OpenNode) -> None:
    node.open("/")
    reached = set()
    for _ in range(60):
        node.page.keyboard.press("Tab")
        name, outline = node.page.evaluate(
            "() => { const e = document.activeElement; return ["
            "e.getAttribute('href') || e.getAttribute('aria-label') || e.id || e.textContent,"
            "parseFloat(getComputedStyle(e).outlineWidth)]; }"
        )
        if name.strip() and outline:
            reached.add(name.strip())
    expected = {
        "#main",
        "/studies",
        "/node",
        "state",
        "study",
        "Show",
        "Log out",
        "Try again: liver",
    }

    assert expected | {f"/requests/{each}" for each in node.ids.values()} <= reached


def test_no_text_of_the_record_runs_in_a_browser(node: OpenNode) -> None:
    hostile = poison(node.record, STUDY, [RequestState.DONE, RequestState.SEGMENTING])
    node.overview.attributes_of[STUDY] = [
        dict.fromkeys(("Modality", "StudyDescription", "StudyDate"), SCRIPT)
    ]
    for place in [*places(node.ids), *(f"/requests/{each}?turn=2" for each in hostile)]:
        node.open(place)
        if place.startswith("/requests"):
            node.page.keyboard.press("ArrowRight")
        assert node.page.title() != "ran"
        assert node.page.locator("img[src='x'], script:not([src])").count() == 0
    node.open(f"/requests/{hostile[1]}")
    node.page.wait_for_timeout(2500)  # a page that changes by itself has changed
    assert node.page.title() != "ran"
    assert [text for text in node.complaints if "Content Security" in text] == []


def test_what_would_run_is_stopped_by_the_policy(node: OpenNode) -> None:
    node.open("/")

    node.page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = "
        "\"document.title = 'ran'\"; document.body.append(s);"
        "document.body.insertAdjacentHTML('beforeend',"
        "'<img src=x onerror=\"document.title = 1\">'); }"
    )

    node.page.wait_for_function("() => true")
    assert node.page.title() == "Requests · Segnode"
    assert any("Content Security Policy" in text for text in node.complaints)
