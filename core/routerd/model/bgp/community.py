"""Standard BGP communities (RFC 1997): their spellings, and the one form for comparisons."""

import re
from collections.abc import Iterable

_NOTATION = re.compile(r"([0-9]{1,5}):([0-9]{1,5})")

WELL_KNOWN = {"no-export": "65535:65281", "no-advertise": "65535:65282", "internet": "0:0"}
"""Communities with a name. RFC 1997 gives `internet` no number; 0:0 is what GoBGP and FRR send for it.

Added in 1.0.
"""


def canonical(text: str) -> str:
    """Return a community in the form `64512:100`; `ValueError` when `text` is not a community.

    A name becomes its number, and leading zeros go: `no-export` is `65535:65281`.

    Added in 1.0.
    """
    if text in WELL_KNOWN:
        return WELL_KNOWN[text]
    match = _NOTATION.fullmatch(text)
    numbers = [int(part) for part in match.groups()] if match else []
    if not numbers or max(numbers) > 0xFFFF:
        raise ValueError(f'"{text}" is not a community; write one such as 64512:100, {", ".join(WELL_KNOWN)}')
    return ":".join(map(str, numbers))


def canonical_set(texts: Iterable[str]) -> frozenset[str]:
    """Return communities in the form `64512:100`, each once; `ValueError` when a text is not a community.

    Added in 1.0.
    """
    return frozenset(map(canonical, texts))
