"""The world of this plugin's tests: a region of AWS on loopback, and a fabric on the unmodified SDK in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.aws_world import AwsWorld, served

from routerd.testing.context import make_context
from routerd_cloud_aws.config import AwsOptions
from routerd_cloud_aws.plugin import AwsFabric

MakeFabric = Callable[..., Awaitable[AwsFabric]]


class EagerClock:
    """Implements `spi.Clock`: whoever sleeps wakes at once, and the time has passed."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        self.elapsed += seconds


@pytest.fixture
def clock() -> EagerClock:
    return EagerClock()


@pytest.fixture
async def aws(tmp_path: Path) -> AsyncIterator[AwsWorld]:
    """The emulated region and its metadata service, under their real names."""
    async with served(tmp_path) as world:
        yield world


@pytest.fixture
async def make_fabric(aws: AwsWorld, tmp_path: Path, clock: EagerClock) -> AsyncIterator[MakeFabric]:
    """Make started fabrics on the credentials of the instance's role, and close them in the end."""
    made: list[AwsFabric] = []

    async def make(
        options: AwsOptions | None = None, *, others: frozenset[str] = frozenset(), read_only: bool = False
    ) -> AwsFabric:
        context = make_context(tmp_path, plugin="cloud_aws", clock=clock, read_only=read_only)
        fabric = AwsFabric(context, options or AwsOptions())
        if others:
            fabric.share(others)
        await fabric.start()
        made.append(fabric)
        return fabric

    yield make
    for fabric in made:
        await fabric.aclose()


@pytest.fixture
async def fabric(make_fabric: MakeFabric) -> AwsFabric:
    """A started fabric without options."""
    return await make_fabric()


@pytest.fixture
async def shared(make_fabric: MakeFabric, aws: AwsWorld) -> AwsFabric:
    """A started fabric that knows of the site's other router."""
    return await make_fabric(others=frozenset({aws.other}))
