"""`segnode models`: what is listed, fetched from a real mirror, verified and recorded."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from models.errors import FetchFailed
from models.weights.hashes import read_record
from server.cli import main
from tests.support import mirrors
from tests.support.composed import ComposedProcesses

CONTENT = b"weights" * 100_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
# the published file's SHA-256, written out here on purpose
LITEMEDSAM = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def weights_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of weights that the settings name."""
    monkeypatch.setenv("SEGNODE_STORAGE__DIR", str(tmp_path / "var"))
    monkeypatch.setenv("SEGNODE_MODELS__DIR", str(tmp_path / "weights"))
    return tmp_path / "weights"


def line_of(capture: Capture, name: str) -> str:
    """The line of the table that begins with a name."""
    lines = capture.readouterr().out.splitlines()
    return next(line for line in lines if line.startswith(name + " "))


def test_all_that_is_known_is_listed(capsys: Capture, weights_dir: Path) -> None:
    assert main(["models", "list"]) == 0

    out = capsys.readouterr().out
    assert "LiteMedSAM" in out
    assert "CC BY-SA 4.0" in out
    assert "none published" in out
    assert "hub, Qwen/Qwen3-VL-8B-Instruct" in out
    assert out.splitlines()[-1] == f"models.dir is {weights_dir}"


@pytest.mark.parametrize(
    ("content", "state", "megabytes"),
    [(None, "missing", "156.0"), (b"x" * 500_000, "changed", "0.5")],
    ids=["missing", "changed"],
)
def test_the_list_tells_what_is_here(
    capsys: Capture, weights_dir: Path, content: bytes | None, state: str, megabytes: str
) -> None:
    if content is not None:
        weights_dir.mkdir()
        (weights_dir / "sam2.1_hiera_tiny.pt").write_bytes(content)

    main(["models", "list"])

    assert line_of(capsys, "sam2.1_hiera_tiny").split()[1:4] == ["sam2-tiny", state, megabytes]


def test_a_file_is_fetched_from_the_configured_mirror(
    capsys: Capture, weights_dir: Path, mirror: mirrors.Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Arrange: the real composition, a mirror with a path of its own
    mirror.files["/mirrors/hub/wanglab/MedSAM2/resolve/main/MedSAM2_latest.pt"] = CONTENT
    monkeypatch.setenv("SEGNODE_MODELS__HUB", f"{mirror.url}/mirrors/hub/")

    # Act
    code = main(["models", "fetch", "medsam2_latest"])

    # Assert
    out = capsys.readouterr().out.splitlines()
    path = weights_dir / "MedSAM2_latest.pt"
    assert code == 0
    assert path.read_bytes() == CONTENT
    assert "CC BY-SA 4.0" in out[0]  # before anything is fetched
    assert any("MedSAM2_latest.pt, 0.7 of 0.7 MB" in line for line in out)
    assert out[-1] == f"MedSAM2_latest is whole, {path}"


def test_any_language_model_of_the_hub_is_fetched_by_its_repository(
    weights_dir: Path, mirror: mirrors.Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mirror.hold("site/own-vl", {"config.json": b"{}"})
    monkeypatch.setenv("SEGNODE_MODELS__HUB", mirror.url)
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("SEGNODE_MODELS__TOKEN_FILE", str(tmp_path / "token"))

    assert main(["models", "fetch", "site/own-vl"]) == 0

    assert (weights_dir / "site" / "own-vl" / "config.json").is_file()
    assert {each.headers["Authorization"] for each in mirror.asked} == {"Bearer secret"}


def test_a_token_file_that_is_not_there_is_named(
    capsys: Capture, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGNODE_MODELS__TOKEN_FILE", "/nowhere/token")

    assert main(["models", "fetch", "MedSAM2_latest"]) == 1
    assert "models.token_file: cannot read /nowhere/token" in capsys.readouterr().err


def test_what_goes_wrong_with_a_fetch_is_one_line(capsys: Capture, weights_dir: Path) -> None:
    gone = FetchFailed("http://hub/x", "there is no such file (404)")

    assert main(["models", "fetch", "MedSAM2_latest"], ComposedProcesses(error=gone)) == 1
    assert capsys.readouterr().err == "segnode: http://hub/x: there is no such file (404)\n"


def test_unknown_weights_stop_before_anything_is_fetched(
    capsys: Capture, weights_dir: Path
) -> None:
    processes = ComposedProcesses()

    assert main(["models", "fetch", "MedSAM2_latest", "GPT"], processes) == 1
    assert processes.ran == []
    assert "no file of weights called 'GPT'" in capsys.readouterr().err


def test_verify_without_names_looks_at_all_that_is_here(capsys: Capture, weights_dir: Path) -> None:
    assert main(["models", "verify"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["LiteMedSAM", "locator"]
    assert f"SHA-256 {LITEMEDSAM} as published" in lines[0]


def test_verify_records_a_file_brought_by_hand_and_finds_it_changed_later(
    capsys: Capture, weights_dir: Path
) -> None:
    # Arrange
    weights_dir.mkdir()
    brought = weights_dir / "IMISNet-B.pth"
    brought.write_bytes(CONTENT)

    # Act, Assert
    assert main(["models", "verify", "imisnet-b"]) == 0
    assert f"SHA-256 {SHA256} as recorded" in capsys.readouterr().out
    assert read_record(brought) == {"IMISNet-B.pth": SHA256}

    brought.write_bytes(b"changed")
    assert main(["models", "verify"]) == 1
    assert "not the known IMISNet-B" in capsys.readouterr().err


def test_verify_of_what_is_not_here_says_how_to_get_it(capsys: Capture, weights_dir: Path) -> None:
    assert main(["models", "verify", "MedSAM2_latest"]) == 1
    assert "segnode models fetch MedSAM2_latest" in capsys.readouterr().err


def test_a_case_is_dumped(capsys: Capture, tmp_path: Path) -> None:
    for name in ("state.pt", "inputs.npz"):
        (tmp_path / name).write_bytes(b"")
    out = tmp_path / "out.npz"
    processes = ComposedProcesses()
    words = ["models", "dump", "--segmenter", "sam2", "--case", str(tmp_path), "--out", str(out)]

    assert main(words, processes) == 0
    assert processes.ran == [("dump", "sam2", tmp_path, out)]


def test_a_case_that_is_none_is_said_before_anything_is_loaded(
    capsys: Capture, tmp_path: Path
) -> None:
    processes = ComposedProcesses()
    words = ["models", "dump", "--segmenter", "sam2", "--case", str(tmp_path), "--out", "o.npz"]

    assert main(words, processes) == 1
    assert processes.ran == []
    assert "state.pt are not at" in capsys.readouterr().err


def test_check_names_the_pair_and_its_weights(
    capsys: Capture, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Arrange
    weights_dir.mkdir()
    (weights_dir / "MedSAM2_latest.pt").write_bytes(CONTENT)
    monkeypatch.setenv("SEGNODE_STORAGE__MINIMUM_FREE_BYTES", "0")

    # Act
    code = main(["check"])

    # Assert
    lines = capsys.readouterr().out.splitlines()
    assert code == 0, lines
    said = next(line for line in lines if line.startswith("ok    models:"))
    assert "locator + medsam2 (policy locator: " in said
    assert f"segmenter medsam2: {weights_dir / 'MedSAM2_latest.pt'} is there" in said
    assert f"ok    models, MedSAM2_latest: SHA-256 {SHA256}" in "\n".join(lines)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SEGMENTER", "sam2-tiny", "FAIL  models, sam2.1_hiera_tiny: the weights of"),
        ("POLICY", "transformers", "FAIL  models: language.model"),
        ("SEGMENTER", "gpt", "FAIL  models: there is no segmenter called 'gpt'"),
    ],
)
def test_check_fails_for_models_that_cannot_be_loaded(
    capsys: Capture,
    weights_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setenv(f"SEGNODE_AGENT__{variable}", value)

    assert main(["check"]) == 1
    assert said in capsys.readouterr().out
