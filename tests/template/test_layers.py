"""What the layers hold: everything that the functions import, and nothing that they do not."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from bedrock_meter.local.project import find_project
from layers import build

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dependencies() -> Path:
    """The dependencies layer for this machine; built once for all tests and for `make run`."""
    return build.build("dependencies", "host")[0] / "python"


def services_in_use() -> set[str]:
    """Names of the AWS services that the functions make clients for, at once or when first needed."""
    paths = [*(ROOT / "functions").glob("*/handler.py"), *build.package_files()]
    sources = [path.read_text(encoding="utf-8") for path in paths if path.suffix == ".py"]
    return {name for source in sources for name in re.findall(r'\bclient(?:\(|,\s*)"([a-z0-9-]+)"', source)}


def test_botocore_describes_the_services_that_the_functions_use_and_no_others(dependencies: Path) -> None:
    data = dependencies / "botocore" / "data"
    assert {path.name for path in data.iterdir() if path.is_dir()} == services_in_use() == set(build.SERVICES)


def test_trimmed_botocore_makes_every_client_that_the_functions_make(dependencies: Path) -> None:
    """Run by a Python that has nothing else on its path but the layer."""
    program = """
import json, sys
sys.path.insert(0, sys.argv[1])
import aws_lambda_powertools, botocore, botocore.session, msgspec, pynamodb.models, tzdata
session = botocore.session.get_session()
clients = [session.create_client(name, region_name="eu-central-1").meta.endpoint_url for name in sys.argv[2:]]
print(json.dumps([clients, botocore.__file__]))
"""
    python = str(find_project().stack_python())  # the Python that runs the functions in the local stack
    command = [python, "-I", "-c", program, str(dependencies), *sorted(services_in_use())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    endpoints, origin = json.loads(done.stdout)
    assert origin.startswith(str(dependencies))
    assert len(set(endpoints)) == len(services_in_use())
    assert all("eu-central-1" in endpoint for endpoint in endpoints)


def test_every_package_keeps_its_licence_and_loses_what_only_installers_read(dependencies: Path) -> None:
    packages = list(dependencies.glob("*.dist-info"))
    assert len(packages) >= 8
    for package in packages:
        names = {path.name for path in package.rglob("*")}
        assert any(re.match(r"(?i)licen[sc]e|copying", name) for name in names), package.name
        assert "METADATA" in names
        assert not names & set(build.INSTALLER_NOTES)
    assert not (dependencies / "bin").exists()


def test_layer_has_byte_code_that_does_not_depend_on_file_times(dependencies: Path) -> None:
    compiled = list(dependencies.rglob("*.pyc"))
    assert len(compiled) > 100
    # Flags of the header (PEP 552): 1 = checked against a hash of the source never, instead of its time.
    assert {path.read_bytes()[4:8] for path in compiled} == {(1).to_bytes(4, "little")}


def test_our_layer_holds_the_package_without_command_guard_and_local_stack() -> None:
    layer = build.build("bedrock_meter", "host")[0] / "python"
    assert [path.name for path in layer.iterdir()] == ["bedrock_meter"]
    package = layer / "bedrock_meter"
    held = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    source = {path.relative_to(build.PACKAGE).as_posix() for path in build.PACKAGE.rglob("*.py")}
    left_out = {path for path in source if path.split("/")[0] in {"cli", "client", "local"}}
    assert left_out
    assert held == source - left_out
    assert (package / "py.typed").is_file()


def test_second_build_does_nothing_and_an_edit_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "bedrock_meter" / "bedrock_meter"
    package.mkdir(parents=True)
    module = package / "clock.py"
    module.write_text("A = 1\n", encoding="utf-8")
    monkeypatch.setattr(build, "LAYERS", tmp_path)
    monkeypatch.setattr(build, "PACKAGE", package)
    monkeypatch.setattr(build, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(build, "__file__", str(tmp_path / "build.py"))
    (tmp_path / "build.py").write_text("", encoding="utf-8")

    folder, anew = build.build("bedrock_meter", "host")
    assert anew
    assert build.build("bedrock_meter", "host") == (folder, False)

    module.write_text("A = 2\n", encoding="utf-8")
    assert build.build("bedrock_meter", "host") == (folder, True)
    assert (folder / "python" / "bedrock_meter" / "clock.py").read_text(encoding="utf-8") == "A = 2\n"

    module.rename(package / "errors.py")
    assert build.build("bedrock_meter", "host") == (folder, True)
    assert [path.name for path in (folder / "python" / "bedrock_meter").glob("*.py")] == ["errors.py"]


def test_sources_of_layers_hold_no_python_folder() -> None:
    """SAM would add it to what is built."""
    assert not [path for path in build.LAYERS.glob("*/python") if path.is_dir()]
