"""Builds the two Lambda layers, for Lambda (Python 3.13 on arm64) or for this machine.

Three facts decide how:

* Lambda's wheels are installed by *any* Python: pip is told the platform and takes wheels only, so neither Docker nor
  Python 3.13 is needed. pip evaluates markers for the Python that runs it, hence the requirements hold none
  (``requirements/lock.py`` sees to that).
* A built layer is kept in ``.build/<target>/<layer>/python`` beside a stamp of everything that went into it: a second
  build costs nothing, and ``sam build`` takes its copy from there.
* Imports without byte code take about twice the time. It is compiled where an interpreter of the right version is at
  hand, in the form that does not depend on file times, because zip files do not keep them.

``python layers/build.py --target host`` builds both for this machine. ``--output DIR`` also copies them, in place of
what is there: one layer to ``DIR/python``, all of them to ``DIR/<layer>/python``. Standard library only: it runs before
anything is installed.
"""

import argparse
import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LAYERS = Path(__file__).resolve().parent
CACHE = LAYERS.parent / ".build"
REQUIREMENTS = LAYERS / "dependencies" / "requirements.txt"
PACKAGE = LAYERS / "bedrock_meter" / "bedrock_meter"

LAMBDA_PYTHON = (3, 13)
LAMBDA_PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64")

NOT_IN_LAYER = ("cli", "client", "local")
"""Parts of our package that no function imports."""

SERVICES = ("bedrock", "dynamodb", "events", "s3", "service-quotas", "sqs")
"""Services that the functions speak to: botocore's descriptions of the other 400 stay out."""

INSTALLER_NOTES = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "entry_points.txt")


class BuildFailed(Exception):
    """The layer cannot be built; the message says what to do."""


def build(layer: str, target: str) -> tuple[Path, bool]:
    """Make sure that a layer is built; return the folder around its ``python`` folder, and whether it was built anew.

    Safe to call from several processes at once: the second one waits, then finds it done.

    Raises:
        BuildFailed: pip is missing or could not install a requirement.
    """
    place = CACHE / target
    place.mkdir(parents=True, exist_ok=True)
    finished, stamp = place / layer, place / f"{layer}.stamp"
    with (place / f"{layer}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        interpreter = interpreter_for(target)
        wanted = fingerprint(layer, target, interpreter)
        if finished.is_dir() and stamp.is_file() and stamp.read_text() == wanted:
            return finished, False
        stamp.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=place, prefix=f".{layer}-") as scratch:
            content = Path(scratch) / "layer" / "python"
            content.mkdir(parents=True)
            if layer == "dependencies":
                install_dependencies(content, target)
            else:
                copy_package(content)
            if interpreter is not None:
                compile_all(content, interpreter)
            if finished.exists():
                shutil.rmtree(finished)
            content.parent.rename(finished)
        stamp.write_text(wanted)
    return finished, True


def fingerprint(layer: str, target: str, interpreter: str | None) -> str:
    """Hash of everything that decides what a built layer holds."""
    version = sys.version_info[:2] if target == "host" else LAMBDA_PYTHON
    digest = hashlib.sha256(f"{target} {version} {interpreter}".encode())
    sources = [REQUIREMENTS] if layer == "dependencies" else sorted(package_files())
    for source in [Path(__file__), *sources]:
        content = source.read_bytes()
        digest.update(f"\0{source.relative_to(LAYERS)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def install_dependencies(content: Path, target: str) -> None:
    """Install the pinned wheels and leave out what no function reads."""
    command = [sys.executable, "-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check"]
    command += ["--root-user-action=ignore", "--no-compile", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--target", str(content), "--requirement", str(REQUIREMENTS)]
    if target == "lambda":
        command += ["--implementation", "cp", "--python-version", ".".join(map(str, LAMBDA_PYTHON))]
        command += [f"--platform={platform}" for platform in LAMBDA_PLATFORMS]
    if subprocess.run(command, check=False).returncode != 0:
        advice = f"if {sys.executable} has no pip, use the environment that `make venv` makes: .venv/bin/python"
        raise BuildFailed(f"pip could not install {REQUIREMENTS.name}, it says why above; {advice}")
    shutil.rmtree(content / "bin", ignore_errors=True)
    trim_botocore(content / "botocore")
    for information in content.glob("*.dist-info"):
        for name in INSTALLER_NOTES:
            (information / name).unlink(missing_ok=True)


def trim_botocore(botocore: Path) -> None:
    """Keep the shared files of botocore's data folder and the services in use."""
    data = botocore / "data"
    for entry in data.iterdir():
        if entry.is_dir() and entry.name not in SERVICES:
            shutil.rmtree(entry)
    missing = [name for name in SERVICES if not (data / name).is_dir()]
    if missing:
        raise BuildFailed(f"botocore describes no service {', '.join(missing)}")
    for examples in data.rglob("examples-1.json*"):
        examples.unlink()


def package_files() -> Iterator[Path]:
    """Files of our package that belong in the layer."""
    for source in PACKAGE.rglob("*"):
        inside = source.relative_to(PACKAGE)
        unwanted = inside.parts[0] in NOT_IN_LAYER or "__pycache__" in inside.parts or source.suffix == ".md"
        if source.is_file() and not unwanted:
            yield source


def copy_package(content: Path) -> None:
    """Copy our package without the operator's command and the local stack."""
    for source in package_files():
        copy = content / "bedrock_meter" / source.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)


def interpreter_for(target: str) -> str | None:
    """Command of an interpreter that compiles for ``target``; None when there is none, which costs import time only."""
    if target == "host" or sys.version_info[:2] == LAMBDA_PYTHON:
        return sys.executable
    version = ".".join(map(str, LAMBDA_PYTHON))
    command = shutil.which(f"python{version}")
    if command is None:
        return None
    probe = [command, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
    answer = subprocess.run(probe, check=False, capture_output=True, text=True)
    return command if answer.returncode == 0 and answer.stdout.strip() == version else None


def compile_all(content: Path, interpreter: str) -> None:
    """Write byte code that is valid whatever the files' times, and that names them as Lambda does."""
    options = ["-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s", str(content), "-p", "/opt/python"]
    subprocess.run([interpreter, "-m", "compileall", *options, str(content)], check=True)


def size_mb(folder: Path) -> float:
    """Size of all files below a folder, in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> int:
    """Command line; see the head of this file."""
    options = argparse.ArgumentParser(description="Build the Lambda layers.")
    options.add_argument("--target", choices=("lambda", "host"), required=True)
    options.add_argument("--layer", choices=("dependencies", "bedrock_meter", "all"), default="all")
    options.add_argument("--output", type=Path, help="also copy the result here")
    chosen = options.parse_args()
    layers = ("dependencies", "bedrock_meter") if chosen.layer == "all" else (chosen.layer,)
    for layer in layers:
        started = time.monotonic()
        try:
            built, anew = build(layer, chosen.target)
        except BuildFailed as failure:
            print(f"layers/build.py: {failure}", file=sys.stderr)
            return 1
        if chosen.output is not None:
            output = chosen.output / layer if chosen.layer == "all" else chosen.output
            shutil.rmtree(output / "python", ignore_errors=True)
            shutil.copytree(built / "python", output / "python")
        how = f"built in {time.monotonic() - started:.1f} s" if anew else "up to date"
        bytecode = "with byte code" if any(built.rglob("*.pyc")) else "without byte code"
        print(f"layer {layer} for {chosen.target}: {how}, {size_mb(built):.1f} MB unpacked, {bytecode}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
