"""Credentials in clear text in a file, recognised by the names of their fields."""

import re
from collections.abc import Iterator

import yaml

_NAME = re.compile(
    "(password|passwd|passphrase|secret|token|privatekey|accesskey|accesskeyid|accountkey|sharedkey|apikey"
    "|keycontent|connectionstring|credentials?|hmac)$"
)
_REFERENCE = ("file:", "env:")

REFUSED = "a secret must not be in the file"
INSTEAD = (
    "leave it out: routerd uses the role of the instance (AWS), its managed identity (Azure) or its instance "
    "principal (OCI); for Proxmox VE write the token into a file of mode 0600 and name that in tokenFile"
)

JOIN_INSTEAD = "write it into a file of mode 0600 and name that file"


def is_credential(name: str) -> bool:
    """Say whether a field of this name holds a secret: `clientSecret`, `aws_secret_access_key`.

    `tokenFile` and `passwordFrom` only say where a secret is.
    """
    return _NAME.search(re.sub(r"[^a-z0-9]", "", name.lower())) is not None


def written(node: yaml.Node | None, path: str) -> Iterator[tuple[yaml.Node, str]]:
    """Yield key and path of each field below `node` that holds a credential, in the order of the file.

    A mapping (`{file: ...}`) and a reference (`env:NAME`) say where a secret is; the schema checks them.
    """
    yield from _written(node, path, set())


def _written(node: yaml.Node | None, path: str, seen: set[int]) -> Iterator[tuple[yaml.Node, str]]:
    # Each anchor counts once, so an anchor inside itself ends too.
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, each in enumerate(node.value):
            yield from _written(each, f"{path}[{index}]", seen)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = f"{path}.{key.value}" if isinstance(key, yaml.ScalarNode) else path
            if isinstance(key, yaml.ScalarNode) and is_credential(str(key.value)) and _is_inline(value):
                yield key, below
            else:
                yield from _written(value, below, seen)


def _is_inline(value: yaml.Node) -> bool:
    if not isinstance(value, yaml.ScalarNode) or value.tag == "tag:yaml.org,2002:null":
        return False
    text = str(value.value).strip()
    return bool(text) and not text.startswith(_REFERENCE)
