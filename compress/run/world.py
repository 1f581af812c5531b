"""One process or several under torchrun: who decides, and how the others learn of it.

Rank 0 looks into the cache, writes and reports; the others follow its decisions and take part in training only.
"""

import json
import os
from typing import Any


class World:
    """The processes of this run, read from torchrun's environment."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))

    def __repr__(self) -> str:
        return f"World(rank {self.rank} of {self.size})"

    @property
    def main(self) -> bool:
        """True in the process that decides."""
        return self.rank == 0

    def agree(self, value: Any) -> Any:
        """Rank 0's value (plain data), in every process. Alone it is just the value, and torch is not imported."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed as dist

        if not dist.is_initialized():
            dist.init_process_group()  # without a name, so that tensors on GPUs get a backend of their own
        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        length = torch.tensor([len(text)])
        dist.broadcast(length, src=0)
        if not self.main:
            text = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(text, src=0)
        return json.loads(bytes(text.tolist()))

    def close(self) -> None:
        """The training is over: leave the group."""
        if self.size > 1:
            import torch.distributed as dist

            if dist.is_initialized():
                dist.destroy_process_group()
