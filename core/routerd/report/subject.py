"""The part of a running router that a report reads."""

from collections.abc import Mapping
from typing import Protocol

from routerd.clouds.gate import Gate
from routerd.model.claim import AdmittedClaim
from routerd.model.fabric import InstanceFacts
from routerd.model.route import RouteSet
from routerd.plugins.check import Prepared
from routerd.plugins.providers import Providers
from routerd.reconcile.derive import Inputs
from routerd.reconcile.desired import Desired
from routerd.reconcile.loop import Loop


class Known(Protocol):
    """Facts by source; `waiting` has the reason for each source without an answer."""

    @property
    def claims(self) -> tuple[AdmittedClaim, ...]:
        """Return the admitted claims."""

    @property
    def learned(self) -> RouteSet | None:
        """Return the learned routes; none before the first set."""

    @property
    def instances(self) -> Mapping[str, InstanceFacts]:
        """Return the instance of each cloud profile."""

    @property
    def waiting(self) -> Mapping[str, str]:
        """Return the reason for each source without an answer."""


class Subject(Protocol):
    """A router as its reports see it."""

    @property
    def prepared(self) -> Prepared:
        """Return the configuration in force."""

    @property
    def made(self) -> Providers:
        """Return the providers."""

    @property
    def loop(self) -> Loop:
        """Return the loop, for its reports and passes."""

    @property
    def knowledge(self) -> Known:
        """Return the facts of the moment."""

    def gates(self) -> dict[str, Gate]:
        """Return the gate of each cloud table, by the table's name."""

    def inputs(self) -> Inputs:
        """Return the inputs of the next derivation."""

    def derive(self) -> Desired:
        """Return the desired state from the present facts."""
