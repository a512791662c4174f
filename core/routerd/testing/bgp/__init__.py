"""BGP speakers that say whatever a test wants, over TCP, and the messages that they say it with.

`ScriptedSpeaker` says everything at once, unasked. `Conversation` is one connection on which a test
says and expects one message after the other; `dial` and `establish` open it. The codec (`wire`,
`attributes`) is written for the tests alone: it shares nothing with any speaker under test.

Added in 1.0.
"""

from routerd.testing.bgp.attributes import Attribute, Code, Flag, PathView, path_attributes
from routerd.testing.bgp.md5 import md5_available, sign
from routerd.testing.bgp.peer import Conversation, Heard, dial, establish
from routerd.testing.bgp.speaker import (
    AS_TRANS,
    HOLD_TIME,
    KEEPALIVE,
    MARKER,
    PAUSE,
    ScriptedSpeaker,
    open_message,
    update_message,
)
from routerd.testing.bgp.wire import (
    Capability,
    Keepalive,
    Message,
    Notification,
    Open,
    RouteRefresh,
    Update,
    capabilities,
    decode,
    encode,
)

__all__ = [
    "AS_TRANS",
    "HOLD_TIME",
    "KEEPALIVE",
    "MARKER",
    "PAUSE",
    "Attribute",
    "Capability",
    "Code",
    "Conversation",
    "Flag",
    "Heard",
    "Keepalive",
    "Message",
    "Notification",
    "Open",
    "PathView",
    "RouteRefresh",
    "ScriptedSpeaker",
    "Update",
    "capabilities",
    "decode",
    "dial",
    "encode",
    "establish",
    "md5_available",
    "open_message",
    "path_attributes",
    "sign",
    "update_message",
]
