"""The family of everything else: a subsystem brings resource kinds, and tables that follow from them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol

import attrs

from routerd.errors import Problem
from routerd.model.report.explanation import Step
from routerd.model.resource import Resource, ResourceKind
from routerd.model.subsystem import Derivation, FabricFacts, Flow, SubsystemState
from routerd.spi.control import ControlRoute
from routerd.spi.provider import Lifecycle, Provider

Resources = Sequence[Resource[Any]]  # Any: the specs of the subsystem's own kinds


class Subsystem(Lifecycle, Protocol):
    """Changes what a subsystem's tables stand for. Each `SubsystemTable` is an attribute of its own name.

    Everything pure is in the description, `SubsystemType`, so that `validate` and `plan` need no provider.
    """

    async def states(self) -> Sequence[SubsystemState]:
        """Return what the status shows, one line each."""

    def control_routes(self) -> Sequence[ControlRoute]:
        """Return the routes of the admin API that this provider answers itself; the same at each call.

        They appear below `/v1/plugins/<plugin>/`, beside those of `routerd_control_routes`.
        """


Rank = Literal[
    "addresses",
    "tunnels.encrypting",
    "peers",
    "firewall",
    "tunnels",
    # After the links: many settings are a link's own.
    "sysctls",
    "routes",
    "speakers",
    "import_policies",
    "sessions",
    "advertisements",
    "forwarding",
    "fabric-routes",
]
"""The core's tables in the order of changes: creations from the first to the last, deletions backwards."""


@attrs.frozen(kw_only=True)
class SubsystemTable:
    """A table of a subsystem, the attribute `name` of its provider.

    Its creations come right `after` those of the core's tables of that rank, its deletions right before
    theirs. Where it changes something `outside` of this host, the core journals each change before it
    is made, and `routerd down` restores the value that was there before ours; `key` and `value` are then
    the classes of its keys and values, made of texts, numbers, times, addresses and attrs classes of
    these. Such a table has a lane of its own, so that a slow API keeps nothing else waiting. `deadline` is
    that of one call, in seconds. While nothing changes on our side, `quiet` seconds pass between two
    observations.
    """

    name: str
    after: Rank
    outside: bool = False
    key: type[Any] = str  # Any: keys and values differ by table
    value: type[Any] = str  # Any: as above
    deadline: float = 30.0
    quiet: float = 0.0


def _no_problem(resources: Resources, facts: FabricFacts | None) -> Iterable[Problem]:
    return ()


def _no_step(flow: Flow, resources: Resources, facts: FabricFacts) -> Sequence[Step]:
    return ()


@attrs.frozen(kw_only=True)
class SubsystemType(Provider[Subsystem]):
    """A subsystem described; `kind` is its name in tables, logs and the status.

    `kinds` are the resources that a file may then hold. The functions are pure, equal arguments get equal
    answers, and `resources` are those of `kinds`, in the order of the file:

    - `derive` returns what the tables should hold. The core asks it whenever resources or facts have changed.
    - `check` yields what is wrong with the resources, by `Resource.problem`, so that it has file and line.
      The core asks it for every file; `facts` are none where no daemon runs, and those of the moment
      before a reload and in the plan of a daemon.
    - `explain` returns what decides about a flow, for `routerd explain A B`; a `bad` step with a `blame`
      says that the flow does not get through.

    Added in 1.0.
    """

    kinds: tuple[ResourceKind, ...] = ()
    tables: tuple[SubsystemTable, ...] = ()
    derive: Callable[[Resources, FabricFacts], Derivation]
    check: Callable[[Resources, FabricFacts | None], Iterable[Problem]] = _no_problem
    explain: Callable[[Flow, Resources, FabricFacts], Sequence[Step]] = _no_step
