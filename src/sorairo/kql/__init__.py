"""The part of the Kusto query language that Azure Resource Graph is asked in, over rows in memory.

https://learn.microsoft.com/azure/governance/resource-graph/concepts/query-language
"""

from sorairo.kql.query import Query, Table, compile_query
from sorairo.kql.words import QueryError

__all__ = ["Query", "QueryError", "Table", "compile_query"]
