"""What a router says of itself, as values: status, plan, claims, changes of clouds, explanations.

`control.wire` makes JSON of them and reads it back; `docs/output.md` describes the documents.
Nothing here asks a router, and no text is laid out for a terminal.
"""

API_VERSION = "report.routerd.net/v1"
"""The version of every document; it changes when a key changes its meaning or goes away."""

OPTIONAL = {"document": "optional"}
"""Metadata of a field whose key a document leaves out while the field has its default."""

NEVER = {"document": "never"}
"""Metadata of a field that no document has."""
