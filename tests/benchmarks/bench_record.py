"""How long the record takes to answer and to start, at three sizes: neither may grow with what is
stored.

    python tests/benchmarks/bench_record.py [--sizes 1000 10000 100000] [--million]

A study of 50 instances and one request each. Calls go through the whole API in this process, the
least of 15; a start is what listener, API and worker do before they work: tables brought up to
date, studies on disk held against the record, work of dead workers looked for. Writes
bench-out/record.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import text
from starlette.testclient import TestClient

from dicom_node.receive.inbox import Inbox
from dicom_node.series.header import read_header
from server.compose.heartbeat import part_table
from server.http.app import create_app
from server.http.fakes import FakePictures, FakeRecord, FakeWaiting
from server.http.ports import Services
from server.http.tokens import tokens_of
from server.nodes.postgres import EmbeddedPostgres
from server.record.counting import RecordCounting
from server.record.database.engine import Sessions, open_engine
from server.record.database.jobs import DbosJobs, open_client
from server.record.database.migrate import upgrade
from server.record.processes.workers import Workers
from server.record.record import Record
from server.record.stored_studies import StoredStudyReader
from server.rules.catalogue import load_catalogue
from server.rules.routing import Rules
from server.work.takeover import renew_older, resume_orphans

INSTANCES_A_STUDY = 50
CALLS = 15
TOKEN = "a-token-of-good-length"
# the largest size may take this many times what the smallest takes, and a moment more on a busy
# machine
MOST_GROWTH, SLACK_MS = 3.0, 20.0


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--million", action="store_true", help="measure 1,000,000 instances too")
    asked = parser.parse_args()
    sizes = [*asked.sizes, *([1_000_000] if asked.million else [])]
    figures = {}
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="segnode-bench-") as folder:
            figures[size] = measured(Path(folder), size)
    report(figures)


def measured(folder: Path, instances: int) -> dict[str, float]:
    """Milliseconds of each call and each part of a start, with so many instances on disk and on
    record.
    """
    server = EmbeddedPostgres(folder)
    url = server.start()
    try:
        engine = open_engine(url)
        upgrade(engine)
        sessions = Sessions(engine)
        studies = instances // INSTANCES_A_STUDY
        fill(sessions, studies)
        inbox = folder / "inbox"
        fill_inbox(inbox, studies)
        jobs, client = DbosJobs(url), open_client(url)
        record = Record(
            sessions,
            jobs,
            Rules(load_catalogue(), ("pacs",)),
            StoredStudyReader(Inbox(inbox), read_header),
        )
        milliseconds = calls(sessions, record, folder, studies) | {
            "start: tables": timed(lambda: upgrade(engine), 3),
            "start: studies on disk": timed(record.completion.unsettled, 3),
            "start: older work": timed(lambda: renew_older(client, sessions, jobs), 3),
            "start: orphans": timed(lambda: resume_orphans(client, Workers(sessions)), 3),
        }
        assert record.completion.unsettled() == ()
        client.destroy()
        jobs.close()
        engine.dispose()
        return milliseconds
    finally:
        server.stop()


def calls(sessions: Sessions, record: Record, folder: Path, studies: int) -> dict[str, float]:
    """Milliseconds of each call over HTTP."""
    counting = RecordCounting(sessions, part_table(sessions))
    app = create_app(
        Services(record, counting, FakeWaiting(FakeRecord()), FakePictures(), (), folder, 0),
        tokens_of((TOKEN,)),
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    deep = studies // 2
    paths = {
        "GET /studies": "/studies",
        "GET /studies, half way": f"/studies?cursor={deep}",
        "GET /studies/{uid}": f"/studies/{uid(deep)}",
        "GET /requests": "/requests",
        "GET /requests, half way": f"/requests?cursor={deep}",
        "GET /requests, newest FAILED": "/requests?state=FAILED&order=newest",
        "GET /requests of a study": f"/requests?study_instance_uid={uid(deep)}",
        "GET /requests/{id}": f"/requests/request-{deep}",
        "GET /audit": "/audit?limit=50",
        "GET /metrics": "/metrics",
    }
    with TestClient(app, headers=headers) as api:

        def call(path: str) -> None:
            answer = api.get(f"/api/v1{path}")
            assert answer.status_code == 200, answer.text

        return {name: timed(partial(call, path), CALLS) for name, path in paths.items()}


def timed(call: Callable[[], object], times: int) -> float:
    """The least of so many calls after a first one, in milliseconds: what the machine does beside
    is no figure of ours.
    """
    call()
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        spent.append((time.perf_counter() - started) * 1000)
    return round(min(spent), 2)


def uid(number: int) -> str:
    """The study of that number, counted from 1."""
    return f"1.2.826.{number}"


def fill(sessions: Sessions, studies: int) -> None:
    """Complete studies with a request each, nine of ten DONE, as they are after years."""
    for statement in (_STUDIES, _INSTANCES, _REQUESTS, _TARGETS, _DELIVERIES, _AUDIT, _WORKFLOWS):
        with sessions.begin() as session:
            session.execute(text(statement), {"studies": studies, "each": INSTANCES_A_STUDY})
    with sessions.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def fill_inbox(inbox: Path, studies: int) -> None:
    """The same studies as folders of empty files: a start must not open them."""
    for number in range(1, studies + 1):
        series = inbox / uid(number) / f"{uid(number)}.1"
        series.mkdir(parents=True)
        for instance in range(1, INSTANCES_A_STUDY + 1):
            (series / f"{uid(number)}.1.{instance}.dcm").touch()


def report(figures: dict[int, dict[str, float]]) -> None:
    """Print each size beside the smallest; keep them as JSON."""
    sizes = list(figures)
    lines = [
        f"{'instances, requests':<32}"
        + "".join(f"{f'{s:,}, {s // INSTANCES_A_STUDY:,}':>20}" for s in sizes)
    ]
    grown = []
    for name in figures[sizes[0]]:
        values = [figures[size][name] for size in sizes]
        lines.append(f"{name:<32}" + "".join(f"{value:>17.1f} ms" for value in values))
        # listing folders is the one thing that may take longer the more there are
        if "on disk" not in name and values[-1] > MOST_GROWTH * values[0] + SLACK_MS:
            grown.append(name)
    lines.append(f"grown with what is stored: {', '.join(grown) or 'nothing but folders listed'}")
    sys.stdout.write("\n".join(lines) + "\n")
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    kept = {"milliseconds": {str(size): rows for size, rows in figures.items()}, "grown": grown}
    (out / "record.json").write_text(json.dumps(kept, indent=1), encoding="utf-8")


_STUDIES = """
INSERT INTO studies (study_instance_uid, state, version, instances, series, requests, files, created_at, updated_at)
SELECT '1.2.826.' || n, 'COMPLETE', 1, :each, 1, 1, :each, now(), now() FROM generate_series(1, :studies) AS n
"""
_INSTANCES = """
INSERT INTO instances (study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid, transfer_syntax_uid,
    path, modality, series_number, series_description, instance_number, number_of_frames, manufacturer,
    attributes, faults, ours, version, indexed_at)
SELECT '1.2.826.' || n, '1.2.826.' || n || '.1', '1.2.826.' || n || '.1.' || i, '1.2.840.10008.5.1.4.1.1.2',
    '1.2.840.10008.1.2.1', '/var/lib/segnode/inbox/1.2.826.' || n || '/' || i, 'CT', 1, 'abdomen', i, 1, 'ACME',
    '{"Modality": "CT", "StudyDescription": "Abdomen", "PatientPosition": "HFS"}', '[]', false, 1, now()
FROM generate_series(1, :studies) AS n, generate_series(1, :each) AS i
"""
_REQUESTS = """
INSERT INTO requests (id, study_instance_uid, study_version, state, route, actor, priority, run, pipeline_version,
    stage_attempts, warnings, stage_seconds, encoder_passes, hold_doubtful, forced, created_at, updated_at, ended_at)
SELECT 'request-' || n, '1.2.826.' || n, 1, CASE WHEN n % 10 = 0 THEN 'FAILED' ELSE 'DONE' END, 'abdomen',
    'route:abdomen', 50, 1, 1, 1, '[]', '{}', 20, false, false, now(), now(), now() FROM generate_series(1, :studies) AS n
"""
_TARGETS = """
INSERT INTO targets (request_id, index, text, code, status, reason, turns, warnings, for_review)
SELECT 'request-' || n, i, 'liver', '{"value": "10200004", "scheme": "SCT", "meaning": "Liver"}', 'absent', '', 5, '[]', false
FROM generate_series(1, :studies) AS n, generate_series(0, 4) AS i
"""
_DELIVERIES = """
INSERT INTO deliveries (request_id, destination, state, attempts, kinds)
SELECT 'request-' || n, 'pacs', 'delivered', 1, '["SEG", "SR"]' FROM generate_series(1, :studies) AS n
"""
_AUDIT = """
INSERT INTO audit (at, actor, event, study_instance_uid, request_id, detail)
SELECT now(), 'segnode', 'request.done', '1.2.826.' || n, 'request-' || n, '{}'
FROM generate_series(1, :studies) AS n, generate_series(1, 10) AS i
"""
_WORKFLOWS = """
INSERT INTO dbos.workflow_status (workflow_uuid, status, name, queue_name, application_version, executor_id, application_name)
SELECT 'request-' || n, 'SUCCESS', 'study_run', 'studies', '1', 'gone', 'segnode' FROM generate_series(1, :studies) AS n
"""

if __name__ == "__main__":
    main()
