"""What a runner may not do any more once it has read its orders: see `confine`."""

from worker.sandbox.confine import Confinement, SandboxError, confine

__all__ = ["Confinement", "SandboxError", "confine"]
