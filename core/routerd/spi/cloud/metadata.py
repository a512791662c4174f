"""The metadata service by which a cloud tells an instance who it is: plain HTTP on the link, no SDK.

Added in 1.0.
"""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeVar

import attrs

from routerd.errors import PermanentError, TransientError

_SECONDS = 5.0
"""Seconds that one question may take."""

_LATER = timedelta(seconds=5)

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class MetadataService:
    """The service of one cloud, whose name begins every message.

    `refused` is the remedy where the service answers with an error, `absent` the one where nothing answers.
    `busy` are the statuses that a retry may cure, besides those of 500 and above.
    """

    cloud: str
    refused: str
    absent: str
    busy: frozenset[int] = frozenset({429})

    async def answer(self, base: str, questions: Callable[[], T], *, seconds: float) -> T:
        """Return the result of blocking questions; `TransientError` when they take longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.to_thread(questions)
        except TimeoutError as exc:
            raise TransientError(
                f"{self.cloud} metadata {base}: no answer within {seconds:.0f} s", retry_after=_LATER
            ) from exc

    def ask(self, url: str, headers: Mapping[str, str], method: str = "GET") -> str:
        """Return the text at `url`; blocks for at most a few seconds. Raises `ProviderError`."""
        request = urllib.request.Request(url, headers=dict(headers), method=method)  # noqa: S310 - http by contract
        # The metadata service is on the link; a proxy of the environment must never see the request.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_SECONDS) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as exc:
            with exc:
                retryable = exc.code in self.busy or exc.code >= 500
                kind = TransientError if retryable else PermanentError
                raise kind(f"{self.cloud} metadata {url}: answered {exc.code}; {self.refused}") from exc
        except (OSError, ValueError) as exc:
            raise TransientError(
                f"{self.cloud} metadata {url}: no usable answer; {exc}; {self.absent}", retry_after=_LATER
            ) from exc
