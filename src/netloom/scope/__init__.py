"""Which objects a host needs, and the stream that carries them."""

from netloom.scope.scope import Scope
from netloom.scope.select import select
from netloom.scope.world import World

__all__ = ["Scope", "World", "select"]
