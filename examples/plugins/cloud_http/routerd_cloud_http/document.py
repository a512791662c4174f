"""The document of a site, read and written whole; the ETag is the condition of each write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from routerd.errors import PermanentError, ProviderError, StaleError, TransientError
from routerd.model.change import Change
from routerd.spi import PluginContext
from routerd_cloud_http.config import HttpOptions

K = TypeVar("K")
V = TypeVar("V")

SECONDS = 20.0
"""Maximum seconds of one request."""

ATTEMPTS = 3
"""Attempts at a write while others write too."""

_REMEDIES = {401: "check tokenFile", 403: "let the token write the document", 404: "check url"}

Document = dict[str, Any]  # Any: JSON; `checked` looks at what is used
Edit = Callable[[Document], bool]
"""Changes a document in place; returns whether there is anything to write."""


class Site:
    """The document at `options.url`."""

    def __init__(self, context: PluginContext, options: HttpOptions) -> None:
        self._context = context
        self._options = options
        self._pacer = context.pacing(options.url, rate=5.0, burst=10)

    async def read(self) -> Document:
        """Return the document."""
        async with aiohttp.ClientSession() as session:
            return (await self._send(session, "GET"))[0]

    async def change(self, edit: Edit) -> None:
        """Read, edit and write; once more when somebody else has written in between."""
        # A request that is on its way may still be carried out. So its end comes before our own.
        work = asyncio.ensure_future(self._change(edit))
        try:
            await asyncio.shield(work)
        finally:
            if not work.done():
                await asyncio.wait([work])

    async def _change(self, edit: Edit) -> None:
        async with aiohttp.ClientSession() as session:
            for attempt in range(1, ATTEMPTS + 1):
                document, tag = await self._send(session, "GET")
                if not edit(document):
                    return
                self._context.refuse_dry_run()
                if not tag:
                    raise PermanentError(
                        f"GET {self._options.url}: the answer has no ETag; let the service send it"
                    )
                try:
                    await self._send(session, "PUT", document, tag)
                except StaleError:
                    if attempt == ATTEMPTS:
                        raise
                else:
                    return

    async def _send(
        self, session: aiohttp.ClientSession, method: str, document: Document | None = None, tag: str = ""
    ) -> tuple[Document, str]:
        url, headers = self._options.url, {"If-Match": tag} if tag else {}
        if (file := self._options.token_file) is not None:
            headers["Authorization"] = f"Bearer {await asyncio.to_thread(_token, file)}"
        await self._pacer.take()
        try:
            async with (
                asyncio.timeout(SECONDS),
                session.request(method, url, json=document, headers=headers, allow_redirects=False) as answer,
            ):
                if answer.status >= 300:
                    raise self._fault(method, answer)
                found = checked(await answer.json(content_type=None), url) if method == "GET" else {}
                return found, answer.headers.get("ETag", "")
        except TimeoutError as error:
            raise TransientError(f"{method} {url}: no answer within {SECONDS:g} s") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise TransientError(f"{method} {url}: {error or type(error).__name__}") from error

    def _fault(self, method: str, answer: aiohttp.ClientResponse) -> ProviderError:
        said = f"{method} {self._options.url}: {answer.status} {answer.reason}"
        if answer.status == 412:
            return StaleError(f"{said}; somebody else has written; routerd will read it again")
        if answer.status == 429:
            after = answer.headers.get("Retry-After", "")
            seconds = float(after) if after.isdigit() else 5.0
            self._pacer.hold(seconds)
            return TransientError(
                f"{said}; routerd waits {seconds:g} s", retry_after=timedelta(seconds=seconds)
            )
        if answer.status >= 500:
            return TransientError(said)
        return PermanentError(f"{said}; {_REMEDIES.get(answer.status, 'ask whoever runs the service')}")


def _token(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise PermanentError(f"token file {file}: {error.strerror}; write it, or drop tokenFile") from error


def checked(content: object, url: str) -> Document:
    """Return what was read if it has the parts of a document; raises `TransientError` else."""
    match content:
        case {"nics": dict(nics), "tables": dict(tables)} if all(
            isinstance(each, dict) for each in (*nics.values(), *tables.values())
        ):
            return dict(content)
    raise TransientError(f"GET {url}: the answer has no nics and tables; check url")


async def written(
    site: Site, edit: Edit, failures: dict[K, ProviderError], changes: Sequence[Change[K, V]]
) -> Mapping[K, ProviderError]:
    """Write by `edit`, which fills `failures`; a write that fails is the failure of every other change."""
    try:
        await site.change(edit)
    except ProviderError as error:
        return {**{change.key: error for change in changes}, **failures}
    return failures
