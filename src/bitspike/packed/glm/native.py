"""The native engine of networks of circuits."""

from bitspike.packed.base import Reference as GLMEngine

__all__ = ["GLMEngine"]
