"""What `routerd verify` needs to know of the policy in force: its tests, the links, our site's addresses.

It is a table of the loop as the rules are, with a file in the plugin's own directory: the provider has no
other way to the resources, and the file is right for the next process, too.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path

import attrs

from routerd.errors import PermanentError, ProviderError, TransientError
from routerd.model.change import Change
from routerd_fabric_policy.policy import Policy, Test
from routerd_fabric_policy.reading import read_test

_POLICY, _LINKS, _OWN, _TEST = "policy", "links", "own addresses", "test "
_NONE = "none"


@attrs.frozen(kw_only=True)
class Expected:
    """The policy in force by its reference, its tests, the links whose packets it judges, and our site."""

    ref: str
    links: tuple[str, ...] = ()
    own: tuple[IPv4Network, ...] = ()
    tests: tuple[Test, ...] = ()


def entries(policy: Policy, links: Sequence[str], own: Sequence[IPv4Network]) -> dict[str, str]:
    """Return what the table should hold."""
    tests = {f"{_TEST}{test.number}": test.text for test in policy.tests}
    return {
        _POLICY: policy.ref,
        _LINKS: " ".join(links) or _NONE,
        _OWN: " ".join(map(str, own)) or _NONE,
        **tests,
    }


class TestsTable:
    """The entries of a file. Implements `spi.Table`."""

    def __init__(self, file: Path, refuse_dry_run: Callable[[], None]) -> None:
        self._file = file
        self._refuse_dry_run = refuse_dry_run

    async def observe(self) -> Mapping[str, str]:
        """Return the entries; a file whose content is damaged has none, and is then written again."""
        return self._read()

    async def apply(self, changes: Sequence[Change[str, str]]) -> Mapping[str, ProviderError]:
        """Write all changes at once; the file goes with its last entry."""
        try:
            content = self._read()
            before = dict(content)
            for change in changes:
                if change.after is None:
                    content.pop(change.key, None)
                else:
                    content[change.key] = change.after
            if content != before:
                self._refuse_dry_run()
                self._write(content)
        except ProviderError as error:
            return {change.key: error for change in changes}
        return {}

    def expected(self) -> Expected | None:
        """Return what the policy in force expects, or none without a policy."""
        content = self._read()
        if _POLICY not in content:
            return None
        numbers = sorted(int(key.removeprefix(_TEST)) for key in content if key.startswith(_TEST))
        tests = (read_test(content[f"{_TEST}{number}"], number) for number in numbers)
        return Expected(
            ref=content[_POLICY],
            links=_words(content.get(_LINKS, _NONE)),
            own=tuple(IPv4Network(each) for each in _words(content.get(_OWN, _NONE))),
            tests=tuple(test for test in tests if test is not None),
        )

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise TransientError(f"{self._file}: cannot be read; {error.strerror}") from error
        except ValueError:
            return {}
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            return {}
        return found

    def _write(self, content: Mapping[str, str]) -> None:
        try:
            if not content:
                self._file.unlink(missing_ok=True)
                return
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(content, indent=1))
            fresh.replace(self._file)
        except OSError as error:
            raise PermanentError(f"{self._file}: cannot be written; {error.strerror}") from error


def _words(text: str) -> tuple[str, ...]:
    return () if text == _NONE else tuple(text.split())
