"""The template as CloudFormation gets it: what SAM makes of it, in the local stack's environment."""

import json
import subprocess
from functools import lru_cache
from typing import Any

from bedrock_meter.local.project import find_project
from tests.template.reading import TEMPLATE

_PROGRAM = """
import json, sys
from types import SimpleNamespace
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

template = yaml_parse(sys.stdin.read())
for resource in template["Resources"].values():
    for name in ("CodeUri", "ContentUri"):
        if name in resource.get("Properties", {}):
            resource["Properties"][name] = "s3://bucket/key"
session = SimpleNamespace(region_name="us-east-1")
json.dump(Translator({}, Parser(), boto_session=session).translate(template, {}), sys.stdout)
"""


@lru_cache
def expanded_resources() -> Any:
    """Return all resources after the SAM transform, by logical id."""
    python = str(find_project().stack_python())
    done = subprocess.run(
        [python, "-c", _PROGRAM],
        input=TEMPLATE.read_text(encoding="utf-8"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["Resources"]
