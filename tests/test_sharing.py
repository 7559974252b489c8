"""What processes exchange: two with gloo on this machine, and one by itself."""

from __future__ import annotations

import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from edit_lit.utilities import distributed


def exchange() -> dict[str, object]:
    """What a process gets out of every function; ``numbers`` is changed in place."""
    mine = distributed.rank()
    numbers = torch.tensor([1.0 + mine, 10.0 * mine], dtype=torch.float64)
    summed = distributed.sum_over_processes(numbers)
    return {
        "distributed": distributed.is_distributed(),
        "rank": mine,
        "world_size": distributed.world_size(),
        "shard": distributed.shard(list(range(5))),
        "sum": summed.tolist(),
        "in_place": summed is numbers,
        "all": distributed.from_all_processes({"rank": mine}),
        "first": distributed.from_first_process(["of", mine]),
    }


def report(rank: int, processes: int, port: int, folder: str) -> None:
    """Write down what one of some processes gets."""
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=processes)
    torch.save(exchange(), f"{folder}/{processes}_{rank}.pt")
    dist.destroy_process_group()


ALONE = {
    "distributed": False,
    "rank": 0,
    "world_size": 1,
    "shard": [0, 1, 2, 3, 4],
    "sum": [1.0, 0.0],
    "in_place": True,
    "all": [{"rank": 0}],
    "first": ["of", 0],
}


def test_one_process_shares_with_nobody(tmp_path):
    assert exchange() == ALONE
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    report(0, 1, port, str(tmp_path))  # a group of one, as some launchers make it
    assert torch.load(tmp_path / "1_0.pt", weights_only=True) == ALONE


def test_two_processes_share_work_and_get_everything(tmp_path):
    assert exchange() == ALONE  # by itself until the group is there
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(report, (2, port, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"2_{rank}.pt", weights_only=True) for rank in (0, 1))
    common = {
        "distributed": True,
        "world_size": 2,
        "sum": [3.0, 10.0],
        "in_place": True,
        "all": [{"rank": 0}, {"rank": 1}],
        "first": ["of", 0],
    }
    assert first == {**common, "rank": 0, "shard": [0, 2, 4]}
    assert second == {**common, "rank": 1, "shard": [1, 3]}
