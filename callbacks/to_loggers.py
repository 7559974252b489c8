"""Handing figures and texts to loggers, each in its own way; one that cannot show them gets none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure

from edit_lit.reports.metrics_file import Series
from edit_lit.reports.table import Row, markdown_table


def log_figure(logger: Logger, name: str, figure: Figure, step: int) -> None:
    """Hand over a figure.

    Args:
        logger: Any logger.
        name: What the figure is called there.
        figure: The figure.
        step: Optimizer steps taken.
    """
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_figure(name, figure, step, close=False)
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [figure], step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_figure(logger.run_id, figure, _artifact(name, "png"))


def log_lines(logger: Logger, name: str, lines: Mapping[str, Series], step: int) -> None:
    """Hand over a chart of several scores to W&B, which has no layout to draw them by as TensorBoard has.

    Args:
        logger: Any logger.
        name: The chart's title.
        lines: (step, value) of each score in order, by the score's tag.
        step: Optimizer steps taken.
    """
    if isinstance(logger, WandbLogger):
        from wandb import plot

        steps = [[step for step, _ in points] for points in lines.values()]
        values = [[value for _, value in points] for points in lines.values()]
        chart = plot.line_series(steps, values, keys=[*lines], title=name, xname="optimizer steps")
        logger.log_metrics({f"charts/{name}": chart}, step)


def log_text(logger: Logger, name: str, markdown: str, step: int) -> None:
    """Hand over a text.

    Args:
        logger: Any logger.
        name: What the text is called there.
        markdown: The text.
        step: Optimizer steps taken.
    """
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_text(name, markdown, step)
    elif isinstance(logger, WandbLogger):
        logger.log_text(name, columns=["text"], data=[[markdown]], step=step)
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_text(logger.run_id, markdown, _artifact(name, "md"))


def log_table(logger: Logger, name: str, header: Row, rows: Sequence[Row], step: int, above: str = "") -> None:
    """Hand over a table.

    Args:
        logger: Any logger.
        name: What the table is called there.
        header: Names of the columns.
        rows: The cells.
        step: Optimizer steps taken.
        above: Markdown to stand above it, where it is a text.
    """
    if isinstance(logger, WandbLogger):
        # As numbers and texts, not as Markdown: its tables sort and filter.
        logger.log_table(name, columns=[*header], data=[[*row] for row in rows], step=step)
    else:
        log_text(logger, name, "\n\n".join(filter(None, [above, markdown_table(header, rows)])), step)


def _artifact(name: str, ending: str) -> str:
    return str(PurePosixPath("report", f"{name.replace('/', '_')}.{ending}"))
