"""The way of the packets: the kernel's route, the tunnel below it, its encryption, the cloud. Pure."""

from collections.abc import Collection, Iterator, Sequence

from routerd.clouds.takeover import is_waiting
from routerd.kernel.routes.lookup import RouteAnswer
from routerd.model.addresses import IPAddress, IPNetwork
from routerd.model.fabric import FabricRouteKey, RouteTableRef
from routerd.model.report.explanation import Step
from routerd.model.route import ROUTE_PROTOCOL, NextHop, Route, RouteKey
from routerd.model.specs import CloudProviderProfileSpec
from routerd.reconcile.derive.overlay import Adjacency
from routerd.report.explain.facts import Facts, hops_text
from routerd.report.live import alive

_MAIN = 254
_KERNEL = 2
_PROTOCOLS = {_KERNEL: "kernel", 3: "boot", 4: "static", 11: "zebra", 12: "bird", 16: "dhcp",
              ROUTE_PROTOCOL: "routerd", 186: "bgp", 188: "ospf"}  # fmt: skip


# --- kernel ----------------------------------------------------------------------------------------


def route_steps(facts: Facts) -> Iterator[Step]:
    """Yield the wanted route of a learned prefix, and the route that the kernel takes."""
    key = RouteKey(prefix=facts.paths[0].prefix)
    route: Route | None = facts.desired.table("routes").values.get(key)
    if route is None:
        yield Step(
            "route", "bad", f"no route to {key.prefix} is wanted", f"no route to {key.prefix} is wanted"
        )
        return
    state, how = facts.entry("routes", key)
    yield Step(
        "route",
        state,
        f"{key.prefix} to {hops_text(facts, route.next_hops)}, metric {key.metric}: {how}",
        f"the route to {key.prefix} is {how}" if state == "bad" else "",
    )
    yield _lookup(facts, key, route)


def _lookup(facts: Facts, key: RouteKey, route: Route) -> Step:
    answer = facts.answer
    if answer is None:
        return Step("kernel", "note", f"no answer: {facts.answer_error}")
    text = answer_text(facts, answer)
    why = _disagreement(answer, key, route)
    if not why:
        return Step("kernel", "ok", text)
    return Step("kernel", "bad", f"{text}: {why}", f"the kernel {text}: {why}")


def _disagreement(answer: RouteAnswer, key: RouteKey, route: Route) -> str:
    """Return why the kernel's route is not the wanted one, or nothing when it is."""
    if answer.prefix is None:
        return "our route is not there" if answer.kind == "none" else "a foreign route comes before ours"
    if answer.table not in (_MAIN, 255):
        return "a policy rule selects another table than main"
    if answer.prefix.prefixlen > key.prefix.prefixlen:
        return "a more specific route than ours wins"
    if answer.prefix.prefixlen < key.prefix.prefixlen:
        return "our more specific route is not there"
    if answer.metric != key.metric:
        return f"a foreign route with a lower metric than our {key.metric} wins"
    if answer.protocol != ROUTE_PROTOCOL:
        return "a foreign route has the place of ours"
    if not _same_hops(route.next_hops, answer.next_hops):
        return "its next hops are not the wanted ones"
    return ""


def _same_hops(wanted: Sequence[NextHop], found: Sequence[NextHop]) -> bool:
    """Say whether next hops are as wanted; a hop without a link matches any link."""
    loose = {hop.gateway for hop in wanted if hop.link is None}
    exact = {(hop.gateway, hop.link) for hop in wanted if hop.link is not None}
    have = {(hop.gateway, hop.link) for hop in found}
    return exact <= have and {hop.gateway for hop in found} == loose | {gateway for gateway, _ in exact}


def answer_text(facts: Facts, answer: RouteAnswer) -> str:
    """Return the kernel's answer as a clause whose subject is the kernel."""
    if answer.prefix is None:
        return (
            "has no route to it" if answer.kind == "none" else f"refuses it by a route of type {answer.kind}"
        )
    name = "the default route" if answer.prefix.prefixlen == 0 else str(answer.prefix)
    protocol = _PROTOCOLS.get(answer.protocol, str(answer.protocol))
    table = f", table {answer.table}" if answer.table not in (_MAIN, 255) else ""
    kind = "" if answer.kind == "unicast" else f"{answer.kind}, "
    hops = hops_text(facts, answer.next_hops)
    return f"takes {name} to {hops} ({kind}protocol {protocol}, metric {answer.metric}{table})"


def is_connected(answer: RouteAnswer) -> bool:
    """Say whether an address lies on a network of an interface of this host."""
    direct = all(hop.gateway is None for hop in answer.next_hops)
    return answer.kind == "unicast" and answer.protocol == _KERNEL and direct


# --- tunnel and encryption ---------------------------------------------------------------------------


def below(facts: Facts, hops: Sequence[NextHop]) -> Iterator[Step]:
    """Yield the tunnel below each next hop, and the peer of an encrypting transport below that."""
    for hop in hops:
        adjacency = facts.tunnel_to(hop)
        if adjacency is not None:
            yield _tunnel(facts, adjacency)
            if adjacency.profile.spec.encrypted and adjacency.tunnel.remote is not None:
                yield _peer(facts, adjacency.profile.spec.encryption, adjacency.tunnel.remote)
        elif hop.link is not None and (device := facts.inputs.wireguard_devices().get(hop.link)):
            yield _peer(facts, device.spec.mode, hop.gateway or facts.target.network_address)
        elif hop.gateway is not None:
            yield Step("tunnel", "note", f"{hop.gateway} is not behind a tunnel of this router")


def _tunnel(facts: Facts, adjacency: Adjacency) -> Step:
    tunnel = adjacency.tunnel
    name = f"{tunnel.link} to {adjacency.peer} ({tunnel.mode}, far end {tunnel.remote})"
    state = next((each for each in facts.live.tunnels if each.link == tunnel.link), None)
    if state is not None and state.up:
        return Step("tunnel", "ok", f"{name}: up, backend {state.backend}")
    if state is None and facts.live.errors:
        return Step("tunnel", "note", f"{name}: not known, {'; '.join(facts.live.errors)}")
    standing, how = facts.entry(f"tunnels/{tunnel.mode}", tunnel.link)
    word = "down" if state is not None else "not there"
    text = f"{word}{f', {how}' if standing == 'bad' else ''}"
    return Step("tunnel", "bad", f"{name}: {text}", f"the tunnel {tunnel.link} to {adjacency.peer} is {text}")


def _peer(facts: Facts, mode: str, address: IPAddress) -> Step:
    """Return the state of the peer of an encrypting transport that an address is behind."""
    peers = facts.desired.table(f"peers/{mode}").values
    key = next(
        (key for key, peer in peers.items() if any(address in each for each in peer.allowed_ips)), None
    )
    if key is None:
        text = f"no peer has {address} in its allowed addresses"
        return Step(mode, "bad", text, f"{mode}: {text}")
    state = next((each for each in facts.live.peers if each.key == key), None)
    name = f"peer {key.public_key[:12]}... on {key.link}, to {address}"
    if state is None and facts.live.errors:
        return Step(mode, "note", f"{name}: not known, {'; '.join(facts.live.errors)}")
    if state is None or not state.last_handshake:
        word = "no handshake yet" if state is not None else "not there"
        _, how = facts.entry(f"peers/{mode}", key)
        text = f"{word}{f', {how}' if how != 'in sync' else ''}"
        return Step(mode, "bad", f"{name}: {text}", f"the {mode} peer to {address}: {text}")
    age = round(facts.inputs.now.timestamp() - state.last_handshake)
    where = f" with {state.endpoint}" if state.endpoint else ""
    text = f"last handshake{where} {age} s ago"
    if alive(state, facts.inputs.now.timestamp()):
        return Step(mode, "ok", f"{name}: {text}")
    return Step(mode, "bad", f"{name}: {text}, dead", f"the {mode} peer to {address} is dead, {text}")


# --- cloud -------------------------------------------------------------------------------------------


def _covering(
    wanted: Collection[FabricRouteKey], table: RouteTableRef, prefix: IPNetwork
) -> FabricRouteKey | None:
    """Return the key of a table's wanted route to a prefix: its own, or that of an aggregate."""
    candidates = (FabricRouteKey(table=table, prefix=each) for each in _supernets(prefix))
    return next((key for key in candidates if key in wanted), None)


def _supernets(prefix: IPNetwork) -> Iterator[IPNetwork]:
    yield prefix
    for length in range(prefix.prefixlen - 1, 0, -1):
        yield prefix.supernet(new_prefix=length)


def cloud_steps(facts: Facts, *, routes: bool) -> Iterator[Step]:
    """Yield each cloud's forwarding switches and, for a remote address, its route tables."""
    for profile in facts.inputs.intent.of(CloudProviderProfileSpec):
        title = f"cloud {profile.name}"
        instance = facts.inputs.instances.get(profile.name)
        if instance is None:
            why = facts.waiting.get(f"fabric/{profile.name}", "")
            text = "it has not answered yet" + (f": {why}" if why else "")
            yield Step(title, "bad", text, f"the cloud {profile.name} has not answered yet")
            continue
        standing = [each for each in facts.desired.conditions.get(profile.ref, ()) if each.type == "Note"]
        waits = any(map(is_waiting, standing))
        for each in standing:
            yield Step(title, "note", each.message)
        for nic in instance.nics:
            state, how = facts.entry(f"forwarding/{profile.name}", nic.ref)
            text = f"forwarding of {nic.ref} ({nic.address}): {how}"
            yield Step(title, state, text, f"the {text}" if state == "bad" else "")
        if not routes:
            continue
        if not instance.route_tables:
            yield Step(title, "note", "the profile has no route table for the address")
        for table in instance.route_tables:
            prefix = facts.paths[0].prefix
            key = _covering(facts.desired.table(f"routes/{profile.name}").values, table, prefix)
            if key is None:
                yield Step(title, "note", f"no route to {prefix} is wanted in {table}")
                continue
            if waits:
                yield Step(
                    title, "note", f"route to {key.prefix} in {table}: only the active router changes it"
                )
                continue
            state, how = facts.entry(f"routes/{profile.name}", key)
            text = f"route to {key.prefix} in {table}, next hop {instance.next_hop}: {how}"
            blame = f"the route to {key.prefix} in {table} is {how}" if state == "bad" else ""
            yield Step(title, state, text, blame)
