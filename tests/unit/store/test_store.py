"""The store: what it keeps, what it drops, and which keys are ours by the journal."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs
import pytest

from routerd.kernel.sysctl import Originals as SysctlOriginals
from routerd.model.change import Change
from routerd.model.claim import AdmittedClaim, Claim, Reflector, Topology
from routerd.model.fabric import FabricRoute, FabricRouteKey, RouteTableRef
from routerd.store import Revocation, Store, UsedNonce, open_store
from routerd.testing.clock import FakeClock

RouteChange = Change[FabricRouteKey, FabricRoute]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routerd.db"


@pytest.fixture
def store(path: Path, fake_clock: FakeClock) -> Store:
    return open_store(path, clock=fake_clock)


def claim(name: str = "leaf-a") -> Claim:
    return Claim(
        name=name, policy_ref="SAMEnrollmentPolicy/p", leaf_id=name, tunnel_address="10.0.0.1", join_nonce="n"
    )


def admitted(clock: FakeClock, name: str = "leaf-a") -> AdmittedClaim:
    now = clock.now()
    return AdmittedClaim(claim=claim(name), admitted_at=now, expires_at=now + timedelta(hours=1))


def route(last: int, *, before: str | None = None, after: str | None = "eni-1") -> RouteChange:
    return Change(
        key=FabricRouteKey(table=RouteTableRef("rtb-1"), prefix=IPv4Network(f"10.0.0.{last}/32")),
        before=FabricRoute(next_hop=before) if before else None,
        after=FabricRoute(next_hop=after) if after else None,
    )


def begin(store: Store, scope: str, table: str, change: RouteChange) -> int:
    (number,) = store.journal.begin(scope, table, [change])
    return number


def finish(store: Store, number: int, outcome: str) -> None:
    store.journal.finish({number: outcome})


def test_the_store_implements_the_port_of_the_sysctls(store: Store) -> None:
    originals: SysctlOriginals = store.originals("sysctl")
    assert store.admitted() == ()
    assert originals.all() == {}


def test_only_the_owner_may_read_the_file(path: Path, store: Store, fake_clock: FakeClock) -> None:
    store.admission.commit([admitted(fake_clock)])
    files = sorted(path.parent.iterdir())
    assert path in files
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_an_existing_file_becomes_private(path: Path, fake_clock: FakeClock) -> None:
    path.touch(mode=0o644)
    open_store(path, clock=fake_clock).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_restart_keeps_everything(path: Path, store: Store, fake_clock: FakeClock) -> None:
    topology = Topology(
        rr_set="rrs", reflectors=(Reflector(node="rr", transport_address=IPv4Address("192.0.2.1")),)
    )
    nonce = UsedNonce(policy="p", nonce="n", leaf_id="leaf-a", fingerprint="f")
    store.admission.commit([admitted(fake_clock), nonce])
    store.keep_topology(topology)
    store.keep_own_claim(claim("own"))
    store.originals("sysctl").record("net.ipv4.ip_forward", "0")
    begin(store, "aws", "routes", route(1))
    store.close()

    again = open_store(path, clock=fake_clock)
    assert again.admitted() == (admitted(fake_clock),)
    assert again.admission.used_nonce("p", "n") == nonce
    assert again.topologies() == {"rrs": topology}
    assert again.own_claims() == {"own": claim("own")}
    assert again.originals("sysctl").all() == {"net.ipv4.ip_forward": "0"}
    assert again.journal.owned_keys("aws", "routes") == {str(route(1).key)}


def test_a_claim_replaces_the_one_of_its_name(store: Store, fake_clock: FakeClock) -> None:
    first = admitted(fake_clock)
    store.admission.commit([first])
    second = attrs.evolve(first, expires_at=None)
    store.admission.commit([second])
    assert store.admitted() == (second,)


def test_a_nonce_belongs_to_its_first_user(store: Store, fake_clock: FakeClock) -> None:
    first = UsedNonce(policy="p", nonce="n", leaf_id="leaf-a", fingerprint="f")
    store.admission.commit([admitted(fake_clock), first])
    store.admission.commit([admitted(fake_clock, "leaf-b"), attrs.evolve(first, leaf_id="leaf-b")])
    assert store.admission.used_nonce("p", "n") == first
    assert store.admission.used_nonce("q", "n") is None


def test_a_revoked_claim_stays_revoked(path: Path, store: Store, fake_clock: FakeClock) -> None:
    revocation = Revocation(
        policy="p", leaf_id="leaf-a", nonce="n", name="leaf-a", reason="lost", revoked_at=fake_clock.now()
    )
    store.admission.commit([admitted(fake_clock), revocation])
    store.close()

    again = open_store(path, clock=fake_clock)
    assert again.admission.load().revocations == (revocation,)


def test_a_revocation_survives_the_loss_of_the_state_file(path: Path, fake_clock: FakeClock) -> None:
    """The second copy beside the state file keeps a revoked leaf out."""
    revocation = Revocation(
        policy="p", leaf_id="leaf-a", nonce="n", name="leaf-a", reason="lost", revoked_at=fake_clock.now()
    )
    lifted = attrs.evolve(revocation, leaf_id="leaf-b", lifted_at=fake_clock.now())
    store = open_store(path, clock=fake_clock)
    store.admission.commit([revocation, attrs.evolve(lifted, lifted_at=None)])
    store.admission.commit([lifted])
    store.close()
    for file in path.parent.glob("routerd.db*"):
        file.unlink()
    with path.with_suffix(".denied").open("a") as file:
        file.write("00000000 {}\nhalf a li")  # a line that is damaged, and one cut short by a kill
    again = open_store(path, clock=fake_clock)
    assert set(again.admission.load().revocations) == {revocation, lifted}
    third = attrs.evolve(revocation, leaf_id="leaf-c")
    again.admission.commit([third])
    again.close()
    path.unlink()
    assert third in open_store(path, clock=fake_clock).admission.load().revocations


class TestJournal:
    def test_a_change_without_an_outcome_is_ours(self, store: Store) -> None:
        number = begin(store, "aws", "routes", route(1))
        (entry,) = store.journal.entries()
        assert (entry.number, entry.verb, entry.outcome) == (number, "create", "")
        assert entry.key_value == {"table": "rtb-1", "prefix": "10.0.0.1/32"}
        assert (entry.before, entry.after) == (None, {"next_hop": "eni-1"})
        assert store.journal.owned_keys("aws", "routes") == {str(route(1).key)}

    @pytest.mark.parametrize(
        ("outcome", "ours"), [("done", True), ("failed: timed out", True), ("refused: foreign", False)]
    )
    def test_only_a_refused_change_is_not_ours(self, store: Store, outcome: str, ours: bool) -> None:
        finish(store, begin(store, "aws", "routes", route(1)), outcome)
        assert bool(store.journal.owned_keys("aws", "routes")) == ours

    def test_a_deleted_key_is_no_longer_ours(self, store: Store) -> None:
        finish(store, begin(store, "aws", "routes", route(1)), "done")
        finish(store, begin(store, "aws", "routes", route(2)), "done")
        deletion = begin(store, "aws", "routes", route(1, before="eni-1", after=None))
        assert len(store.journal.owned_keys("aws", "routes")) == 2
        finish(store, deletion, "done")
        assert store.journal.owned_keys("aws", "routes") == {str(route(2).key)}
        kept = [(entry.key, entry.ended) for entry in store.journal.entries()]
        one, two = str(route(1).key), str(route(2).key)
        assert kept == [(one, True), (two, False), (one, True)], "the story of a key is kept for people"

    @pytest.mark.parametrize("after", [None, "eni-2"])
    def test_what_was_superseded_is_no_longer_ours(self, store: Store, after: str | None) -> None:
        finish(store, begin(store, "aws", "routes", route(1)), "done")
        number = begin(store, "aws", "routes", route(1, before="eni-1", after=after))
        finish(store, number, "superseded: leads to eni-3")
        assert store.journal.owned_keys("aws", "routes") == set()
        assert store.journal.owned("aws", "routes") == {}

    def test_a_key_whose_deletion_failed_is_still_ours(self, store: Store) -> None:
        finish(store, begin(store, "aws", "routes", route(1)), "done")
        deletion = begin(store, "aws", "routes", route(1, before="eni-1", after=None))
        finish(store, deletion, "failed: 503")
        assert store.journal.owned_keys("aws", "routes") == {str(route(1).key)}

    def test_any_number_of_changes_keeps_the_value_before_the_first(self, store: Store) -> None:
        refused = begin(store, "aws", "routes", route(1, before="igw"))
        finish(store, refused, "refused: 403")
        for count in range(60):
            before = "igw-prior" if count == 0 else "eni-1"
            number = begin(store, "aws", "routes", route(1, before=before))
            finish(store, number, "done" if count % 2 else "failed: timed out")
        first = store.journal.owned("aws", "routes")[str(route(1).key)]
        assert first.before == {"next_hop": "igw-prior"}
        assert len(store.journal.entries("aws", "routes")) <= 22

    def test_refusals_do_not_pile_up(self, store: Store) -> None:
        for _ in range(60):
            finish(store, begin(store, "aws", "routes", route(1)), "refused: 403")
        assert len(store.journal.entries()) == 20

    def test_scopes_and_tables_are_apart(self, store: Store) -> None:
        begin(store, "aws", "routes", route(1))
        begin(store, "oci", "routes", route(2))
        begin(store, "aws", "forwarding", route(3))
        assert store.journal.owned_keys("aws", "routes") == {str(route(1).key)}
        assert len(store.journal.entries("aws")) == 2


def test_originals_are_kept_by_scope(store: Store) -> None:
    one, other = store.originals("sysctl"), store.originals("other")
    one.record("k", "0")
    one.record("k", "1")
    assert one.all() == {"k": "1"}
    assert other.all() == {}
    one.forget("k")
    one.forget("k")
    assert one.all() == {}


def test_closing_twice_is_fine(store: Store) -> None:
    store.close()
    # The rule is that this does not raise.
    store.close()
