"""The files of pins: they fit what they are made from, and the check that says so sees when they do not."""

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from requirements import lock

ROOT = Path(__file__).resolve().parents[2]


def test_pins_fit_what_they_are_made_from() -> None:
    assert list(lock.problems(ROOT)) == []


def test_what_make_run_installs_is_neither_tests_nor_sam() -> None:
    held = set(lock.pins((ROOT / "requirements" / "run.txt").read_text(encoding="utf-8")))
    assert {"botocore", "aws-lambda-powertools", "pynamodb", "msgspec", "typer", "rich", "pyyaml", "tzdata"} <= held
    assert not held & {"pytest", "hypothesis", "moto", "mypy", "ruff", "uv", "boto3", "aws-sam-cli", "ministack"}


def test_layer_holds_what_the_functions_import_and_no_second_sdk() -> None:
    held = lock.pins((ROOT / lock.LAYER).read_text(encoding="utf-8"))
    assert {"botocore", "aws-lambda-powertools", "pynamodb", "msgspec", "tzdata"} <= set(held)
    assert not set(held) & {"boto3", "s3transfer", "typer", "rich", "pyyaml", "pydantic"}


def test_pinned_versions_satisfy_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / lock.PACKAGE).read_text(encoding="utf-8"))["project"]
    held = lock.pins((ROOT / "requirements" / "run.txt").read_text(encoding="utf-8"))
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    requirements = [one for one in map(Requirement, asked) if one.name != project["name"]]
    assert len(requirements) >= 8
    for one in requirements:
        assert one.specifier.contains(held[one.name.lower()].version), str(one)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of everything that the check reads."""
    names = [lock.PACKAGE, lock.TOOLS, *(one.path for one in lock.FILES), *(one.source for one in lock.FILES)]
    for name in filter(None, names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A change of one file, which must find what it changes."""

    def change(root: Path) -> None:
        text = (root / name).read_text(encoding="utf-8")
        assert old in text
        (root / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def append(name: str, line: str) -> Callable[[Path], None]:
    """One line more at the end of a file."""

    def change(root: Path) -> None:
        with (root / name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (replace(lock.PACKAGE, '"msgspec>=', '"msgspec>0.1,>='), "requirements/lock.txt is older"),
        (replace(lock.PACKAGE, '"botocore>=', '"botocore>1,>='), f"{lock.LAYER} is older"),
        (replace(lock.TOOLS, '"pytest>=', '"pytest>1,>='), "requirements/lock.txt is older"),
        (append("requirements/sam.in", "checkov"), "requirements/sam.txt is older"),
        (replace("requirements/local-stack.in", "ministack==", "ministack>="), "requirements/local-stack.txt is older"),
        (replace("requirements/run.txt", "rich==", "rich==9"), "rich is not what"),
        (replace(lock.LAYER, "six==", "seven=="), "seven is not what"),
        (append("requirements/run.txt", "--index-url=https://example.org/simple"), "names an index"),
        (append("requirements/sam.txt", "--find-links /somewhere"), "neither a pin nor a hash"),
        (append("requirements/sam.txt", "unhashed==1.0"), "unhashed has no hash"),
        (append(lock.LAYER, "other==1.0 ; python_version < '3.12'"), "other has a marker"),
        (lambda root: (root / "requirements" / "run.txt").unlink(), "requirements/run.txt is missing"),
    ],
)
def test_check_sees_what_no_longer_fits(copy: Path, change: Callable[[Path], None], problem: str) -> None:
    assert list(lock.problems(copy)) == []
    change(copy)
    assert any(problem in one for one in lock.problems(copy)), list(lock.problems(copy))


def test_comments_and_order_do_not_make_pins_stale(copy: Path) -> None:
    append("requirements/sam.in", "# a remark")(copy)
    append(lock.TOOLS, "# another")(copy)
    assert list(lock.problems(copy)) == []
