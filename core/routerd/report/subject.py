"""The part of a running router that a report reads."""

from typing import Protocol

from routerd.clouds.gate import Gate
from routerd.plugins.check import Prepared
from routerd.plugins.providers import Providers
from routerd.reconcile.derive import Inputs
from routerd.reconcile.desired import Desired
from routerd.reconcile.knowledge import Knowledge
from routerd.reconcile.loop import Loop
from routerd.spi import Logger


class Subject(Protocol):
    """A router as its reports see it."""

    @property
    def prepared(self) -> Prepared:
        """Return the configuration in force."""

    @property
    def log(self) -> Logger:
        """Return the log, for the failures of providers."""

    @property
    def made(self) -> Providers:
        """Return the providers."""

    @property
    def loop(self) -> Loop:
        """Return the loop, for its reports and passes."""

    @property
    def knowledge(self) -> Knowledge:
        """Return the facts of the moment."""

    def gates(self) -> dict[str, Gate]:
        """Return the gate of each cloud table, by the table's name."""

    def inputs(self) -> Inputs:
        """Return the inputs of the next derivation."""

    def derive(self) -> Desired:
        """Return the desired state from the present facts."""
