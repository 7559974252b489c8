"""Shapley values: what each player adds, averaged over all orders in which the players may join.

Shape legend: N players; S = 2ᴺ sets of them, each at the number whose bit n says whether player n is in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor


def subsets(players: int) -> list[frozenset[int]]:
    """All sets of players, each at its number."""
    return [frozenset(n for n in range(players) if number >> n & 1) for number in range(2**players)]


def shapley_values(values_S: Tensor) -> Tensor:
    """The exact Shapley value of each player (Shapley 1953); they sum to the last value less the first.

    Args:
        values_S: The value of each set of players, [S, ...].

    Returns:
        [N, ...].

    Examples:
        Of three players the first adds 1, the second 2, the third nothing, and the first two together 4 more:

        >>> shapley_values(torch.tensor([0.0, 1, 2, 7, 0, 1, 2, 7]))
        tensor([3., 4., 0.])
    """
    players = len(values_S).bit_length() - 1
    shares = values_S.new_zeros(players, *values_S.shape[1:])
    for number, members in enumerate(subsets(players)):
        before, after = len(members), players - len(members)
        for player in range(players):
            if player in members:
                weight = math.factorial(before - 1) * math.factorial(after) / math.factorial(players)
                shares[player] += weight * (values_S[number] - values_S[number ^ 1 << player])
    return shares


def smallest_sets(players: int, works: Callable[[frozenset[int]], bool]) -> list[frozenset[int]]:
    """All sets of the fewest players that do; none if no set does."""
    for size in range(players + 1):
        found = [members for members in map(frozenset, combinations(range(players), size)) if works(members)]
        if found:
            return found
    return []


def sampled_values(
    value: Callable[[frozenset[int]], Tensor],
    coalitions: Sequence[Sequence[int]],
    pairs: int,
    seed: int = 0,
    watch: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Tensor:
    """What each player adds in random orders in which the members of a coalition stand together.

    The mean over all pairs estimates Owen's value (Owen 1977): a coalition's members share what the coalition has as a
    player of its own. Orders are drawn in antithetic pairs, one the other's reverse, whose mean varies less.

    Args:
        value: The value of a set of players.
        coalitions: The players, numbered from 0, in groups.
        pairs: How many pairs of orders are drawn.
        seed: Seed of the draw.
        watch: Goes through the pairs; it may show how far that is.

    Returns:
        The mean over both orders of each pair, [pairs, N, ...].
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in watch(range(pairs)):
        order = [player for members in _shuffled(coalitions, generator) for player in _shuffled(members, generator)]
        drawn.append((_added(value, order) + _added(value, order[::-1])) / 2)
    return torch.stack(drawn)


def _added(value: Callable[[frozenset[int]], Tensor], order: Sequence[int]) -> Tensor:
    """What each player adds when they join in an order, [N, ...]."""
    values = torch.stack([value(frozenset(order[:size])) for size in range(len(order) + 1)])
    return values.diff(dim=0)[torch.tensor(order).argsort()]


def _shuffled(items: Sequence[Any], generator: torch.Generator) -> list[Any]:
    return [items[place] for place in torch.randperm(len(items), generator=generator).tolist()]
