"""Memberships: enrollers follow the file, also past one that will not end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest

from routerd import config
from routerd.leaf import memberships as membership
from routerd.leaf.memberships import Memberships
from routerd.model.claim import Claim
from routerd.model.intent import Intent
from routerd.model.report.status import Membership
from routerd.process.supervisor import Supervisor
from routerd.testing.clock import FakeClock
from routerd.testing.context import RecordingLogger

TASK = "enroller fabric"


def intent(leaf: str = "leaf1", *, client: bool = True) -> Intent:
    submits = """\
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClient
      metadata: {name: fabric}
      spec: {claimRef: SAMEnrollmentClaim/c, bootstrapEndpoints: ["http://192.0.2.1:65432"]}
"""
    text = f"""\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {{name: m}}
spec:
  resources:
    - apiVersion: net.routerd.net/v1alpha1
      kind: Interface
      metadata: {{name: lan}}
      spec: {{ifname: eth0}}
    - apiVersion: mobility.routerd.net/v1alpha1
      kind: SAMEnrollmentClaim
      metadata: {{name: c}}
      spec: {{policyRef: SAMEnrollmentPolicy/x, leafID: {leaf}, tunnelAddress: 10.255.0.9}}
"""
    loaded = config.load_text(text + submits, file="m.yaml").intent
    if client:
        return loaded
    kept = tuple(each for each in loaded.resources if each.id.kind != "SAMEnrollmentClient")
    return attrs.evolve(loaded, resources=kept)


class FakeEnroller:
    """Runs until it is cancelled, or, when it is stubborn, until it is let go."""

    def __init__(self, claim: Claim, on_claim: Callable[[Claim], None], *, stubborn: bool) -> None:
        self.claim = claim
        self.on_claim = on_claim
        self.stubborn = stubborn
        self.let_go = asyncio.Event()
        self.running = False
        self.status = Membership(name=TASK, phase="Ready", claim=claim.ref)

    async def run(self) -> None:
        self.running = True
        try:
            await self._wait()
        finally:
            self.running = False

    async def _wait(self) -> None:
        while True:
            try:
                await self.let_go.wait()
                return
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise

    def retry_now(self) -> None: ...


class Scene:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[FakeEnroller] = []
        self.claims: list[str] = []
        self.log = RecordingLogger()
        clock = FakeClock()
        self.supervisor = Supervisor(clock=clock, log=self.log)
        monkeypatch.setattr(membership, "Enroller", self._make)
        nothing: Any = object()
        self.memberships = Memberships(
            store=nothing,
            methods=nothing,
            supervisor=self.supervisor,
            clock=clock,
            log=self.log,
            on_change=lambda: None,
            on_claim=lambda claim: self.claims.append(claim.leaf_id),
            patience=0.01,
        )

    def _make(self, _: object, claim: Claim, *, on_claim: Callable[[Claim], None], **__: object) -> Any:
        self.made.append(FakeEnroller(claim, on_claim, stubborn=not self.made))
        return self.made[-1]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the loop only has to turn
                await asyncio.sleep(0)


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    made = Scene(monkeypatch)
    yield made
    for each in made.made:
        each.stubborn = False
    await made.supervisor.aclose()


async def stuck(scene: Scene) -> FakeEnroller:
    await scene.memberships.follow(intent())
    (first,) = scene.made
    await scene.until(lambda: first.running)
    await scene.memberships.follow(intent("leaf2"))
    return first


async def test_an_enroller_that_does_not_end_is_reported_and_no_second_one_runs_beside_it(
    scene: Scene,
) -> None:
    first = await stuck(scene)
    (why,) = scene.memberships.reasons()
    assert why.startswith("SAMEnrollmentClient/fabric: waiting; its earlier enroller does not end")
    (found,) = scene.memberships.report()
    assert (found.name, found.phase) == ("SAMEnrollmentClient/fabric", "Pending")
    assert scene.made == [first]
    assert scene.supervisor.running(TASK)


async def test_the_log_says_once_that_a_task_is_stuck(scene: Scene) -> None:
    await stuck(scene)
    for _ in range(3):
        await scene.supervisor.cancel(TASK, 0.001)
    assert scene.log.events("error") == ["task.stuck"]


async def test_the_next_one_begins_when_the_earlier_has_ended(scene: Scene) -> None:
    first = await stuck(scene)
    first.let_go.set()
    await scene.until(lambda: len(scene.made) == 2 and scene.made[1].running)
    assert scene.made[1].claim.leaf_id == "leaf2"
    assert scene.memberships.reasons() == []


async def test_what_begins_then_is_what_the_file_says_then(scene: Scene) -> None:
    first = await stuck(scene)
    await scene.memberships.follow(intent("leaf3"))
    first.let_go.set()
    await scene.until(lambda: len(scene.made) == 2)
    assert scene.made[1].claim.leaf_id == "leaf3"


async def test_a_client_that_is_gone_meanwhile_is_not_begun(scene: Scene) -> None:
    first = await stuck(scene)
    await scene.memberships.follow(intent(client=False))
    first.let_go.set()
    await scene.until(lambda: not scene.memberships.reasons())
    assert scene.made == [first]


async def test_an_enroller_that_was_replaced_speaks_for_nobody(scene: Scene) -> None:
    first = await stuck(scene)
    first.on_claim(first.claim)
    assert scene.claims == []


async def test_one_that_has_not_changed_goes_on(scene: Scene) -> None:
    await scene.memberships.follow(intent())
    await scene.memberships.follow(intent())
    (only,) = scene.made
    only.on_claim(only.claim)
    assert scene.claims == ["leaf1"]
