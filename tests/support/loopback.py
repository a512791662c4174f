"""Emulated clouds on loopback, for tests and measurements; this process resolves their real names to them.

No query and no packet leaves the host. A client that resolves a served name on its usual port gets the
emulator, the official SDKs included, and trusts its certificate.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import attrs
from aiohttp import web

from routerd_lab.certificates import Authority

METADATA = "169.254.169.254"
_HERE = IPv4Address("127.0.0.1")
_TRUST = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")

# Variables with credentials, a proxy or another endpoint must not lead past the emulator.
_UNSET = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"),
    *("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"),
)


@attrs.frozen(kw_only=True)
class Api:
    """An application, its names, and its usual port; `tls` unless it speaks plain HTTP."""

    app: web.Application
    names: Sequence[str]
    port: int = 443
    tls: bool = True


def metadata(app: web.Application) -> Api:
    """Return a metadata service at its link-local address."""
    return Api(app=app, names=(METADATA,), port=80, tls=False)


@asynccontextmanager
async def on_loopback(directory: Path, *apis: Api) -> AsyncIterator[Path]:
    """Serve the APIs while the context lasts; yield the path of their certificate.

    `directory` receives the certificates. The context restores the environment at its end.
    """
    authority = Authority()
    trusted = directory / "ca.pem"
    authority.write_certificate(trusted)
    ports: dict[tuple[str, int], int] = {}
    runners: list[web.AppRunner] = []
    try:
        for number, api in enumerate(apis):
            runner = web.AppRunner(api.app, access_log=None)
            await runner.setup()
            runners.append(runner)
            tls = _server(authority, directory / f"server-{number}.pem", api.names) if api.tls else None
            await web.TCPSite(runner, str(_HERE), 0, ssl_context=tls).start()
            ports |= {(name, api.port): runner.addresses[0][1] for name in api.names}
        with names_on_loopback(ports), _environment(dict.fromkeys(_TRUST, str(trusted)), directory):
            yield trusted
    finally:
        for runner in runners:
            await _stop(runner)


def _server(authority: Authority, path: Path, names: Sequence[str]) -> ssl.SSLContext:
    authority.write_server(path, names, _HERE)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context


@contextmanager
def names_on_loopback(ports: Mapping[tuple[str, int], int]) -> Iterator[None]:
    """Make this process resolve names, each with its usual port, to ports on loopback."""
    resolve = socket.getaddrinfo

    def redirected(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        wanted = (host, int(port) if str(port).isdigit() else port)
        if wanted in ports:
            return resolve(str(_HERE), ports[wanted], *args, **more)
        return resolve(host, port, *args, **more)

    socket.getaddrinfo = redirected
    try:
        yield
    finally:
        socket.getaddrinfo = resolve


@contextmanager
def _environment(variables: Mapping[str, str], directory: Path) -> Iterator[None]:
    """Make the SDKs trust the emulators and use no other credentials."""
    nowhere = {name: str(directory / "none") for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    oci = {"OCI_METADATA_BASE_URL": f"http://{METADATA}/opc/v2"}
    before = dict(os.environ)
    try:
        os.environ.update({**variables, **nowhere, **oci})
        for name in _UNSET:
            os.environ.pop(name, None)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def _stop(runner: web.AppRunner) -> None:
    for connection in runner.server.connections if runner.server else ():
        # A clean end of TLS would wait for a client that may be gone.
        if connection.transport is not None:
            connection.transport.abort()
    await runner.cleanup()
    for _ in range(5):
        await asyncio.sleep(0)
