"""Links in memory, with the kernel's manners and foreign links among them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import attrs

from routerd.errors import PermanentError, TransientError, UnsupportedError
from routerd.kernel.link_fields import misfit
from routerd.model.addresses import IPInterface, order
from routerd.model.names import MAX_LINK_NAME, LinkName
from routerd.spi import ALIAS_PREFIX, Link, LinkSpec
from routerd.testing import outside
from routerd.testing.faults import FaultPlan

_DEFAULT_KINDS = ("ipip", "gre", "wireguard", "tun")


class FakeKernel:
    """Implements `spi.Kernel`. `writes` lists the changes, `dump` prints the links.

    Added in 1.0.
    """

    def __init__(
        self,
        links: Collection[Link] = (),
        *,
        kinds: Collection[str] = _DEFAULT_KINDS,
        faults: FaultPlan | None = None,
    ) -> None:
        self.kinds = set(kinds)
        self.faults = faults or FaultPlan()
        self.writes: list[str] = []
        self._links: dict[LinkName, Link] = {}
        self._next_index = 1
        for link in (Link(name=LinkName("lo"), index=1, kind="", up=True, mtu=65536), *links):
            self.place(link)

    def place(self, link: Link) -> None:
        """Add a link as another program would; without the alias `routerd:` it is foreign."""
        self._links[link.name] = link
        self._next_index = max(self._next_index, link.index + 1)

    def remove(self, name: LinkName) -> None:
        """Remove a link as another program would."""
        self._links.pop(name, None)

    def dump(self) -> str:
        """Return the links as text, one line each in the order of their names."""
        return "\n".join(_line(self._links[name]) for name in sorted(self._links))

    async def _call(self, name: str) -> None:
        """Count a call and let other tasks run, as a kernel's answer does."""
        self.faults.reach(name)
        outside.reach(f"kernel {name}")
        await asyncio.sleep(0)

    async def links(self) -> Mapping[LinkName, Link]:
        """Return all links, ours and foreign, by name."""
        await self._call("links")
        return dict(self._links)

    async def supports(self, kind: str) -> bool:
        """Say whether `kind` is among the kinds of this kernel."""
        await self._call(f"supports {kind}")
        return kind in self.kinds

    async def add_link(self, spec: LinkSpec) -> None:
        """Create and raise a device; one of ours with the same name must be deleted first."""
        await self._call(f"add {spec.name}")
        if len(spec.name.encode()) > MAX_LINK_NAME:
            raise PermanentError(f"link {spec.name}: the name is longer than {MAX_LINK_NAME} bytes")
        if spec.kind not in self.kinds:
            raise UnsupportedError(f"link {spec.name}: this kernel has no links of kind {spec.kind}")
        if why := misfit(spec):
            raise PermanentError(f"link {spec.name}: {why}")
        present = self._links.get(spec.name)
        if present is not None and present.owner is None:
            raise present.foreign()
        if present is not None:
            raise TransientError(f"link {spec.name}: it exists already")
        self.writes.append(f"add {spec.name}")
        self.place(
            Link(
                name=spec.name,
                index=self._next_index,
                kind=spec.kind,
                up=True,
                mtu=spec.mtu,
                alias=ALIAS_PREFIX + spec.owner,
                local=spec.local,
                remote=spec.remote,
                ttl=spec.ttl or 0,
                key=spec.key,
                encapsulation=spec.encapsulation,
                addresses=tuple(sorted(spec.addresses, key=order)),
                data=spec.data,
            )
        )
        await asyncio.sleep(0)

    async def set_link(
        self,
        name: LinkName,
        *,
        owner: str,
        mtu: int,
        addresses: tuple[IPInterface, ...],
    ) -> None:
        """Raise a link of ours, and give it this owner, this MTU and exactly these addresses."""
        await self._call(f"set {name}")
        present = self._links.get(name)
        if present is None:
            raise TransientError(f"link {name}: it does not exist")
        if present.owner is None:
            raise present.foreign()
        changed = attrs.evolve(
            present,
            alias=ALIAS_PREFIX + owner,
            up=True,
            mtu=mtu,
            addresses=tuple(sorted(addresses, key=order)),
        )
        if changed != present:
            self.writes.append(f"set {name}")
            self.place(changed)
            await asyncio.sleep(0)

    async def mark_link(self, name: LinkName, *, index: int, owner: str) -> None:
        """Give our alias to a link that the caller itself has just made."""
        await self._call(f"mark {name}")
        present = self._links.get(name)
        if present is None:
            raise TransientError(f"link {name}: it does not exist")
        if present.alias or present.index != index:
            raise present.foreign()
        self.writes.append(f"mark {name}")
        self.place(attrs.evolve(present, alias=ALIAS_PREFIX + owner))
        await asyncio.sleep(0)

    async def delete_link(self, name: LinkName) -> None:
        """Delete a link of ours; a link that is gone is a success, a foreign one an error."""
        await self._call(f"delete {name}")
        present = self._links.get(name)
        if present is None:
            return
        if present.owner is None:
            raise present.foreign()
        self.writes.append(f"delete {name}")
        self.remove(name)
        await asyncio.sleep(0)


def _line(link: Link) -> str:
    parts = [
        f"{link.index}: {link.name}",
        link.kind or "device",
        "up" if link.up else "down",
        f"mtu {link.mtu}",
    ]
    for word in ("local", "remote", "key"):
        value = getattr(link, word)
        if value is not None:
            parts.append(f"{word} {value}")
    if link.encapsulation is not None:
        parts.append(f"udp {link.encapsulation.sport}->{link.encapsulation.dport}")
    parts += [f"{name} {value}" for name, value in link.data]
    parts += [str(address) for address in link.addresses]
    if link.alias:
        parts.append(f"alias {link.alias}")
    return " ".join(parts)
