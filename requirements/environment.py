"""Makes one of the project's environments: ``python3 requirements/environment.py FOLDER PINS [--editable DIR]``.

Runs with the machine's own Python before anything is installed, so it imports nothing else and says in one line what a
machine lacks. Calling it again installs what changed; the Makefile calls it only when a requirement did.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

OLDEST_PYTHON = (3, 11)


def missing() -> str:
    """Return the one line that a person has to act on before an environment can be made; empty when all is there."""
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return f"Python {wanted} or newer is needed, and {sys.executable} is {sys.version.split()[0]}: set PYTHON=..."
    if importlib.util.find_spec("ensurepip") is None:
        return ("" if os.geteuid() == 0 else "sudo ") + "apt-get install --yes python3-venv"
    return ""


def main() -> int:
    """Command line; see the head of this file."""
    options = argparse.ArgumentParser(description="Make an environment from pinned requirements.")
    options.add_argument("folder", type=Path)
    options.add_argument("requirements", type=Path)
    options.add_argument("--editable", help="our own package, installed so that edits count at once")
    chosen = options.parse_args()
    line = missing()
    if line:
        print(line, file=sys.stderr)
        return 1
    python = chosen.folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(chosen.folder)], check=True)
    pip = [str(python), "-m", "pip", "-qq", "--disable-pip-version-check", "--no-input", "install", "--no-deps"]
    print(f"installing {chosen.requirements} into {chosen.folder}", flush=True)
    commands = [[*pip, "--require-hashes", "--requirement", str(chosen.requirements)]]
    if chosen.editable:
        commands.append([*pip, "--no-build-isolation", "--editable", chosen.editable])
    for command in commands:
        if subprocess.run(command, check=False).returncode != 0:
            print(f"requirements/environment.py: pip failed, it says why above: {' '.join(command)}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
