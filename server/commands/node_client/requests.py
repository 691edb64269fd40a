"""`segnode requests`, `show`, `cancel`, `retry`, `release`, `turns`: a node's requests."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from server.commands.client import NodeClient
from server.commands.console import say, table
from server.commands.options import Load, add_config
from server.commands.request import add_node, client_of
from server.errors import UnknownRequest
from server.values import RequestState, whole_ml

LAST = 20
"""Requests in a list that names no other number: what a terminal shows."""
LARGEST_PAGE = 1000
"""What the node gives in one answer at most."""

LIST_HEADER = ("request", "state", "created", "route", "asked by", "study", "error")
TARGET_HEADER = ("target", "status", "ml", "turns", "reason")
DELIVERY_HEADER = ("destination", "state", "attempts", "next try", "last error")
TURN_HEADER = ("n", "target", "slice", "turn", "role", "action", "outcome", "score")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What a command about a running node's requests takes."""
    word = parser.prog.split()[-1]
    add_config(parser, _RUNS[word])
    if word == "requests":
        parser.add_argument("--study", metavar="UID", help="only those of this Study Instance UID")
        parser.add_argument(
            "--state",
            choices=[state.value for state in RequestState],
            type=str.upper,
            help="only those in this state",
        )
        parser.add_argument(
            "--last",
            metavar="N",
            type=_count,
            default=LAST,
            help=f"how many, the newest first (default {LAST})",
        )
    else:
        parser.add_argument("request_id", metavar="ID", help="as `segnode requests` lists it")
    parser.add_argument("--json", action="store_true", help="the node's own JSON, for scripts")
    add_node(parser)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of requests: 1 or more")
    return int(text)


def _list(arguments: argparse.Namespace, _: Load) -> int:
    asked = {
        "order": "newest",
        "limit": min(arguments.last, LARGEST_PAGE),
        "state": arguments.state,
        "study_instance_uid": arguments.study,
    }
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    requests = list(islice(client_of(arguments).pages(f"requests?{query}"), arguments.last))
    if arguments.json:
        _say_json(requests)
    elif requests:
        table(LIST_HEADER, [_request_row(request) for request in requests])
    else:
        say("no such request" if arguments.state or arguments.study else "no requests yet")
    return 0


def _request_row(request: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        request["id"],
        request["state"],
        _time(request["created_at"]),
        request["route"] or "",
        request["actor"],
        request["study_instance_uid"],
        request["error"] or "",
    )


def _show(arguments: argparse.Namespace, _: Load) -> int:
    return _say_request(arguments, client_of(arguments).get(_path(arguments)))


def _cancel(arguments: argparse.Namespace, _: Load) -> int:
    return _say_moved(arguments, _post(arguments, "cancel"))


def _retry(arguments: argparse.Namespace, _: Load) -> int:
    return _say_moved(arguments, _post(arguments, "retry"))


def _release(arguments: argparse.Namespace, _: Load) -> int:
    return _say_moved(arguments, _post(arguments, "release"))


def _say_moved(arguments: argparse.Namespace, request: Mapping[str, Any]) -> int:
    if arguments.json:
        _say_json(request)
    else:
        say(f"request {request['id']} is {request['state']}")
    return 0


def _say_request(arguments: argparse.Namespace, request: Mapping[str, Any]) -> int:
    if arguments.json:
        _say_json(request)
        return 0
    say(f"request   {request['id']}, run {request['run']}")
    say(f"state     {request['state']}, since {_time(request['updated_at'])}")
    say(f"study     {request['study_instance_uid']}, version {request['study_version']}")
    say(f"series    {request['series_instance_uid'] or 'not selected yet'}")
    say(f"asked by  {request['actor']} at {_time(request['created_at'])}")
    say(f"models    {request['policy']} plans, {request['segmenter']} draws")
    if request["error"]:
        say(f"error     {request['error']}")
    for warning in request["warnings"]:
        say(f"warning   {warning}")
    for result in request["results"]:
        say(f"result    {result['kind']} {result['sop_instance_uid']}")
    say("")
    table(TARGET_HEADER, [_target_row(target) for target in request["targets"]])
    if request["deliveries"]:
        say("")
        table(DELIVERY_HEADER, [_delivery_row(delivery) for delivery in request["deliveries"]])
    return 0


def _target_row(target: Mapping[str, Any]) -> tuple[str, ...]:
    volume_ml = target["volume_ml"]
    return (
        target["text"],
        target["status"] or "",
        "" if volume_ml is None else whole_ml(volume_ml),
        str(target["turns"]),
        target["reason"],
    )


def _delivery_row(delivery: Mapping[str, Any]) -> tuple[str, ...]:
    next_try_at = delivery["next_try_at"]
    return (
        delivery["destination"],
        delivery["state"],
        str(delivery["attempts"]),
        _time(next_try_at) if next_try_at else "",
        delivery["last_error"] or "",
    )


def _turns(arguments: argparse.Namespace, _: Load) -> int:
    client = client_of(arguments)
    turns = client.get(f"{_path(arguments)}/turns")
    if arguments.json:
        _say_json(turns)
    elif turns:
        texts = [target["text"] for target in client.get(_path(arguments))["targets"]]
        table(TURN_HEADER, [_turn_row(turn, texts) for turn in turns])
    else:
        say("no turns yet")
    return 0


def _turn_row(row: Mapping[str, Any], texts: list[str]) -> tuple[str, ...]:
    turn = row["turn"]
    action = turn.get("action")
    kind = action.get("kind", "") if isinstance(action, dict) else str(action or "")
    score = turn.get("score")
    return (
        str(row["n"]),
        texts[row["target_index"]],
        str(row["slice_index"]),
        str(row["turn_index"]),
        str(turn.get("role") or ""),
        kind,
        str(turn.get("outcome") or ""),
        "" if score is None else f"{score:.2f}",
    )


def _path(arguments: argparse.Namespace) -> str:
    """The request's path below /api/v1; UnknownRequest for what would name another path."""
    request_id: str = arguments.request_id
    if not re.fullmatch(r"[0-9A-Za-z-]+", request_id):
        raise UnknownRequest(f"there is no request {request_id!r}: `segnode requests` lists them")
    return f"requests/{request_id}"


def _post(arguments: argparse.Namespace, verb: str) -> dict[str, Any]:
    client: NodeClient = client_of(arguments)
    request: dict[str, Any] = client.post(f"{_path(arguments)}/{verb}")
    return request


def _time(iso: str) -> str:
    """An ISO 8601 time in UTC to the second, as a person reads it."""
    return iso[:19].replace("T", " ")


def _say_json(answer: Any) -> None:
    say(json.dumps(answer, indent=2, ensure_ascii=False))


_RUNS = {
    "requests": _list,
    "show": _show,
    "cancel": _cancel,
    "retry": _retry,
    "release": _release,
    "turns": _turns,
}
