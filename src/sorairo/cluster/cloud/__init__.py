"""The cloud controller: Services of type LoadBalancer become public IPs, load balancer and security rules.

Reading order: `service` (what is asked), `balancer`, `firewall`, `addresses` (documents before and after, pure),
`sync` (one pass), `controller` (what there is to do, and when).
"""
