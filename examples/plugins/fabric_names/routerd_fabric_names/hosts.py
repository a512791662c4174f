"""The lines of files of hosts as a table; a file is replaced in one step."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from routerd.errors import NotOwnedError, ProviderError, TransientError
from routerd.model.change import Change
from routerd.spi import PluginContext
from routerd_fabric_names.names import Addresses, Line

MARK = "# routerd fabric_names: this file is written again at each change"
_LIST = "files"

Content = dict[str, Addresses]


class HostsLines:
    """Implements `spi.Table`. The plugin's state directory has the list of the files that are ours."""

    def __init__(self, context: PluginContext) -> None:
        self._context = context
        self._list = context.state_dir / _LIST

    async def observe(self) -> Mapping[Line, Addresses]:
        """Return the lines of all our files; one that is gone, or is not ours any more, has none."""
        found: dict[Line, Addresses] = {}
        for file in self.files():
            with contextlib.suppress(NotOwnedError):
                found |= {Line(file, name): addresses for name, addresses in _read(file).items()}
        return found

    async def apply(self, changes: Sequence[Change[Line, Addresses]]) -> Mapping[Line, ProviderError]:
        """Write each file that changes once; a file that is not ours fails with all its lines."""
        failures: dict[Line, ProviderError] = {}
        if changes:
            self._context.refuse_dry_run()
        for file in dict.fromkeys(change.key.file for change in changes):
            mine = [change for change in changes if change.key.file == file]
            try:
                self._change(file, mine)
            except ProviderError as error:
                failures |= {change.key: error for change in mine}
        return failures

    def files(self) -> list[Path]:
        """Return the files that are ours."""
        try:
            return [Path(line) for line in self._list.read_text().splitlines()] if self._list.exists() else []
        except OSError as error:
            raise TransientError(f"{self._list}: cannot be read: {error.strerror}") from error

    def _change(self, file: Path, changes: Sequence[Change[Line, Addresses]]) -> None:
        content = _read(file)
        for change in changes:
            content.pop(change.key.name, None)
            if change.after is not None:
                content[change.key.name] = change.after
        try:
            if content:
                # First the list: a file that it names and that does not exist does no harm.
                self._note([*self.files(), file])
                file.parent.mkdir(parents=True, exist_ok=True)
                _replace(file, _text(content))
            else:
                file.unlink(missing_ok=True)
                self._note([each for each in self.files() if each != file])
        except OSError as error:
            raise TransientError(f"{file}: cannot be written: {error.strerror}") from error

    def _note(self, files: list[Path]) -> None:
        _replace(self._list, "".join(f"{each}\n" for each in sorted(set(files))))


def _read(file: Path) -> Content:
    """Return the names of a file of ours; nothing when it does not exist."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else [MARK]
    except (OSError, UnicodeDecodeError) as error:
        raise TransientError(f"{file}: cannot be read: {error}") from error
    if lines[:1] != [MARK]:
        raise NotOwnedError(f"{file}: exists and is not ours; name another file, or remove it")
    content: dict[str, list[str]] = {}
    for line in lines[1:]:
        address, *names = line.partition("#")[0].split() or [""]
        for name in names:
            content.setdefault(name, []).append(address)
    return {name: tuple(addresses) for name, addresses in content.items()}


def _text(content: Content) -> str:
    lines = [f"{address} {name}" for name in sorted(content) for address in content[name]]
    return "\n".join([MARK, *lines, ""])


def _replace(file: Path, text: str) -> None:
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)
