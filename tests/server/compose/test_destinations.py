"""The destinations of the configuration, as the sender has them."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from dicom_node.errors import TransientDeliveryError
from dicom_node.values import ResultKind
from server.compose.destinations import destinations, kinds_wanted
from server.errors import ConfigurationError
from server.settings import Settings, load_settings
from tests.support.ports import free_port

PACS = '[[destinations]]\nname = "{name}"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {port}\n'


def settings(folder: Path, text: str) -> Settings:
    """The defaults with this text over them."""
    (folder / "site.toml").write_text(text)
    return load_settings([folder / "site.toml"], environment={})


def test_they_come_in_their_order_with_the_kinds_they_take(tmp_path: Path) -> None:
    second = PACS.format(name="archive", port=104) + 'kinds = ["SEG"]\n'
    text = PACS.format(name="pacs", port=104) + second

    made = destinations(settings(tmp_path, text))

    assert [(one.name, tuple(one.kinds)) for one in made] == [
        ("pacs", (ResultKind.SEG, ResultKind.SR)),
        ("archive", (ResultKind.SEG,)),
    ]
    assert destinations(settings(tmp_path, "")) == ()


def test_a_kind_is_made_where_any_destination_names_it(tmp_path: Path) -> None:
    one = PACS.format(name="pacs", port=104) + 'kinds = ["SEG"]\n'
    other = PACS.format(name="viewer", port=105) + 'kinds = ["DIAMETERS"]\n'

    assert kinds_wanted(settings(tmp_path, one)) == {"SEG", "SR"}
    assert kinds_wanted(settings(tmp_path, one + other)) == {"SEG", "SR", "DIAMETERS"}


@pytest.mark.parametrize(("line", "known"), [('"labelmap_rle"', True), ('"label map"', False)])
def test_an_encoding_of_segmentations_is_one_of_those_there_are(
    tmp_path: Path, line: str, known: bool
) -> None:
    text = PACS.format(name="pacs", port=104) + f"segmentation = {line}\n"

    if known:
        (pacs,) = settings(tmp_path, text).destinations
        assert pacs.segmentation == "labelmap_rle"
        assert len(destinations(settings(tmp_path, text))) == 1
    else:
        with pytest.raises(ConfigurationError, match="segmentation"):
            settings(tmp_path, text)


def test_one_that_is_away_is_named(tmp_path: Path) -> None:
    (pacs,) = destinations(settings(tmp_path, PACS.format(name="pacs", port=free_port())))

    with pytest.raises(TransientDeliveryError, match=r"^Destination pacs cannot be reached"):
        pacs.echo()


def test_the_configured_patience_is_the_senders(tmp_path: Path) -> None:
    """A peer that takes the connection and says nothing is given up after delivery.timeout_s."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = f"[delivery]\ntimeout_s = 0.2\n{PACS.format(name='p', port=silent.getsockname()[1])}"
        (pacs,) = destinations(settings(tmp_path, text))
        began_s = time.monotonic()

        with pytest.raises(TransientDeliveryError):
            pacs.echo()

    assert time.monotonic() - began_s < 10  # without it 30 s pass
