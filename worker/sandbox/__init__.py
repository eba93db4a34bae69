"""Sandbox of a runner, entered once it has read its spec: see `confine`."""

from worker.sandbox.confine import Confinement, SandboxError, confine

__all__ = ["Confinement", "SandboxError", "confine"]
