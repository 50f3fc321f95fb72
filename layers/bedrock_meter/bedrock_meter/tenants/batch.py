"""Many tenants at once: a CSV or YAML file of ``tenants add``, checked whole before anything is changed.

CSV has a header and one tenant a line; YAML is a list ``tenants`` of mappings with the same names. Several values in
one cell (models, sources, limits) stand apart by ``;``. Every complaint names its line.

::

    id,name,timezone,models,limits
    acme,Acme Limited,Europe/Berlin,us.anthropic.claude-sonnet-4-6,meter=total_tokens,window=1h...   # quote such a cell
    globex,,,anthropic.claude-haiku-4-5-20251001-v1:0,"meter=requests,window=day,max=10000;meter=total_tokens,..."
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bedrock_meter.definitions import opened
from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.definition import parse_limit
from bedrock_meter.limits.limit import Limit
from bedrock_meter.tenants.file import check_name, check_timezone
from bedrock_meter.tenants.profiles import is_source
from bedrock_meter.tenants.provisioning import Wanted
from bedrock_meter.tenants.tenant import DEFAULT_TIMEZONE, checked_tenant_id

COLUMNS = ("id", "name", "timezone", "plan", "models", "copy_from", "limits")
MAXIMUM_COMPLAINTS = 20

SourceOf = Callable[[str], str]
"""Makes the ARN to copy from of a model id."""


@dataclass(frozen=True, slots=True)
class Line:
    """One tenant of a file.

    Attributes:
        number: Line of the file on which it begins, from 1.
        wanted: What is asked for.
    """

    number: int
    wanted: Wanted


def load_batch(path: Path, source_of: SourceOf) -> tuple[Line, ...]:
    """Read a file of tenants: YAML by its ending (``.yaml``, ``.yml``), else CSV.

    Raises:
        InvalidDefinition: It cannot be read, or some of its lines are wrong: says which, twenty at most.
    """
    try:
        # The mark that spreadsheets put first is no part of the first column's name.
        content = path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise InvalidDefinition(str(path), f"cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise InvalidDefinition(str(path), "is not UTF-8 text: save it as CSV UTF-8") from problem
    rows = _yaml_rows(content) if path.suffix.lower() in (".yaml", ".yml") else _csv_rows(content)
    lines: list[Line] = []
    complaints: list[str] = []
    seen: dict[str, int] = {}
    try:
        for number, row in rows:
            try:
                wanted = wanted_of(row, source_of)
                if wanted.tenant in seen:
                    raise InvalidDefinition("id", f"{wanted.tenant} stands on line {seen[wanted.tenant]} already")
                seen[wanted.tenant] = number
                lines.append(Line(number, wanted))
            except InvalidDefinition as problem:
                complaints.append(f"line {number}: {problem}")
    except InvalidDefinition as problem:
        raise problem.under(str(path)) from problem
    if complaints:
        more = len(complaints) - MAXIMUM_COMPLAINTS
        shown = complaints[:MAXIMUM_COMPLAINTS] + ([f"and {more} more"] if more > 0 else [])
        raise InvalidDefinition(str(path), "; ".join(shown))
    if not lines:
        raise InvalidDefinition(str(path), f"holds no tenant: write a header ({','.join(COLUMNS)}) and a line for each")
    return tuple(lines)


def wanted_of(row: Mapping[str, object], source_of: SourceOf) -> Wanted:
    """Read one tenant.

    Args:
        row: Values by the names of ``COLUMNS``; empty and missing ones are the same.
        source_of: Makes the ARN to copy from where only a model is named.

    Raises:
        InvalidDefinition: A name is not known, or a value is wrong.
    """
    for key in row:
        if key not in COLUMNS:
            raise InvalidDefinition("", f"unknown column {key!r}; known are {', '.join(COLUMNS)}")
    tenant = checked_tenant_id(row.get("id"))
    timezone, plan, name = (_text(row, key) for key in ("timezone", "plan", "name"))
    if timezone is not None:
        check_timezone(timezone)
    if name is not None:
        check_name(name)
    models, copied = _words(row, "models"), _words(row, "copy_from")
    for arn in copied:
        if not is_source(arn):
            raise InvalidDefinition(
                "copy_from", f"{arn!r} is not the ARN of a foundation model or of a system-defined profile"
            )
    sources = copied or tuple(source_of(model) for model in models)
    for source in sources:
        if sources.count(source) > 1:
            raise InvalidDefinition("models", f"{source} is named twice")
        if not is_source(source):
            raise InvalidDefinition("models", f"{source.rpartition('/')[2]!r} is no id of a model")
    limits = _limits(row, timezone or DEFAULT_TIMEZONE)
    return Wanted(tenant, sources, models if copied else (), timezone, plan, name, limits)


def parse_limit_words(words: str, timezone: str, where: str) -> Limit:
    """Read a limit as ``--limit`` and a cell spell it: ``meter=requests,window=1h,max=1000,hard=true``.

    Raises:
        InvalidDefinition: A part is not ``name=value``, or the limit is wrong.
    """
    parts: dict[str, object] = {}
    for part in words.split(","):
        key, sign, value = part.strip().partition("=")
        if not sign or not value:
            raise InvalidDefinition(
                where, f"{part.strip()!r} is not name=value; write meter=total_tokens,window=1h,max=200k"
            )
        if key in parts:
            raise InvalidDefinition(where, f"{key} is given twice")
        parts[key] = value
    for flag in ("hard", "shadow"):
        if flag in parts:
            if parts[flag] not in ("true", "false"):
                raise InvalidDefinition(where, f"{flag}={parts[flag]}: write {flag}=true or {flag}=false")
            parts[flag] = parts[flag] == "true"
    if "thresholds" in parts:
        levels = str(parts["thresholds"]).split("+")
        parts["thresholds"] = [int(level) if level.isascii() and level.isdigit() else level for level in levels]
    for key in ("models", "profiles"):
        if key in parts:
            parts[key] = str(parts[key]).split("+")
    return parse_limit(parts, timezone, where)


def _limits(row: Mapping[str, object], timezone: str) -> tuple[Limit, ...] | None:
    value = row.get("limits")
    if isinstance(value, list):
        return tuple(
            parse_limit_words(one, timezone, f"limits[{index}]")
            if isinstance(one, str)
            else parse_limit(one, timezone, f"limits[{index}]")
            for index, one in enumerate(value)
        )
    words = _words(row, "limits")
    if not words:
        return None
    return tuple(parse_limit_words(one, timezone, f"limits[{index}]") for index, one in enumerate(words))


def _text(row: Mapping[str, object], key: str) -> str | None:
    value = row.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InvalidDefinition(key, f"{value!r} must be text; quote what looks like a number")
    return value.strip() or None


def _words(row: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = row.get(key)
    if isinstance(value, list):
        if not all(isinstance(one, str) for one in value):
            raise InvalidDefinition(key, "must be a list of texts")
        return tuple(value)
    return tuple(word.strip() for word in (_text(row, key) or "").split(";") if word.strip())


def _csv_rows(content: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    reader = csv.reader(io.StringIO(content), strict=True)
    header: Sequence[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as problem:
            raise InvalidDefinition(f"line {number}", f"is not CSV: {problem}") from problem
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip().lower() for cell in cells]
            unknown = [name for name in header if name not in COLUMNS]
            if unknown or "id" not in header or len(set(header)) < len(header):
                raise InvalidDefinition(
                    f"line {number}", f"must be a header with id and any of {', '.join(COLUMNS[1:])}, each once"
                )
            continue
        row: dict[str, object] = {}
        if len(cells) > len(header):
            # Handed on as a wrong row, so that all such lines are told at once.
            row[f"after {header[-1]}"] = "quote a cell that holds commas"
        yield number, {**dict(zip(header, cells, strict=False)), **row}


def _yaml_rows(content: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    import yaml  # only people's files are YAML, so no function pays for it

    with opened(content) as loader:
        node = loader.get_single_node()
        pairs = {key.value: value for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}
        entries = pairs.get("tenants")
        if set(pairs) != {"tenants"} or not isinstance(entries, yaml.SequenceNode):
            raise InvalidDefinition("", "must be a mapping with one list 'tenants', for example: tenants: [{id: acme}]")
        for entry in entries.value:
            row = loader.construct_object(entry, deep=True)
            yield entry.start_mark.line + 1, row if isinstance(row, Mapping) else {"id": row}
