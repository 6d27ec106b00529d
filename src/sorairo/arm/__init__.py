"""HTTP only: the surface of Azure Resource Manager, over the engine's `Control`."""

from sorairo.arm.app import Arm, create_app
from sorairo.arm.settings import Settings

__all__ = ["Arm", "Settings", "create_app"]
