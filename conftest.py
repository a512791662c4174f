"""Tiers of tests: which this machine can run, and that a skip is never silent.

A tier is a marker (`netns`, `cloud`, ...); a test without one is `fast`. `--require=netns,cloud`
turns every skip in these tiers, and a tier in which nothing ran, into a failure.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is the machine's business, and others may be at work on it: speed is measured
# by the benchmarks, never by a test. CI tries the same examples each time, everybody else new ones: what
# is found has a cause in the change that is judged, and what nobody has looked for yet is found by people.
settings.register_profile(
    "routerd",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# `make check` asks for it: enough to notice, in a fifth of the time.
settings.register_profile("quick", settings.get_profile("routerd"), max_examples=20)
settings.load_profile("routerd")

# The lab finds the examples through this link. The distributions among them run their tests by themselves.
collect_ignore = ["plugins/lab/routerd_lab/configs"]

# The tests start hundreds of Python processes. Each would compile the whole tree if none kept the result.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The lab's deadlines hold on a quiet machine. Only failures take longer.
os.environ.setdefault("ROUTERD_LAB_PATIENCE", "5")

HEAVY = 300
"""Seconds of processor in a run, above which its summary names the tests that cost most."""
TIERS = ("live", "netns", "vm", "cloud", "interop", "thirdparty", "bench")


class _Counts:
    """The reports of this run; the controlling process collects those of all workers."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.skipped: dict[str, Counter[str]] = {}
        self.seconds: Counter[str] = Counter()
        self.processor: Counter[str] = Counter()
        self.heaviest: Counter[str] = Counter()
        self._used = 0.0

    def used(self) -> float:
        """Return the processor time of this process and of its children since the last call."""
        before, self._used = self._used, sum(os.times()[:4])
        return self._used - before


_COUNTS = _Counts()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --require."""
    parser.addoption(
        "--require", default="", metavar="TIERS", help="tiers, separated by commas, that must not be skipped"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse tiers that do not exist."""
    unknown = _required(config) - {*TIERS, "fast"}
    if unknown:
        raise pytest.UsageError(f"--require: no such tier: {', '.join(sorted(unknown))}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a user namespace where there is none."""
    if not any(item.get_closest_marker("netns") for item in items):
        return
    why = _no_namespaces()
    if why:
        for item in items:
            if item.get_closest_marker("netns"):
                item.add_marker(pytest.mark.skip(reason=why))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what collection made; count processor time from here."""
    gc.collect()
    gc.freeze()
    _COUNTS.used()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterable[None]:
    """Note the processor time of each phase; turn a skip in a required tier into a failure."""
    report = yield
    tier = _tier(item)
    report.user_properties = [*report.user_properties, ("processor", _COUNTS.used())]
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if tier in _required(item.config):
            report.outcome = "failed"
            report.longrepr = f"the tier {tier} is required, and this test was skipped: {reason}"
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count what ran and what did not, wherever it ran."""
    tier = next((tier for tier in TIERS if tier in report.keywords), "fast")
    _COUNTS.seconds[tier] += report.duration
    used = sum(value for name, value in report.user_properties if name == "processor")
    _COUNTS.processor[tier] += used
    _COUNTS.heaviest[report.nodeid] += used
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        _COUNTS.skipped.setdefault(tier, Counter())[reason.removeprefix("Skipped: ")] += 1
    elif report.when == "call":
        _COUNTS.ran[tier] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail when nothing of a required tier ran."""
    if (
        hasattr(session.config, "workerinput")
        or session.config.option.collectonly
        or session.exitstatus not in (0, 1)
    ):
        return
    if _absent(session.config) and session.exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what ran, what was skipped, and why."""
    ran, skipped = _COUNTS.ran, _COUNTS.skipped
    for tier in ("fast", *TIERS):
        if ran[tier]:
            terminalreporter.write_line(
                f"tier {tier}: {ran[tier]} tests, {_COUNTS.seconds[tier]:.0f} s of tests, "
                f"{_COUNTS.processor[tier]:.0f} s of processor"
            )
    if sum(_COUNTS.processor.values()) > HEAVY:
        for name, used in _COUNTS.heaviest.most_common(15):
            terminalreporter.write_line(f"{used:4.0f} s of processor: {name}")
    for tier, reasons in skipped.items():
        for reason, count in reasons.items():
            terminalreporter.write_line(f"skipped in {tier}: {count} ({reason})")
    for tier in _absent(config):
        terminalreporter.write_line(f"the tier {tier} is required and nothing of it ran", red=True)


def _required(config: pytest.Config) -> set[str]:
    return {name.strip() for name in str(config.option.require).split(",") if name.strip()}


def _absent(config: pytest.Config) -> list[str]:
    return sorted(tier for tier in _required(config) if not _COUNTS.ran[tier])


def _tier(item: pytest.Item) -> str:
    return next((tier for tier in TIERS if item.get_closest_marker(tier)), "fast")


def _no_namespaces() -> str:
    if shutil.which("unshare") is None:
        return "unshare (util-linux) is not installed"
    done = subprocess.run(
        ["unshare", "-Urnm", "true"], capture_output=True, text=True, check=False, timeout=10
    )
    return f"no user namespace can be made: {done.stderr.strip()}" if done.returncode else ""
