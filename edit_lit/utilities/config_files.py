"""Configuration files, looked at before the parser reads them."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from edit_lit.utilities.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML's own loader, which also refuses a key that stands twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping whose keys differ."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def check_config_file(name: str) -> dict[str, Any]:
    """The content of a file, or of a text in its place, that must be a mapping.

    Args:
        name: A path, or YAML itself if it is a mapping in braces.

    Raises:
        ConfigError: Naming the file and what is wrong with it.
    """
    if name.lstrip().startswith("{"):
        return _mapping(name, "--config")
    path = Path(name)
    if path.is_dir():
        raise ConfigError(f"--config {name} is a folder. Name a file in it{_yaml_in(path)}.")
    if not path.exists():
        raise ConfigError(f"--config {name} does not exist.{_alike(path)}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {name} cannot be read as text ({error}). Name a YAML file.") from error
    return _mapping(text, f"--config {name}")


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        content = yaml.load(text, Loader=_Loader)  # a kind of safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where}{place}: {getattr(error, 'problem', None) or error}. Correct the YAML.") from error
    if content is None:
        raise ConfigError(f"{where} is empty. Leave it out, or name another file.")
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else f"the value {content!r}"
        raise ConfigError(f"{where} holds {kind}, not options by name. Name a file such as configs/quickstart.yaml.")
    return content


def _alike(path: Path) -> str:
    beside = [file.name for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    found = get_close_matches(path.name, beside, n=1, cutoff=0.75)
    return f" Did you mean {path.parent / found[0]}?" if found else " Correct the path."


def _yaml_in(folder: Path) -> str:
    found = sorted(file.name for file in folder.glob("*.yaml"))
    return f", such as {folder / found[0]}" if found else ""
