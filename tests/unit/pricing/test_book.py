"""Reading the book, and what that loads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bedrock_meter.errors import ConfigurationError
from bedrock_meter.pricing.book import FILE, load_book, read_book
from tests.unit.functions.test_imports import HEAVY

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b"[]", "cannot be read"),
        (b"{}", "cannot be read"),
        (FILE.read_bytes().replace(b'"schema": 1', b'"schema": 2'), "schema 2"),
        (FILE.read_bytes().replace(b'"input":3300000000', b'"input":3300000000.5'), "cannot be read"),
    ],
)
def test_a_book_that_is_none_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read_book(content)


def test_the_book_is_read_once() -> None:
    assert load_book() is load_book()


def test_the_first_scope_with_a_card_counts() -> None:
    book = load_book()
    model = "amazon.nova-micro-v1:0"
    for scopes, found in (
        (("ap-northeast-1", "apac", "list"), "ap-northeast-1"),
        (("ap-southeast-1", "apac", "list"), "apac"),
        (("list",), "list"),
    ):
        place = book.find(model, scopes, 0)
        assert place is not None
        assert place[0] == found
    assert book.find(model, ("mars-1",), 0) is None
    assert book.find("mars.model", ("list",), 0) is None


@pytest.mark.parametrize("module", ["pricing.rating", "pricing.cached", "pricing.wiring", "pricing.weights"])
def test_rating_loads_nothing_heavy(module: str) -> None:
    """The folder's modules may be on any function's path; weights are also for functions without structs."""
    code = f"import bedrock_meter.{module}, json, sys; print(json.dumps(sorted(sys.modules)))"
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    foreign = HEAVY | {"genai_prices", "httpx2", "aws_lambda_powertools"}
    foreign |= {"msgspec", "botocore"} if module == "pricing.weights" else set()
    assert foreign & loaded == set()


def test_the_layer_carries_the_book() -> None:
    from layers import build

    assert FILE.resolve() in {path.resolve() for path in build.package_files()}
