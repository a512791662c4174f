"""The MTU of devices as the kernel has them."""

from __future__ import annotations

from pathlib import Path

from routerd.kernel.mtu import device_mtus
from routerd.model.names import LinkName


def test_every_device_that_exists_has_its_mtu() -> None:
    names = [LinkName(path.name) for path in Path("/sys/class/net").iterdir() if (path / "mtu").exists()]
    assert names
    found = device_mtus([*names, LinkName("no-such-device0"), LinkName("x" * 40)])
    assert found == {name: int(Path(f"/sys/class/net/{name}/mtu").read_text()) for name in names}
