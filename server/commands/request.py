"""`segnode request`: ask a running node over HTTP, and wait for the answer if told to."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.commands.client import NodeClient
from server.commands.console import Progress, say, table
from server.commands.options import Load, add_config, add_models, add_targets, settings_of
from server.commands.segment import HEADER, say_reasons
from server.http.tokens import TOKEN_FILE, first_token
from server.settings import Settings
from server.values import (
    ENDED_STATES,
    DeliveryState,
    RequestState,
    StepProgress,
    WorkStep,
    whole_ml,
)

TOKEN_VARIABLE = "SEGNODE_TOKEN"  # noqa: S105 - the variable's name, not its value
POLL_S = 1.0
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a server binds is no address to call


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `request` takes."""
    add_config(parser, _request)
    parser.add_argument("study_instance_uid", metavar="STUDY_UID", help="the Study Instance UID")
    add_targets(parser)
    parser.add_argument(
        "--series", metavar="UID", help="the series to work on; else the node chooses"
    )
    parser.add_argument(
        "--destination",
        metavar="NAME",
        action="append",
        dest="destinations",
        help="where results go; may be given several times; else as the node's routes say",
    )
    add_models(parser)
    parser.add_argument("--priority", metavar="N", type=int, help="1 to 1000, lower comes first")
    parser.add_argument(
        "--force",
        action="store_true",
        help="do the work anew, even if the same was asked of the same models before",
    )
    add_node(parser)
    parser.add_argument("--wait", action="store_true", help="wait until it has ended, and show how")


def add_node(parser: argparse.ArgumentParser) -> None:
    """`--url` and `--token`: which node is asked, and as whom."""
    parser.add_argument(
        "--url", metavar="URL", help="the node, if not the configuration's http.host and port"
    )
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help=f"else {TOKEN_VARIABLE}, http.tokens_file or <storage.dir>/token",
    )


def client_of(arguments: argparse.Namespace) -> NodeClient:
    """The client of the node that `--url` and `--token` or the configuration name; as NodeClient,
    ConfigurationError.
    """
    settings = settings_of(arguments)
    return NodeClient(arguments.url or node_url(settings), arguments.token or _token(settings))


def _request(arguments: argparse.Namespace, _: Load) -> int:
    client = client_of(arguments)
    submitted = client.post("requests", _body(arguments))
    say(f"request {submitted['id']} is {submitted['state']}")
    if not arguments.wait:
        return 0
    request = _ended(client, submitted["id"])
    table(HEADER, [_row(target) for target in request["targets"]])
    say_reasons(
        (target["text"], (target["reason"], *target.get("warnings", ())))
        for target in request["targets"]
    )
    for delivery in request["deliveries"]:
        say(delivery_line(delivery))
    if request.get("repeats"):
        say(f"the same as request {request['repeats']}: its results again; --force makes new ones")
    if request["series_choice"]:
        say(request["series_choice"])
    if request["error"]:
        say(request["error"], error=True)
    if _is_on_hold(request):
        say(f"held back for review: segnode release {request['id']} sends the results")
        return 0
    return 0 if request["state"] == RequestState.DONE else 1


def node_url(settings: Settings) -> str:
    """Where the API of a node with these settings is reached from the same machine."""
    host = ANY_ADDRESS.get(settings.http.host, settings.http.host)
    bracketed = f"[{host}]" if ":" in host else host  # RFC 3986 section 3.2.2
    return f"http://{bracketed}:{settings.http.port}"


def _token(settings: Settings) -> str:
    token = os.environ.get(TOKEN_VARIABLE)
    return token or first_token(
        Path(settings.http.tokens_file or settings.storage.dir / TOKEN_FILE)
    )


def _body(arguments: argparse.Namespace) -> dict[str, Any]:
    body = {
        "study_instance_uid": arguments.study_instance_uid,
        "targets": arguments.targets,
        "series_instance_uid": arguments.series,
        "destinations": arguments.destinations,
        "policy": arguments.policy,
        "segmenter": arguments.segmenter,
        "priority": arguments.priority,
        "force": arguments.force or None,
    }
    return {key: value for key, value in body.items() if value is not None}


def _ended(client: NodeClient, request_id: str) -> dict[str, Any]:
    progress = Progress("request")
    while True:
        request: dict[str, Any] = client.get(f"requests/{request_id}")
        progress.show(_standing(request))
        if request["state"] in ENDED_STATES or _is_on_hold(request):
            progress.end()
            return request
        time.sleep(POLL_S)  # HTTP has nothing to wait on


def _standing(request: Mapping[str, Any]) -> str:
    """Where a request stands: its state, the targets that have ended, what is being done."""
    finished = sum(target["status"] is not None for target in request["targets"])
    standing = f"{request['state']}, {finished} of {len(request['targets'])} targets"
    troubles = [delivery_line(delivery) for delivery in request["deliveries"] if _failed(delivery)]
    standing = "; ".join([standing, *troubles])
    # a node of before tells no progress
    progress = request.get("progress")
    if progress is None:
        return standing
    return f"{standing}; {StepProgress(**progress | {'step': WorkStep(progress['step'])})}"


def _is_on_hold(request: Mapping[str, Any]) -> bool:
    """Whether nothing goes on until a person releases the results."""
    waiting = any(delivery["state"] == DeliveryState.HELD for delivery in request["deliveries"])
    return waiting and request["state"] == RequestState.SENDING


def _failed(delivery: Mapping[str, Any]) -> bool:
    return bool(delivery.get("last_error")) and delivery["state"] != DeliveryState.DELIVERED


def delivery_line(delivery: Mapping[str, Any]) -> str:
    """How far a delivery is: its state, and of one that failed the last error and the next try."""
    line = f"{delivery['destination']}: {delivery['state']}"
    if not _failed(delivery):
        return line
    next_try = delivery.get("next_try_at")
    following = f" (next try {next_try})" if next_try else ""
    return f"{line}, {' '.join(delivery['last_error'].split())}{following}"


def _row(target: dict[str, Any]) -> tuple[str, ...]:
    volume_ml = target["volume_ml"]
    return (
        target["text"],
        target["status"] or "",
        "" if volume_ml is None else whole_ml(volume_ml),
        str(target["turns"]),
    )
