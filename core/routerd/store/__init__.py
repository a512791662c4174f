"""State that survives restarts: one SQLite file, one transaction for each method of `Store`.

What the records mean for admission and for changes of clouds is in `admission` and `clouds`.
"""

from routerd.store.access import DamagedFile
from routerd.store.database import open_store, read_store
from routerd.store.journal import JournalBook
from routerd.store.records import Approval, Hold, JournalEntry, Revocation, UsedNonce
from routerd.store.store import Originals, Store

__all__ = [
    "Approval",
    "DamagedFile",
    "Hold",
    "JournalBook",
    "JournalEntry",
    "Originals",
    "Revocation",
    "Store",
    "UsedNonce",
    "open_store",
    "read_store",
]
