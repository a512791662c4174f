"""Calls into a plugin's table: whatever goes wrong in one comes out as a `ProviderError`.

A deadline that passes, an exception that nobody foresaw and an answer of the wrong kind are all
failures of one table, and none of them may stop the lane that the table shares with others.
"""

from __future__ import annotations

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
    """Raise nothing but `ProviderError` from the body, which has `deadline` seconds."""
    try:
        async with asyncio.timeout(deadline):
            yield
    except ProviderError:
        raise
    except TimeoutError as error:
        raise TransientError(f"no answer within {deadline:g} s") from error
    except StoreError as error:
        # Not the table's fault, and it ends when the disk has room again.
        raise TransientError(str(error)) from error
    except Exception as error:
        event = _DEFECTS[call]
        log.error(event, table=table, error=repr(error), trace=error)  # noqa: TRY400 - our own log
        raise TransientError(f"unexpected {error!r}") from error


def content_of(answer: object) -> Mapping[Hashable, object]:
    """Return what `observe` answered; `TypeError` when it is no content of a table."""
    if not isinstance(answer, Mapping):
        raise TypeError(f"observe returned {answer!r}, not a mapping")
    return answer


def failures_of(answer: object) -> Mapping[Hashable, ProviderError]:
    """Return what `apply` answered; `TypeError` when it does not name failures by key."""
    if not isinstance(answer, Mapping):
        raise TypeError(f"apply returned {answer!r}, not a mapping of failures")
    for key, error in answer.items():
        if not isinstance(error, ProviderError):
            raise TypeError(f"apply returned {error!r} for {key}, not a ProviderError")
    return answer
