"""The price book: what loading it costs at a start, and what rating costs a record."""

import statistics
import time

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.pricing.book import FILE, read_book
from bedrock_meter.pricing.overrides import Override, OverrideSet
from bedrock_meter.pricing.rating import Call, Rater
from tests.bench.imports import cpu_ms

ROUNDS = 9
BASELINE = "import msgspec, bedrock_meter.invocations.record"
LOADING = f"{BASELINE}\nfrom bedrock_meter.pricing.book import load_book\nload_book()"
START_TO_REACH = 1.5
"""Importing msgspec and the record's structs, and the book on top of it, against the first alone."""

RATE_TO_REACH = 0.03
"""Rating one call, against reading the book once."""

CALLS = 1_000


def main() -> int:
    """Print the table; return 0 if the targets are reached, else 1."""
    content = FILE.read_bytes()
    starts: dict[str, list[float]] = {"structs": [], "structs and book": []}
    for code in (BASELINE, LOADING):
        cpu_ms(code)
    for _ in range(ROUNDS):
        starts["structs"].append(cpu_ms(BASELINE))
        starts["structs and book"].append(cpu_ms(LOADING))
    base, loaded = (statistics.median(values) for values in starts.values())

    reading: list[int] = []
    rating: dict[str, list[int]] = {"book alone": [], "500 overrides": []}
    raters = {
        "book alone": Rater(read_book(content)),
        "500 overrides": Rater(
            read_book(content), OverrideSet(1, tuple(Override(n, tenant=f"t{n}", percent_e6=n) for n in range(500)))
        ),
    }
    calls = [
        Call(
            f"t{n % 50}", "p", "us.anthropic.claude-sonnet-4-6", "us-east-1", None, 10**12 + n, TokenCounts(n, 9, 7, n)
        )
        for n in range(CALLS)
    ]
    for _ in range(ROUNDS):
        begun = time.process_time_ns()
        read_book(content)
        reading.append(time.process_time_ns() - begun)
        for name, rater in raters.items():
            begun = time.process_time_ns()
            for call in calls:
                rater.rate(call)
            rating[name].append(time.process_time_ns() - begun)
    read_ns = statistics.median(reading)
    print(f"Price book, {len(content) // 1000} kB: read in {read_ns / 1e6:.2f} ms of CPU here, {ROUNDS} rounds")
    print(f"{'':<44}{'ratio':>8}{'to reach':>10}")
    ratios = [("start with the book, to msgspec and structs", loaded / base, START_TO_REACH)]
    for name, values in rating.items():
        ratios.append(
            (f"rating one call ({name}), to reading", statistics.median(values) / CALLS / read_ns, RATE_TO_REACH)
        )
    for name, ratio, target in ratios:
        print(f"{name:<44}{ratio:>8.3f}{target:>10.2f}")
    return 0 if all(ratio <= target for _, ratio, target in ratios) else 1
