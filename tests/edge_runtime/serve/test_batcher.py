"""Batches form by themselves, nobody waits without need, and one bad request harms no other."""

import asyncio
import threading

import pytest
from edge_runtime.errors import EngineError, InputError
from edge_runtime.serve.batcher import Batcher, measure_batches
from edge_runtime.store import Answer


class Doubler:
    """A model that doubles numbers; refuses negative ones, breaks on 13, and stops at a gate."""

    version = "doubler"

    def __init__(self):
        self.batches, self.gate = [], threading.Event()
        self.gate.set()

    def answer(self, examples):
        self.gate.wait(20)
        self.batches.append(len(examples))
        if min(examples) < 0:
            raise InputError("negative", f"input {examples.index(min(examples))}", "send positive numbers")
        if 13 in examples:
            raise EngineError("broken", "model", "mend it")
        return Answer([2 * e for e in examples], self.version)


def run(main, **options):
    model, seen = Doubler(), []

    async def go():
        options.setdefault("largest", 4)
        options.setdefault("wait_s", 0.0)
        batcher = Batcher(model, on_batch=lambda *facts: seen.append(facts), **options)
        try:
            return await asyncio.wait_for(main(batcher, model), 20)
        finally:
            model.gate.set()
            batcher.close()

    return asyncio.run(go()), model, seen


async def held(batcher, model, *jobs):
    """Submit jobs while the model is busy with a first one, then let go."""
    model.gate.clear()
    first = asyncio.ensure_future(batcher.submit([100]))
    await asyncio.sleep(0.05)
    tasks = [asyncio.ensure_future(batcher.submit(list(job))) for job in jobs]
    await asyncio.sleep(0.05)
    waiting = batcher.waiting
    model.gate.set()
    out = await asyncio.gather(first, *tasks, return_exceptions=True)
    return waiting, out[1:]


def test_what_gathers_while_the_model_is_busy_becomes_one_batch():
    (waiting, answers), model, seen = run(lambda b, m: held(b, m, [1], [2], [3, 4], [5]))

    assert waiting == 6
    assert [a.predictions for a in answers] == [[2], [4], [6, 8], [10]]
    assert model.batches == [1, 4, 1]
    assert [s[0] for s in seen] == [1, 4, 1]


def test_more_than_a_batch_holds_is_cut_into_slices():
    (_, answers), model, _ = run(lambda b, m: held(b, m, range(10)))

    assert answers[0].predictions == [2 * i for i in range(10)]
    assert model.batches == [1, 4, 4, 2]


def test_a_bad_request_is_refused_alone():
    (_, answers), *_ = run(lambda b, m: held(b, m, [1], [-2], [3]))

    assert answers[0].predictions == [2]
    assert isinstance(answers[1], InputError)
    assert answers[1].where == "input 0"
    assert answers[2].predictions == [6]


def test_a_broken_model_fails_the_batch_and_the_next_goes_on():
    async def main(batcher, model):
        _, answers = await held(batcher, model, [13], [1])
        return answers, await batcher.submit([7])

    (answers, later), *_ = run(main)

    assert [type(a) for a in answers] == [EngineError, EngineError]
    assert later.predictions == [14]


def test_a_request_that_was_given_up_is_not_run():
    async def main(batcher, model):
        model.gate.clear()
        first = asyncio.ensure_future(batcher.submit([1]))
        await asyncio.sleep(0.05)
        gone = asyncio.ensure_future(batcher.submit([2, 3]))
        await asyncio.sleep(0.02)
        gone.cancel()
        await asyncio.sleep(0.02)
        model.gate.set()
        await first
        await batcher.submit([4])
        return batcher.waiting

    waiting, model, _ = run(main)

    assert (waiting, model.batches) == (0, [1, 1])


def test_a_batch_waits_to_fill_up_only_if_told_to():
    async def main(batcher, _):
        tasks = []
        for i in range(4):
            tasks.append(asyncio.ensure_future(batcher.submit([i])))
            await asyncio.sleep(0.02)
        await asyncio.gather(*tasks)

    assert run(main)[1].batches == [1, 1, 1, 1]
    assert run(main, wait_s=5.0)[1].batches == [4]


def test_a_dead_or_stuck_thread_shows(monkeypatch):
    async def main(batcher, model):
        assert batcher.alive()
        monkeypatch.setattr("edge_runtime.serve.batcher._STUCK_S", 0.01)
        model.gate.clear()
        task = asyncio.ensure_future(batcher.submit([1]))
        await asyncio.sleep(0.05)
        stuck = batcher.alive()
        model.gate.set()
        await task
        return stuck

    assert run(main)[0] is False


@pytest.mark.parametrize(
    ("batch_ms", "latency_ms", "best"),
    [
        (lambda n: n, 50, 32),  # no gain in the engine, but none lost
        (lambda n: n * (1 + n / 20), 50, 1),  # a little worse
        (lambda n: 3 + n / 10, 50, 32),  # a fixed cost that all share
        (lambda n: 3 + n / 10, 4, 8),  # the same, but larger batches would take too long
        (lambda n: n if n < 4 else 5 * n, 50, 2),  # larger is much worse
        (lambda n: 100, 50, 1),  # one alone is over the limit already
    ],
)
def test_the_batch_size_is_what_pays(batch_ms, latency_ms, best):
    now = [0.0]

    def call(n):
        now[0] += batch_ms(n) / 1e3

    assert measure_batches(call, latency_ms, lambda: now[0])[0] == best
