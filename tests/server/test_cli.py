"""The commands: what they run, what they print, how they exit."""

from __future__ import annotations

import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.values import TargetStatus
from dicom_node.errors import NoUsableSeries, PermanentDeliveryError, TransientDeliveryError
from dicom_node.fakes import FakeDestination
from server.cli import main
from server.commands.request import node_url
from server.commands.segment import with_models
from server.errors import RecordUnavailable
from server.settings import load_settings
from server.values import TargetSummary
from tests.support.composed import ComposedProcesses
from tests.support.ports import free_port

LIVER = TargetSummary(0, "liver", "liver", TargetStatus.SEGMENTED, "", 412.53, 21, 0.934)
KIDNEY = TargetSummary(
    1, "left kidney", "left_kidney", TargetStatus.ABSENT, "not seen", None, 4, None
)

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Storage of its own, and nothing else from the environment."""
    monkeypatch.setenv("SEGNODE_STORAGE__DIR", str(tmp_path / "var"))
    monkeypatch.setenv("SEGNODE_STORAGE__MINIMUM_FREE_BYTES", "0")
    monkeypatch.delenv("SEGNODE_TOKEN", raising=False)
    monkeypatch.setenv("PYTHONSAFEPATH", "")  # every command sets it, for itself and its children
    return tmp_path / "var"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site's own configuration."""
    file = tmp_path / "site.toml"
    file.write_text('[node]\nae_title = "SITE"\n')
    return file


@pytest.mark.parametrize("command", ["listen", "work", "api", "sessions"])
def test_a_part_runs_with_the_sites_settings(site: Path, command: str) -> None:
    processes = ComposedProcesses()

    code = main([command, "--config", str(site)], processes)

    assert code == 0
    assert processes.ran == [(command, "SITE")]


def test_serve_hands_its_files_on_and_its_exit_code_back(site: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.toml"
    more.write_text('[node]\nae_title = "LATER"\n')
    processes = ComposedProcesses(exit_code=1)

    code = main(["serve", "--config", str(site), "--config", str(more)], processes)

    assert code == 1
    assert processes.ran == [("serve", "LATER", (site, more))]


def test_segment_shows_each_target(capsys: Capture, tmp_path: Path) -> None:
    processes = ComposedProcesses(summaries=[LIVER, KIDNEY])
    out = tmp_path / "out"
    words = ["segment", "ct", "--target", "liver", "--target", "left kidney", "--out", str(out)]

    code = main(
        [*words, "--policy", "threshold", "--modality", "CT", "--window=-160,240"], processes
    )

    assert code == 0
    ran = (
        "segment",
        Path("ct"),
        ("liver", "left kidney"),
        out,
        "threshold",
        "auto",
        "CT",
        "-160,240",
    )
    assert processes.ran == [ran]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("models: threshold + litemedsam (segmenter litemedsam: ")
    assert any(line.split() == ["liver", "segmented", "413", "21"] for line in lines)
    assert any(line.split() == ["left", "kidney", "absent", "4"] for line in lines)
    assert "left kidney: not seen" in lines
    assert str(out) in lines[-1]


def test_what_libraries_warn_of_stays_off_the_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "warnoptions", [])
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")

        main(["segment", "ct", "--target", "liver", "--out", str(tmp_path)], ComposedProcesses())
        warnings.warn("Invalid value for VR PN: 'Doe^Jane'", UserWarning, stacklevel=1)

    assert heard == []


def test_a_checkpoint_is_named_with_its_segmenter(capsys: Capture, tmp_path: Path) -> None:
    words = ["segment", "ct", "--target", "liver", "--out", str(tmp_path), "--checkpoint", "own.pt"]

    assert main(words, ComposedProcesses()) == 1
    assert "--checkpoint needs --segmenter" in capsys.readouterr().err
    assert main([*words, "--segmenter", "medsam2"], ComposedProcesses()) == 0


def test_another_segmenter_does_not_get_the_configured_ones_checkpoint(tmp_path: Path) -> None:
    environment = {"SEGNODE_AGENT__SEGMENTER": "medsam2", "SEGNODE_AGENT__CHECKPOINT": "own.pt"}
    settings = load_settings((), environment)

    assert with_models(settings, None, None).agent.checkpoint == "own.pt"
    assert with_models(settings, None, "medsam2").agent.checkpoint == "own.pt"
    assert with_models(settings, None, "sam2-tiny").agent.checkpoint == ""
    assert with_models(settings, None, "sam2-tiny", "else.pt").agent.checkpoint == "else.pt"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["bore"],
        ["segment", "ct", "--out", "x"],
        ["segment", "ct", "--target", "liver"],
        ["segment", "--target", "liver", "--out", "x"],
        ["request", "1.2.3"],
        ["request", "1.2.3", "--target", "liver", "--priority", "high"],
        ["models"],
        ["serve", "--config"],
        ["serve", "--port", "1"],
    ],
)
def test_a_wrong_command_line_exits_with_2(capsys: Capture, words: list[str]) -> None:
    processes = ComposedProcesses()

    with pytest.raises(SystemExit) as ended:
        main(words, processes)

    assert ended.value.code == 2
    assert "usage: segnode" in capsys.readouterr().err
    assert processes.ran == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RecordUnavailable("PostgreSQL does not answer"), "PostgreSQL does not answer"),
        (NoUsableSeries("series 2 has\none slice"), "series 2 has one slice"),
        (PermissionError(13, "Permission denied", "/var/lib/x"), "/var/lib/x: Permission denied"),
        (OSError(98, "Address already in use"), "Address already in use"),
    ],
    ids=["server", "edge", "file", "port"],
)
def test_what_goes_wrong_is_one_line(capsys: Capture, error: Exception, said: str) -> None:
    code = main(["listen"], ComposedProcesses(error=error))

    assert code == 1
    assert capsys.readouterr().err == f"segnode: {said}\n"


def test_a_fault_of_our_own_is_said_to_be_one(
    capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    code = main(["listen"], ComposedProcesses(error=ZeroDivisionError("oops")))

    assert code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("segnode: a fault of Segnode itself")
    # where, and not in its own words: they may quote a header
    assert "ZeroDivisionError at " in caplog.text
    assert "oops" not in caplog.text


def test_an_interrupt_is_no_fault(capsys: Capture) -> None:
    assert main(["listen"], ComposedProcesses(error=KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[node]\nportt = 1\n", "node.portt: no such setting; did you mean 'port'?"),
        ("[node\n", "is not TOML"),
        (None, "cannot read"),
    ],
)
def test_bad_settings_name_what_is_wrong(
    capsys: Capture, tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "bad.toml"
    if content is not None:
        file.write_text(content)

    code = main(["check", "--config", str(file)], ComposedProcesses())

    assert code == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_check_says_one_line_each(capsys: Capture) -> None:
    processes = ComposedProcesses(reachable=[FakeDestination("pacs"), FakeDestination("archive")])

    code = main(["check"], processes)

    lines = capsys.readouterr().out.splitlines()
    assert code == 0, lines
    assert [line.split(":")[0] for line in lines] == [
        "ok    configuration",
        "ok    database",
        "ok    destination pacs",
        "ok    destination archive",
        "ok    models",
        "ok    models, locator",
        "ok    models, LiteMedSAM",
        "ok    disk",
    ]


def test_check_goes_on_after_a_fault_and_exits_with_1(capsys: Capture) -> None:
    gone = TransientDeliveryError("nobody answers on 127.0.0.1:4242", destination="pacs")
    processes = ComposedProcesses(
        error=RecordUnavailable("PostgreSQL does not answer"),
        reachable=[FakeDestination("pacs", failures=[gone])],
    )

    code = main(["check"], processes)

    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    assert "FAIL  database: PostgreSQL does not answer" in lines
    assert "FAIL  destination pacs: nobody answers on 127.0.0.1:4242" in lines
    assert lines[-1].startswith("ok    disk")


def test_check_tells_each_destination_what_it_does_not_take(capsys: Capture) -> None:
    refusal = PermanentDeliveryError("accepts no SEG; allow it there", destination="b")
    others = [FakeDestination("b", refusal=refusal), FakeDestination("c")]

    code = main(["check"], ComposedProcesses(reachable=others))

    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    assert "FAIL  destination b: accepts no SEG; allow it there" in lines
    assert "ok    destination c: answers C-ECHO and takes SEG and SR" in lines


def test_what_may_be_meant_is_a_warning_and_no_failure(capsys: Capture, site: Path) -> None:
    site.write_text(
        '[agent]\npolicy = "openai"\n[language]\nendpoints = ["http://h/v1"]\nmodel = "m"\n'
        'allowed_hosts = ["h"]\n[[routes]]\nname = "r"\ntargets = ["livr"]\n'
    )

    code = main(["check", "--config", str(site)], ComposedProcesses())

    lines = capsys.readouterr().out.splitlines()
    assert code == 0, lines
    assert lines[0].startswith("warn  configuration: route 'r': 'livr' is no structure that is")


def test_checks_help_says_how_it_ends(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["check", "--help"])

    out = " ".join(capsys.readouterr().out.split())
    assert "exit codes: 0 nothing fails, 1 something does" in out


def test_check_finds_a_full_disk(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGNODE_STORAGE__MINIMUM_FREE_BYTES", str(10**18))

    code = main(["check"], ComposedProcesses())

    assert code == 1
    assert "make room" in capsys.readouterr().out.splitlines()[-1]


# a node whose record is in memory, and whose one worker takes a request a step further at each look
FAKE_NODE = """
import sys
from dataclasses import replace
from pathlib import Path
from agent.values import TargetStatus
from server.http.app import create_app
from server.http.fakes import FakeCounting, FakePictures, FakeRecord, FakeWaiting
from server.http.ports import Services
from server.http.serving import serve
from server.http.tokens import load_tokens
from server.values import DeliveryState, RequestState, StepProgress, WorkStep

port, storage, end = int(sys.argv[1]), Path(sys.argv[2]), RequestState(sys.argv[3])

class WorkedOn(FakeRecord):
    def request(self, request_id):
        view = super().request(request_id)
        steps = [RequestState.QUEUED, RequestState.SEGMENTING, end, end]
        after = steps[steps.index(view.state) + 1]
        targets = view.targets
        if after == end:
            targets = tuple(
                replace(one, status=TargetStatus.SEGMENTED, volume_ml=412.5) for one in targets
            )
        error = "the PACS did not take it" if end == RequestState.FAILED else None
        progress = None if after == end else StepProgress(WorkStep.ENCODE, 3, 20)
        deliveries = view.deliveries
        if after == RequestState.SENDING:
            deliveries = tuple(replace(one, state=DeliveryState.HELD) for one in deliveries)
        self.kept_requests[request_id] = replace(
            view, state=after, targets=targets, error=error, progress=progress,
            deliveries=deliveries,
        )
        return self.kept_requests[request_id]

record = WorkedOn()
record.add_study("1.2.3")
app = create_app(
    Services(record, FakeCounting(record), FakeWaiting(record), FakePictures(), (), storage, 0),
    load_tokens("", storage),
)
serve(app, "127.0.0.1", port, lambda: print("ready", flush=True))
print("stopped", flush=True)
"""


class FakeNode:
    """A running fake node: its process, where it is, the token it made."""

    def __init__(self, port: int, storage: Path, end: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-c", FAKE_NODE, str(port), str(storage), end]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.token = (storage / "token").read_text().strip()

    def stop(self) -> str:
        """End it with SIGTERM; what it still had to say."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=30)
        return str(out)


@pytest.fixture(name="free_port")
def own_port() -> int:
    return free_port()


@pytest.fixture
def node(
    request: pytest.FixtureRequest,
    storage: Path,
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[FakeNode]:
    """A fake node at the configured address, whose requests end DONE or as the test's parameter
    says.
    """
    monkeypatch.setenv("SEGNODE_HTTP__PORT", str(free_port))
    running = FakeNode(free_port, storage, getattr(request, "param", "DONE"))
    yield running
    if running.process.poll() is None:
        running.stop()


def test_request_asks_the_node_beside_it(capsys: Capture, node: FakeNode) -> None:
    code = main(["request", "1.2.3", "--target", "liver"])

    assert code == 0
    assert capsys.readouterr().out == "request request-1 is QUEUED\n"


def test_request_calls_an_address_where_the_node_listens_on_all(
    capsys: Capture, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGNODE_HTTP__HOST", "0.0.0.0")

    assert main(["request", "1.2.3", "--target", "liver"]) == 0


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("::1", "http://[::1]:8080"),
        ("node.example", "http://node.example:8080"),
    ],
)
def test_the_nodes_url_can_be_called(host: str, url: str) -> None:
    settings = load_settings(environment={"SEGNODE_HTTP__HOST": host})

    assert node_url(settings) == url


def test_request_waits_and_shows_how_it_ended(capsys: Capture, node: FakeNode) -> None:
    words = ["request", "1.2.3", "--target", "liver", "--target", "spleen", "--wait"]

    code = main(words)

    out = capsys.readouterr().out
    assert code == 0
    assert "SEGMENTING, 0 of 2 targets; encoding slices: 3 of 20" in out
    assert "DONE, 2 of 2 targets\n" in out
    assert any(line.split()[:3] == ["spleen", "segmented", "412"] for line in out.splitlines())
    assert "pacs: pending" in out


@pytest.mark.parametrize("node", ["FAILED"], indirect=True)
def test_request_exits_with_1_when_it_did_not_end_well(capsys: Capture, node: FakeNode) -> None:
    code = main(["request", "1.2.3", "--target", "liver", "--wait"])

    assert code == 1
    assert "the PACS did not take it" in capsys.readouterr().err


@pytest.mark.parametrize("node", ["SENDING"], indirect=True)
def test_request_does_not_wait_for_a_persons_review(capsys: Capture, node: FakeNode) -> None:
    code = main(["request", "1.2.3", "--target", "liver", "--wait"])

    out = capsys.readouterr().out
    assert code == 0
    assert "pacs: held" in out
    assert "held back for review: segnode release request-1 sends the results" in out


def test_request_says_what_the_node_says(capsys: Capture, node: FakeNode) -> None:
    code = main(["request", "9.9.9", "--target", "liver"])

    assert code == 1
    assert "does not hold the study '9.9.9'" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["option", "variable"])
def test_request_takes_another_token_and_url(
    capsys: Capture, node: FakeNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    # Arrange: as on another machine, where no token file lies
    monkeypatch.setenv("SEGNODE_STORAGE__DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("SEGNODE_HTTP__PORT", "1")
    words = ["request", "1.2.3", "--target", "liver", "--url", node.url]
    if way == "option":
        words += ["--token", node.token]
    else:
        monkeypatch.setenv("SEGNODE_TOKEN", node.token)

    # Act
    code = main(words)

    # Assert
    assert code == 0, capsys.readouterr().err


def test_request_with_a_wrong_token_says_where_the_right_one_is(
    capsys: Capture, node: FakeNode
) -> None:
    words = ["request", "1.2.3", "--target", "liver", "--token", "wrong"]

    assert main(words) == 1
    assert "<storage.dir>/token" in capsys.readouterr().err


def test_request_without_a_node_says_so(
    capsys: Capture, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGNODE_TOKEN", "a-token-of-good-length")
    monkeypatch.setenv("SEGNODE_HTTP__PORT", str(free_port))

    assert main(["request", "1.2.3", "--target", "liver"]) == 1
    assert "is `segnode serve` running?" in capsys.readouterr().err


def test_request_without_a_token_says_where_it_looked(capsys: Capture, storage: Path) -> None:
    assert main(["request", "1.2.3", "--target", "liver"]) == 1
    assert str(storage / "token") in capsys.readouterr().err


def test_the_api_stops_cleanly_on_sigterm(node: FakeNode) -> None:
    said = node.stop()

    assert said == "stopped\n"
    assert node.process.returncode == 0


def test_an_address_that_is_taken_is_one_line(
    capsys: Capture, node: FakeNode, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", FAKE_NODE, node.url.rpartition(":")[2], str(tmp_path), "DONE"]

    answer = subprocess.run(command, capture_output=True, text=True, check=False)

    assert answer.returncode == 1
    assert "Address already in use" in answer.stderr.splitlines()[-1]


def test_what_pydicom_quotes_of_a_file_reaches_no_log(tmp_path: Path) -> None:
    words = ["segment", str(tmp_path / "nothing"), "--target", "liver", "--out", str(tmp_path)]
    code = f"""
from server.cli import main
assert main({words!r}) == 1
import pydicom.config
pydicom.config.logger.warning("Invalid value for VR PN: 'Doe^Jane'")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "there is nothing at" in ended.stderr
    assert "Doe" not in ended.stdout + ended.stderr
