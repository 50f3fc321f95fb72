"""``make bench``: every figure that the README quotes, as a ratio or a count, measured in this run."""

import sys

from tests.bench import capacity, client, decode, imports, prices, reserving


def main() -> int:
    """Run all benches; 1 if a target is missed."""
    missed = 0
    for bench in (decode, capacity, reserving, imports, prices, client):
        missed += bench.main()
        print()
    print(f"{missed} of the benches missed a target" if missed else "all targets reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
