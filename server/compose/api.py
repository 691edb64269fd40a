"""`segnode api`: the HTTP API over the record, and the pages beside it."""

from __future__ import annotations

from server.compose.addresses import address, connection_limits
from server.compose.choice import choice
from server.compose.database import database, migrate
from server.compose.destinations import destinations
from server.compose.heartbeat import heartbeat, part_table
from server.compose.record import record
from server.http.app import create_app
from server.http.ports import ConfiguredDestination, Services, TurnPictures
from server.http.serving import serve
from server.http.tokens import Tokens, load_tokens
from server.nodes.lifecycle import announce_ready, end_with_parent
from server.nodes.picture_process import PictureProcess
from server.pages.app import ApiAndPages, create_pages
from server.pages.ports import PageServices, Site
from server.record.counting import RecordCounting
from server.record.database.engine import Sessions, open_engine
from server.record.database.jobs import DbosJobs
from server.record.deliveries import Deliveries
from server.record.overviews.overview import RecordOverview
from server.rules.catalogue import load_catalogue
from server.rules.completion import load_structure_names
from server.settings import Settings
from server.work.database_retry import retry_while_database_away


def run(settings: Settings) -> int:
    """Answer HTTP until told to stop; the exit code."""
    end_with_parent()
    tokens = load_tokens(settings.http.tokens_file, settings.storage.dir)
    with database(settings) as (url, _):
        retry_while_database_away(lambda: migrate(url))
        host, port = settings.http.host, settings.http.port
        with (
            PictureProcess(settings.storage.dir / "work") as pictures,
            address(f"{host}:{port}", "http.port"),
            heartbeat(settings, [], settings.storage.dir, lambda: [url]),
        ):
            services = _services(settings, url, pictures)
            serve(
                ApiAndPages(
                    create_app(services, tokens),
                    create_pages(_page_services(settings, url, services, tokens)),
                ),
                host,
                port,
                lambda: announce_ready(f"http://{host}:{port}"),
                connection_limits(settings),
            )
    return 0


def _services(settings: Settings, url: str, pictures: TurnPictures) -> Services:
    sessions = Sessions(open_engine(url, pool_size=2))
    return Services(
        record=record(settings, url),
        counting=RecordCounting(sessions, part_table(sessions)),
        waiting=Deliveries(sessions, DbosJobs(url)),
        pictures=pictures,
        destinations=tuple(
            ConfiguredDestination(configured, destination)
            for configured, destination in zip(
                settings.destinations, destinations(settings), strict=True
            )
        ),
        storage=settings.storage.dir,
        minimum_free_bytes=settings.storage.minimum_free_bytes,
    )


def _page_services(
    settings: Settings, url: str, services: Services, tokens: Tokens
) -> PageServices:
    site = Site(
        node=settings.node,
        storage=settings.storage.dir,
        quiet_s=settings.study.quiet_s,
        routes=settings.routes,
        structures=load_structure_names(load_catalogue()),
        models=lambda: str(choice(settings)),
    )
    overview = RecordOverview(Sessions(open_engine(url, pool_size=2)))
    return PageServices(services, overview, site, tokens)
