"""Network policy: what a cluster's NetworkPolicy objects come to, machine by machine.

`objects` reads them, `compiled` says what they mean for each machine's pods, `agent` keeps that in the kernel.
https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""
