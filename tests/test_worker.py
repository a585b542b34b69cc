"""The engine's thread: batches form by themselves, waiters wake by event, errors reach only whom they concern."""

import anyio
import numpy as np
import pytest

from evalharness.concepts import ConceptBank
from evalharness.engine import Engine
from evalharness.errors import EngineError, ModelError, UsageError
from evalharness.request import Completion, Request, Sampling, Steering
from evalharness.testing import tiny_checkpoint
from evalharness.worker import EngineSpec, EngineWorker

SAMPLING = Sampling(max_new_tokens=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("worker") / "llama")


@pytest.fixture
def worker(folder):
    worker = EngineWorker(EngineSpec(path=str(folder), max_rows=8, linger_s=0.05))
    yield worker
    worker.close()


def requests(count: int) -> list[Request]:
    return [Request(prompt=f"Mail number {number}.", sampling=SAMPLING, seed=number) for number in range(count)]


def generate(worker: EngineWorker, asked: list[Request]) -> list[object]:
    """All requests at once from one event loop; an error takes the place of its completion."""
    results: list[object] = [None] * len(asked)

    async def one(index: int) -> None:
        try:
            results[index] = await worker.generate(asked[index], None)
        except UsageError as error:
            results[index] = error

    async def everything() -> None:
        async with anyio.create_task_group() as group:
            for index in range(len(asked)):
                group.start_soon(one, index)

    anyio.run(everything)
    return results


def test_rows_of_many_callers_equal_direct_generation(worker):
    """Whatever batches form, a row's tokens are those the engine gives when asked directly."""
    asked = requests(20)
    direct = worker.call(lambda engine: engine.generate(asked))

    assert generate(worker, asked) == direct
    assert worker.rows_generated == 20


def test_a_bad_row_costs_only_itself(worker):
    """The rows beside it in the batch are generated."""
    asked = requests(6)
    asked[3] = Request(prompt="", sampling=SAMPLING)
    results = generate(worker, asked)

    assert isinstance(results[3], UsageError)
    assert not any(isinstance(results[index], Exception) for index in (2, 4))
    assert worker.rows_generated == 5


def test_a_cancelled_waiter_is_dropped(worker):
    """Nobody waits for it, so nothing is generated for it."""

    async def impatient() -> None:
        with anyio.move_on_after(0.01):
            await worker.generate(requests(1)[0], None)

    worker.call(lambda engine: engine.n_layers)
    anyio.run(impatient)
    worker.call(lambda _engine: None)

    assert worker.rows_generated == 0


def test_a_waiter_that_gives_up_while_others_run_costs_nothing_more(worker):
    """Its row leaves the tensors before it has ended; the row beside it ends as ever."""
    shorter, longer = (Sampling(max_new_tokens=count, ignore_eos=True) for count in (150, 200))
    patient = Request(prompt="Mail number 1.", sampling=longer, seed=1)
    direct = worker.call(lambda engine: engine.generate([patient]))[0]
    before = worker.call(lambda engine: engine.describe()["stats"]["output_tokens"])
    results = []

    async def impatient(scope: anyio.CancelScope) -> None:
        with scope:
            await worker.generate(Request(prompt="Mail number 2.", sampling=shorter), None)

    async def give_up_once_both_run(scope: anyio.CancelScope) -> None:
        while worker.progress is None or worker.progress.running < 2:
            await anyio.sleep(0.001)
        scope.cancel()

    async def both() -> None:
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(impatient, scope)
            group.start_soon(give_up_once_both_run, scope)
            results.append(await worker.generate(patient, None))

    anyio.run(both)
    assert results == [direct]
    assert worker.rows_generated == 1
    assert worker.call(lambda engine: engine.describe()["stats"]["output_tokens"]) == before + 200


def test_rows_under_two_banks_are_served_one_after_the_other(worker):
    """Vectors are looked up in the bank that came with the row; unsteered rows run beside either."""
    banks = [
        ConceptBank.from_arrays({"calm": np.eye(1, 32, k=axis)}, layers=[1], mean_norms=[5.0]) for axis in range(2)
    ]
    steered = Request(prompt="Mail number 3.", steering=Steering("calm", 4.0, layers=(1,)), sampling=SAMPLING, seed=3)
    plain = Request(prompt="Mail number 3.", sampling=SAMPLING, seed=3)
    asked = [(steered, banks[0]), (steered, banks[1]), (plain, None), (steered, banks[0])]
    direct = worker.call(lambda engine: [engine.generate([request], bank)[0] for request, bank in asked])
    results: list[object] = [None] * 4

    async def one(index: int) -> None:
        results[index] = await worker.generate(*asked[index])

    async def everything() -> None:
        async with anyio.create_task_group() as group:
            for index in range(4):
                group.start_soon(one, index)

    anyio.run(everything)
    for got, wanted in zip(results, direct, strict=True):
        assert isinstance(got, Completion)
        assert (got.token_ids, got.receipt.vector_sha256) == (wanted.token_ids, wanted.receipt.vector_sha256)
    assert direct[0].receipt.vector_sha256 != direct[1].receipt.vector_sha256


def test_a_device_error_reaches_the_rows_in_flight_with_its_text(worker):
    """Rows that come afterwards are served."""

    def break_once(engine: Engine) -> None:
        def hook(*_: object) -> None:
            handle.remove()
            raise RuntimeError("device-side assert triggered")

        handle = engine._loaded.head.body.register_forward_pre_hook(hook)

    generate(worker, requests(1))
    worker.call(break_once)
    failed = []

    async def one(request: Request) -> None:
        try:
            await worker.generate(request, None)
        except EngineError as error:
            failed.append(str(error))

    anyio.run(one, requests(1)[0])
    assert failed == ["RuntimeError('device-side assert triggered')"]
    assert generate(worker, requests(2)) == worker.call(lambda engine: engine.generate(requests(2)))


def test_two_event_loops_one_after_the_other(worker):
    """Generating and scoring may run in loops of their own."""
    assert generate(worker, requests(2)) == generate(worker, requests(2))


def test_a_closed_worker_starts_again(worker):
    """Closing joins the thread; later work is served all the same."""
    first = generate(worker, requests(1))
    worker.close()

    assert first == generate(worker, requests(1))


def test_a_missing_checkpoint_is_told_to_each_caller(tmp_path):
    """The error of loading reaches the caller with its text."""
    worker = EngineWorker(EngineSpec(path=str(tmp_path / "nothing")))

    with pytest.raises(ModelError):
        worker.call(lambda engine: engine.n_layers)
    assert isinstance(generate(worker, requests(1))[0], ModelError)
    worker.close()
