"""Calls into a plugin's table: every failure becomes a `ProviderError`.

A missed deadline, an unexpected exception and an answer of the wrong type are failures of one table.
None of them may stop the lane that the table shares with others.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager
from typing import Literal

from routerd.errors import ProviderError, StoreError, TransientError
from routerd.spi import Logger

Call = Literal["observe", "apply", "ask"]

_DEFECTS: Mapping[Call, str] = {
    "observe": "table.observe.defect",
    "apply": "table.apply.defect",
    "ask": "provider.defect",
}


@asynccontextmanager
async def guarded(log: Logger, *, table: str, call: Call, deadline: float) -> AsyncIterator[None]:
    """Run the body for at most `deadline` seconds; raise only `ProviderError`."""
    try:
        async with asyncio.timeout(deadline):
            yield
    except ProviderError:
        raise
    except TimeoutError as error:
        raise TransientError(f"no answer within {deadline:g} s") from error
    except StoreError as error:
        # The disk is at fault, not the table; a retry succeeds once the disk has room.
        raise TransientError(str(error)) from error
    except Exception as error:
        event = _DEFECTS[call]
        log.error(event, table=table, error=repr(error), trace=error)  # noqa: TRY400 - our own log
        raise TransientError(f"unexpected {error!r}") from error


def content_of(answer: object) -> Mapping[Hashable, object]:
    """Return the answer of `observe`; `TypeError` when it is not a mapping."""
    if not isinstance(answer, Mapping):
        raise TypeError(f"observe returned {answer!r}, not a mapping")
    return answer


def failures_of(answer: object) -> Mapping[Hashable, ProviderError]:
    """Return the answer of `apply`; `TypeError` when it is not a mapping of keys to `ProviderError`."""
    if not isinstance(answer, Mapping):
        raise TypeError(f"apply returned {answer!r}, not a mapping of failures")
    for key, error in answer.items():
        if not isinstance(error, ProviderError):
            raise TypeError(f"apply returned {error!r} for {key}, not a ProviderError")
    return answer
