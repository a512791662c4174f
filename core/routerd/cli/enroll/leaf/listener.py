"""The options that name a listener, its token and its certificates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from routerd.cli.share.options import Given, gathered
from routerd.config import secrets
from routerd.errors import ProviderError
from routerd.model.specs import SAMEnrollmentClientSpec, SecretSource
from routerd.model.specs.enrollment import ClientTLSSpec
from routerd.process.clock import SystemClock

if TYPE_CHECKING:
    from routerd.control.enroll_client import EnrollClient

_FILE = click.Path(path_type=Path, dir_okay=False)

_OPTIONS = (
    click.option("--socket", type=_FILE, help="Ask this Unix socket."),
    click.option("--rr-url", metavar="URL", help="Ask this listener: http(s)://ADDRESS:PORT."),
    click.option("--rr-token-file", type=_FILE, help="The file with the listener's bearer token."),
    click.option("--rr-token-env", metavar="NAME", help="The environment variable that holds it."),
    click.option("--rr-ca-file", type=_FILE, help="The authority that signed the listener's certificate."),
    click.option("--rr-client-cert-file", type=_FILE, help="Our certificate for the listener."),
    click.option("--rr-client-key-file", type=_FILE, help="Its key."),
)


@attrs.frozen(kw_only=True)
class Listener:
    """The listener that the command line names, if it does."""

    target: str | None = None
    token: SecretSource | None = None
    tls: ClientTLSSpec | None = None

    def targets(self, client: SAMEnrollmentClientSpec | None) -> tuple[str, ...]:
        """Return the named target, else those of the client in the file."""
        if self.target is not None:
            return (self.target,)
        if client is None:
            return ()
        socket = (f"unix:{client.rr_socket}",) if client.rr_socket is not None else ()
        return tuple(dict.fromkeys((*socket, *client.bootstrap_endpoints)))

    def connect(
        self, targets: tuple[str, ...], client: SAMEnrollmentClientSpec | None = None
    ) -> EnrollClient:
        """Return the client; the client in the file gives what the command line leaves open."""
        from routerd.control.enroll_client import (  # noqa: PLC0415 - with all of aiohttp
            EnrollClient,
            client_tls,
        )

        token = self.token or (client.control_api_token_from if client is not None else None)
        tls = self.tls or (client.control_api_tls if client is not None else None)
        needs_tls = any(target.startswith("https:") for target in targets)
        return EnrollClient(
            clock=SystemClock(),
            token=secrets.resolve(token) if token is not None else None,
            tls=client_tls(tls) if needs_tls else None,
            server_name=tls.server_name if tls is not None else None,
        )


def _listener(given: Given) -> Listener:
    socket, url = given["socket"], given["rr_url"]
    token_file, token_env = given["rr_token_file"], given["rr_token_env"]
    ca, cert, key = (given[f"rr_{name}_file"] for name in ("ca", "client_cert", "client_key"))
    if socket is not None and url is not None:
        raise click.UsageError("give one of --socket and --rr-url")
    if token_file is not None and token_env is not None:
        raise click.UsageError("give one of --rr-token-file and --rr-token-env")
    if (cert is None) != (key is None):
        raise click.UsageError("--rr-client-cert-file and --rr-client-key-file go together")
    if url is not None and not url.startswith(("http://", "https://")):
        raise click.UsageError(f"--rr-url {url} is not an http or https URL")
    return Listener(
        target=f"unix:{socket.absolute()}" if socket is not None else url,
        token=SecretSource(file=token_file, env=token_env) if token_file or token_env else None,
        tls=ClientTLSSpec(ca_file=ca, cert_file=cert, key_file=key) if ca or cert else None,
    )


with_listener = gathered("listener", _OPTIONS, _listener)
"""Adds the options to a command, which gets a `Listener` as `listener`."""


def without_target(target: str, error: ProviderError) -> str:
    """Return an error of `EnrollClient` in words, without the target that it begins with."""
    return str(error).removeprefix(f"{target}: ")
