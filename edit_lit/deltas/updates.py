"""What an edit adds to one weight: a product of thin factors, or a whole matrix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


class Update(ABC):
    """A weight update, in the orientation in which the parameter is stored."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Shape of the parameter."""

    @abstractmethod
    def dense(self) -> Tensor:
        """The update itself, in float64."""

    @abstractmethod
    def norm(self) -> float:
        """Frobenius norm."""

    @abstractmethod
    def tensors(self) -> Mapping[str, Tensor]:
        """What is stored, by the names that :func:`update_of` knows."""

    @abstractmethod
    def in_float32(self) -> Update:
        """The same update as it is kept: in float32, on the CPU."""

    @property
    @abstractmethod
    def transposed(self) -> Update:
        """The same update of a weight that is stored the other way round."""


@dataclass(frozen=True)
class LowRank(Update):
    """A weight update of low rank, left rightᵀ.

    Args:
        left: [rows of the parameter, rank].
        right: [columns of the parameter, rank].

    Examples:
        >>> update = LowRank(left=torch.tensor([[3.0], [4.0]]), right=torch.tensor([[1.0], [0.0], [0.0]]))
        >>> update.shape, update.norm()
        ((2, 3), 5.0)
    """

    left: Tensor
    right: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the parameter."""
        return len(self.left), len(self.right)

    def dense(self) -> Tensor:
        """The update itself, left rightᵀ, in float64."""
        return self.left.double() @ self.right.double().T

    def norm(self) -> float:
        """Frobenius norm, from the two rank × rank Gram matrices."""
        gram = (self.left.double().T @ self.left.double()) * (self.right.double().T @ self.right.double())
        return float(gram.sum().clamp(min=0).sqrt())

    def tensors(self) -> Mapping[str, Tensor]:
        """The two factors."""
        return {"left": self.left, "right": self.right}

    def in_float32(self) -> LowRank:
        """The factors in float32 on the CPU."""
        return LowRank(self.left.float().cpu(), self.right.float().cpu())

    @property
    def transposed(self) -> LowRank:
        """The same update of a weight that is stored the other way round."""
        return LowRank(self.right, self.left)


@dataclass(frozen=True)
class Dense(Update):
    """A weight update that has no low rank.

    Args:
        matrix: [rows of the parameter, columns of the parameter].
    """

    matrix: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the parameter."""
        return self.matrix.shape[0], self.matrix.shape[1]

    def dense(self) -> Tensor:
        """The matrix in float64."""
        return self.matrix.double()

    def norm(self) -> float:
        """Frobenius norm."""
        return float(self.matrix.double().norm())

    def tensors(self) -> Mapping[str, Tensor]:
        """The matrix."""
        return {"dense": self.matrix}

    def in_float32(self) -> Dense:
        """The matrix in float32 on the CPU."""
        return Dense(self.matrix.float().cpu())

    @property
    def transposed(self) -> Dense:
        """The same update of a weight that is stored the other way round."""
        return Dense(self.matrix.T.contiguous())


def update_of(tensors: Mapping[str, Tensor]) -> Update:
    """The update that :meth:`Update.tensors` describes.

    Raises:
        KeyError: If it describes none.
    """
    if "dense" in tensors:
        return Dense(tensors["dense"])
    return LowRank(tensors["left"], tensors["right"])


def added(first: Update, second: Update) -> Update:
    """The sum of two updates; factors side by side for as long as they are smaller than the matrix."""
    if isinstance(first, LowRank) and isinstance(second, LowRank):
        left, right = torch.cat([first.left, second.left], dim=1), torch.cat([first.right, second.right], dim=1)
        return smallest(LowRank(left, right))
    return Dense((first.dense() + second.dense()).to(_widest(first, second)))


def smallest(update: Update) -> Update:
    """The same update as a matrix, if its factors are larger than that."""
    rows, columns = update.shape
    if isinstance(update, LowRank) and update.left.shape[1] * (rows + columns) > rows * columns:
        return Dense(update.dense().to(_widest(update)))
    return update


def _widest(*updates: Update) -> torch.dtype:
    types = [tensor.dtype for update in updates for tensor in update.tensors().values()]
    return torch.float64 if torch.float64 in types else torch.float32
