"""The pages' parts over a record in memory: a destination and a route, as a small site has them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from dicom_node.ports import Destination
from server.http.fakes import FakeCounting, FakeRecord, FakeWaiting
from server.http.ports import ConfiguredDestination, Services, TurnPictures
from server.http.tokens import tokens_of
from server.pages.ports import Overview, PageServices, Site
from server.rules.catalogue import load_catalogue
from server.rules.completion import StructureNames, load_structure_names
from server.settings import DestinationSettings, RouteSettings, load_settings

TOKEN = "a-token-of-good-length"
STUDY = "1.2.826.0.1.3680043.8.498.1"


@cache
def structures() -> StructureNames:
    """The shipped names, read once."""
    return load_structure_names(load_catalogue())


def page_services_of(
    record: FakeRecord,
    overview: Overview,
    counting: FakeCounting,
    pictures: TurnPictures,
    pacs: Destination,
    storage: Path,
) -> PageServices:
    """What the pages are made of: the destination `pacs` and a route `abdomen`."""
    configured = DestinationSettings(name="pacs", ae_title="PACS", host="127.0.0.1", port=4242)
    services = Services(
        record=record,
        counting=counting,
        waiting=FakeWaiting(record),
        pictures=pictures,
        destinations=(ConfiguredDestination(configured, pacs),),
        storage=storage,
        minimum_free_bytes=0,
    )
    when = {"Modality": "CT", "StudyDescription": "*abdomen*"}
    site = Site(
        node=load_settings(environment={}).node,
        storage=storage,
        quiet_s=10.0,
        routes=(RouteSettings(name="abdomen", when=when, targets=("liver",)),),
        structures=structures(),
        models=lambda: "locator with litemedsam",
    )
    return PageServices(services, overview, site, tokens_of((TOKEN,)))
