"""The one training loop: train, distill, fine-tuning after pruning and quantization-aware training all use it.

Everything random follows from (seed, epoch, step), so a training that was killed and goes on from its last epoch ends
with the same bytes as one that was left alone. Several processes (torchrun) share each global batch: gradients are
weighted by examples and summed, batch norm counts all examples, so two processes differ from one by rounding alone:
in float32 by 4e-5 in a weight after 45 updates (tests/unit/stages/test_processes.py allows 5e-4).
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from compress.data.dataset import Dataset
from compress.errors import StageError
from compress.recipe.schema import Training
from compress.stages.base import Progress, silent
from compress.stages.batches import Batch, Feed, split_batches
from compress.stages.optimizing import Average, learning_rate_at, load_optimizer, make_optimizer, optimizer_tensors
from compress.stages.processes import current_accelerator
from compress.stages.resume import State, digest_tensors, load_state, nest, save_state, unnest

VERSION = 1  # of the loop: raise it when the same input trains to other weights


@dataclass(frozen=True, slots=True)
class Epoch:
    """loss: mean over the epoch's examples, while training. correct: validation examples right afterwards."""

    loss: float
    correct: int
    validation_accuracy: float


@dataclass(frozen=True, slots=True)
class History:
    """epochs: one row each. best: the epoch whose weights were kept, from 1. notes: what the user should know."""

    epochs: tuple[Epoch, ...]
    best: int
    device: str
    threads: int
    processes: int
    notes: tuple[str, ...] = ()

    def metrics(self) -> dict[str, Any]:
        """Plain numbers and lists for a stage's record."""
        return {
            "epochs": len(self.epochs),
            "best_epoch": self.best,
            "loss": [e.loss for e in self.epochs],
            "validation_accuracy": [e.validation_accuracy for e in self.epochs],
            "device": self.device,
            "threads": self.threads,
            "processes": self.processes,
            **({"notes": list(self.notes)} if self.notes else {}),
        }


def fit(
    module: nn.Module,
    data: Dataset,
    config: Training,
    *,
    epochs: int,
    loss: Callable[[Batch], Tensor],
    seed: int,
    workdir: Path | None = None,
    progress: Progress = silent,
    where: str = "training",
    identity: str = "",
    on_step: Callable[[int, int], None] | None = None,
    select_from: int = 1,
) -> History:
    """Train `module` in place; it ends in eval mode with the weights of the best epoch.

    The best epoch is the one with most validation examples right, the later one of equals; epochs before `select_from`
    (from 1) do not stand for election. With ema_decay it is the averaged weights that are judged and kept.

    module: forward(x) gives logits (n, classes). It is moved to the device that accelerate chooses.
    config.augment: what changes training images; None is no change (the runner fills in the recipe's data.augment).
    loss: mean over the examples of a Batch, of a forward pass that it makes itself; called in train mode.
    workdir: where the state is kept after each epoch, and looked for at the start. None: no resume.
    identity: whatever the loss depends on besides data and config (a teacher's digest, a temperature).
    on_step: called with (step, steps) after each update of the weights, step from 1.

    Raises:
        StageError: the loss is no longer finite, or there are more processes than examples in a batch.
        CacheError: the state cannot be written.
    """
    accelerator = current_accelerator()
    module.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with _repeatable(accelerator.device) as threads:
        feed = Feed(
            data,
            config,
            seed=seed,
            device=accelerator.device,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
        )
        run = _Run(module, config, accelerator, data, feed, epochs, loss, where, on_step)
        whole = _identity(module, data, config, epochs=epochs, seed=seed, identity=identity)
        state, note = load_state(workdir, whole) if workdir else (None, "")
        if state:
            run.restore(state)
        progress(len(run.epochs) * feed.steps, epochs * feed.steps, note)
        while len(run.epochs) < epochs:
            torch.manual_seed(_derive(seed, len(run.epochs)))
            run.train_epoch(progress)
            run.judge(select_from)
            if workdir and accelerator.is_main_process:
                save_state(workdir, whole, run.state())
            accelerator.wait_for_everyone()
        module.load_state_dict(run.best)
        module.eval()
        rows, best, device = tuple(run.epochs), run.best_epoch, accelerator.device.type
        return History(rows, best, device, threads, accelerator.num_processes, (note,) if note else ())


class _Run:
    """What changes while a training runs."""

    def __init__(
        self,
        module: nn.Module,
        config: Training,
        accelerator: Accelerator,
        data: Dataset,
        feed: Feed,
        epochs: int,
        loss: Callable[[Batch], Tensor],
        where: str,
        on_step: Callable[[int, int], None] | None,
    ) -> None:
        self.module, self.config, self.accelerator, self.data, self.feed = module, config, accelerator, data, feed
        self.loss, self.where, self.on_step = loss, where, on_step
        self.count, self.steps = epochs, epochs * feed.steps
        self.optimizer = make_optimizer(module, config)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.average = Average(module, config.ema_decay) if config.ema_decay else None
        self.epochs: list[Epoch] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0

    def train_epoch(self, progress: Progress) -> None:
        self.module.train()
        number, total, examples = len(self.epochs), 0.0, 0
        accuracy = f"validation {self.epochs[-1].validation_accuracy:.2%}" if self.epochs else ""
        for i, batch in enumerate(self.feed.epoch(number)):
            step = number * self.feed.steps + i
            value = self._step(batch, learning_rate_at(self.config, step, self.steps))
            if not math.isfinite(value):
                what = (
                    f"the loss became {value} in epoch {number + 1} of {self.count}, step {i + 1} of {self.feed.steps}"
                )
                fix = f"lower learning_rate (it is {self.config.learning_rate:g}), or use precision: float32"
                raise StageError(what, self.where, fix)
            total, examples = total + value * batch.total, examples + batch.total
            if self.on_step:
                self.on_step(step + 1, self.steps)
            if self.average:
                self.average.update(self.module)
            note = f"epoch {number + 1}/{self.count}  loss {total / examples:.4f}  {accuracy}"
            progress(step + 1, self.steps, note.rstrip())
        self.epochs.append(Epoch(total / examples, 0, 0.0))

    def _step(self, batch: Batch, learning_rate: float) -> float:
        """One update; returns the loss over the global batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        bfloat16 = self.config.precision == "bfloat16"
        with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=bfloat16):
            share = self.loss(batch) * (len(batch) / batch.total)
        share.backward()  # type: ignore[no-untyped-call]
        value = self._sum_over_processes(share.detach())
        self.optimizer.step()
        return value

    def _sum_over_processes(self, share: Tensor) -> float:
        """Add up gradients and loss of all processes in one message, so that all of them see the same numbers."""
        if self.accelerator.num_processes > 1:
            grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
            flat = torch.cat([*(g.reshape(-1) for g in grads), share.reshape(1).float()])
            flat = self.accelerator.reduce(flat, reduction="sum")
            sizes = [g.numel() for g in grads]
            for p, g, part in zip(self.parameters, grads, flat[:-1].split(sizes), strict=True):
                p.grad = g.copy_(part.view(g.shape))
            share = flat[-1]
        return float(share)

    def judge(self, select_from: int) -> None:
        """Validate the last epoch's weights (or their average) and keep them if none were better."""
        number = len(self.epochs)
        trained = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        if self.average:
            self.module.load_state_dict(self.average.tensors)
        correct = self._correct()
        eligible = self.epochs[select_from - 1 : -1]
        if number < select_from or all(correct >= e.correct for e in eligible):
            self.best = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
            self.best_epoch = number
        self.module.load_state_dict(trained)
        self.epochs[-1] = Epoch(self.epochs[-1].loss, correct, correct / len(self.data.validation))

    def _correct(self) -> int:
        self.module.eval()
        a, count = self.accelerator, torch.zeros((), dtype=torch.int64, device=self.accelerator.device)
        with torch.no_grad():
            batches = split_batches(
                self.data, self.data.validation, a.device, rank=a.process_index, world=a.num_processes
            )
            for x, y, _ in batches:
                count += (self.module(x).argmax(1) == y).sum()
        return int(a.reduce(count, reduction="sum"))

    def state(self) -> State:
        tensors = {
            **nest("module", self.module.state_dict()),
            **nest("optimizer", optimizer_tensors(self.optimizer)),
            **nest("best", self.best),
            **(nest("average", self.average.tensors) if self.average else {}),
        }
        return State(tensors, {"epochs": [asdict(e) for e in self.epochs], "best_epoch": self.best_epoch})

    def restore(self, state: State) -> None:
        self.epochs = [Epoch(**e) for e in state.facts["epochs"]]
        self.best_epoch = state.facts["best_epoch"]
        self.best = unnest("best", state.tensors)
        self.module.load_state_dict(unnest("module", state.tensors))
        load_optimizer(self.optimizer, unnest("optimizer", state.tensors))
        if self.average:
            self.average.restore(unnest("average", state.tensors), len(self.epochs) * self.feed.steps)


@contextmanager
def _repeatable(device: torch.device) -> Iterator[int]:
    """Deterministic kernels, a fixed number of threads and a private random state; everything is put back afterwards.

    Threads: $OMP_NUM_THREADS, else one per CPU this process may use. Their number is part of the arithmetic.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(asked) if asked.isdigit() and int(asked) > 0 else len(os.sched_getaffinity(0))
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is repeatable only with this
    deterministic: Any = torch.utils.deterministic  # its attribute is a property that type checkers cannot see
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        deterministic.fill_uninitialized_memory,
    )
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = False  # costs time, and nothing reads memory it did not write
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield threads
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        deterministic.fill_uninitialized_memory = before[2]


def _derive(seed: int, epoch: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:4], "big")


def _identity(module: nn.Module, data: Dataset, config: Training, *, epochs: int, seed: int, identity: str) -> str:
    facts = [VERSION, torch.__version__, config.model_dump(mode="json"), epochs, seed, data.fingerprint, identity]
    facts += [len(data.train), len(data.validation), digest_tensors(module.state_dict())]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
