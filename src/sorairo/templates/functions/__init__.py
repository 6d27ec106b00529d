"""The functions of the template language, by kind.

https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions
"""

from sorairo.templates.functions import (
    collections,
    dates,
    deployment,
    encoding,
    hashes,
    lambdas,
    logic,
    network,
    numbers,
    resources,
    strings,
)
from sorairo.templates.functions.registry import TABLE as FUNCTIONS

__all__ = [
    "FUNCTIONS",
    "collections",
    "dates",
    "deployment",
    "encoding",
    "hashes",
    "lambdas",
    "logic",
    "network",
    "numbers",
    "resources",
    "strings",
]
