"""``make bench``: every figure that the README quotes, as a ratio or a count, measured in this run."""

import sys

from tests.bench import capacity, decode, imports


def main() -> int:
    """Run all benches; 1 if a target is missed."""
    reached = []
    for bench in (decode, capacity, imports):
        reached.append(bench.main())
        print()
    print("all targets reached" if all(reached) else "a target was missed")
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
