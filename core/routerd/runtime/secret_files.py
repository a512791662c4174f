"""The files of secrets that a configuration names: whether they exist, and who else may open them."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from routerd.errors import ConfigError, Problem
from routerd.model.resource import Resource
from routerd.model.specs import SecretSource
from routerd.model.specs.keys import fields_of
from routerd.plugins.check import Prepared

_KEYS = {"private_key_file": True, "preshared_key_file": False, "key_file": False}
"""Fields that name a file with a key; routerd makes a missing one where it says so."""


def check(prepared: Prepared) -> None:
    """Raise `ConfigError` for a secret that others may replace."""
    refuse(problems(prepared))


def refuse(found: Sequence[Problem]) -> None:
    """Raise `ConfigError` with the errors among problems, if there are any."""
    if errors := [each for each in found if each.severity == "error"]:
        raise ConfigError(errors)


def problems(prepared: Prepared, *, missing: bool = True) -> list[Problem]:
    """Return what is wrong with the files on this host: errors and warnings. Blocks for look-ups of files.

    Without `missing` a file may be absent: the configuration is for another host.
    """
    return [
        problem
        for resource in prepared.configuration.resources
        for value, below in (
            (resource.spec, "spec"),
            (prepared.join_options.get(resource.id.ref), "spec.joinOptions"),
            (prepared.tunnel_options.get(resource.id.ref), "spec.options"),
        )
        for path, file, made in _files(value, below)
        for problem in _judged(resource, path, file, missing=missing and not made)
    ]


def _files(value: object, path: str) -> Iterator[tuple[str, Path, bool]]:
    if isinstance(value, SecretSource):
        if value.file is not None:
            yield f"{path}.file", value.file, False
    elif isinstance(value, tuple):
        for index, each in enumerate(value):
            yield from _files(each, f"{path}[{index}]")
    elif attrs.has(kind := type(value)):
        for key, (field, _) in fields_of(kind).items():
            found: Any = getattr(value, field.name)  # Any: of any type
            if field.name in _KEYS and isinstance(found, Path):
                yield f"{path}.{key}", found, _KEYS[field.name]
            else:
                yield from _files(found, f"{path}.{key}")


def _judged(resource: Resource[object], path: str, file: Path, *, missing: bool) -> Iterator[Problem]:
    try:
        found = file.stat()
    except FileNotFoundError:
        if missing:
            hint = "write it before the daemon starts"
            yield resource.problem(path, f"{file} does not exist on this host", hint, severity="warning")
        return
    except OSError as error:
        yield resource.problem(path, f"{file}: {error.strerror}", "check its directory", severity="warning")
        return
    mode = stat.S_IMODE(found.st_mode)
    shown, remedy = f"mode {mode:04o}", f"chmod 600 {file}"
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield resource.problem(path, f"others may write to the secret {file} ({shown})", remedy)
    elif mode & (stat.S_IRGRP | stat.S_IROTH):
        yield resource.problem(
            path, f"others may read the secret {file} ({shown})", remedy, severity="warning"
        )
    if found.st_uid not in {0, os.geteuid()}:
        yield resource.problem(
            path, f"the secret {file} belongs to user {found.st_uid}", f"chown it to root, and {remedy}",
            severity="warning",
        )  # fmt: skip
