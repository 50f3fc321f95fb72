"""What each function's start costs in CPU, as a ratio to the least that could do its work: msgspec and one botocore
client.

Each measurement is a process of its own; the rounds are interleaved, so that a noisy machine disturbs all alike, and
the medians are compared. The modules are compiled before, as they are where the layer is built with its own Python.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from tests.unit.functions.test_imports import SETTINGS

ROOT = Path(__file__).parents[2]
ROUNDS = 15
BASELINE = 'import msgspec, botocore.session; botocore.session.get_session().create_client("dynamodb")'
CASES = {"record_usage": 1.25, "evaluate_quotas": 1.25, "sweep": 1.25, "quota_api": 1.5}
"""Function -> ratio to reach. The issue of record names two; the others are held to the recorder's."""


def cpu_ms(code: str) -> float:
    """CPU time of a process that runs ``code``, less what Python itself takes."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **SETTINGS}
    program = f"import time; start = time.process_time_ns()\n{code}\nprint(time.process_time_ns() - start)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1e6


def main() -> int:
    """Print the table; return 0 if the targets are reached, else 1."""
    codes = {"msgspec + botocore": BASELINE} | {name: f"import functions.{name}.handler" for name in CASES}
    times: dict[str, list[float]] = {name: [] for name in codes}
    for code in codes.values():
        cpu_ms(code)
    for _ in range(ROUNDS):
        for name, code in codes.items():
            times[name].append(cpu_ms(code))
    medians = {name: statistics.median(values) for name, values in times.items()}
    base = medians["msgspec + botocore"]
    print(f"Start of a function: CPU against msgspec and one botocore client ({base:.0f} ms here), {ROUNDS} rounds")
    print(f"{'function':<20}{'ratio':>8}{'to reach':>10}")
    for name, target in CASES.items():
        print(f"{name:<20}{medians[name] / base:>8.2f}{target:>10.2f}")
    return 0 if all(medians[name] / base <= target for name, target in CASES.items()) else 1
