"""Why packets to an address go where they go, from claim to kernel to cloud route.

`explain` is a pure function over `Facts`, which `gather` collects. The steps are those that a
network engineer takes by hand: `announced` has claims and BGP, `forwarded` the data plane.
"""

from collections.abc import Sequence

import attrs

from routerd.kernel.routes.lookup import RouteAnswer
from routerd.model.addresses import inside, order
from routerd.model.report.explanation import Explanation, Step
from routerd.model.route import ROUTE_PROTOCOL, RouteKey
from routerd.report.explain.announced import (
    NOT_ANNOUNCED,
    bgp_steps,
    claim_steps,
    decision_step,
    in_fabric,
    session_steps,
)
from routerd.report.explain.facts import Facts, OwnerFacts, hops_text
from routerd.report.explain.forwarded import answer_text, below, cloud_steps, is_connected, route_steps

__all__ = ["Facts", "OwnerFacts", "explain"]

_WELL = "everything is in place"


def explain(facts: Facts) -> Explanation:
    """Return the steps from claim to cloud route, those of subsystems about a flow, and the verdict."""
    found = _path(facts)
    if facts.flow is None:
        return found
    blame = _caveat(facts.flow_steps)
    verdict, reachable = found.verdict, found.reachable
    if blame and reachable:
        verdict, reachable = f"{facts.flow} does not get through: {blame}", False
    return attrs.evolve(
        found,
        source=str(facts.flow.source).removesuffix("/32"),
        steps=(*found.steps, *facts.flow_steps),
        verdict=verdict,
        reachable=reachable,
    )


def _path(facts: Facts) -> Explanation:
    answer = facts.answer
    if facts.own_claim is not None:
        return _on_this_site(facts)
    if answer is not None and answer.kind == "local":
        return _here(facts)
    if facts.paths:
        return _learned(facts)
    if answer is not None and answer.kind == "unicast" and _is_for_the_host(facts, answer):
        return _by_the_host(facts)
    return _nowhere(facts)


def _is_for_the_host(facts: Facts, answer: RouteAnswer) -> bool:
    """Say whether the host rightly reaches an unannounced address without the fabric."""
    direct = is_connected(answer) or _wanted_route(facts) is not None
    return not facts.owners and (direct or not in_fabric(facts))


def _done(facts: Facts, steps: Sequence[Step], verdict: str, *, reachable: bool) -> Explanation:
    return Explanation(
        address=facts.name, steps=tuple(steps), verdict=f"{facts.name} {verdict}", reachable=reachable
    )


def _blame(steps: Sequence[Step]) -> str:
    """Return the cause: the first bad step in the order of cause and effect."""
    return next((each.blame or each.text for each in steps if each.state == "bad"), "")


def _caveat(steps: Sequence[Step]) -> str:
    """Return the fault that does not keep packets from arriving."""
    return next((each.blame for each in steps if each.state == "bad" and each.blame), "")


# --- ours ------------------------------------------------------------------------------------------


def _here(facts: Facts) -> Explanation:
    link = _link(facts)
    steps = [Step("ours", "ok", f"an address of this router itself, on {link}")]
    for path in facts.paths:
        text = f"{facts.who(path.neighbour)} announces {path.prefix}; the router's own address comes first"
        steps.append(Step("bgp", "note", text))
    return _done(facts, steps, f"is this router's own address, on {link}", reachable=True)


def _on_this_site(facts: Facts) -> Explanation:
    claim = facts.own_claim
    if claim is None:
        raise ValueError(f"no claim of this leaf has {facts.target}")
    steps = [Step("ours", "ok", f"{claim.ref} of this leaf has it")]
    steps += [Step("enrollment", "bad", each, each) for each in facts.memberships]
    prefix = next(each for each in claim.owned if inside(facts.target, each))
    if prefix in facts.desired.table("bgp/advertisements").values:
        state, how = facts.entry("bgp/advertisements", prefix)
        steps.append(Step("bgp", state, f"announced: {how}", f"its announcement is {how}"))
    else:
        steps.append(Step("bgp", "bad", "this leaf does not announce it", "this leaf does not announce it"))
    steps += session_steps(facts, sorted(facts.sessions, key=order))
    steps.append(_site_route(facts))
    steps += cloud_steps(facts, routes=False)
    place = f"is on this site, by {_link(facts)}" if facts.answer is not None else "is on this site"
    blame = _caveat(steps)
    if blame:
        return _done(facts, steps, f"{place}, but does not take part as it should: {blame}", reachable=False)
    up = [facts.who(each.neighbour) for each in facts.live.sessions if facts.live.up(each.neighbour)]
    return _done(facts, steps, f"{place}, and announced to {', '.join(up)}; {_WELL}", reachable=True)


def _site_route(facts: Facts) -> Step:
    answer = facts.answer
    if answer is None:
        return Step("kernel", "note", f"no answer: {facts.answer_error}")
    text = answer_text(facts, answer)
    if answer.prefix is None:
        return Step("kernel", "bad", text, f"the kernel {text}")
    if any(facts.tunnel_to(hop) is not None for hop in answer.next_hops):
        return Step("kernel", "bad", f"{text}: not on this site", f"the kernel {text}, off this site")
    return Step("kernel", "ok", text)


def _link(facts: Facts) -> str:
    hops = facts.answer.next_hops if facts.answer is not None else ()
    return ", ".join(str(hop.link) for hop in hops) or "no device"


# --- others' ---------------------------------------------------------------------------------------


def _learned(facts: Facts) -> Explanation:
    control = [Step("ours", "note", "not an address of this router or its site")]
    control += [*claim_steps(facts), *bgp_steps(facts)]
    data = [decision_step(facts)]
    if data[0].state == "ok":
        data += route_steps(facts)
    route = facts.desired.table("routes").values.get(RouteKey(prefix=facts.paths[0].prefix))
    hops = route.next_hops if route is not None else ()
    data += below(facts, hops)
    cloud = [*cloud_steps(facts, routes=True)]
    steps = [*control, *data, *cloud]
    where = hops_text(facts, hops)
    if blame := _blame(data):
        return _done(facts, steps, f"is not reachable: {blame}", reachable=False)
    if blame := _blame(cloud):
        text = f"goes to {where}, but not for the other hosts of this site: {blame}"
        return _done(facts, steps, text, reachable=False)
    caveat = _caveat(control)
    return _done(
        facts, steps, f"goes to {where}{f', but {caveat}' if caveat else f'; {_WELL}'}", reachable=True
    )


def _wanted_route(facts: Facts) -> RouteKey | None:
    """Return the wanted route that the kernel takes: from the file, the transport, or BGP."""
    answer = facts.answer
    if answer is None or answer.prefix is None or answer.protocol != ROUTE_PROTOCOL:
        return None
    key = RouteKey(prefix=answer.prefix, metric=answer.metric, table=answer.table)
    return key if key in facts.desired.table("routes").values else None


def _by_the_host(facts: Facts) -> Explanation:
    """Explain an address outside the fabric: a connected network, a route of the file or of the host."""
    answer = facts.answer
    if answer is None:
        raise ValueError(f"the kernel does not say where {facts.target} goes")
    hops = answer.next_hops
    key = _wanted_route(facts)
    if is_connected(answer):
        network = f"on {answer.prefix}, the network of {_link(facts)}"
        far_end = any(facts.tunnel_to(hop) is not None for hop in hops)
        where = f"is {network}" + ("" if far_end else "; routerd does not know whether a host there has it")
        steps = [Step("ours", "ok", network)]
    elif key is not None:
        where = f"goes to {hops_text(facts, hops)}, by a route of the file or of the transport"
        steps = [Step("ours", "ok", f"behind {key.prefix}, a route of the file or of the transport")]
    else:
        where = f"is not an address of the fabric; the host's own routes lead to {hops_text(facts, hops)}"
        steps = [Step("ours", "note", "not an address of this router, its site or the fabric")]
    steps.append(Step("kernel", "ok", answer_text(facts, answer)))
    steps += below(facts, hops)
    if blame := _blame(steps):
        return _done(facts, steps, f"is not reachable: {blame}", reachable=False)
    return _done(facts, steps, where, reachable=True)


def _nowhere(facts: Facts) -> Explanation:
    """Explain an address without a route: the leaf that should announce it, and why it does not."""
    steps = [Step("ours", "note", "not an address of this router or its site")]
    if not in_fabric(facts):
        text = answer_text(facts, facts.answer) if facts.answer is not None else facts.answer_error
        steps += [
            Step("bgp", "note", "not an address of the fabric: no policy accepts it"),
            Step("kernel", "bad", text),
        ]
        return _done(facts, steps, f"is not reachable: the kernel {text}", reachable=False)
    steps += [*claim_steps(facts), *bgp_steps(facts)]
    blame = _caveat(steps) or NOT_ANNOUNCED
    if facts.answer is not None:
        steps.append(Step("kernel", "note", f"{answer_text(facts, facts.answer)}, outside the fabric"))
    return _done(facts, steps, f"is not reachable: {blame}", reachable=False)
