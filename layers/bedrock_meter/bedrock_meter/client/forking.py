"""A process that forks: what belongs to the parent stays with the parent.

A child inherits memory without the threads that were using it. A lock may be held for ever, a socket is shared with the
parent, and a block of quota would be spent twice. Who has such state is told in the child, before any other code runs
there.
"""

import os
import weakref
from typing import Protocol


class HasParentState(Protocol):
    """Something that must not outlive a fork as it is."""

    def forget_parent(self) -> None:
        """Drop what belongs to the parent process. Called in the child, by its only thread."""


_known: "weakref.WeakSet[HasParentState]" = weakref.WeakSet()


def tell_after_fork(one: HasParentState) -> None:
    """Have ``forget_parent`` called in every child that this process forks from now on."""
    _known.add(one)


def _in_child() -> None:
    for one in tuple(_known):
        one.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
