"""`routerd peers`: the neighbours, their sessions and the tunnels below them."""

import click

from routerd.cli.share.ask import ask
from routerd.cli.share.output import Output, with_output
from routerd.cli.share.settings import Settings, with_settings
from routerd.cli.share.show import console, table
from routerd.model.report.status import PeerList, SessionStatus, Status


@click.command("peers")
@with_output
@click.option(
    "-v", "--verbose", is_flag=True, help="Also show refused prefixes by reason and the last error."
)
@with_settings
def command(settings: Settings, *, output: Output, verbose: bool) -> None:
    """Show BGP sessions and the peers of encrypting transports."""
    status = ask(settings, "/v1/status", Status)
    if output.wrote(PeerList(sessions=status.sessions, encrypted_peers=status.encrypted_peers)):
        return
    terminal = console()
    columns = ["NEIGHBOUR", "LEAF", "STATE", "SINCE", "RECEIVED", "ACCEPTED", "REJECTED", "ADVERTISED"]
    if verbose:
        columns += ["REASONS", "LAST ERROR"]
    rows = [_session(each, verbose=verbose) for each in status.sessions]
    terminal.print(table("BGP sessions", columns, rows))
    if status.encrypted_peers:
        peers = [
            (each.link, each.mode, f"{each.public_key[:12]}...", each.endpoint, _age(each.handshake_age),
             each.alive, each.rx_bytes, each.tx_bytes)
            for each in status.encrypted_peers
        ]  # fmt: skip
        terminal.print()
        columns = ["LINK", "MODE", "KEY", "ENDPOINT", "HANDSHAKE", "ALIVE", "RX", "TX"]
        terminal.print(table("Encrypted peers", columns, peers))


def _session(each: SessionStatus, *, verbose: bool) -> list[object]:
    row: list[object] = [
        each.neighbour, each.leaf, each.state, each.since, each.received, each.accepted,
        sum(each.rejected.values()), each.advertised,
    ]  # fmt: skip
    if verbose:
        row += [", ".join(f"{reason} {count}" for reason, count in each.rejected.items()), each.last_error]
    return row


def _age(seconds: int | None) -> str:
    return "never" if seconds is None else f"{seconds} s ago"
