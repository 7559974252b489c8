"""Losses that fall as answers become unlikely, as in open-unlearning (github.com/locuslab/open-unlearning).

Shape legend: S answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from edit_lit.utilities.checks import check_number
from edit_lit.utilities.errors import ConfigError

Kind = Literal["grad_diff", "npo", "sim_npo"]

_BETAS = {"npo": 0.1, "sim_npo": 2.5}
"""Published defaults: section 5 of 2404.05868, and section 5 of 2410.07163."""


@dataclass(frozen=True)
class UnlearningLoss:
    """How likely an answer still is, as a loss.

    With log p the log-probability of all tokens of an answer, and n their number:

    - ``grad_diff``: log p / n, without a lower bound; gradient ascent on the NLL (Maini et al., arXiv 2401.06121)
    - ``npo``: (2/β) log(1 + (p / p_ref)^β), with p_ref that of the model before (Zhang et al., arXiv 2404.05868, eq. 3)
    - ``sim_npo``: −(2/β) log σ(−(β/n) log p − γ) (Fan et al., arXiv 2410.07163, eq. 4)

    Args:
        kind: Which.
        beta: β; the published one of each loss if not given.
        gamma: γ.

    Raises:
        ConfigError: If one is out of range, or is given to a loss that has none.
    """

    kind: Kind = "npo"
    beta: float | None = None
    gamma: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("grad_diff", "npo", "sim_npo"):
            raise ConfigError(f"eraser.loss is {self.kind!r}. Use grad_diff, npo or sim_npo.")
        check_number("eraser.beta", self.beta, above=0, null="for the published one")
        check_number("eraser.gamma", self.gamma)
        if self.beta is not None and self.kind == "grad_diff":
            raise ConfigError(f"eraser.beta is {self.beta:g}, but grad_diff has none. Leave it out.")
        if self.gamma and self.kind != "sim_npo":
            raise ConfigError(f"eraser.gamma is {self.gamma:g}, but {self.kind} has none. Leave it out.")

    def __call__(self, nll_S: Tensor, lengths_S: Tensor, nll_then_S: Tensor) -> Tensor:
        """The loss of each answer, [S].

        Args:
            nll_S: Mean NLL per token as it is, in nats.
            lengths_S: Tokens of each answer.
            nll_then_S: Mean NLL per token before, in nats.
        """
        if self.kind == "grad_diff":
            return -nll_S
        beta = self.beta or _BETAS[self.kind]
        if self.kind == "npo":
            return -2 / beta * F.logsigmoid(beta * lengths_S * (nll_S - nll_then_S))
        return -2 / beta * F.logsigmoid(beta * nll_S - self.gamma)
