"""What TensorBoard needs beside scalars: the layout of its custom charts, and a run's row of hyper-parameters.

By default it smooths the lines of a *Multiline* chart, and cuts off the lowest and the highest twentieth of a chart's
values as outliers: a curve that drops at one or two probes would be flattened and cut. The lines of a *Margin* chart
are not smoothed. ``FRAME`` is logged beside each probe: with two lines at 0 and 1 in a chart its ends are no outliers,
so that the chart always shows all of [0, 1].

HParams orders by whether a value differs between runs if no run comes with an ``Experiment`` message of its own, as
``torch.utils.tensorboard`` writes it; with one, only that run's keys are shown, in the order of the alphabet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.util.tensor_util import make_tensor_proto

from edit_lit.reports.charts import CHARTS

FRAME = {"chart/0": 0.0, "chart/1": 1.0}
"""Constant scalars that hold the ends of a chart of shares in place."""

AT_END = "at_end"
"""Scalars under this name stand before all others, where HParams takes the first few as its columns."""


def layout(more: Mapping[str, Mapping[str, Sequence[str]]]) -> Summary:
    """The custom charts: at most six lines each, shares between 0 and 1.

    TensorBoard shows an empty chart where no tag was logged, so that only what the run will log belongs here.

    Args:
        more: Further categories: tags by chart and category. Their charts have the range of their values.
    """
    shares = layout_pb2.Category(
        title="edits", chart=[_unsmoothed(title, (*tags, *FRAME)) for title, tags in CHARTS.items()]
    )
    losses = layout_pb2.Category(
        title="downstream",
        chart=[
            layout_pb2.Chart(
                title="training loss", multiline=layout_pb2.MultilineChartContent(tag=["downstream/train_loss$"])
            ),
            _unsmoothed("validation loss", ("downstream/val_loss",)),
        ],
    )
    others = [
        layout_pb2.Category(title=title, chart=[_unsmoothed(name, tags) for name, tags in charts.items()])
        for title, charts in more.items()
    ]
    content = layout_pb2.Layout(category=[shares, losses, *others]).SerializeToString()
    value = Summary.Value(
        tag=layout_metadata.CONFIG_SUMMARY_TAG,
        tensor=make_tensor_proto(content, shape=()),
        metadata=layout_metadata.create_summary_metadata(),
    )
    return Summary(value=[value])


def _unsmoothed(title: str, tags: Sequence[str]) -> layout_pb2.Chart:
    series = [layout_pb2.MarginChartContent.Series(value=tag, lower=tag, upper=tag) for tag in tags]
    return layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=series))


def hyperparameters_summary(values: Mapping[str, object], run: str) -> Summary:
    """A run's row of HParams: its hyper-parameters.

    Args:
        values: Numbers, truth values and texts by name; anything else by its text.
        run: A name of the run that no other has: of runs that share one TensorBoard shows the mean.
    """
    known = {name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in values.items()}
    return hparams_pb(known, trial_id=run)


def ending_summary(finished: bool) -> Summary:
    """How a run ended, for its row of HParams; without one it counts as running.

    Args:
        finished: Whether it came to its end.
    """
    status = Status.Value("STATUS_SUCCESS" if finished else "STATUS_FAILURE")
    content = HParamsPluginData(session_end_info=SessionEndInfo(status=status))
    metadata = hparams_metadata.create_summary_metadata(content)
    return Summary(
        value=[
            Summary.Value(
                tag=hparams_metadata.SESSION_END_INFO_TAG, tensor=hparams_metadata.NULL_TENSOR, metadata=metadata
            )
        ]
    )
