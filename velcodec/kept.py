"""What has been read and may be wanted again: the things used last, as many as some memory holds."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Any


class Kept:
    """Things by key, those used last, up to some bytes; the newest is kept whatever it takes. Not locked."""

    def __init__(self, most: int) -> None:
        self.most, self.bytes = most, 0
        self._things: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        """The thing of a key, which counts as used; None where it is not kept."""
        if key not in self._things:
            return None
        self._things.move_to_end(key)
        return self._things[key][0]

    def put(self, key: Hashable, thing: Any, size: int) -> None:
        """Keep a thing of so many bytes in the place of what has its key."""
        self.drop(key)
        self._things[key] = thing, size
        self.bytes += size
        while self.bytes > self.most and len(self._things) > 1:
            self.drop(next(iter(self._things)))

    def drop(self, key: Hashable) -> None:
        """Keep it no longer."""
        self.bytes -= self._things.pop(key, (None, 0))[1]

    def clear(self) -> None:
        """Keep nothing."""
        self._things.clear()
        self.bytes = 0

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._things)
