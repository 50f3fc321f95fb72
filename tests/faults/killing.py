"""Wrong designs that run until something notices them."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor

from tests.faults.reservations import Design

Death = tuple[int, str]
"""The first seed under which a design was noticed, and what was noticed."""


def death(findings: Callable[[int], list[str]], seeds: Iterable[int]) -> Death | None:
    """Return the first seed that finds something, and what; None where none does."""
    for seed in seeds:
        found = findings(seed)
        if found:
            return seed, found[0]
    return None


def show(pool: Executor, mutants: Sequence[Design], killed: Callable[[int], Death | None]) -> bool:
    """Run each wrong design until it dies and print after how many runs; whether all did."""
    alive = 0
    for mutant, ended in zip(mutants, pool.map(killed, range(len(mutants))), strict=True):
        alive += ended is None
        print(f"  {mutant.name:<40} " + ("ALIVE" if ended is None else f"run {ended[0] + 1:<4} {ended[1]}")[:100])
    print(f"mutants: {len(mutants) - alive} of {len(mutants)} killed")
    return alive == 0
