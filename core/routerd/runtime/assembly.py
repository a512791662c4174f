"""All parts joined, for the daemon, the dry run, the single run and `routerd down`."""

import asyncio
import contextlib
import fcntl
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import attrs

from routerd.errors import ControlError, StoreError
from routerd.kernel.addresses import AddressTable
from routerd.kernel.firewall.table import FirewallTable
from routerd.kernel.links import NetlinkKernel
from routerd.kernel.routes.table import RouteTable
from routerd.kernel.sysctl import SysctlTable
from routerd.plugins.check import Prepared
from routerd.plugins.providers import ProviderFactory, Providers
from routerd.process.clock import SystemClock
from routerd.process.directories import Directories
from routerd.process.log import Log
from routerd.process.namespace_lock import only_one_here
from routerd.process.supervisor import Supervisor
from routerd.report.obstacles import Obstacles
from routerd.runtime.router import HostTables, Router
from routerd.store import Store, open_store

LOCK_FILE = "routerd.lock"


@attrs.frozen(kw_only=True)
class Assembly:
    """The parts of one process. `router` has not been started."""

    prepared: Prepared
    directories: Directories
    clock: SystemClock
    log: Log
    supervisor: Supervisor
    store: Store
    made: Providers
    router: Router
    factory: ProviderFactory
    obstacles: Obstacles


@contextmanager
def only_one(directories: Directories, log: Log) -> Iterator[None]:
    """Hold the locks of the network namespace and of the state directory, so that only this process acts.

    `ControlError` names the process that holds one. The kernel drops the locks with their process.
    """
    with only_one_here(log), _only_one_of(directories):
        yield


@contextmanager
def _only_one_of(directories: Directories) -> Iterator[None]:
    path = directories.state / LOCK_FILE
    try:
        descriptor = _opened(path)
    except OSError as error:
        try:
            # A disk that is full or read-only keeps no router down.
            descriptor = _opened(directories.run / LOCK_FILE)
        except OSError:
            raise StoreError(f"{path} cannot be opened: {error.strerror}; use --state-dir") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise ControlError(
                f"state directory {directories.state}: in use by routerd process {holder}; "
                "stop it first, or use another --state-dir"
            ) from error
        with contextlib.suppress(OSError):  # the number is for messages only
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@asynccontextmanager
async def assembled(
    prepared: Prepared,
    directories: Directories,
    log: Log,
    *,
    read_only: bool = False,
    on_pass: Callable[[], None] = lambda: None,
) -> AsyncIterator[Assembly]:
    """Join all parts, and separate them at the end; the data plane stays as it is.

    With `read_only` nothing is changed anywhere; a temporary directory replaces each directory that
    does not exist.
    """
    with ExitStack() as stack:
        if read_only:
            spare = stack.enter_context(tempfile.TemporaryDirectory(prefix="routerd-"))
            directories = _existing(directories, Path(spare))
        directories.make()
        clock = SystemClock()
        supervisor = Supervisor(clock=clock, log=log)
        store = open_store(directories.state_file, clock=clock, repair=not read_only)
        if store.salvaged is not None:
            log.error("state.damaged", file=store.path, text=str(store.salvaged))
        if (trouble := store.trouble) is not None:
            log.error("state.unwritable", file=store.path, text=str(trouble))
        try:
            assembly = _join(prepared, directories, clock, supervisor, store, log, read_only, on_pass)
            try:
                yield assembly
            finally:
                await supervisor.aclose()
                await assembly.router.aclose()
        finally:
            await asyncio.to_thread(store.close)


def _existing(directories: Directories, spare: Path) -> Directories:
    return Directories(
        state=directories.state if _is_readable(directories.state_file) else spare / "state",
        run=directories.run if _is_readable(directories.run) else spare / "run",
    )


def _is_readable(path: Path) -> bool:
    return os.access(path, os.R_OK)


def _join(
    prepared: Prepared,
    directories: Directories,
    clock: SystemClock,
    supervisor: Supervisor,
    store: Store,
    log: Log,
    read_only: bool,
    on_pass: Callable[[], None],
) -> Assembly:
    router: Router | None = None

    def wake(lane: str | None) -> None:
        if router is not None:
            router.wake(lane)

    kernel = NetlinkKernel()
    firewall = FirewallTable()
    factory = ProviderFactory(
        prepared=prepared,
        directories=directories,
        kernel=kernel,
        clock=clock,
        log=log,
        supervisor=supervisor,
        wake=wake,
        read_only=read_only,
    )
    made = factory.make()
    router = Router(
        prepared,
        made,
        tables=HostTables(
            routes=RouteTable(),
            addresses=AddressTable(),
            sysctls=SysctlTable(store.originals("sysctl")),
            firewall=firewall,
        ),
        store=store,
        supervisor=supervisor,
        clock=clock,
        log=log,
        on_pass=on_pass,
    )
    return Assembly(
        prepared=prepared,
        directories=directories,
        clock=clock,
        log=log,
        supervisor=supervisor,
        store=store,
        made=made,
        router=router,
        factory=factory,
        obstacles=Obstacles(kernel, firewall, modes=made.modes),
    )
