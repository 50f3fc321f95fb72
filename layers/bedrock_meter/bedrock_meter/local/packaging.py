"""Making the template ready for the local stack: code as zip files in a bucket, and references to them.

What ``sam package`` does on AWS, for this machine's Python: the local stack runs the functions with the interpreter
that it runs on itself, so the layers are the ones built for the host.
"""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bedrock_meter.local.failures import LocalStackFailed
from bedrock_meter.local.project import Project

CODE_PROPERTIES = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}
_LAYERS = Path("layers")
_UNWANTED = frozenset({"__pycache__", ".mypy_cache", ".pytest_cache"})


def build_layers(project: Project, stack_python: Path) -> None:
    """Build both layers for this machine; takes no time if nothing changed.

    Raises:
        LocalStackFailed: They cannot be built, or the local stack's Python is another version than ours.
    """
    question = [str(stack_python), "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
    version = subprocess.run(question, capture_output=True, text=True, check=False).stdout.strip()
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version != own:
        raise LocalStackFailed(
            f"{stack_python} is Python {version or 'unknown'} and this is {own}: the layers fit one only; "
            "remove the environment that is wrong, `make run` makes it anew"
        )
    command = [sys.executable, str(project.layer_builder), "--target", "host"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise LocalStackFailed((built.stderr.strip() or built.stdout.strip()).splitlines()[-1])


def packaged_template(project: Project, upload: Callable[[str, bytes], str]) -> dict[str, Any]:
    """Return the template with each code folder replaced by the address of its uploaded zip file.

    Args:
        project: The checkout.
        upload: Takes a name and a zip file, returns its ``s3://`` address.

    Raises:
        LocalStackFailed: The template is not valid YAML, or a code folder holds nothing: layers that were not built
            would deploy without a complaint, and every function would fail when it starts.
    """
    import yaml

    try:
        template = load_template(project.template.read_text(encoding="utf-8"))
    except yaml.YAMLError as problem:
        raise LocalStackFailed(f"{project.template} is not valid YAML: {problem}") from problem
    for name, resource in template["Resources"].items():
        code = CODE_PROPERTIES.get(resource["Type"])
        if code is None:
            continue
        properties = resource["Properties"]
        folder = Path(properties[code])
        layer = folder.parent == _LAYERS
        source = project.built_layers / folder.name if layer else project.root / folder
        properties[code] = upload(f"{name}.zip", zipped(source, keep_byte_code=layer))
    return template


def zipped(folder: Path, *, keep_byte_code: bool = False) -> bytes:
    """Return the folder's files as a zip file; not compressed, since it only moves on this machine.

    Raises:
        LocalStackFailed: There are none.
    """
    content = io.BytesIO()
    unwanted = frozenset() if keep_byte_code else _UNWANTED
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for file in sorted(folder.rglob("*")):
            inside = file.relative_to(folder)
            if file.is_file() and not unwanted.intersection(inside.parts):
                archive.write(file, inside)
        if not archive.namelist():
            raise LocalStackFailed(f"{folder} holds no code to deploy; a layer has to be built first")
    return content.getvalue()


def load_template(text: str) -> dict[str, Any]:
    """Read a CloudFormation template in YAML; the short forms (``!Ref``) become the long ones."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Knows the tags of CloudFormation; leaves dates as text."""

    def construct(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
        value: Any
        if isinstance(node, yaml.ScalarNode):
            value = loader.construct_scalar(node)
        elif isinstance(node, yaml.SequenceNode):
            value = loader.construct_sequence(node, deep=True)
        elif isinstance(node, yaml.MappingNode):
            value = loader.construct_mapping(node, deep=True)
        else:
            raise TypeError(f"a YAML node of an unknown kind: {node}")
        if suffix == "GetAtt" and isinstance(value, str):
            value = value.split(".", 1)
        return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}

    Loader.add_multi_constructor("!", construct)
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    # One reading as JSON, so that what YAML anchors share becomes separate and can be changed apart.
    loaded: dict[str, Any] = json.loads(json.dumps(yaml.load(text, Loader)))  # noqa: S506 - a safe loader
    return loaded
