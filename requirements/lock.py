"""Makes the files of pinned requirements, and says without a network when they no longer fit what they are made from.

One lock, ``lock.txt``, holds the application and its development tools; ``run.txt`` and the layer's requirements are
parts of it, resolved under it as a constraint. The local stack and SAM pin other versions of the same packages and so
have locks and environments of their own. Every file has hashes, and no index, so that the installing machine decides
where it downloads from. The first line holds a fingerprint of the file's inputs.

``python requirements/lock.py`` writes them (existing pins stay; ``--upgrade`` moves them all); ``--check`` only looks.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "layers/bedrock_meter/pyproject.toml"
TOOLS = "pyproject.toml"
LOCK = "requirements/lock.txt"
LAYER = "layers/dependencies/requirements.txt"

OLDEST_PYTHON = "3.11"

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*([^\\]+?))?\s*\\?$")
_HASH = re.compile(r"^    --hash=(sha256:[0-9a-f]{64})(?: \\)?$")
_FINGERPRINT = re.compile(r"^# Made by `make requirements` from inputs ([0-9a-f]{16})\.$")


@dataclass(frozen=True, slots=True)
class Requirements:
    """A file of pins and what it is made from.

    Attributes:
        path: Where it is, relative to the project.
        extras: Extras of our package that it holds.
        groups: Dependency groups of the root project that it holds.
        source: A file of plain requirements instead; then extras and groups are empty.
        part_of_lock: Whether every pin must be the lock's.
    """

    path: str
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    source: str = ""
    part_of_lock: bool = False


FILES = (
    Requirements(LOCK, extras=("server", "cli"), groups=("dev",)),
    Requirements("requirements/run.txt", extras=("server", "cli"), groups=("build",), part_of_lock=True),
    Requirements(LAYER, extras=("server",), part_of_lock=True),
    Requirements("requirements/local-stack.txt", source="requirements/local-stack.in"),
    Requirements("requirements/sam.txt", source="requirements/sam.in"),
    Requirements("requirements/peer.txt", source="requirements/peer.in"),
)


@dataclass(frozen=True, slots=True)
class Pin:
    """One pinned package: version, environment marker (may be empty) and the hashes of its files."""

    version: str
    marker: str
    hashes: frozenset[str]


def pins(text: str) -> dict[str, Pin]:
    """Read a file of pins.

    Returns:
        Pins by package name; one that is pinned again under another marker has that marker in its key.

    Raises:
        ValueError: A line is neither a pin, nor a hash, nor a comment: for example an index or a path.
    """
    found: dict[str, Pin] = {}
    name = ""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if (match := _HASH.match(line)) and name:
            held = found[name]
            found[name] = Pin(held.version, held.marker, held.hashes | {match[1]})
        elif match := _PIN.match(line):
            name = match[1] if match[1] not in found else f"{match[1]} ; {match[3]}"
            found[name] = Pin(match[2], match[3] or "", frozenset())
        else:
            raise ValueError(f"neither a pin nor a hash: {line.strip()}")
    return found


def fingerprint(root: Path, requirements: Requirements) -> str:
    """Hash of what was asked for: the requirement strings, not the pins."""
    if requirements.source:
        lines = (root / requirements.source).read_text(encoding="utf-8").splitlines()
        asked: object = sorted(line for line in lines if line.strip() and not line.startswith("#"))
    else:
        project = tomllib.loads((root / PACKAGE).read_text(encoding="utf-8"))["project"]
        groups = tomllib.loads((root / TOOLS).read_text(encoding="utf-8"))["dependency-groups"]
        wanted = list(requirements.groups)
        for name in wanted:
            wanted += [entry["include-group"] for entry in groups[name] if isinstance(entry, dict)]
        extras = {name: sorted(project["optional-dependencies"][name]) for name in requirements.extras}
        plain = {name: sorted(entry for entry in groups[name] if isinstance(entry, str)) for name in wanted}
        asked = [project["requires-python"], sorted(project["dependencies"]), extras, plain]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def problems(root: Path) -> Iterator[str]:
    """Say what is stale or unsafe about the files under ``root``, one sentence each; nothing when all is well."""
    lock: dict[str, Pin] = {}
    for requirements in FILES:
        path = root / requirements.path
        if not path.is_file():
            yield f"{requirements.path} is missing: run `make requirements`"
            continue
        text = path.read_text(encoding="utf-8")
        match = _FINGERPRINT.match(text.partition("\n")[0])
        if match is None or match[1] != fingerprint(root, requirements):
            yield f"{requirements.path} is older than what it is made from: run `make requirements`"
        if re.search(r"\w+://", text):
            yield f"{requirements.path} names an index or a server"
        try:
            held = pins(text)
        except ValueError as error:
            yield f"{requirements.path}: {error}"
            continue
        if requirements.path == LOCK:
            lock = held
        yield from (f"{requirements.path}: {name} has no hash" for name, pin in held.items() if not pin.hashes)
        if requirements.part_of_lock:
            differing = [name for name, pin in held.items() if lock.get(name) != pin]
            yield from (f"{requirements.path}: {name} is not what {LOCK} holds" for name in differing)
        if requirements.path == LAYER:
            # pip would judge them for the Python that runs it, not for Lambda's.
            yield from (f"{LAYER}: {name} has a marker: {pin.marker}" for name, pin in held.items() if pin.marker)


def compile_all(options: Iterable[str]) -> None:
    """Resolve every file anew with uv; pins that still fit stay."""
    for requirements in FILES:
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
        command += ["--python-version", OLDEST_PYTHON, "--no-header", "--no-emit-index-url", *options]
        if requirements.source:
            command.append(requirements.source)
        else:
            command += [PACKAGE, *(f"--extra={name}" for name in requirements.extras)]
            command += [f"--group={TOOLS}:{name}" for name in requirements.groups]
        if requirements.part_of_lock:
            command += ["--constraints", LOCK]
        subprocess.run([*command, "--output-file", requirements.path], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        path = ROOT / requirements.path
        head = f"# Made by `make requirements` from inputs {fingerprint(ROOT, requirements)}.\n"
        path.write_text(head + path.read_text(encoding="utf-8"), encoding="utf-8")
        print(f"{requirements.path}: {len(pins(path.read_text(encoding='utf-8')))} packages")


def main() -> int:
    """Command line; see the head of this file."""
    options = argparse.ArgumentParser(description="Make or check the files of pinned requirements.")
    options.add_argument("--check", action="store_true", help="change nothing, fail when a file is stale")
    options.add_argument("--upgrade", action="store_true", help="move every pin to the newest version that fits")
    chosen = options.parse_args()
    if not chosen.check:
        compile_all(["--upgrade"] if chosen.upgrade else [])
    found = list(problems(ROOT))
    print("\n".join(found) if found else "the files of pinned requirements fit what they are made from")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
