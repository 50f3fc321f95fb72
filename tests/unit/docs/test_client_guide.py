"""The guide to the guard says what is there."""

import ast
import importlib
import inspect
import re

from bedrock_meter.client import TenantGuard, TenantThrottled
from bedrock_meter.client.operations import GUARDED
from tests.unit.docs.test_docs import ROOT, fences

GUIDE = ROOT / "docs" / "client.md"


def test_its_programs_import_and_call_what_exists() -> None:
    programs = list(fences(GUIDE, "python"))
    assert len(programs) >= 5
    parameters = {
        name: set(inspect.signature(getattr(TenantGuard, name)).parameters)
        for name in ("wrap", "admit", "lease", "__init__")
    }
    called = set()
    for program in programs:
        for node in ast.walk(ast.parse(program)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bedrock_meter"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names)
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                name = "__init__" if name == "TenantGuard" else name
                if name in parameters:
                    called.add(name)
                    assert {one.arg for one in node.keywords} <= parameters[name], ast.unparse(node)
    assert called == parameters.keys()


def test_every_attribute_of_a_denial_is_explained() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    section = text[text.index("## Denied") : text.index("## No decision")]
    named = set(re.findall(r"`(\w+)(?:\(\))?`", section))
    denied = TenantThrottled("acme", {}, None, remembered=False)
    attributes = {name for name in vars(denied) if not name.startswith("_")} | {"problem"}
    assert attributes <= named


def test_every_guarded_operation_is_listed() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    for operations in GUARDED.values():
        for operation in operations:
            assert f"`{re.sub(r'(?<!^)(?=[A-Z])', '_', operation).lower()}`" in text
