"""What people define: files of YAML, read whole and strictly, with the place of what is wrong.

What a file may hold is its concept's business (``tenants/file.py``, ``pricing/file.py``). That it is there, is YAML and
holds no key that nobody reads is decided here.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from bedrock_meter.errors import InvalidDefinition

T = TypeVar("T")


def read_definitions(path: Path, parse: Callable[[object], T], *, values_as_written: bool = False) -> T:
    """Read a file and return what ``parse`` makes of its document.

    Args:
        path: The file.
        parse: Makes something of the document. Its complaints get the file's name in front.
        values_as_written: Every value is the text that was written, so that 2.70 and 0012 stay what they are. By
            default YAML decides what is a number, a truth value, a day or nothing.

    Raises:
        InvalidDefinition: It cannot be read, is not YAML, or ``parse`` says that a value is wrong.
    """
    import yaml  # only people's files are YAML, so no function pays for it

    # Both are safe: they make texts, lists, mappings and, but for the base loader, plain values.
    loader = yaml.BaseLoader if values_as_written else yaml.SafeLoader
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), loader)  # noqa: S506
    except OSError as problem:
        raise InvalidDefinition(str(path), f"cannot be read: {problem.strerror}") from problem
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
        raise InvalidDefinition(where, "is not valid YAML") from problem
    try:
        return parse(document)
    except InvalidDefinition as problem:
        raise problem.under(str(path)) from problem


def refuse_unknown_keys(where: str, entry: Mapping[object, object], known: tuple[str, ...]) -> None:
    """Refuse a mapping with a key that nobody reads: a misspelled one would be silently without effect.

    Raises:
        InvalidDefinition: At ``where``; names the key, and those that are read.
    """
    for key in entry:
        if key not in known:
            raise InvalidDefinition(where, f"unknown key {key!r}; known are {', '.join(known)}")
