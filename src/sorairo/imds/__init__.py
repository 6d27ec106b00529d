"""Instance metadata: what answers machines at 169.254.169.254, from the ARM documents of the machine that asks.

Reading order: `machine` (who asks), `instance` and `balancing` (documents), `versions`, `tokens`, `service` (HTTP),
`listeners` (a socket in each virtual network).
https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
"""
