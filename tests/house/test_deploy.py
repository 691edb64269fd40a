"""deploy/: linted as far as a machine without a container engine can, and tried on a real Orthanc
and systemd.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_node.fakes import RecordingObserver
from dicom_node.receive.application_entity import ApplicationEntity
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.listener import Listener
from server.rules.catalogue import load_catalogue
from server.rules.routing import Rules
from server.settings import Settings, load_settings
from tests.support import phantoms
from tests.support.ports import free_port


@pytest.fixture(scope="module")
def deploy(repository: Path) -> Path:
    return repository / "deploy"


def instructions(text: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions, (WORD, arguments), with continued lines joined."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    split = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(word, " ".join(rest.split())) for word, _, rest in split]


def dockerfile_faults(text: str) -> list[str]:
    """What a linter of Dockerfiles would object to, as far as it matters here."""
    told = instructions(text)
    last_stage = told[max(at for at, (word, _) in enumerate(told) if word == "FROM") :]
    words = {word for word, _ in last_stage}
    runs = [rest for word, rest in told if word == "RUN"]
    users = [rest for word, rest in last_stage if word == "USER"]
    checks = {
        "an image without a version": any(
            word == "FROM" and not re.match(r"\S+:\d+\.\d+", rest) for word, rest in told
        ),
        "ADD, which unpacks and fetches": any(word == "ADD" for word, _ in told),
        "runs as root": not users or users[-1] in ("root", "0"),
        "no health check": "HEALTHCHECK" not in words,
        "healthy before the node can work": "/health/ready" not in text,
        "started by a shell": any(
            not rest.startswith("[") for word, rest in last_stage if word in ("ENTRYPOINT", "CMD")
        ),
        "no entry point": "ENTRYPOINT" not in words,
        "the working folder is importable": "PYTHONSAFEPATH=1" not in text,
        "pip keeps its cache": any(
            re.search(r"pip install(?!.*--no-cache)", run.split("&&")[at])
            for run in runs
            for at in range(len(run.split("&&")))
        ),
        "versions are not pinned": any(
            re.search(r"pip install(?!.*--constraint)", part)
            for run in runs
            for part in run.split("&&")
        ),
        "cd instead of WORKDIR": any(re.search(r"\bcd ", run) for run in runs),
        "sudo": any("sudo " in run for run in runs),
    }
    return [fault for fault, found in checks.items() if found]


@pytest.fixture(scope="module")
def dockerfile(deploy: Path) -> str:
    return (deploy / "Dockerfile").read_text("utf-8")


def test_the_dockerfile_has_no_faults(dockerfile: str) -> None:
    assert dockerfile_faults(dockerfile) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("python:3.11.9-slim-bookworm", "python:latest", "an image without a version"),
        ("COPY config ./config", "ADD config ./config", "ADD, which unpacks and fetches"),
        ("USER segnode", "USER root", "runs as root"),
        ("USER segnode\n", "", "runs as root"),
        ("HEALTHCHECK", "LABEL", "no health check"),
        ("/health/ready", "/health/live", "healthy before the node can work"),
        ('CMD ["serve"]', "CMD serve", "started by a shell"),
        ("ENTRYPOINT", "LABEL", "no entry point"),
        ("PYTHONSAFEPATH=1", "A=1", "the working folder is importable"),
        ("--no-cache-dir ", "", "pip keeps its cache"),
        ("--constraints constraints.txt ", "", "versions are not pinned"),
        ("RUN useradd", "RUN cd / && useradd", "cd instead of WORKDIR"),
        ("RUN useradd", "RUN sudo useradd", "sudo"),
    ],
)
def test_a_fault_in_the_dockerfile_would_be_seen(
    dockerfile: str, old: str, new: str, fault: str
) -> None:
    assert old in dockerfile

    assert fault in dockerfile_faults(dockerfile.replace(old, new))


def test_the_image_is_built_from_what_is_there(
    repository: Path, deploy: Path, dockerfile: str
) -> None:
    copied = {
        source
        for word, rest in instructions(dockerfile)
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    sent = (deploy / "Dockerfile.dockerignore").read_text("utf-8").splitlines()

    assert {source for source in copied if not (repository / source).exists()} == set()
    wheel = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))
    packages = set(wheel["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert packages - copied == set()
    # what is copied must get past the ignore file, and nothing else needs to
    assert copied == {line[1:] for line in sent if line.startswith("!")}


def test_the_image_offers_the_ports_of_the_defaults(dockerfile: str) -> None:
    settings = load_settings(environment={})
    (exposed,) = (rest for word, rest in instructions(dockerfile) if word == "EXPOSE")

    assert exposed == f"{settings.node.port} {settings.http.port}"


@pytest.fixture(scope="module")
def compose(deploy: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((deploy / "compose.yaml").read_text("utf-8")))


@pytest.fixture(scope="module")
def site(deploy: Path) -> Settings:
    """The settings that the compose file gives the node."""
    return load_settings([deploy / "segnode.toml"], environment={})


def test_yaml_is_clean(repository: Path) -> None:
    command = ["yamllint", "--strict", "deploy", ".pre-commit-config.yaml", ".yamllint.yaml"]
    folder = repository / ".venv" / "bin"
    program = str(folder / command[0]) if folder.is_dir() else command[0]

    answer = subprocess.run(
        [program, *command[1:]], cwd=repository, capture_output=True, text=True, check=False
    )

    assert answer.returncode == 0, answer.stdout


def test_compose_runs_a_node_an_archive_and_a_database(compose: dict[str, Any]) -> None:
    services = compose["services"]

    assert set(services) == {"segnode", "orthanc", "postgres"}
    for name, service in services.items():
        assert re.search(r":\d", service["image"]), f"{name} without a version"
        assert service["restart"] == "unless-stopped"
        # nothing is open to the network before somebody decides so
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_compose_names_only_what_is_there(compose: dict[str, Any], deploy: Path) -> None:
    mounts = [
        mount.partition(":")[0]
        for service in compose["services"].values()
        for mount in service.get("volumes", [])
    ]

    assert {each for each in mounts if not each.startswith("./")} == set(compose["volumes"])
    assert [each for each in mounts if each.startswith("./") and not (deploy / each).exists()] == []
    build = compose["services"]["segnode"]["build"]
    assert (deploy / build["context"] / build["dockerfile"]).is_file()
    for service in compose["services"].values():
        assert set(service.get("depends_on", {})) <= set(compose["services"])


def test_compose_holds_no_password(compose: dict[str, Any]) -> None:
    password = compose["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"]
    url = compose["services"]["segnode"]["environment"]["SEGNODE_DATABASE__URL"]

    # asked for, and refused when it is missing
    assert password.startswith("${SEGNODE_DATABASE_PASSWORD:?")
    assert url == "postgresql://segnode:${SEGNODE_DATABASE_PASSWORD}@postgres/segnode"


def test_compose_gives_settings_that_the_node_takes(compose: dict[str, Any], deploy: Path) -> None:
    environment = compose["services"]["segnode"]["environment"]

    settings = load_settings([deploy / "segnode.toml"], environment=environment)

    assert settings.database.url.get_secret_value().startswith("postgresql://")


def test_the_sites_routes_ask_for_structures_that_are_known(site: Settings) -> None:
    names = tuple(one.name for one in site.destinations)
    rules = Rules(load_catalogue(), names, site.routes, site.agent.max_targets)

    targets = rules.targets(site.routes[0].targets)

    assert [target.text for target in targets if target.structure is None] == []


def test_node_and_archive_name_each_other(
    site: Settings, compose: dict[str, Any], deploy: Path
) -> None:
    orthanc = json.loads((deploy / "orthanc" / "orthanc.json").read_text("utf-8"))
    (pacs,) = site.destinations

    assert (pacs.ae_title, pacs.port) == (orthanc["DicomAet"], orthanc["DicomPort"])
    assert pacs.host in compose["services"]
    title, host, port = orthanc["DicomModalities"]["segnode"]
    assert (title, port) == (site.node.ae_title, site.node.port)
    assert host in compose["services"]


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[int, RecordingObserver]]:
    """A node's listener on a free port, and what it hears."""
    observer = RecordingObserver()
    inbox = Inbox(tmp_path / "inbox", 0)
    with Listener(ApplicationEntity("SEGNODE"), "127.0.0.1", 0, inbox, observer) as listener:
        yield listener.port, observer


@pytest.fixture
def archive(
    deploy: Path,
    tmp_path: Path,
    peer: Callable[[str], str],
    listening: tuple[int, RecordingObserver],
) -> Iterator[str]:
    """A real Orthanc with our configuration on other ports and folders; the URL of its API."""
    dicom_port, http_port = free_port(), free_port()
    configuration = json.loads((deploy / "orthanc" / "orthanc.json").read_text("utf-8"))
    configuration |= {
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "StorageDirectory": str(tmp_path / "db"),
        "IndexDirectory": str(tmp_path / "db"),
        "Plugins": [],
        "LuaScripts": [str(deploy / "orthanc" / "route.lua")],
        "DicomModalities": {"segnode": ["SEGNODE", "127.0.0.1", listening[0]]},
        "StableAge": 1,
    }
    file = tmp_path / "orthanc.json"
    file.write_text(json.dumps(configuration))
    log = tmp_path / "orthanc.log"
    with log.open("wb") as stream:
        process = subprocess.Popen([peer("Orthanc"), str(file)], stdout=stream, stderr=stream)
    try:
        yield f"http://127.0.0.1:{http_port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.peer
def test_the_archive_passes_a_study_on_to_the_node(
    archive: str,
    listening: tuple[int, RecordingObserver],
    tmp_path: Path,
) -> None:
    # Arrange
    phantom = phantoms.torso_ct(tmp_path / "ct", shape=(3, 64, 64))
    file = phantom.paths[0]
    _wait_until(lambda: _answers(f"{archive}/system"))

    # Act
    urllib.request.urlopen(
        urllib.request.Request(f"{archive}/instances", data=file.read_bytes()), timeout=30
    ).close()

    # Assert
    _, observer = listening
    _wait_until(lambda: len(observer.arrivals) == 1)
    assert observer.arrivals[0][1].calling_ae_title == "PACS"


def _wait_until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.1)  # another program has nothing to wait on


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def unit(deploy: Path) -> str:
    return (deploy / "segnode.service").read_text("utf-8")


def verified(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What systemd says of a unit; its program is replaced by one that every machine has."""
    program = Path("/usr/bin/systemd-analyze")
    if not program.is_file():
        pytest.skip("systemd-analyze is missing: this is no machine with systemd")
    file = folder / "segnode.service"
    file.write_text(text.replace("/opt/segnode/bin/segnode", "/bin/true"))
    return subprocess.run(
        [str(program), "verify", str(file)], capture_output=True, text=True, check=False
    )


def test_systemd_takes_the_unit(unit: str, tmp_path: Path) -> None:
    answer = verified(unit, tmp_path)

    assert (answer.returncode, answer.stderr) == (0, "")


def test_systemd_would_refuse_a_wrong_unit(unit: str, tmp_path: Path) -> None:
    answer = verified(unit.replace("Restart=on-failure", "Restart=sometimes"), tmp_path)

    assert "restart specifier" in answer.stderr


def test_the_unit_runs_a_user_of_its_own_and_stops_cleanly(unit: str) -> None:
    told = dict(line.split("=", 1) for line in unit.splitlines() if re.match(r"[A-Za-z]+=", line))

    assert told["User"] == "segnode"
    assert told["KillSignal"] == "SIGTERM"
    assert "PYTHONSAFEPATH=1" in told["Environment"]
    assert told["StateDirectoryMode"] == "0700"
    assert told["ExecStart"].split()[1] == "serve"


def test_the_readme_installs_what_the_unit_runs(unit: str, repository: Path) -> None:
    readme = (repository / "README.md").read_text("utf-8")
    chapter = readme.split("### On a server\n")[1].split("\n### ")[0]
    (script,) = re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)
    told = dict(line.split("=", 1) for line in unit.splitlines() if re.match(r"[A-Za-z]+=", line))
    program, *_, settings = told["ExecStart"].split()

    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert f"useradd --system --home-dir {told['WorkingDirectory']}" in script
    assert re.search(rf"^useradd .* {told['User']}$", script, re.MULTILINE)
    assert f"python3 -m venv {Path(program).parents[1]}" in script
    assert f"site.toml {settings}" in script
    assert f"ln -s {program} " in script
    assert "SEGNODE_STORAGE__DIR=/var/lib/segnode" in told["Environment"]
    assert "SEGNODE_STORAGE__DIR=/var/lib/segnode" in chapter
    for name in re.findall(r"\bdeploy/\S+", script):
        assert (repository / name).is_file()


def test_scripts_are_whole(repository: Path) -> None:
    for name in ("deploy/install-peers.sh", ".ci/run"):
        script = repository / name
        answer = subprocess.run(["bash", "-n", str(script)], capture_output=True, check=False)

        assert answer.returncode == 0, answer.stderr
        assert script.stat().st_mode & 0o111, f"{name} cannot be run"
        assert "set -euo pipefail" in script.read_text("utf-8")


def test_settings_files_are_toml(deploy: Path) -> None:
    for file in deploy.glob("*.toml"):
        assert tomllib.loads(file.read_text("utf-8"))
