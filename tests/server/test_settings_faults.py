"""Every slip in the settings is told at once, with what was probably meant, and no value."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import ConfigurationError
from server.settings import load_settings
from server.settings_faults import variable_fault

SECRET = "Zq7-hunter"
DESTINATION = '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "h"\nport = 4242\n'


def faults(folder: Path, text: str, environment: dict[str, str] | None = None) -> tuple[str, ...]:
    """What is wrong with the defaults with this text over them."""
    (folder / "site.toml").write_text(text)
    with pytest.raises(ConfigurationError) as error:
        load_settings([folder / "site.toml"], environment or {})
    return error.value.faults


def test_every_misspelt_key_is_told_with_what_was_meant(tmp_path: Path) -> None:
    text = (
        "[nod]\nport = 1\n[http]\nprot = 8080\n[language]\nmodle = 'x'\n"
        + DESTINATION.replace("host", "hst")
        + '[[routes]]\nname = "abdomen"\nwhn = { Modality = "CT" }\ntargts = ["liver"]\n'
    )

    told = set(faults(tmp_path, text))

    see = "see config/default.toml)"
    assert told == {
        f"nod: no such setting; did you mean 'node'? ({see}",
        f"http.prot: no such setting; did you mean 'port'? ({see}",
        f"language.modle: no such setting; did you mean 'model'? ({see}",
        f"destinations.0.hst: no such setting; did you mean 'host'? (of 'pacs'; {see}",
        f"routes.0.whn: no such setting; did you mean 'when'? (of 'abdomen'; {see}",
        f"routes.0.targts: no such setting; did you mean 'targets'? (of 'abdomen'; {see}",
    }


def test_what_is_like_nothing_is_told_without_a_guess(tmp_path: Path) -> None:
    (told,) = faults(tmp_path, "[node]\nqqqqq = 1\n")

    assert told == "node.qqqqq: no such setting (see config/default.toml)"


def test_what_is_missing_and_not_misspelt_is_told(tmp_path: Path) -> None:
    told = faults(tmp_path, '[[routes]]\nname = "r"\ntarget = ["liver"]\n' + DESTINATION[:31])

    assert any(line.startswith("destinations.0.ae_title: is missing (of 'pacs';") for line in told)
    assert not any(line.startswith("routes.0.targets:") for line in told)


def test_a_list_that_is_written_as_a_table(tmp_path: Path) -> None:
    (told,) = faults(tmp_path, '[destinations]\nname = "pacs"\n')

    assert told.startswith("destinations: each entry begins with [[destinations]], in two brackets")


def test_every_unknown_destination_is_told_with_the_likely_one(tmp_path: Path) -> None:
    routes = "".join(
        f'[[routes]]\nname = "{name}"\ntargets = ["liver"]\ndestinations = ["pcas"]\n'
        for name in "ab"
    )

    (told,) = faults(tmp_path, DESTINATION + routes)

    for name in "ab":
        assert f"route '{name}' names the unknown destination 'pcas'; did you mean 'pacs'?" in told


@pytest.mark.parametrize(
    "name", [f'"{"x" * 65}"', '"a\\nb"', "7"], ids=["endless", "no text", "no name"]
)
def test_what_is_no_name_is_not_repeated(tmp_path: Path, name: str) -> None:
    text = DESTINATION.replace('"pacs"', name) + f'credential = "{SECRET}"\n'

    told = " ".join(faults(tmp_path, text))

    assert "destinations.0.credential: no such setting (see" in told
    assert " (of " not in told
    assert SECRET not in told


def test_a_variable_with_one_underscore_sets_nothing_and_is_told(tmp_path: Path) -> None:
    told = faults(tmp_path, "", {"SEGNODE_NODE_AE_TITLE": SECRET, "SEGNODE_HTTP_PORT": "80"})

    ends = "two underscores part a section from its key; did you mean SEGNODE"
    assert told == (
        f"SEGNODE_HTTP_PORT: {ends}_HTTP__PORT?",
        f"SEGNODE_NODE_AE_TITLE: {ends}_NODE__AE_TITLE?",
    )


@pytest.mark.parametrize(
    "name", ["SEGNODE_PARENT", "SEGNODE_TOKEN", "SEGNODE_NODE", "SEGNODE_DATABASE_PASSWORD"]
)
def test_variables_that_are_no_settings_are_let_be(name: str) -> None:
    assert load_settings((), {name: "1"}).node.port == 11112


def test_a_variable_of_no_section_is_nobodys() -> None:
    assert variable_fault("SEGNODE_TOKEN", "SEGNODE_", ("node",)) == ""
