"""The claim that has an address, the neighbours that announce it, and the best path. Pure."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from routerd.model.addresses import IPAddress, IPNetwork, inside, order
from routerd.model.bgp import import_policy
from routerd.model.bgp.best_path import lost_at
from routerd.model.moment import second_text
from routerd.model.report.explanation import Step
from routerd.model.report.phases import ClaimPhase
from routerd.model.route import LearnedRoute
from routerd.model.session import ImportPolicy
from routerd.model.specs import (
    BGPRouterSpec,
    MobilityPoolSpec,
    SAMEnrollmentPolicySpec,
    SAMTransportProfileSpec,
)
from routerd.model.specs.leaves import pools
from routerd.report.explain.facts import Facts, OwnerFacts

_ORDER: tuple[ClaimPhase, ...] = ("Approved", "Pending", "Revoked", "Expired", "Rejected", "Quarantined")
_SHOWN = 4
"""Number of prefixes of a list that a message names."""

NOT_ANNOUNCED = "no neighbour announces it"


def in_fabric(facts: Facts) -> bool:
    """Say whether the fabric carries the address: a leaf claims it, or a policy accepts it."""
    if facts.owners or facts.rejected() or _policies(facts):
        return True
    return any(inside(facts.target, each) for each in _pools(facts))


def _pools(facts: Facts) -> Iterator[IPNetwork]:
    """Yield the prefixes that the file or an import policy names as the fabric's."""
    intent = facts.inputs.intent
    for policy in facts.desired.table("bgp/import_policies").values.values():
        yield from policy.within
    yield from (pool.spec.prefix for pool in intent.of(MobilityPoolSpec))
    for router in intent.of(BGPRouterSpec):
        yield from router.spec.import_policy.allowed_prefixes if router.spec.import_policy else ()
    for profile in intent.of(SAMTransportProfileSpec):
        yield profile.spec.inner_prefix
        bgp = profile.spec.bgp
        yield from bgp.import_policy.allowed_prefixes if bgp and bgp.import_policy else ()


def owner_of(facts: Facts) -> OwnerFacts | None:
    """Return the claim that has the address; of several, the one in force."""
    return min(facts.owners, key=lambda each: _ORDER.index(each.phase), default=None)


def claim_steps(facts: Facts) -> Iterator[Step]:
    """Yield the claim that has the address; nothing on a router that does not admit leaves."""
    if not facts.admits:
        return
    owner = owner_of(facts)
    if owner is None:
        yield _unclaimed(facts)
        return
    text = f"SAMEnrollmentClaim/{owner.name} of leaf {owner.leaf} ({owner.policy}) is {owner.phase}"
    if owner.phase == "Approved":
        yield Step("claim", "ok", text + (f" until {owner.until}" if owner.until else ""))
        return
    since = owner.decided_at if owner.phase in ("Revoked", "Rejected") else ""
    if owner.phase == "Expired":
        since = owner.until
    text += (f" since {since}" if since else "") + (f": {owner.message}" if owner.message else "")
    yield Step("claim", "bad", text, _claim_blame(owner, since))


def _claim_blame(owner: OwnerFacts, since: str) -> str:
    at = f" at {since}" if since else ""
    match owner.phase:
        case "Revoked":
            return f"leaf {owner.leaf} was revoked{at}"
        case "Expired":
            return f"the claim {owner.name} of leaf {owner.leaf} ended{at} and was not renewed"
        case "Pending":
            return f"the claim {owner.name} of leaf {owner.leaf} waits for approval"
        case _:
            return f"the claim {owner.name} of leaf {owner.leaf} is {owner.phase.lower()}"


def _unclaimed(facts: Facts) -> Step:
    names = _policies(facts)
    aside = (
        f"; the addresses of {', '.join(facts.set_aside)} (quarantined) are not known"
        if facts.set_aside
        else ""
    )
    if facts.paths:
        return Step("claim", "note", f"no leaf claims it{aside}")
    if names:
        return Step(
            "claim",
            "bad",
            f"no leaf claims it{aside}; {', '.join(names)} would allow it",
            "no leaf claims it",
        )
    return Step(
        "claim",
        "bad",
        f"no leaf claims it{aside}, and it is outside the prefixes of every policy",
        "no leaf claims it, and no policy allows it",
    )


def _policies(facts: Facts) -> list[str]:
    """Return the policies in whose prefixes the address lies."""
    return [
        policy.ref
        for policy in facts.inputs.intent.of(SAMEnrollmentPolicySpec)
        if any(inside(facts.target, each) for each in pools(facts.inputs.intent, policy.spec))
    ]


# --- BGP -------------------------------------------------------------------------------------------


def bgp_steps(facts: Facts) -> Iterator[Step]:
    """Yield the sessions that matter, and every announced path with its fate."""
    others = [each for each in facts.paths if each.source != "bgp"]
    if facts.inputs.intent.first(BGPRouterSpec) is None:
        yield Step("bgp", "note", "this router does not run BGP")
        best = next((each for each in others if each.best), None)
        yield from (_path(facts, path, best) for path in others)
        yield from _refusals(facts)
        return
    yield from session_steps(facts, _expected(facts))
    if facts.inputs.learned is None:
        why = next((text for name, text in facts.waiting.items() if name.startswith("routing/")), "")
        text = "the BGP speaker has not answered yet" + (f": {why}" if why else "")
        yield Step("bgp", "bad", text, text)
        return
    best = next((each for each in facts.paths if each.best), None)
    yield from (_path(facts, path, best) for path in facts.paths)
    yield from _refusals(facts)
    if not facts.paths and not facts.rejected():
        yield _silence(facts)
    parts = {each.prefix for each in facts.inputs.learned.routes if inside(each.prefix, facts.target)}
    parts.discard(facts.target)
    if parts:
        some = _some(parts)
        yield Step("bgp", "note", f"parts of it are announced: {some}")


def _refusals(facts: Facts) -> Iterator[Step]:
    for refused in facts.rejected():
        policy = facts.desired.table("bgp/import_policies").values.get(refused.neighbour)
        words = _words(refused.prefix, policy, refused.reason) if policy is not None else ""
        why = refused.reason + (f" ({words})" if words else "")
        teller = facts.who(refused.neighbour) if refused.source == "bgp" else refused.source
        text = f"{teller} announces {refused.prefix}, and the policy refuses it: {why}"
        yield Step(refused.source, "note" if facts.paths else "bad", text, "" if facts.paths else text)


def _expected(facts: Facts) -> list[IPAddress]:
    """Return the neighbours whose sessions matter: who announces it, and who should."""
    owner = owner_of(facts)
    wanted = {path.neighbour for path in facts.paths if path.source == "bgp"}
    wanted |= {refused.neighbour for refused in facts.rejected() if refused.source == "bgp"}
    for neighbour, session in facts.sessions.items():
        of_owner = bool(session.claim) and owner is not None and session.leaf.strip() == owner.leaf
        if of_owner or not facts.admits:
            wanted.add(neighbour)
    return sorted(wanted, key=order)


def session_steps(facts: Facts, neighbours: list[IPAddress]) -> Iterator[Step]:
    """Yield the state of the sessions with some neighbours."""
    live = facts.live
    some_up = any(map(live.up, neighbours))
    carrying = {path.neighbour for path in facts.paths if path.best and path.source == "bgp"}
    for neighbour in neighbours:
        state = live.session(neighbour)
        who = facts.who(neighbour)
        if state is not None and live.up(neighbour):
            since = second_text(datetime.fromtimestamp(state.since, UTC))
            yield Step("session", "ok", f"with {who}: established since {since}")
            continue
        word = state.state if state is not None else "not there"
        why = (state.last_error if state is not None else "") or "; ".join(live.errors)
        text = f"down, {word}{f' ({why})' if why else ''}"
        to_blame = neighbour in carrying or not some_up
        yield Step(
            "session", "bad", f"with {who}: {text}", f"the session with {who} is {text}" if to_blame else ""
        )
    owner = owner_of(facts)
    if not neighbours and (not facts.admits or (owner is not None and owner.phase == "Approved")):
        why = "; ".join(_denials(facts, owner))
        text = "none is wanted" + (f" with leaf {owner.leaf}" if owner is not None else "")
        blame = f"no session is wanted{f' with leaf {owner.leaf}' if owner else ''}"
        end = f": {why}" if why else ""
        yield Step("session", "bad", text + end, blame + end)


def _denials(facts: Facts, owner: OwnerFacts | None) -> Iterator[str]:
    """Yield the reasons why a leaf has no session, or why its peers are not known."""
    for conditions in facts.desired.conditions.values():
        for each in conditions:
            about = owner is None or owner.leaf in each.message
            if each.status != "True" and about:
                yield each.message


def _path(facts: Facts, path: LearnedRoute, best: LearnedRoute | None) -> Step:
    if path.source != "bgp":
        text = f"it has {path.prefix}, next hop {path.next_hop}: "
        if path.best:
            return Step(path.source, "ok", f"{text}best")
        return Step(path.source, "note", f"{text}not best, {_why_not(path, best)}")
    path_text = " ".join(map(str, path.as_path)) or "empty"
    text = (
        f"{facts.who(path.neighbour)} announces {path.prefix}, next hop {path.next_hop}, "
        f"local preference {path.local_preference}, AS path {path_text}: "
    )
    if not path.best:
        return Step("bgp", "note", f"{text}not best, {_why_not(path, best)}")
    if path.stale:
        return Step(
            "bgp",
            "bad",
            f"{text}best, and stale",
            "the path is stale: its session is lost, and routerd keeps it for a while",
        )
    return Step("bgp", "ok", f"{text}best")


def _why_not(path: LearnedRoute, best: LearnedRoute | None) -> str:
    if best is None:
        return "and no other path is"
    if path.source != best.source:
        return f"because {best.source} is preferred"
    if path.stale and not best.stale:
        return "because it is stale: its session is lost"
    match lost_at(path, best):
        case "local preference":
            return f"because {best.local_preference} is the higher local preference"
        case "AS path":
            return "because its AS path is longer"
        case None:
            return "by the tie-break of RFC 4271, 9.1.2.2"
        case step:
            return f"by its {step} (RFC 4271, 9.1.2.2)"


def _silence(facts: Facts) -> Step:
    owner = owner_of(facts)
    if facts.admits and owner is not None:
        return Step(
            "bgp",
            "bad",
            f"{NOT_ANNOUNCED}, and neither does leaf {owner.leaf}",
            f"leaf {owner.leaf} has it and does not announce it",
        )
    policies = facts.desired.table("bgp/import_policies").values
    words = [
        f"the import policy for {facts.who(neighbour)} would refuse it: {why}"
        for neighbour, policy in policies.items()
        if not facts.admits and (why := _words(facts.target, policy))
    ]
    if words:
        return Step("bgp", "bad", f"{NOT_ANNOUNCED}, and {'; '.join(words)}", "; ".join(words))
    if facts.admits:
        return Step("bgp", "bad", NOT_ANNOUNCED, NOT_ANNOUNCED)
    return Step(
        "bgp",
        "bad",
        f"{NOT_ANNOUNCED}; our import policy would accept it; ask a reflector which leaf has it",
        NOT_ANNOUNCED,
    )


def _words(prefix: IPNetwork, policy: ImportPolicy, reason: str = "") -> str:
    """Return why a policy refuses a prefix, or nothing when it accepts it.

    `reason` is the code of the speaker's refusal; without it the prefix is judged here again.
    """
    if reason == import_policy.FAMILY:
        return "routerd does not support IPv6 routes yet"
    if reason in (import_policy.MISSING_COMMUNITY, import_policy.FORBIDDEN_COMMUNITY):
        return communities(policy)
    match import_policy.refusal(prefix, policy, policy.required_communities):
        case import_policy.FORBIDDEN:
            forbidden = min((each for each in policy.forbidden if prefix.overlaps(each)), key=order)
            return f"prefixes in {forbidden} are always refused"
        case import_policy.OUTSIDE if any(inside(prefix, each) for each in policy.within):
            low, high = policy.min_length, policy.max_length
            return f"only prefixes of length {low}{f' to {high}' if high != low else ''} are accepted"
        case import_policy.OUTSIDE:
            return f"it is outside {', '.join(map(str, sorted(policy.within, key=order)))}"
        case import_policy.NOT_OWNED | import_policy.NOT_A_HOST:
            return f"the policy accepts {f'only {_some(policy.hosts)}' if policy.hosts else 'no prefix'}"
    return ""


def _some(prefixes: Collection[IPNetwork]) -> str:
    """Return the first prefixes of a collection in words."""
    more = " and more" if len(prefixes) > _SHOWN else ""
    return ", ".join(map(str, sorted(prefixes, key=order)[:_SHOWN])) + more


def communities(policy: ImportPolicy) -> str:
    """Return in words which communities a path needs, or nothing when it needs none."""
    required, forbidden = sorted(policy.required_communities), sorted(policy.forbidden_communities)
    words = [f"it must carry {' and '.join(required)}"] if required else []
    words += [f"it must not carry {' or '.join(forbidden)}"] if forbidden else []
    return ", and ".join(words)


# --- decision --------------------------------------------------------------------------------------


def decision_step(facts: Facts) -> Step:
    """Return which paths are used; only for a learned address."""
    prefix = facts.paths[0].prefix
    hops = sorted({path.next_hop for path in facts.paths if path.best}, key=order)
    if hops:
        more = f", {len(hops)} equal paths" if len(hops) > 1 else ""
        return Step("decision", "ok", f"{prefix} goes to {' and '.join(map(facts.who, hops))}{more}")
    if any(prefix in claim.owned for claim in facts.inputs.own_claim_list()):
        text = f"{prefix} is not used: this leaf announces it itself"
        return Step("decision", "bad", text, text)
    return Step("decision", "bad", "no path is best", f"no path to {prefix} is best")
