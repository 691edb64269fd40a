"""What can be wrong with a database's URL, said without a word of it: it holds a password."""

from __future__ import annotations

import re
from urllib.parse import parse_qs

WRITE_IT = (
    "write postgresql://user:password@host:port/name, "
    "with @ : / ? # % in a name or password as %40 %3A %2F %3F %23 %25"
)
# as SQLAlchemy takes it apart, which loads too slowly for a command that opens no database
_URL = re.compile(
    r"postgresql(\+\w+)?://([^:/]*(:[^@]*)?@)?"
    r"(?P<host>\[[^/?]+\]|[^/:?]*)(:(?P<port>[^/?]*))?(/[^?]*)?(\?(?P<options>.*))?"
)
_PLAIN_HOST = re.compile(r"\[[0-9a-fA-F:.]+(%[\w.-]+)?\]|[\w.-]*", re.ASCII)


def fault_of(url: str) -> str | None:
    """What is wrong with a PostgreSQL URL as its administrator should read it.

    None if nothing is.
    """
    if not re.match(r"postgresql(\+\w+)?://", url):
        return f'must be "embedded" or a PostgreSQL URL: {WRITE_IT}'
    parts = _URL.fullmatch(url)
    if parts is None:
        return f"cannot be read: {WRITE_IT}"
    # the rest of a password with an @ in it is taken for the host, and the host is named when it
    # does not answer
    if not _PLAIN_HOST.fullmatch(parts["host"]) or not _is_port(parts["port"]):
        return f"its host or port cannot be one: {WRITE_IT}"
    return _fault_of_options(parts["options"] or "")


def _is_port(text: str | None) -> bool:
    return text is None or (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536)


def _fault_of_options(options: str) -> str | None:
    parameters = parse_qs(options, keep_blank_values=True)
    if "password" in parameters:
        return f"the password does not belong behind the ?: {WRITE_IT}"
    if parameters:
        from psycopg import ProgrammingError
        from psycopg.conninfo import make_conninfo

        try:
            make_conninfo("", **{key: values[0] for key, values in parameters.items()})
        except ProgrammingError:
            return "an option behind the ? is none that PostgreSQL knows"
    return None
