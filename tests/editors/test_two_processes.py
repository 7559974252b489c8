"""Two processes with gloo on this machine make the edit that one makes."""

from __future__ import annotations

import socket

import small
import torch
import torch.multiprocessing as mp
from threads import set_threads

from edit_lit.deltas import Delta
from edit_lit.editors import PMET, AlphaEdit, BeyondRank, KeyCovariance, LocFTBF, Schedule
from edit_lit.records import TextLines


def edit(rank: int, processes: int, port: int, folder: str) -> None:
    set_threads()
    if processes > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=processes
        )
    key_covariance = KeyCovariance(TextLines(f"{folder}/corpus.txt"), cache_dir=f"{folder}/cache{processes}")
    parts = {
        "target_values": small.values(chunk=1, steps=6),
        "contexts": small.contexts(),
        "key_covariance": key_covariance,
    }
    for number, editor in enumerate(
        (
            AlphaEdit([1, 2], BeyondRank(4), 0.1, schedule=Schedule(batch_size=3, passes=2, stop_gap=0.0), **parts),
            PMET([1, 2], 0.1, 0.1, **parts),
            LocFTBF([2]),
        )
    ):
        delta = editor.edit(small.model(), small.requests(5))
        delta.save(f"{folder}/{processes}_{rank}_{number}.safetensors")


def test_every_process_gets_the_delta_of_one(tmp_path):
    (tmp_path / "corpus.txt").write_text("\n".join(small.TEXT))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for processes in (1, 2):
        mp.spawn(edit, (processes, port, str(tmp_path)), nprocs=processes)
    for number in range(3):
        alone, first, second = (Delta.load(tmp_path / f"{name}_{number}.safetensors") for name in ("1_0", "2_0", "2_1"))
        assert first.hash() == second.hash()
        for name, update in alone.updates.items():
            torch.testing.assert_close(first.updates[name].dense(), update.dense(), rtol=1e-4, atol=1e-6)
