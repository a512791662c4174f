"""Join methods that sign like others, and misbehave when a reflector asks them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import routerd
from routerd.errors import EnrollmentRefused
from routerd.spi import JoinMethod, PluginInfo, Proof, Signing, Submission


class Misbehaving:
    """Signs; `verify` is what the kind says."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    async def start(self) -> None:
        """Start, or leave the process."""
        if self._kind == "late":
            sys.exit(7)

    async def aclose(self) -> None:
        """Close, or fail to."""
        if self._kind == "exits":
            sys.exit(8)
        if self._kind == "hangs":
            await asyncio.Event().wait()

    async def sign(self, signing: Signing) -> Proof:
        """Return a proof."""
        return Proof.of({"kind": self._kind, "nonce": signing.claim.join_nonce})

    async def signer(self, signing: Signing) -> str:
        """Return a name."""
        return self._kind

    async def verify(self, submission: Submission) -> None:
        """Misbehave."""
        match self._kind:
            case "exits":
                sys.exit(9)
            case "cancels":
                raise asyncio.CancelledError
            case "raises":
                raise ZeroDivisionError("one by none")
            case "hangs":
                await asyncio.Event().wait()
            case "deaf":
                while True:
                    try:
                        await asyncio.Event().wait()
                    except asyncio.CancelledError:
                        continue
            case "lies":
                return True  # type: ignore[return-value]  # that is how it lies
            case "rude":
                raise EnrollmentRefused("Go Away!", "no")
        return None


KINDS = ("exits", "cancels", "raises", "hangs", "deaf", "lies", "rude", "late")


@routerd.hookimpl
def routerd_plugin_info() -> PluginInfo:
    """Say who the plugin is."""
    return PluginInfo(name="misbehaving_join", api=(1, 0), summary="join methods that break their contract")


@routerd.hookimpl
def routerd_enrollments() -> Sequence[JoinMethod]:
    """Describe a join method for each way to misbehave."""
    return [
        JoinMethod(kind=kind, create=lambda *_, kind=kind: Misbehaving(kind), binds_claim=True)
        for kind in KINDS
    ]
