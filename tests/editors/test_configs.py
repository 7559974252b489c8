"""The published settings in configs/ are understood, alone and on top of each other, without loading any model."""

from __future__ import annotations

import warnings
from itertools import product
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser

import edit_lit.editors as editors
from edit_lit.cli.lightning_cli import EditCLI
from edit_lit.data_module import EditDataModule
from edit_lit.fine_tuner import FineTuner
from edit_lit.records import HubText

CONFIGS = Path(__file__).parents[2] / "configs"
MODELS = sorted(CONFIGS.glob("models/*.yaml"))
EDITORS = sorted(CONFIGS.glob("editors/*.yaml"))


class ParsedOnly(EditCLI):
    def instantiate_classes(self):
        """Models of the hub are not for tests."""


def parsed(*paths):
    arguments = [part for path in (CONFIGS / "quickstart.yaml", *paths) for part in ("--config", str(path))]
    cli = ParsedOnly(
        FineTuner, EditDataModule, args=arguments, run=False, seed_everything_default=0, auto_configure_optimizers=False
    )
    return cli.config


def built(config):
    parser = ArgumentParser()
    parser.add_subclass_arguments(editors.Editor, "editor")
    return parser.instantiate(parser.parse_object({"editor": config.edit.editor})).editor


def leaves(tree, name=""):
    if isinstance(tree, dict):
        return [leaf for key, value in tree.items() for leaf in leaves(value, f"{name}.{key}")]
    return [(name, tree)]


@pytest.mark.parametrize("path", [*MODELS, *EDITORS], ids=lambda path: path.stem)
def test_an_overlay_changes_only_what_it_is_about(path):
    content = yaml.safe_load(path.read_text())
    assert set(content) <= ({"edit", "model"} if path in MODELS else {"edit"})
    assert set(content["edit"]) == {"editor"}
    # YAML 1.1 reads 5e-4 as text.
    assert not [name for name, value in leaves(content) if isinstance(value, str) and value[:1].isdigit()]
    editor = built(parsed(path))
    assert type(editor).__name__ == content["edit"]["editor"]["class_path"]
    for name, value in leaves(content["edit"]["editor"].get("init_args", {})):
        found = editor
        for part in name.strip(".").replace(".init_args", "").split("."):
            found = getattr(found, part) if part != "class_path" else type(found).__name__
        assert found == value or type(found).__name__ == value, name


def test_the_short_names_of_all_editors_have_an_overlay():
    names = {yaml.safe_load(path.read_text())["edit"]["editor"]["class_path"] for path in EDITORS}
    classes = {name for name in editors.__all__ if isinstance(getattr(editors, name), type)}
    assert names == {name for name in classes if issubclass(getattr(editors, name), editors.Editor)} - {"Editor"}


@pytest.mark.parametrize(("model", "editor"), list(product(MODELS[:2], EDITORS)), ids=lambda path: path.stem)
def test_a_model_and_an_editor_compose(model, editor):
    config = parsed(model, editor)
    assert (
        config.model.language_model.init_args.path
        == yaml.safe_load(model.read_text())["model"]["language_model"]["init_args"]["path"]
    )
    made, published = built(config), built(parsed(model))
    own = yaml.safe_load(editor.read_text())["edit"]["editor"].get("init_args", {})
    assert type(made).__name__ == yaml.safe_load(editor.read_text())["edit"]["editor"]["class_path"]
    if "layers" not in own:
        assert made.layers == published.layers
    if hasattr(made, "key_covariance"):
        assert isinstance(made.key_covariance.corpus, HubText)
        assert made.contexts.templates is None
    if hasattr(made, "target_values") and "target_values" not in own:
        assert made.target_values == published.target_values
    if hasattr(made, "covariance_weight") and "covariance_weight" not in own:
        assert made.covariance_weight == published.covariance_weight


@pytest.mark.parametrize("name", sorted(path.stem for path in EDITORS))
def test_a_written_config_makes_the_same_editor_again(name):
    """Defaults that are objects too: what cannot be written would be lost with the run."""
    (path,) = (path for path in EDITORS if path.stem == name)
    parser = ArgumentParser()
    parser.add_subclass_arguments(editors.Editor, "editor")
    config = parser.parse_object({"editor": yaml.safe_load(path.read_text())["edit"]["editor"]})
    text = parser.dump(config)
    assert "Unable to serialize" not in text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = (parser.instantiate(parsed).editor for parsed in (config, parser.parse_string(text)))
    assert vars(first).keys() == vars(second).keys()
    assert parser.dump(parser.parse_string(text)) == text
    assert type(first) is type(second)
