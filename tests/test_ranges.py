"""No numeric option accepts a number that means nothing: every constructor that a config can reach is tried."""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Iterator

import pytest

import edit_lit.editors
import edit_lit.facts
import edit_lit.tasks
import edit_lit.world
from edit_lit.activations import Contexts
from edit_lit.data_module import EditDataModule
from edit_lit.measures.intrinsic import IntrinsicPool
from edit_lit.records import HubText, TextLines
from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError

ABSTRACT = {"Editor", "FactSource", "Scorer", "Task", "PromptTemplate", "UpdateConstraint", "EditRequest", "Question"}
ELSEWHERE = {"WorldModel"}
PARTS = [edit_lit.editors, edit_lit.facts, edit_lit.tasks, edit_lit.world]
CLASSES = {
    cls.__name__: cls
    for cls in (
        *(getattr(part, name) for part in PARTS for name in part.__all__),
        Contexts,
        EditDataModule,
        HubText,
        IntrinsicPool,
        TextLines,
    )
    if inspect.isclass(cls) and cls.__name__ not in ABSTRACT | ELSEWHERE
}
ANY_NUMBER = {"seed"}
"""Options that any number suits."""


def kinds_of(annotation: object) -> set[object]:
    """The plain types that an option takes."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return {kind for part in typing.get_args(annotation) for kind in kinds_of(part)}
    return {annotation}


def numeric_options() -> Iterator[tuple[str, str, float]]:
    for name, cls in CLASSES.items():
        hints = typing.get_type_hints(cls if dataclasses.is_dataclass(cls) else cls.__init__)
        for option in inspect.signature(cls).parameters:
            kinds = kinds_of(hints.get(option))
            if option in ANY_NUMBER or not kinds & {int, float}:
                continue
            yield name, option, -5
            if float in kinds:
                yield from ((name, option, value) for value in (-0.5, math.nan, math.inf))


def required(cls: type, folder: str) -> dict[str, object]:
    """What a class asks for besides."""
    given: dict[str, object] = {"path": folder, "instruction": "{a}", "output": "{b}"}
    parameters = inspect.signature(cls).parameters
    wanted = {name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty}
    return {name: given.get(name) for name in wanted}


@pytest.mark.parametrize(("name", "option", "value"), list(numeric_options()))
def test_a_number_that_means_nothing_is_refused_by_name(name, option, value, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("a\n")
    options = {**required(CLASSES[name], str(file)), option: value}
    with pytest.raises(ConfigError) as refusal:
        CLASSES[name](**options)
    message = str(refusal.value)
    assert option in message
    assert str(value) in message
    assert "\n" not in message


def test_all_classes_and_options_are_tried():
    tried = {(name, option) for name, option, _ in numeric_options()}
    assert len({name for name, _ in tried}) >= 40
    assert {
        ("Columns", "max_tokens"),
        ("World", "limit"),
        ("TargetValues", "lr"),
        ("FinalNumber", "max_new_tokens"),
    } <= (tried)


@pytest.mark.parametrize("value", [True, "3", None, math.inf, math.nan, 0, 11])
def test_what_is_no_number_in_the_range_is_refused(value):
    with pytest.raises(ConfigError, match="n is .*; it must be at least 1 and at most 10"):
        check_number("n", value, least=1, most=10)
    if value is None:
        check_number("n", value, least=1, null="for all")
