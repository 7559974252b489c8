from __future__ import annotations

import torch
from torch import nn
from world_model.muon import Muon, orthogonalise


def test_singular_values_come_close_to_one_and_singular_vectors_stay():
    torch.manual_seed(0)
    stack = torch.randn(3, 6, 10)
    result = orthogonalise(stack)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.5
    assert values.max() < 1.3
    u, _, vh = torch.linalg.svd(stack, full_matrices=False)
    core = u.mT @ result @ vh.mT
    assert torch.allclose(core, torch.diag_embed(core.diagonal(dim1=1, dim2=2)), atol=1e-4)


def test_tall_matrices_are_handled_as_wide_ones_are():
    torch.manual_seed(0)
    stack = torch.randn(2, 9, 4)
    assert torch.allclose(orthogonalise(stack), orthogonalise(stack.mT).mT)


def test_a_stack_steps_as_its_matrices_do_one_by_one():
    torch.manual_seed(0)
    together = [nn.Parameter(torch.randn(5, 3)) for _ in range(4)]
    alone = [nn.Parameter(weight.detach().clone()) for weight in together]
    optimizers = [Muon(together, []), *(Muon([weight], []) for weight in alone)]
    for step in range(3):
        for weight, twin in zip(together, alone, strict=True):
            weight.grad = torch.randn(5, 3, generator=torch.Generator().manual_seed(step))
            twin.grad = weight.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for weight, twin in zip(together, alone, strict=True):
        assert torch.allclose(weight, twin, atol=1e-6)


def test_muon_follows_its_definition_written_out():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 2))
    expected, mean = weight.detach().clone(), torch.zeros(8, 2)
    optimizer = Muon([weight], [], lr=0.1, momentum=0.9, weight_decay=0.5)
    for _ in range(3):
        weight.grad = torch.randn(8, 2)
        optimizer.step()
        mean = 0.9 * mean + 0.1 * weight.grad
        ahead = 0.1 * weight.grad + 0.9 * mean
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * 2 * orthogonalise(ahead[None])[0]
        assert torch.allclose(weight, expected, atol=1e-5)


def test_everything_else_steps_as_torch_adam_does():
    torch.manual_seed(0)
    mine, theirs = nn.Parameter(torch.ones(7)), nn.Parameter(torch.ones(7))
    ours = Muon([], [mine], other_lr=0.01, betas=(0.8, 0.95))
    adam = torch.optim.Adam([theirs], lr=0.01, betas=(0.8, 0.95))
    for _ in range(4):
        mine.grad = torch.randn(7)
        theirs.grad = mine.grad.clone()
        ours.step()
        adam.step()
        assert torch.allclose(mine, theirs, atol=1e-6)
