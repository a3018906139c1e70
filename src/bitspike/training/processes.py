"""Several processes, one run: each takes its share of every batch, gradients are averaged (DDP over gloo).

Started by `torchrun`, which sets WORLD_SIZE. Process 0 alone writes files, evaluates and shows progress.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel


@dataclass
class Processes:
    """This process's `rank` among `size`; `share`, its part of the current batch, weights its gradient."""

    rank: int = 0
    size: int = 1
    share: float = 1.0

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def shard(self, batch: Tensor) -> Tensor:
        """This process's rows of a batch; where there are too few, one row that counts nothing."""
        if self.size == 1:
            return batch
        own = batch[self.rank :: self.size]
        self.share = len(own) / len(batch)
        return own if len(own) else batch[:1]

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose backward pass averages gradients over processes, weighted by their shares."""
        if self.size == 1:
            return model
        wrapped = DistributedDataParallel(model, broadcast_buffers=False)
        wrapped.register_comm_hook(self, lambda own, bucket: _weighted_mean(own, bucket))
        return wrapped

    def total(self, figures: list[float]) -> list[float]:
        """Sums over processes."""
        if self.size == 1:
            return figures
        sums = torch.tensor(figures, dtype=torch.float64)
        dist.all_reduce(sums)
        return [float(value) for value in sums]

    def align(self, model: nn.Module) -> None:
        """Copy the first process's model to the others."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)

    def tell(self, value: Any) -> Any:
        """The first process's value, everywhere."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the other processes where there are any, and leave them at the end if they were joined here."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    joined = not dist.is_initialized()
    if joined:
        # The launcher's store outlives a group: a later one must not find the addresses of the one before.
        store, rank, size = next(iter(rendezvous("env://")))
        turn = store.add(f"bitspike/{rank}", 1)
        own = dist.PrefixStore(f"bitspike/{turn}", store)  # type: ignore[attr-defined]
        dist.init_process_group("gloo", store=own, rank=rank, world_size=size)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        if joined:
            dist.destroy_process_group()


def _weighted_mean(own: Processes, bucket: Any) -> torch.futures.Future[Tensor]:
    weighted = bucket.buffer().mul_(own.share)
    work = dist.all_reduce(weighted, async_op=True)
    assert work is not None
    return work.get_future().then(lambda future: future.value()[0])  # type: ignore[no-any-return]
