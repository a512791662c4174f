"""A neighbour as the library has it, with the mends of how it is dialed and how its routes enter."""

import os
import socket
from collections.abc import Callable
from typing import Any

from routerd_bgp_ryu.child.osken import Library
from routerd_bgp_ryu.child.outgoing import Outgoing


class Neighbour(Outgoing):
    """The library's `Peer`, as this speaker uses it.

    `source` is the address to dial from. `failed` gets the reason when dialing fails, `ended` the library's
    words when a connection ends.
    """

    source: str | None = None
    failed: Callable[[str], None]
    ended: Callable[[str], None]
    _rests_to_skip = 2

    def pause(self, seconds: float = 0) -> None:
        """Rest, but not before the first attempt to dial, nor between the first and the second.

        The library waits a second before each attempt, because a neighbour may dislike to be dialed as soon
        as a connection has closed. At the first none has. If that fails, the second comes when the library
        would have made its first.
        """
        if seconds and self._rests_to_skip:
            self._rests_to_skip -= 1
            seconds = 0
        super().pause(seconds)

    def _connect_tcp(
        self,
        address: tuple[str, int],
        handle: Callable[[socket.socket], None],
        bind_address: tuple[str, int] | None = None,
        **options: Any,  # noqa: ANN401 - Any: the library's own, passed on
    ) -> Library:
        """Dial from the session's source, and report why it failed; the library retries.

        The library binds only where the settings name a port too, and drops the reason of a failure.
        """
        bound = (self.source, 0) if self.source else bind_address
        try:
            return super()._connect_tcp(address, handle, bind_address=bound, **options)
        except OSError as error:
            why = os.strerror(error.errno).lower() if error.errno else "timed out"
            self.failed(f"cannot connect: {why}")
            raise

    def connection_lost(self, reason: str) -> None:
        """Pass the library's words on before it forgets the connection."""
        self.ended(reason)
        super().connection_lost(reason)

    def _is_looped_path_attrs(self, _: Library) -> bool:
        """Find no loop: the screen has looked already.

        The library takes the neighbour's router ID for ours. What a reflector announces in its own name, or a
        client under its own ORIGINATOR_ID, would be a loop. It also ignores the withdrawals of such an
        UPDATE.
        """
        return False

    def _apply_in_filter(self, path: Library) -> Library:
        """Withdraw the path that a refused one replaces.

        The library only keeps the new path out of its table. The earlier one would stay there, and other
        neighbours would keep it, although nothing announces it (RFC 4271 section 3.1).
        """
        before = self.adj_rib_in.get(path.nlri.formatted_nlri_str)
        verdict = super()._apply_in_filter(path)
        # When a new policy judges a path again, the library itself withdraws the path.
        replaces = before is not None and before.path is not path and not before.filtered
        if verdict[0] and replaces and not path.is_withdraw:
            self._core_service.table_manager.learn_path(before.path.clone(for_withdrawal=True))
        return verdict
