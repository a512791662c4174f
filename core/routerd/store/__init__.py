"""State that survives restarts: one SQLite file, one transaction for each method of `Store`."""

from routerd.store.database import open_store
from routerd.store.records import JournalEntry, Revocation, UsedNonce
from routerd.store.store import DamagedFile, Originals, Store

__all__ = ["DamagedFile", "JournalEntry", "Originals", "Revocation", "Store", "UsedNonce", "open_store"]
