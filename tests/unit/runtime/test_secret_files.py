"""The files of secrets that a configuration names: others must not read them, and never write them."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from routerd import config
from routerd.errors import ConfigError
from routerd.plugins.check import Prepared
from routerd.plugins.host import PluginHost
from routerd.runtime import secret_files

TEXT = """\
apiVersion: routerd.net/v1alpha1
kind: Router
metadata: {{name: a}}
spec:
  resources:
    - apiVersion: net.routerd.net/v1alpha1
      kind: WireGuardInterface
      metadata: {{name: wg}}
      spec:
        listenPort: 51820
        privateKeyFile: {place}/wg.key
    - apiVersion: system.routerd.net/v1alpha1
      kind: ControlAPI
      metadata: {{name: api}}
      spec:
        listenAddress: 127.0.0.1
        port: 65432
        allowCIDRs: [127.0.0.0/8]
        tokenFrom: {{file: {place}/password}}
"""


@attrs.frozen
class KeyOptions:
    """The options of a join method with a key of its own."""

    private_key_file: Path


def prepared(place: Path) -> Prepared:
    configuration = config.load_text(TEXT.format(place=place), file="r.yaml")
    return Prepared(configuration=configuration, host=PluginHost([]), options={}, profile_options={})


def found(place: Path, *, missing: bool = True) -> list[str]:
    return [
        f"{each.severity} {each}".replace(str(place), "")
        for each in secret_files.problems(prepared(place), missing=missing)
    ]


def write(place: Path, mode: int) -> None:
    for name in ("wg.key", "password"):
        (place / name).write_text("secret")
        (place / name).chmod(mode)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_secret_of_root_alone_is_right(tmp_path: Path, mode: int) -> None:
    write(tmp_path, mode)
    assert found(tmp_path) == []


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_secret_that_others_may_read_is_a_warning_with_the_command(tmp_path: Path, mode: int) -> None:
    write(tmp_path, mode)
    may = "others may read the secret"
    assert found(tmp_path) == [
        f"warning r.yaml:{line}: {field}: {may} {file} (mode {mode:04o}); chmod 600 {file}"
        for line, field, file in (
            (11, "WireGuardInterface/wg spec.privateKeyFile", "/wg.key"),
            (19, "ControlAPI/api spec.tokenFrom.file", "/password"),
        )
    ]
    secret_files.check(prepared(tmp_path))


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_secret_that_others_may_replace_is_refused(tmp_path: Path, mode: int) -> None:
    write(tmp_path, mode)
    with pytest.raises(ConfigError, match=r"others may write to the secret .*chmod 600"):
        secret_files.check(prepared(tmp_path))


def test_a_missing_secret_is_a_warning_unless_routerd_makes_it(tmp_path: Path) -> None:
    (only,) = found(tmp_path)
    assert "ControlAPI/api spec.tokenFrom.file: /password does not exist on this host" in only
    assert found(tmp_path, missing=False) == []


def test_a_secret_of_another_user_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 0o600)
    for name in ("wg.key", "password"):
        os.chown(tmp_path / name, 12345, -1) if os.geteuid() == 0 else monkeypatch.setattr(
            os, "geteuid", lambda: 1
        )
    assert all("belongs to user" in text for text in found(tmp_path))
    assert len(found(tmp_path)) == 2


def test_the_key_of_a_join_method_counts_too(tmp_path: Path) -> None:
    write(tmp_path, 0o600)
    key = tmp_path / "join.pem"
    key.write_text("key")
    key.chmod(0o644)
    given = attrs.evolve(prepared(tmp_path), join_options={"ControlAPI/api": KeyOptions(key)})
    (only,) = secret_files.problems(given)
    assert only.path == "spec.joinOptions.privateKeyFile"
    assert f"chmod 600 {key}" in str(only)
