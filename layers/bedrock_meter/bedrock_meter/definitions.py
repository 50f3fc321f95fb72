"""What people define: files of YAML, read whole and strictly, with the place of what is wrong.

What a file may hold is its concept's business (``tenants/file.py``, ``pricing/file.py``). That it is there, is YAML,
and holds no key twice and none that nobody reads, is decided here.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

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
        InvalidDefinition: It cannot be read, is not YAML, has a key twice, or ``parse`` says that a value is wrong.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise InvalidDefinition(str(path), f"cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise InvalidDefinition(str(path), "is not UTF-8") from problem
    with opened(content, str(path), values_as_written=values_as_written) as loader:
        document = loader.get_single_data()
    try:
        return parse(document)
    except InvalidDefinition as problem:
        raise problem.under(str(path)) from problem


@contextmanager
def opened(content: str, name: str = "", *, values_as_written: bool = False) -> Iterator[Any]:
    """Give a YAML loader over ``content``: of texts, lists, mappings and plain values, with no key twice.

    Args:
        content: What a person wrote.
        name: Of the file, for complaints.
        values_as_written: See ``read_definitions``.

    Raises:
        InvalidDefinition: Something that is asked of the loader is not YAML, or has a key twice; with its line.
    """
    import yaml  # only people's files are YAML, so no function pays for it

    base: Any = yaml.BaseLoader if values_as_written else yaml.SafeLoader

    class Strict(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    # YAML would take the last one, and nobody would know.
                    raise InvalidDefinition(_place(name, key.start_mark), f"{key.value!r} stands here twice")
                seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
            return super().construct_mapping(node, deep)

    loader = Strict(content)
    try:
        yield loader
    except (yaml.YAMLError, ValueError) as problem:  # ValueError: a day that no calendar has, such as 2026-13-45
        raise InvalidDefinition(_place(name, getattr(problem, "problem_mark", None)), "is not valid YAML") from problem
    finally:
        loader.dispose()


def _place(name: str, mark: Any) -> str:
    return ", ".join(part for part in (name, f"line {mark.line + 1}" if mark is not None else "") if part)


def refuse_unknown_keys(where: str, entry: Mapping[object, object], known: tuple[str, ...]) -> None:
    """Refuse a mapping with a key that nobody reads: a misspelled one would be silently without effect.

    Raises:
        InvalidDefinition: At ``where``; names the key, and those that are read.
    """
    for key in entry:
        if key not in known:
            raise InvalidDefinition(where, f"unknown key {key!r}; known are {', '.join(known)}")
