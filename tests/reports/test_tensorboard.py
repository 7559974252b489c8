from __future__ import annotations

import re

import numpy as np
import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.api_pb2 import ListSessionGroupsRequest, Status
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler as ListSessionGroups
from tensorboard.util.tensor_util import make_ndarray
from torch.utils.tensorboard import SummaryWriter

from edit_lit.measures.fates import Fate
from edit_lit.reports.hyperparameters import hyperparameters
from edit_lit.reports.tensorboard import AT_END, FRAME, ending_summary, hyperparameters_summary, layout

PROBES = [0, 1, 2, 4, 8, 16, *range(25, 401, 25)]


def charts():
    (value,) = layout({}).value
    parsed = layout_pb2.Layout.FromString(make_ndarray(value.tensor).item())
    return {chart.title: chart for category in parsed.category for chart in category.chart}


def lines(chart, logged):
    """What TensorBoard draws: tags of a margin chart as they are, a multiline chart's are patterns."""
    if chart.HasField("margin"):
        return {series.value: logged[series.value] for series in chart.margin.series if series.value in logged}
    return {tag: logged[tag] for tag in logged if any(re.match(pattern, tag) for pattern in chart.multiline.tag)}


def shown_range(chart, drawn):
    """The vertical range by TensorBoard's own rule: from the 5th to the 95th percentile of all values."""
    if chart.HasField("multiline"):
        drawn = {tag: smoothed(values) for tag, values in drawn.items()}
    values = np.sort(np.concatenate(list(drawn.values())))
    low, high = np.quantile(values, [0.05, 0.95])
    kept = values[(values >= low) & (values <= high)]
    return kept.min(), kept.max()


def smoothed(values, weight=0.6):
    """TensorBoard's moving average, free of bias."""
    last, shown = 0.0, []
    for number, value in enumerate(values, start=1):
        last = last * weight + (1 - weight) * value
        shown.append(last / (1 - weight**number))
    return np.array(shown)


def logged():
    """A run that loses nearly all at one probe and gets it back, on a task it cannot do at first."""
    dip = np.array([0.05 if step == 50 else 1.0 for step in PROBES])
    tags = {f"retention/{name}/exact": dip for name in ("edited", "intrinsic", "stable", "emergent")}
    tags |= {f"retention/{name}/exact": 1 - dip for name in ("reverted", "displaced", "impossible", "efr")}
    tags |= {f"fates/{fate}/exact": dip if fate is Fate.ALIVE else 1 - dip for fate in Fate}
    tags |= {f"edit/{name}/exact": dip for name in ("efficacy", "generalization", "specificity")}
    tags |= {tag: np.full(len(PROBES), value) for tag, value in FRAME.items()}
    tags["downstream/val_accuracy"] = np.array([0.0, 0.4, 0.7, 0.9, 1, 1, 1, 1, 1])
    tags["downstream/val_loss"] = np.array([9.0, 1.5, 1.2, 1.1, 1, 1, 1, 1, 1])
    return tags | {"downstream/train_loss": np.linspace(9, 1, 80)}


@pytest.mark.parametrize("title", ["retention over downstream accuracy", "edited facts", "what became of them"])
def test_dip_and_downstream_curve_are_in_the_picture(title):
    chart, tags = charts()[title], logged()
    assert chart.HasField("margin"), "a multiline chart is smoothed"
    low, high = shown_range(chart, lines(chart, tags))
    assert (low, high) == (0, 1)


def test_without_the_frame_the_dip_would_be_cut_off():
    chart = charts()["retention over downstream accuracy"]
    tags = {tag: values for tag, values in logged().items() if tag not in FRAME}
    low, _ = shown_range(chart, lines(chart, tags))
    assert low > 0.05


def test_no_chart_has_more_than_six_lines_and_each_has_some():
    for title, chart in charts().items():
        drawn = lines(chart, logged())
        assert 1 <= len(drawn) <= 6, title
        for series in chart.margin.series:
            assert series.value == series.lower == series.upper
    assert set(lines(charts()["retention over downstream accuracy"], logged())) == {
        "retention/edited/exact",
        "retention/intrinsic/exact",
        "downstream/val_accuracy",
        *FRAME,
    }


def page(folder):
    """TensorBoard's own backend of the HParams tab."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    context = Context(TBContext(logdir=str(folder), data_provider=MultiplexerDataProvider(multiplexer, str(folder))))
    request = RequestContext()
    found = context.hparams_from_data_provider(request, "", limit=None)
    metadata = context.hparams_metadata(request, "")
    experiment = context.experiment_from_metadata(request, "", True, metadata, found, 1000)
    asked = ListSessionGroupsRequest(
        allowed_statuses=[Status.Value(f"STATUS_{name}") for name in ("SUCCESS", "FAILURE", "RUNNING", "UNKNOWN")],
        start_index=0,
        slice_size=100,
    )
    groups = ListSessionGroups(request, context, "", asked).run().session_groups
    return experiment, groups


def test_hparams_shows_first_what_differs_between_runs(tmp_path):
    base = {"a": 1, "b": {"c": "x", "d": True}, "seed": 0, "z": {"lr": 0.1}, "name": "r"}
    configs = [base, base | {"z": {"lr": 0.2}, "name": "s"}, base | {"seed": 1, "extra": "y", "name": "t"}]
    for number, config in enumerate(configs):
        with SummaryWriter(str(tmp_path / f"run_{number}")) as writer:
            writer.file_writer.add_summary(hyperparameters_summary(hyperparameters(config), f"run {number}"))
            writer.add_scalar("downstream/train_loss", 1.0, 1)
            writer.add_scalar(f"{AT_END}/retention/edited", 0.5, 1)
            if number:
                writer.file_writer.add_summary(ending_summary(number == 1))
    experiment, groups = page(tmp_path)
    names = [info.name for info in experiment.hparam_infos]
    assert names == ["seed", "z.lr", "a", "b.c", "b.d", "extra"]
    assert [info.differs for info in experiment.hparam_infos[:2]] == [True, True]
    assert experiment.metric_infos[0].name.tag == f"{AT_END}/retention/edited"
    status = {group.sessions[0].name: group.sessions[0].status for group in groups}
    names = {"run_0": "STATUS_UNKNOWN", "run_1": "STATUS_SUCCESS", "run_2": "STATUS_FAILURE"}
    assert status == {run: Status.Value(name) for run, name in names.items()}


def test_two_equal_runs_keep_a_row_each(tmp_path):
    for number in range(2):
        with SummaryWriter(str(tmp_path / f"run_{number}")) as writer:
            writer.file_writer.add_summary(hyperparameters_summary({"a": 1}, f"run {number}"))
    assert len(page(tmp_path)[1]) == 2


def test_hyperparameters_are_leaves_without_the_place_of_results():
    config = {
        "config": ["a.yaml"],
        "name": "mine",
        "ckpt_path": None,
        "seed_everything": 3,
        "edit": {"editor": {"class_path": "MEMIT", "init_args": {"layers": [1, 2], "ridge": None}}},
        "trainer": {
            "default_root_dir": "runs",
            "logger": {"class_path": "WandbLogger", "init_args": {"project": "p"}},
            "max_steps": 4,
            "callbacks": [{"class_path": "Guard", "init_args": {"strength": 0.5}}],
        },
    }
    assert hyperparameters(config) == {
        "seed_everything": 3,
        "edit.editor.class_path": "MEMIT",
        "edit.editor.init_args.layers": "[1, 2]",
        "edit.editor.init_args.ridge": "None",
        "trainer.max_steps": 4,
        "trainer.callbacks.0.class_path": "Guard",
        "trainer.callbacks.0.init_args.strength": 0.5,
    }
