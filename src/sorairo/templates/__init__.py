"""ARM templates as a language: parameters, expressions, loops, conditions, and what they come to.

Nothing is asked or made here: what an expression needs from outside (`reference`, `listKeys`) is raised as `Needed`,
and whoever evaluates fetches it and evaluates again. So the same code serves validation, what-if and the deployment.

https://learn.microsoft.com/azure/azure-resource-manager/templates/syntax
"""
