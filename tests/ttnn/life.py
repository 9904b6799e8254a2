#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Lives of processes and devices on the real runtime: workload.py has the handshake and the books.

    life.py SCENARIO [NUMBER]
"""
import gc
import json
import multiprocessing
import os
import queue
import sys
import threading

import ttnn

import workload
from workload import Program, say


def exchange(program, number):
    """64 threads, NUMBER rounds: they allocate, and free what others allocated."""
    mesh = program.open()
    made = queue.SimpleQueue()

    def work(seed):
        for i in range(number):
            made.put(program.tensor(mesh, "L1" if i % 4 == 0 else "DRAM", (1, 1, 32, 32 * (1 + (seed + i) % 4))))
            if i % 5:
                ttnn.deallocate(made.get())

    program.stop("ready")
    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(64)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    program.stop("exchanged")
    while not made.empty():
        ttnn.deallocate(made.get())
    program.stop("empty")
    program.close(mesh)


def fork(program, number):
    """The child frees what its parent allocated, allocates itself, and ends with that."""
    mesh = program.open()
    kept = [program.tensor(mesh) for _ in range(number)]
    program.stop("allocated")
    child = os.fork()
    if child == 0:
        ttnn.deallocate(kept[0])
        own = [program.tensor(mesh, "L1", (1, 1, 32, 32)) for _ in range(2)]
        say("@@child " + json.dumps({"pid": os.getpid(), "own": [tensor.buffer_address() for tensor in own]}))
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit("the child failed")
    program.free(kept.pop())
    program.stop("joined")
    os._exit(0)


def task(_):
    program = Program()
    mesh = program.open()
    program.free(program.tensor(mesh, "L1"))
    held = program.tensor(mesh)
    say("@@task " + json.dumps({"pid": os.getpid(), "allocated": program.allocated, "freed": program.freed}))
    # The pool ends its processes in the middle of things: what they hold is cleared.
    task.held = mesh, held
    return os.getpid()


def pool(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2, maxtasksperchild=1) as workers:
        workers.map(task, range(3), chunksize=1)
        workers.close()
        workers.join()


def fork_pool(program, _):
    """multiprocessing, forked from a process that has the library but no device."""
    program.stop("imported")
    pool("fork")
    program.stop("joined")


def spawn_pool(program, _):
    program.stop("imported")
    pool("spawn")
    program.stop("joined")


def reopen(program, number):
    """Closed with NUMBER live buffers, opened again, closed again with others; then all go."""
    held = []
    for turn in ("first", "second"):
        mesh = program.open()
        held += [program.tensor(mesh, "L1" if i % 3 == 0 else "DRAM") for i in range(number)]
        program.stop(turn)
        program.close(mesh)
        program.stop(turn + "-closed")
    held.clear()
    gc.collect()
    program.stop("gone")


def submesh_first(program, _):
    """A part goes before its mesh."""
    mesh = program.open()
    part = program.submesh(mesh, 1, 2)
    on_mesh, on_part = program.tensor(mesh), [program.tensor(part), program.tensor(part, "L1")]
    program.stop("both")
    program.free(on_part.pop())
    ttnn.close_mesh_device(part.device)
    part.open = False
    program.stop("part-closed")
    program.free(on_mesh)
    program.close(mesh)
    on_part.clear()
    gc.collect()
    program.stop("closed")


def submesh_last(program, _):
    """The mesh is closed while its part has buffers: the part and its allocator live on."""
    mesh = program.open()
    part = program.submesh(mesh, 1, 2)
    on_mesh, on_part = program.tensor(mesh), [program.tensor(part), program.tensor(part, "L1")]
    program.stop("both")
    program.free(on_mesh)
    ttnn.close_mesh_device(mesh.device)
    mesh.open = False
    program.stop("mesh-closed")
    on_part.clear()
    gc.collect()
    program.stop("empty")
    ttnn.close_mesh_device(part.device)


def out_of_memory(program, number):
    """Asks for too much while it holds some, catches that, goes on; NUMBER times."""
    mesh = program.open()
    kept = [program.tensor(mesh, "L1"), program.tensor(mesh, "L1"), program.tensor(mesh)]
    program.stop("kept")
    failures = 0
    for _ in range(number):
        try:
            program.tensor(mesh, "L1", (1, 1, 32768, 32768))
        except RuntimeError:
            failures += 1
            program.allocated -= 1
    say(f"@@failures {failures}")
    for tensor in kept:
        program.free(tensor)
    program.stop("survived")
    program.close(mesh)


SCENARIOS = {scenario.__name__: scenario for scenario in
             (exchange, fork, fork_pool, spawn_pool, reopen, submesh_first, submesh_last, out_of_memory)}

if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in SCENARIOS:
        sys.exit(__doc__)
    SCENARIOS[sys.argv[1]](workload.Program(), int(sys.argv[2]) if len(sys.argv) == 3 else 4)
