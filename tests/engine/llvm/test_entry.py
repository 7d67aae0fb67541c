"""From Python into native code: who waited for a thread for long goes on alone for a while."""

import ctypes
import threading
import time

import torch

from recurra.cells import LSTM
from recurra.engine.llvm import entry
from recurra.engine.llvm.team import Function
from recurra.engine.step import Space, compile_step

WORD = 8  # bytes
ALONE = 30


def test_after_a_long_wait_calls_take_one_thread():
    seen, waits = [], False

    def work(table, strides, steps, rows, thread, threads, flags, barrier):
        seen.append(threads)
        if waits:
            ctypes.c_int64.from_address(barrier + WORD).value = ALONE

    function = Function(work)
    words = (ctypes.c_int64 * (entry.BASES + 1))()
    words[entry.FUNCTION] = ctypes.cast(function, ctypes.c_void_p).value
    words[entry.THREADS] = 2

    def call():
        seen.clear()
        entry.enter()(ctypes.addressof(words))
        return list(seen)

    while call() != [2, 2]:  # what ran before may have waited
        pass
    waits = True
    for alone in (1, 3, 7, 15, ALONE, ALONE):
        assert call() == [2, 2]
        assert [call() for _ in range(alone)] == [[1]] * alone
    waits = False
    assert call() == [2, 2]
    assert call() == [2, 2]


def test_a_step_says_that_it_waited():
    cell = LSTM(16, 32)
    step = compile_step(cell, torch.zeros(1, 2, 16), cell.zero_state(2))
    space = Space(step, 1, 1, [(0, 0), (1, 0)], 2)
    space.bind([dict(cell.named_parameters())[path] for path in step.paths])
    x, output = torch.zeros(1, 1, 16), torch.empty(1, 1, 32)
    space.words[space.inputs], space.words[space.outputs] = x.data_ptr(), output.data_ptr()
    for carry in space.memory["carry"]:
        carry.zero_()
    barrier = (ctypes.c_int64 * 2)()
    start = threading.Barrier(2)

    def run(thread):
        start.wait()
        time.sleep(0.3 * thread)
        given = (space.words[entry.TABLE], space.words[entry.STRIDES], 1, 1, thread, 2, 0, ctypes.addressof(barrier))
        Function(step.program.address)(*given)

    other = threading.Thread(target=run, args=(1,))
    other.start()
    run(0)
    other.join()
    assert barrier[0] == 2
    assert barrier[1] > 1
    with torch.no_grad():
        torch.testing.assert_close(output[0], cell.step(x[0], cell.zero_state(1))[0])
