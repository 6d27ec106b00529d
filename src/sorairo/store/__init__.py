"""The only SQL: resources, operations, spans, activity, notes. One writer; durable before acknowledged."""

from sorairo.store.store import Store
from sorairo.store.tx import Tx
from sorairo.store.writer import Retention

__all__ = ["Retention", "Store", "Tx"]
