"""Writes that share the way to the disk: those that arrive during one batch form the next."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs

from routerd.errors import StoreError
from routerd.store.records import Write

MOST_AT_ONCE = 256

Undo = Callable[[], None]


@attrs.define
class _Item:
    writes: Sequence[Write]
    undos: Sequence[Undo]
    done: asyncio.Future[None]


class GroupCommit:
    """Puts writes on the disk in their order, as many at once as there are.

    A decision builds on the decisions before it. When a batch fails, everything behind it fails too,
    and all of it is undone, the last first. `on_begin` is called before a batch is written,
    `on_done` when it is on the disk, `on_fail` when everything that failed has been undone.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Write]], None],
        *,
        on_begin: Callable[[], None] = lambda: None,
        on_done: Callable[[], None] = lambda: None,
        on_fail: Callable[[], None] = lambda: None,
    ) -> None:
        self._commit = commit
        self._on_begin = on_begin
        self._on_done = on_done
        self._on_fail = on_fail
        self._waiting: list[_Item] = []
        self._task: asyncio.Task[None] | None = None
        # A thread of its own: other blocking work shares the threads of the loop.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")

    def put(self, writes: Sequence[Write], undos: Sequence[Undo] = ()) -> asyncio.Future[None]:
        """Queue writes that belong together; the future is done when they are on the disk.

        It carries a `StoreError` when they are not; `undos` have then been called. The write goes on
        when the caller stops waiting.
        """
        item = _Item(writes, undos, asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain(), name="group commit")
        return item.done

    async def settled(self) -> None:
        """Return when everything queued before is on the disk; a `StoreError` when it is not."""
        if self._task is not None and not self._task.done():
            await self.put(())

    async def aclose(self) -> None:
        """Wait for the queued writes."""
        if self._task is not None:
            await asyncio.wait([self._task])
        self._thread.shutdown(wait=False)

    async def _drain(self) -> None:
        while self._waiting:
            await self._gather()
            batch, self._waiting = self._waiting, []
            self._on_begin()
            writes = [write for item in batch for write in item.writes]
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, writes)
            except StoreError as error:
                self._fail([*batch, *self._waiting], error)
                continue
            except Exception as error:  # noqa: BLE001 - a future that is never done hangs its client
                self._fail([*batch, *self._waiting], StoreError(f"nothing was written: {error!r}"))
                continue
            self._on_done()
            for item in batch:
                if not item.done.done():
                    item.done.set_result(None)

    async def _gather(self) -> None:
        """Wait for more writes, as long as each turn of the loop brings some."""
        known = 0
        while known < len(self._waiting) < MOST_AT_ONCE:
            known = len(self._waiting)
            await asyncio.sleep(0)

    def _fail(self, items: Sequence[_Item], error: StoreError) -> None:
        self._waiting = []
        for item in reversed(items):
            for undo in reversed(item.undos):
                undo()
        self._on_fail()
        for item in items:
            if not item.done.done():
                item.done.set_exception(error)
                # The client may have gone away, so that nothing reads the exception.
                item.done.exception()
