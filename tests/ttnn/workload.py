#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A program that uses the real runtime, and tells what the runtime's own books say.

    workload.py SCENARIO [NUMBER]

At every stop it prints two lines on stdout and waits for a line on stdin (its end ends the program):

    @@books {"stop": NAME, ...}
    @@ready NAME

The marks set them apart from the runtime's own chatter, which is on stdout too. With one chip in the
cluster the device is opened as most programs do (open_device), with more as a mesh.

    @@books: {"stop", "pid", "allocated": tensors allocated by this program so far, "freed",
              "meshes": [{"chips": [..], "open": bool,
                          "types": {TYPE: {"banks", "bytes_per_bank", "blocks": [[address, size], ..]}}}]}
"""
import gc
import json
import os
import random
import signal
import sys
import threading

import ttnn

TYPES = {name: getattr(ttnn.BufferType, name) for name in ("DRAM", "L1", "L1_SMALL", "TRACE")}
L1_SMALL_BYTES = 32768
TRACE_BYTES = 12 << 20


def say(line):
    # In one write and on a line of its own, whatever the runtime's threads print.
    os.write(1, ("\n" + line + "\n").encode())


class Mesh:
    """A device and the first addresses of its memories, learnt from a tensor in each."""

    def __init__(self, device):
        self.device = device
        self.chips = list(device.get_device_ids())
        self.open = True
        self.base = {}

    def view(self, kind):
        return ttnn.get_memory_view(self.device, TYPES[kind])

    def blocks(self, kind):
        """Allocated blocks, by the runtime's own addresses inside the bank."""
        return sorted((int(row["address"]), int(row["size"])) for row in self.view(kind).block_table
                      if row["allocated"] == "yes")

    def learn_base(self, kind, tensor, before):
        """@tensor's block is the one that is not in @before."""
        (offset, _), = set(self.blocks(kind)) - set(before)
        self.base[kind] = tensor.buffer_address() - offset

    def books(self):
        if not self.open:
            return {"chips": self.chips, "open": False, "types": {}}
        types = {}
        for kind in TYPES:
            view = self.view(kind)
            blocks = self.blocks(kind)
            if kind == "TRACE":
                # Its buffers have no tensor to ask; the region lies behind the DRAM banks.
                base = self.base["DRAM"] + self.view("DRAM").total_bytes_per_bank
            else:
                base = self.base.get(kind, 0)
            types[kind] = {"banks": view.num_banks, "bytes_per_bank": view.total_bytes_allocated_per_bank,
                           "blocks": [[base + offset, size] for offset, size in blocks]}
        return {"chips": self.chips, "open": True, "types": types}


class Program:
    def __init__(self):
        self.meshes = []
        self.allocated = 0
        self.freed = 0

    def open(self):
        options = dict(l1_small_size=L1_SMALL_BYTES, trace_region_size=TRACE_BYTES)
        if ttnn.GetNumAvailableDevices() == 1:
            device = ttnn.open_device(device_id=0, **options)
        else:
            device = ttnn.open_mesh_device(ttnn.MeshShape(2, 4), **options)
        return self.adopt(device)

    def adopt(self, device):
        mesh = Mesh(device)
        for kind in ("DRAM", "L1", "L1_SMALL"):
            before = mesh.blocks(kind)
            tensor = self.small(mesh) if kind == "L1_SMALL" else self.tensor(mesh, kind)
            mesh.learn_base(kind, tensor, before)
            self.free(tensor)
        self.meshes.append(mesh)
        return mesh

    def submesh(self, mesh, rows, columns):
        return self.adopt(mesh.device.create_submesh(ttnn.MeshShape(rows, columns)))

    def close(self, mesh):
        ttnn.close_device(mesh.device) if len(mesh.chips) == 1 else ttnn.close_mesh_device(mesh.device)
        for each in self.meshes:
            each.open = False

    def tensor(self, mesh, kind="DRAM", shape=(1, 1, 256, 256), config=None):
        if config is None:
            config = ttnn.DRAM_MEMORY_CONFIG if kind == "DRAM" else ttnn.L1_MEMORY_CONFIG
        self.allocated += 1
        return ttnn.empty(shape, ttnn.bfloat16, ttnn.TILE_LAYOUT, mesh.device, config)

    def sharded(self, mesh):
        config = ttnn.create_sharded_memory_config((1, 1, 256, 256), core_grid=ttnn.CoreGrid(y=1, x=8),
                                                   strategy=ttnn.ShardStrategy.HEIGHT)
        return self.tensor(mesh, config=config)

    def small(self, mesh):
        """L1_SMALL has no interleaved form."""
        cores = ttnn.CoreRangeSet({ttnn.CoreRange(ttnn.CoreCoord(0, 0), ttnn.CoreCoord(3, 0))})
        spec = ttnn.ShardSpec(cores, [32, 32], ttnn.ShardOrientation.ROW_MAJOR)
        config = ttnn.MemoryConfig(ttnn.TensorMemoryLayout.HEIGHT_SHARDED, TYPES["L1_SMALL"], spec)
        return self.tensor(mesh, shape=(1, 1, 128, 32), config=config)

    def free(self, tensor):
        ttnn.deallocate(tensor)
        self.freed += 1

    def stop(self, name):
        books = {"stop": name, "pid": os.getpid(), "allocated": self.allocated, "freed": self.freed,
                 "meshes": [mesh.books() for mesh in self.meshes]}
        say("@@books " + json.dumps(books))
        say("@@ready " + name)
        if not sys.stdin.readline():
            os._exit(97)


def basic(program, _):
    """Every type of memory, operations, a trace; freed one after the other."""
    mesh = program.open()
    program.stop("opened")
    a = program.tensor(mesh)
    b = program.tensor(mesh, "L1")
    c = program.sharded(mesh)
    d = program.small(mesh)
    program.stop("allocated")
    # Operations allocate by themselves. The core grid fits the smallest chip of all versions.
    product = ttnn.matmul(a, a, core_grid=ttnn.CoreGrid(y=2, x=4))
    total = ttnn.add(product, a)
    program.stop("computed")
    # Nothing between begin and end: from 0.78 on an operation in a capture crashes the mock device.
    trace = ttnn.begin_trace_capture(mesh.device, cq_id=0)
    ttnn.end_trace_capture(mesh.device, trace, cq_id=0)
    program.stop("traced")
    ttnn.release_trace(mesh.device, trace)
    for tensor in (b, c):
        program.free(tensor)
    program.stop("some-freed")
    for tensor in (a, d, product, total):
        program.free(tensor)
    program.stop("all-freed")
    program.close(mesh)
    program.stop("closed")


def submesh(program, _):
    """A mesh and a part of it, with equal addresses on both."""
    mesh = program.open()
    part = program.submesh(mesh, 1, 2)
    on_mesh = [program.tensor(mesh), program.tensor(mesh, "L1")]
    on_part = [program.tensor(part), program.tensor(part, "L1"), program.sharded(part)]
    program.stop("both")
    program.free(on_mesh[0])
    program.stop("mesh-freed")
    for tensor in on_part:
        program.free(tensor)
    program.stop("part-freed")
    program.close(mesh)


def churn(program, number):
    """NUMBER allocations and as many frees, between two stops; every 100th kind differs."""
    mesh = program.open()
    keep = program.tensor(mesh)
    program.stop("before")
    for i in range(number):
        program.free(program.tensor(mesh, "L1" if i % 100 == 0 else "DRAM", (1, 1, 32, 32 * (1 + i % 8))))
    program.stop("after")
    program.free(keep)
    program.close(mesh)


def four_steps(program, number):
    """lifecycle.md: NUMBER tensors outlive their device."""
    mesh = program.open()
    model = [program.tensor(mesh, "L1" if i % 3 == 0 else "DRAM") for i in range(number)]
    program.stop("before-cleanup")
    program.close(mesh)
    program.stop("after-close")
    del model
    gc.collect()
    program.stop("after-gc")


def hold(program, number):
    """NUMBER tensors, then whatever the test does to the process."""
    mesh = program.open()
    model = [program.tensor(mesh, "L1" if i % 3 == 0 else "DRAM") for i in range(number)]
    program.stop("holding")
    del model[::2]
    program.stop("half")
    del model
    program.stop("none")
    program.close(mesh)


def large(program, number):
    """A heap of NUMBER MiB, all of it touched, and a few tensors."""
    heap = bytearray(b"\x55") * (number << 20)
    hold(program, 12)
    del heap


def suicide(program, number):
    """Dies of SIGKILL with NUMBER tensors."""
    mesh = program.open()
    model = [program.tensor(mesh) for _ in range(number)]
    program.stop("holding")
    os.kill(os.getpid(), signal.SIGKILL)
    del model


def out_of_memory(program, number):
    """Asks for too much, catches that, goes on."""
    mesh = program.open()
    kept = program.tensor(mesh)
    failures = 0
    for _ in range(number):
        try:
            program.tensor(mesh, "L1", (1, 1, 32768, 32768))
        except RuntimeError:
            failures += 1
            program.allocated -= 1
    say(f"@@failures {failures}")
    program.stop("survived")
    program.free(kept)
    program.close(mesh)


def some(program, mesh, number):
    return [program.tensor(mesh, "L1" if i % 4 == 0 else "DRAM", (1, 1, 32, 32 * (1 + i % 8))) for i in range(number)]


def operate(program, mesh, live, dice, number):
    """NUMBER random operations on the tensors of @live."""
    for i in range(number):
        if live and (len(live) > 100 or dice.random() < 0.5):
            program.free(live.pop(dice.randrange(len(live))))
        else:
            live.append(program.tensor(mesh, "L1" if i % 10 == 0 else "DRAM", (1, 1, 32, 32 * (1 + i % 8))))


def steady(program, number):
    """NUMBER random operations around some 60 live tensors; one stop before, one after."""
    mesh = program.open()
    dice = random.Random(7)
    live = some(program, mesh, 60)
    program.stop("steady")
    operate(program, mesh, live, dice, number)
    program.stop("done")
    for tensor in live:
        program.free(tensor)
    program.stop("empty")
    program.close(mesh)


def points(program, number):
    """Every type of memory, five stops, with NUMBER random operations before each."""
    mesh = program.open()
    dice = random.Random(11)
    kept = [program.sharded(mesh), program.small(mesh)]
    trace = ttnn.begin_trace_capture(mesh.device, cq_id=0)
    ttnn.end_trace_capture(mesh.device, trace, cq_id=0)
    live = some(program, mesh, 30)
    for point in range(5):
        operate(program, mesh, live, dice, number)
        program.stop(f"point-{point}")
    for tensor in live + kept:
        program.free(tensor)
    ttnn.release_trace(mesh.device, trace)
    program.close(mesh)


def threads(program, number):
    """NUMBER random operations, in four threads that each have their own tensors."""
    mesh = program.open()
    left = []

    def work(seed):
        dice = random.Random(seed)
        live = []
        for i in range(number // 4):
            if live and (len(live) > 30 or dice.random() < 0.5):
                ttnn.deallocate(live.pop(dice.randrange(len(live))))
            else:
                live.append(program.tensor(mesh, "L1" if i % 10 == 0 else "DRAM", (1, 1, 32, 32 * (1 + i % 8))))
        left.append(live)

    program.stop("ready")
    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    program.stop("done")
    for tensor in sum(left, []):
        ttnn.deallocate(tensor)
    program.stop("empty")
    program.close(mesh)


SCENARIOS = {"steady": steady, "points": points, "threads": threads, "basic": basic, "submesh": submesh, "churn": churn, "four-steps": four_steps, "hold": hold,
             "large": large, "suicide": suicide, "out-of-memory": out_of_memory}

if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in SCENARIOS:
        sys.exit(__doc__)
    SCENARIOS[sys.argv[1]](Program(), int(sys.argv[2]) if len(sys.argv) == 3 else 10)
