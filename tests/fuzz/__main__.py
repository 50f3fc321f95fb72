"""`make fuzz`: at least 1,000 requests to each operation, and what came back. CASES=5000 for more."""

import os
import sys
import time

from tests.fuzz.apis import APIS
from tests.fuzz.running import SEED, fuzz


def main() -> int:
    cases = int(os.environ.get("CASES", "1000"))
    missing = []
    for name, (make, document, known) in APIS.items():
        start = time.monotonic()
        outcome = fuzz(make, document, known, cases)
        print(f"{name} API, seed {SEED}, {time.monotonic() - start:.0f} s")
        for operation, (sent, statuses) in outcome.items():
            counts = ", ".join(f"{status}: {count}" for status, count in statuses.items())
            print(f"  {operation:<72} {sent:>6} requests   {counts}")
            missing += [operation] if sent < cases else []
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
