"""The topology as a picture: sites around the internet, wires, public addresses, tunnels."""

from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

import attrs

from routerd_lab.topology import Node, Site, Topology, Wan

_WIDTH, _MARGIN, _GAP = 1180, 30, 40
_SITE_WIDTH = (_WIDTH - 2 * _MARGIN - _GAP) // 2
_SITE_HEIGHT, _NET_HEIGHT, _NET_GAP = 236, 56, 58
_CARD_WIDTH, _CARD_HEIGHT = 156, 104
_TITLE = {
    "aws": "AWS ap-northeast-1",
    "azure": "Azure japaneast",
    "oci": "OCI ap-tokyo-1",
    "pve": "Proxmox VE at home",
}
_STYLE = """
  text { font-family: system-ui, 'DejaVu Sans', sans-serif; font-size: 12px; fill: #1f2933; }
  .title { font-size: 15px; font-weight: 600; }
  .name { font-weight: 600; font-size: 13px; }
  .dim { fill: #616e7c; font-size: 11px; }
  .site { fill: #f7f9fb; stroke: #cbd2d9; }
  .fabric { fill: #e4e7eb; stroke: none; }
  .net { fill: #dceefb; stroke: #9cc5e8; }
  .rr { fill: #fff3c4; stroke: #cb6e17; } .leaf { fill: #e3f9e5; stroke: #2f8132; }
  .client { fill: #ffffff; stroke: #9aa5b1; }
  .wire { stroke: #9aa5b1; stroke-width: 2; fill: none; }
  .tunnel { stroke: #8719e0; stroke-width: 2; stroke-dasharray: 7 5; fill: none; opacity: .75; }
  .clear { stroke: #0b7285; stroke-width: 2; stroke-dasharray: 2 4; fill: none; opacity: .85; }
"""


@attrs.frozen(kw_only=True)
class _Box:
    """Where a site is drawn; `above` says whether the internet is below it."""

    site: Site
    left: int
    top: int
    above: bool

    @property
    def fabric_y(self) -> int:
        """Return the middle of the fabric's bar, on the internet's side."""
        return self.top + (_SITE_HEIGHT - 24 if self.above else 24)

    def card(self, index: int) -> tuple[int, int]:
        """Return the upper left corner of a node's card."""
        count = len(self.site.nodes)
        space = (_SITE_WIDTH - count * _CARD_WIDTH) // (count + 1)
        left = self.left + space + index * (_CARD_WIDTH + space)
        return left, self.top + (44 if self.above else _SITE_HEIGHT - 44 - _CARD_HEIGHT)


def draw(topology: Topology) -> str:
    """Return the picture as the text of an SVG file."""
    boxes = list(_boxes(topology))
    height = 2 * (_MARGIN + _SITE_HEIGHT + _NET_GAP) + _NET_HEIGHT + 34
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img" aria-label="the fabric {escape(topology.name)}">'
        ),
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        *_internet(),
    ]
    for box in boxes:
        parts += _site(box)
    parts += _tunnels(boxes, topology.wans)
    for box in boxes:
        for index, node in enumerate(box.site.nodes):
            parts += _card(node, topology.wans, *box.card(index))
    parts += _legend(height, topology.wans)
    return "\n".join([*parts, "</svg>", ""])


def _boxes(topology: Topology) -> Iterator[_Box]:
    for index, site in enumerate(topology.sites):
        row, column = divmod(index, 2)
        lower = _MARGIN + _SITE_HEIGHT + 2 * _NET_GAP + _NET_HEIGHT
        yield _Box(
            site=site,
            left=_MARGIN + column * (_SITE_WIDTH + _GAP),
            top=lower if row else _MARGIN,
            above=not row,
        )


def _net_top() -> int:
    return _MARGIN + _SITE_HEIGHT + _NET_GAP


def _internet() -> Iterator[str]:
    top = _net_top()
    yield _rect("net", _MARGIN, top, _WIDTH - 2 * _MARGIN, _NET_HEIGHT, 28)
    yield _text(_WIDTH // 2, top + 24, "internet", "title", anchor="middle")
    yield _text(_WIDTH // 2, top + 42, "carries public addresses only", "dim", anchor="middle")


def _site(box: _Box) -> Iterator[str]:
    site = box.site
    yield _rect("site", box.left, box.top, _SITE_WIDTH, _SITE_HEIGHT, 14)
    title_y = box.top + (26 if box.above else _SITE_HEIGHT - 14)
    yield _text(box.left + 18, title_y, _TITLE[site.name], "title")
    yield _text(box.left + _SITE_WIDTH - 18, title_y, str(site.subnet), "dim", anchor="end")
    yield _rect("fabric", box.left + 18, box.fabric_y - 10, _SITE_WIDTH - 36, 20, 10)
    what = (
        f"NAT behind {site.masquerade}"
        if site.masquerade
        else "fabric: route table, source/destination check"
    )
    yield _text(box.left + _SITE_WIDTH // 2, box.fabric_y + 4, what, "dim", anchor="middle")
    uplink = box.left + _SITE_WIDTH // 2
    edge = _net_top() if box.above else _net_top() + _NET_HEIGHT
    near = box.fabric_y + (10 if box.above else -10)
    yield f'<path class="wire" d="M{uplink} {near} V{edge}"/>'
    for index in range(len(site.nodes)):
        left, top = box.card(index)
        middle = left + _CARD_WIDTH // 2
        start, end = (top + _CARD_HEIGHT, box.fabric_y - 10) if box.above else (top, box.fabric_y + 10)
        yield f'<path class="wire" d="M{middle} {start} V{end}"/>'


def _card(node: Node, wans: Iterable[Wan], left: int, top: int) -> Iterator[str]:
    yield _rect(node.role, left, top, _CARD_WIDTH, _CARD_HEIGHT, 10)
    middle = left + _CARD_WIDTH // 2
    label = {"rr": "route reflector", "leaf": "leaf", "client": "client"}[node.role]
    lines = [(node.name, "name"), (label, "dim")]
    lines += [(f"{nic.device} {nic.address.ip}", "") for nic in node.nics]
    lines += [(f"{wan.device} {wan.members[node.name].ip}", "") for wan in wans if node.name in wan.members]
    lines += [(f"public {nic.public}", "dim") for nic in node.nics if nic.public]
    if node.owned:
        lines.append((f"carried: {node.owned}/32", "dim"))
    for number, (text, style) in enumerate(lines):
        yield _text(middle, top + 20 + 18 * number, text, style, anchor="middle")


def _tunnels(boxes: list[_Box], wans: Iterable[Wan]) -> Iterator[str]:
    """Draw each leaf's tunnel to each route reflector as a curve through the internet."""
    ends = [
        (node, box, *box.card(index))
        for box in boxes
        for index, node in enumerate(box.site.nodes)
        if node.is_router
    ]
    middle = _net_top() + _NET_HEIGHT // 2
    for hub, hub_box, hub_left, hub_top in ends:
        for leaf, box, left, top in ends:
            if hub.role != "rr" or leaf.role != "leaf":
                continue
            x1, y1 = left + _CARD_WIDTH // 2 + 14, top + (_CARD_HEIGHT if box.above else 0)
            x2, y2 = hub_left + _CARD_WIDTH // 2 - 14, hub_top + (_CARD_HEIGHT if hub_box.above else 0)
            bend1 = middle + (40 if box.above else -40)
            bend2 = middle + (40 if hub_box.above else -40)
            inside = any({hub.name, leaf.name} <= set(wan.members) for wan in wans)
            style = "clear" if inside else "tunnel"
            yield f'<path class="{style}" d="M{x1} {y1} C{x1} {bend1} {x2} {bend2} {x2} {y2}"/>'


def _legend(height: int, wans: Iterable[Wan]) -> Iterator[str]:
    y = height - 22
    yield f'<path class="tunnel" d="M{_MARGIN} {y - 4} h44"/>'
    yield _text(_MARGIN + 54, y, "ipip in WireGuard, with a BGP session; all traffic between sites", "dim")
    for wan in wans:
        yield f'<path class="clear" d="M{_WIDTH - 340} {y - 4} h44"/>'
        yield _text(_WIDTH - 286, y, f"fou or gre in clear, on the {wan.name}", "dim")
    yield f'<path class="wire" d="M{_WIDTH // 2 + 40} {y - 4} h44"/>'
    yield _text(_WIDTH // 2 + 94, y, "wire", "dim")


def _rect(style: str, x: int, y: int, width: int, height: int, radius: int) -> str:
    return f'<rect class="{style}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}"/>'


def _text(x: int, y: int, text: str, style: str, *, anchor: str = "start") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x}" y="{y}"{kind} text-anchor="{anchor}">{escape(text)}</text>'
