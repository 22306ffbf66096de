"""Which objects a host needs, and the stream that carries them."""

from netloom.scope.inventory import Inventory
from netloom.scope.moment import Moment
from netloom.scope.scope import Scope
from netloom.scope.select import select

__all__ = ["Inventory", "Moment", "Scope", "select"]
