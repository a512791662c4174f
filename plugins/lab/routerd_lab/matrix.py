"""Every directed pair of clients, by ping and by a real SSH session, all at once."""

import asyncio
from collections.abc import Callable, Mapping

import attrs

from routerd_lab.client import ssh_command
from routerd_lab.namespaces import Machine
from routerd_lab.patience import patient
from routerd_lab.topology import Node, Topology


@attrs.frozen(kw_only=True)
class Pair:
    """The result of one client's attempts to reach another. `detail` says what failed, or is empty."""

    source: str
    target: str
    ping: bool
    ssh: bool
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Say whether both ways of reaching the target worked."""
        return self.ping and self.ssh


async def measure(
    topology: Topology,
    machines: Mapping[str, Machine],
    *,
    seconds: int = 5,
    ssh: bool = True,
    report: Callable[[Pair], None] = lambda _pair: None,
) -> tuple[Pair, ...]:
    """Try every directed pair in parallel and return the results in the topology's order.

    Each ping has `seconds` for one answer. Without `ssh` only pings are sent and SSH
    counts as the ping does.
    """

    async def one(source: Node, target: Node) -> Pair:
        pair = await _measure_pair(machines[source.name], source, target, seconds=seconds, ssh=ssh)
        report(pair)
        return pair

    return tuple(await asyncio.gather(*(one(source, target) for source, target in topology.pairs)))


async def _measure_pair(machine: Machine, source: Node, target: Node, *, seconds: int, ssh: bool) -> Pair:
    address = str(target.owned)
    seconds = int(patient(seconds))
    ping = await machine.execute("ping", "-n", "-q", "-c", "1", "-w", str(seconds), address)
    if ping.status:
        lines = (ping.out + ping.err).splitlines()
        lost = next((line for line in lines if "loss" in line), lines[-1] if lines else "no output")
        detail = f"ping: {lost.strip()}"
        return Pair(source=source.name, target=target.name, ping=False, ssh=False, detail=detail)
    if not ssh:
        return Pair(source=source.name, target=target.name, ping=True, ssh=True)
    # The far end prints its own name and its peer's address: the fabric must preserve the source address.
    command = ssh_command(address, "uname -n; echo $SSH_CONNECTION", seconds=seconds)
    session = await machine.execute(*command, seconds=4 * seconds)
    name, _, connection = session.out.partition("\n")
    ends = connection.split()
    worked = (
        session.status == 0 and name == target.name and ends[:1] + ends[2:3] == [str(source.owned), address]
    )
    detail = "" if worked else f"ssh: {(session.err or session.out).strip()[-200:] or 'no answer'}"
    return Pair(source=source.name, target=target.name, ping=True, ssh=worked, detail=detail)
