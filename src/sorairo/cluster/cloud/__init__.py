"""The cloud controller: Services of type LoadBalancer become public IPs, load balancer and security rules; with
kubenet, nodes' blocks of pods become routes (`routes`).

Reading order: `service` (what is asked), `balancer`, `firewall`, `addresses` (documents before and after, pure),
`sync` (one pass), `controller` (what there is to do, and when).
"""
