"""AKS on your own machine: an Azure Resource Manager control plane that makes real Kubernetes clusters."""

__version__ = "0.1.0"
