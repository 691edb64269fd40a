"""Memory is claimed in order, and nobody waits for himself."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from models.errors import MemoryShort
from models.runtime.memory import MemoryBudget, budget_of, is_out_of_memory

LIMIT_S = 20.0


def test_never_more_is_held_than_there_is() -> None:
    # Arrange
    budget, lock = MemoryBudget(100), threading.Lock()
    held, most = 0, 0

    def work(wanted: int) -> None:
        nonlocal held, most
        with budget.claim(wanted):
            with lock:
                held += min(wanted, 100)
                most = max(most, held)
            threading.Event().wait(0.001)
            with lock:
                held -= min(wanted, 100)

    # Act
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, [10, 40, 60, 100, 250, 30] * 12))

    # Assert
    assert 60 <= most <= 100
    assert budget.free_bytes == 100


def test_a_large_claim_is_not_overtaken_for_ever() -> None:
    # Arrange: something small is held, something large waits, something small comes after it
    budget, order = MemoryBudget(100), []
    held, let_go = threading.Event(), threading.Event()

    def small() -> None:
        with budget.claim(10):
            held.set()
            assert let_go.wait(LIMIT_S)

    def waiting(name: str, wanted: int) -> None:
        with budget.claim(wanted):
            order.append(name)

    # Act
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(small)]
        assert held.wait(LIMIT_S)
        for number, (name, wanted) in enumerate((("large", 100), ("late", 10)), start=1):
            futures.append(pool.submit(waiting, name, wanted))
            while len(budget._queue) < number:
                threading.Event().wait(0.001)
        assert order == []
        let_go.set()
        for future in futures:
            future.result(LIMIT_S)

    # Assert
    assert order == ["large", "late"]


def test_a_claim_within_a_claim_is_part_of_it() -> None:
    budget = MemoryBudget(100, patience_s=0.01)

    with budget.claim(80):
        with budget.claim(80):
            assert budget.free_bytes == 20
        assert budget.free_bytes == 20

    assert budget.free_bytes == 100


def test_who_waits_too_long_is_told_and_leaves_the_queue() -> None:
    budget = MemoryBudget(64 << 20, patience_s=0.01)

    def impatient() -> None:
        with budget.claim(8 << 20):
            pytest.fail("there was nothing free")

    with (
        budget.claim(60 << 20),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(MemoryShort, match=r"8 MB .* within 0.01 s \(4 MB are\)"),
    ):
        pool.submit(impatient).result(LIMIT_S)
    with budget.claim(64 << 20):
        pass


def test_an_error_gives_the_memory_back() -> None:
    budget = MemoryBudget(100)

    with pytest.raises(ValueError, match="no"), budget.claim(30):
        raise ValueError("no")

    assert budget.free_bytes == 100


def test_the_site_may_set_it() -> None:
    assert budget_of(torch.device("cpu"), 12345).total_bytes == 12345
    assert budget_of(torch.device("cpu")).total_bytes > 100 << 20


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(fault: Exception, said: bool) -> None:
    assert is_out_of_memory(fault) is said


def test_onnx_runtime_really_says_so() -> None:
    """What its arena says is in one line with where it says it; a network of its own, for an error
    that is really raised.
    """
    said = (
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Conv node. "
        "Name:'/seq/Conv' Status "
        "Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* "
        "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*)"
    )
    assert is_out_of_memory(RuntimeError(said))


def test_torch_really_says_so() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)

    assert is_out_of_memory(caught.value)
