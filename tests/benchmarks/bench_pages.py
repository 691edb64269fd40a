"""First paint of the pages with a full record: what a person waits for on loopback.

    python tests/benchmarks/bench_pages.py [--requests 10000]

A real database with so many requests (ten a study, three structures and a delivery each; one has a
thousand turns), the pages on a socket of this machine. HTML alone: the least and the median of 15
after one to warm up. With Chromium here, first contentful paint as the browser itself tells it.
Writes bench-out/pages.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from dicom_node.receive.inbox import Inbox
from dicom_node.series.header import read_header
from server.compose.heartbeat import part_table
from server.http.fakes import FakePictures
from server.http.ports import Services
from server.http.tokens import tokens_of
from server.nodes.postgres import EmbeddedPostgres
from server.pages.app import create_pages
from server.pages.login import COOKIE, Logins
from server.pages.ports import PageServices, Site
from server.record.counting import RecordCounting
from server.record.database.engine import Sessions, open_engine
from server.record.database.jobs import DbosJobs
from server.record.database.migrate import upgrade
from server.record.deliveries import Deliveries
from server.record.overviews.overview import RecordOverview
from server.record.record import Record
from server.record.stored_studies import StoredStudyReader
from server.rules.catalogue import load_catalogue
from server.rules.completion import load_structure_names
from server.rules.routing import Rules
from server.settings import load_settings
from tests.support.http.filled_record import turn
from tests.support.http.loopback import on_loopback

TOKEN = "a-token-of-good-length"
CALLS = 15
GOAL_MS = 200.0
REQUESTS_A_STUDY = 10
TURNS = 1000


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    count = parser.parse_args().requests
    with tempfile.TemporaryDirectory(prefix="segnode-bench-") as folder:
        figures = measured(Path(folder), count)
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    (out / "pages.json").write_text(json.dumps({"requests": count, "ms": figures}, indent=1))
    sys.stdout.write(f"{count} requests; goal {GOAL_MS:.0f} ms\n")
    for name, values in figures.items():
        told = "  ".join(f"{what} {value:8.1f}" for what, value in values.items())
        sys.stdout.write(f"{name:28s} {told}\n")


def measured(folder: Path, count: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each page by what was measured."""
    server = EmbeddedPostgres(folder)
    url = server.start()
    try:
        engine = open_engine(url)
        upgrade(engine)
        sessions = Sessions(engine)
        fill(sessions, count)
        jobs = DbosJobs(url)
        with on_loopback(create_pages(pages_of(sessions, jobs, folder))) as address:
            figures = timed_pages(address)
        jobs.close()
        engine.dispose()
        return figures
    finally:
        server.stop()


def pages_of(sessions: Sessions, jobs: DbosJobs, folder: Path) -> PageServices:
    """The pages over the real record."""
    catalogue = load_catalogue()
    studies = StoredStudyReader(Inbox(folder / "inbox"), read_header)
    record = Record(sessions, jobs, Rules(catalogue, ("pacs",)), studies)
    counting = RecordCounting(sessions, part_table(sessions))
    services = Services(record, counting, Deliveries(sessions, jobs), FakePictures(), (), folder, 0)
    names = load_structure_names(catalogue)
    site = Site(load_settings().node, folder, 10.0, (), names, lambda: "locator + litemedsam")
    return PageServices(services, RecordOverview(sessions), site, tokens_of((TOKEN,)))


def timed_pages(address: str) -> dict[str, dict[str, float]]:
    """Each page: HTML, and first paint where there is a browser."""
    places = {
        "requests": "/",
        "requests, half way": "/?cursor=5000",
        "requests, FAILED": "/?state=FAILED",
        "studies": "/studies",
        "a study": "/studies/1.2.3.7",
        "a request, 1000 turns": "/requests/request-1",
        "undelivered": "/undelivered",
        "node": "/node",
    }
    cookie = Logins(tokens_of((TOKEN,))).cookie(TOKEN) or ""
    figures = {}
    with first_paints(address, cookie) as first_paint:
        for name, place in places.items():
            least, median = html_ms(address + place, cookie)
            figures[name] = {"html least": least, "html median": median}
            if first_paint is not None:
                figures[name]["first paint, median"] = first_paint(place)
    return figures


def html_ms(url: str, cookie: str) -> tuple[float, float]:
    """Least and median milliseconds until the whole HTML is here."""
    durations = []
    for _ in range(CALLS + 1):
        request = urllib.request.Request(url, headers={"Cookie": f"{COOKIE}={cookie}"})
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200
            assert b"</html>" in answer.read()
        durations.append(1000 * (time.perf_counter() - began))
    return min(durations[1:]), statistics.median(durations[1:])


@contextmanager
def first_paints(address: str, cookie: str) -> Iterator[Any]:
    """A function that gives a place's first contentful paint in ms; None without a browser."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.context.add_cookies([{"name": COOKIE, "value": cookie, "url": address}])

        def first_paint(place: str) -> float:
            durations = []
            for _ in range(5):
                page.goto(address + place)
                page.wait_for_function(
                    "() => performance.getEntriesByName('first-contentful-paint').length"
                )
                durations.append(
                    page.evaluate(
                        "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
                    )
                )
            return statistics.median(durations)

        yield first_paint
        page.goto("about:blank")
        browser.close()


def fill(sessions: Sessions, count: int) -> None:
    """So many requests, one in seven FAILED with its delivery given up."""
    statements = FILL.split(";")
    values: dict[str, Any] = {
        "count": count,
        "studies": max(1, count // REQUESTS_A_STUDY),
        "turns": TURNS,
    }
    values["turn"] = json.dumps(turn(5, reply="The organ is bright against the fat; I box it."))
    for statement in filter(str.strip, statements):
        with sessions.begin() as session:
            query = text(statement)
            session.execute(query, {name: values[name] for name in query.compile().params})
    with sessions.begin() as session:
        session.execute(text("ANALYZE"))


FILL = """
INSERT INTO studies (study_instance_uid, state, version, instances, series, requests, files,
                     created_at, updated_at)
SELECT '1.2.3.' || n, 'COMPLETE', 1, 50, 1, 10, 50, now(), now()
FROM generate_series(1, :studies) AS n;

INSERT INTO instances (study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid,
                       transfer_syntax_uid, path, modality, series_number, series_description,
                       instance_number, number_of_frames, manufacturer, attributes, faults, ours,
                       version, indexed_at)
SELECT '1.2.3.' || n, '1.2.3.' || n || '.1', '1.2.3.' || n || '.1.' || i,
       '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', 'x', 'CT', 1, 'axial', i, 1, 'ACME',
       '{"Modality": "CT", "StudyDescription": "Abdomen", "StudyDate": "20260102"}', '[]', false,
       1, now()
FROM generate_series(1, :studies) AS n, generate_series(1, 50) AS i;

INSERT INTO requests (id, study_instance_uid, study_version, state, actor, priority, run,
                      pipeline_version, stage_attempts, warnings, stage_seconds, encoder_passes,
                      hold_doubtful, forced, error, created_at, updated_at)
SELECT 'request-' || n, '1.2.3.' || (1 + n % :studies), 1,
       CASE n % 7 WHEN 0 THEN 'FAILED' ELSE 'DONE' END, 'token 1a2b3c4d', 50, 1, 1, 0, '[]', '{}',
       0, false, false, CASE n % 7 WHEN 0 THEN 'pacs did not take the results' END, now(), now()
FROM generate_series(1, :count) AS n;

INSERT INTO targets (request_id, index, text, code, status, reason, volume_ml, turns, warnings,
                     for_review)
SELECT 'request-' || n, i, 'structure ' || i,
       '{"value": "10200004", "scheme": "SCT", "meaning": "Liver"}', 'segmented', '', 1500.0, 12,
       '[]', false
FROM generate_series(1, :count) AS n, generate_series(0, 2) AS i;

INSERT INTO deliveries (request_id, destination, state, attempts, kinds)
SELECT 'request-' || n, 'pacs', CASE n % 7 WHEN 0 THEN 'dead' ELSE 'delivered' END, 3, '[]'
FROM generate_series(1, :count) AS n;

INSERT INTO turns (request_id, target_index, slice_index, turn_index, turn, at)
SELECT 'request-1', n % 3, n, 0, CAST(:turn AS json), now()
FROM generate_series(1, :turns) AS n
"""


if __name__ == "__main__":
    main()
