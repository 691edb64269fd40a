"""What a shell offers behind `segnode`, asked of the shell itself."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from server.cli import main

ASKED = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
"$(complete -p segnode | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script for bash."""
    file = tmp_path_factory.mktemp("completion") / "segnode"
    file.write_text(printed("bash"))
    return file


def printed(shell: str) -> str:
    """What the command prints for a shell."""
    with redirect_stdout(StringIO()) as out, pytest.raises(SystemExit) as ended:
        main(["--print-completion", shell])
    assert ended.value.code in (0, None)
    return out.getvalue()


def offered(script: Path, *words: str) -> set[str]:
    """What bash offers for the last of `words`."""
    done = subprocess.run(
        ["bash", "-c", ASKED, "bash", str(script), *words],
        capture_output=True,
        text=True,
        cwd=script.parent,
    )
    assert not done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("segnode", "eval"), {"evaluate"}),
        (("segnode", "models", "ro"), {"rollback"}),
        (("segnode", "requests", "--la"), {"--last"}),
        (("segnode", "requests", "--state", "FAI"), {"FAILED"}),
        (("segnode", "segment", "--segmenter", "lite"), {"litemedsam"}),
        (("segnode", "segment", "--policy", "loc"), {"locator"}),
    ],
)
def test_bash_completes(script: Path, words: tuple[str, ...], expected: set[str]) -> None:
    assert offered(script, *words) == expected


def test_bash_completes_files(script: Path) -> None:
    (script.parent / "scan.nii.gz").touch()

    assert "scan.nii.gz" in offered(script, "segnode", "segment", "sca")


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_the_others_have_a_script_that_their_shell_reads(shell: str, tmp_path: Path) -> None:
    text = printed(shell)
    assert "segnode" in text
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here: its script was made and not read")
    (tmp_path / "script").write_text(text)
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", "fish"])

    assert ended.value.code == 2
    assert "bash" in capsys.readouterr().err
