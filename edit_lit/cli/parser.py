"""The parser of the command line's options and of configuration files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from edit_lit.utilities.config_files import check_config_file
from edit_lit.utilities.errors import ConfigError


class EditArgumentParser(LightningArgumentParser):
    """Lightning's parser: strict about names, for verbs that may bear the name of a key, as ``edit`` does.

    Attributes:
        of_other_verbs: Keys that another verb may have written into a file; without effect if they are none here.
        take_class: Keys whose value may be the mere name of a class.
    """

    of_other_verbs: Collection[str] = ()
    take_class: Collection[str] = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        # No option answers to a part of its name, and what is wrong is raised instead of printed.
        super().__init__(*args, **{"allow_abbrev": False, "exit_on_error": False, **options})

    def add_method_arguments(
        self, class_type: type, method_name: str, skip: set[str | int] | None = None, **options: Any
    ) -> list[str]:
        """Add a verb's own options, in no group: it would be named after the verb, and so after the key."""
        added: list[str] = super().add_method_arguments(
            class_type, method_name, skip=skip, **{**options, "as_group": False}
        )
        return added

    def parse_path(self, cfg_path: str | Path, *args: Any, **options: Any) -> Namespace:
        """Parse a file, less what belongs to another verb.

        Raises:
            ConfigError: If the file is no YAML, or holds a value where options by name should be.
        """
        content = check_config_file(str(cfg_path))
        for name in self.groups or ():
            value = content.get(name, {})
            elsewhere = isinstance(value, str) and Path(cfg_path).parent.joinpath(value).is_file()
            named = isinstance(value, str) and name in self.take_class
            if not isinstance(value, dict) and not elsewhere and not named:
                raise ConfigError(
                    f"--config {cfg_path}: {name} is {'null' if value is None else repr(value)}, but it takes its "
                    f"options by name. Indent them below {name}, or leave it out."
                )
        parsed = super().parse_path(cfg_path, *args, **options)
        own = self.get_defaults()
        for key in self.of_other_verbs:
            if key not in own:
                parsed.pop(key, None)
        return parsed
