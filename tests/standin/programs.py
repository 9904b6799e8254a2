#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Programs on the stand-in runtime that standin-workload's scripts cannot be: several libraries in one
process, pools of processes, threads that free what others allocated.

    programs.py SCENARIO LIBRARY...

The handshake is that of standin-workload: "books {...}", "ready NAME", then a line on stdin.
"""
import _ctypes
import ctypes
import json
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading

TYPES = ("DRAM", "L1", "SYSTEM_MEMORY", "L1_SMALL", "TRACE")
MAX_CHIPS = 64


class Facts(ctypes.Structure):
    """struct standin_facts"""
    _fields_ = [(name, ctypes.c_uint64) for name in ("object", "device_object", "allocator", "address", "size",
                                                     "page_size", "bytes_per_bank")]
    _fields_ += [(name, ctypes.c_int) for name in ("type", "allocated", "device_open", "chip_count")]
    _fields_ += [("chips", ctypes.c_int * MAX_CHIPS)]


class Runtime:
    """One mapped library, with a mesh and the buffers on it."""

    def __init__(self, path):
        self.path = os.path.realpath(path)
        self.lib = ctypes.CDLL(path)
        for name in ("standin_open_mesh", "standin_alloc"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.mesh, self.buffers = None, []
        self.lock = threading.Lock()

    def open(self, chips=2):
        self.mesh = ctypes.c_void_p(self.lib.standin_open_mesh(chips))
        return self

    def alloc(self, kind="DRAM", size=8192):
        got = self.lib.standin_alloc(self.mesh, TYPES.index(kind), ctypes.c_uint64(size), ctypes.c_uint64(2048), 0)
        if not got:
            raise MemoryError
        with self.lock:
            self.buffers.append(got)
        return got

    def free(self, buffer):
        with self.lock:
            self.buffers.remove(buffer)
        self.lib.standin_deallocate(ctypes.c_void_p(buffer))
        self.lib.standin_drop(ctypes.c_void_p(buffer))

    def close(self):
        self.lib.standin_close(self.mesh, 0)
        self.lib.standin_drop_device(self.mesh)
        self.mesh = None

    def facts(self):
        for buffer in self.buffers:
            facts = Facts()
            self.lib.standin_facts(ctypes.c_void_p(buffer), ctypes.byref(facts))
            fields = {name: getattr(facts, name) for name, _ in Facts._fields_}
            yield dict(fields, type=TYPES[facts.type], allocated=bool(facts.allocated),
                       device_open=bool(facts.device_open), chips=list(facts.chips[:facts.chip_count]))

    def base(self):
        """Where the file is mapped; None: it is not."""
        with open("/proc/self/maps") as maps:
            starts = [int(line.split("-")[0], 16) for line in maps if self.path in line]
        return min(starts, default=None)

    def unload(self):
        """The range of addresses that it leaves."""
        with open("/proc/self/maps") as maps:
            ends = [int(line.split()[0].split("-")[1], 16) for line in maps if self.path in line]
        start = self.base()
        _ctypes.dlclose(self.lib._handle)
        if self.base() is not None:
            sys.exit("the library is still mapped")
        return start, max(ends)


def say(text):
    os.write(1, (text + "\n").encode())


def wait(name):
    say("ready " + name)
    if not os.read(0, 1):
        os._exit(97)


def stop(name, *runtimes):
    buffers = [fact for runtime in runtimes for fact in runtime.facts()]
    say("books " + json.dumps({"name": name, "pid": os.getpid(), "buffers": buffers}))
    wait(name)


def begin(*paths):
    """All libraries mapped and watched, as harness.loaded() wants it."""
    runtimes = [Runtime(path) for path in paths]
    stop("loaded")
    return [runtime.open() for runtime in runtimes]


# --- libraries ---

def mapped_again(path):
    """Mapped, unmapped, mapped at the same address, then at another one."""
    runtime, = begin(path)
    places = []
    for name in ("first", "again", "elsewhere"):
        kept = [runtime.alloc(), runtime.alloc("L1")]
        runtime.free(runtime.alloc("L1", 4096))
        places.append(runtime.base())
        stop(name, runtime)
        for buffer in kept:
            runtime.free(buffer)
        runtime.close()
        start, end = runtime.unload()
        stop("unmapped-" + name)
        if name == "elsewhere":
            break
        if name == "again":
            # Somebody else has the place now.
            libc = ctypes.CDLL(None, use_errno=True)
            libc.mmap.restype = ctypes.c_void_p
            flags = 0x2 | 0x20 | 0x100000       # private, anonymous, fixed but never over something
            if libc.mmap(ctypes.c_void_p(start), ctypes.c_size_t(end - start), 0, flags, -1,
                         ctypes.c_long(0)) != start:
                sys.exit(f"cannot take the place: errno {ctypes.get_errno()}")
        runtime = Runtime(path).open()
    if places[2] == places[1]:
        sys.exit("mapped at the same address again")


def two_versions(*paths):
    first, second = begin(*paths)
    kept = [first.alloc(), second.alloc(), second.alloc("L1"), first.alloc("L1", 4096)]
    stop("both", first, second)
    first.free(kept[0])
    second.free(kept[1])
    stop("fewer", first, second)
    first.close()
    stop("one-closed", first, second)


def replaced(path, successor):
    """Its file is deleted, or another build takes its name, while it is mapped; then that one runs too."""
    runtime, = begin(path)
    runtime.alloc()
    stop("before", runtime)
    if successor == "-":
        os.unlink(path)
    else:
        os.rename(successor, path)
    runtime.free(runtime.alloc("L1"))
    runtime.alloc("L1", 4096)
    stop("after", runtime)
    if successor != "-":
        subprocess.run([sys.executable, __file__, "hold", path], check=True)
    runtime.free(runtime.buffers[0])
    stop("end", runtime)


def hold(path):
    runtime, = begin(path)
    runtime.alloc()
    stop("holding", runtime)


# --- processes and threads ---

def exchange(path):
    """64 threads allocate, and free what others allocated."""
    runtime, = begin(path)
    made = queue.SimpleQueue()

    def work(number):
        for i in range(100):
            made.put((number, runtime.alloc("L1" if i % 4 == 0 else "DRAM", 2048 * (1 + i % 3))))
            owner, buffer = made.get()
            if owner == number and i % 10:
                made.put((owner, buffer))
            else:
                runtime.free(buffer)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(64)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    say(f"kept {len(runtime.buffers)}")
    stop("done", runtime)


def exit_with_threads(path):
    """Ends at once while eight threads allocate and free."""
    runtime, = begin(path)
    runtime.alloc()
    busy = threading.Barrier(9)

    def work():
        for i in range(1 << 30):
            runtime.free(runtime.alloc("L1", 4096))
            if i == 10:
                busy.wait()

    for _ in range(8):
        threading.Thread(target=work, daemon=True).start()
    busy.wait()
    os._exit(7)


def fault(path):
    runtime, = begin(path)
    runtime.alloc()
    runtime.free(runtime.alloc("L1"))
    ctypes.string_at(0)


def daemon(path):
    """Forked twice, in a session of its own; its parent is gone when it allocates."""
    begin(path)
    reader, writer = os.pipe()
    if os.fork():
        os.wait()
        os._exit(3)
    os.setsid()
    if os.fork():
        os._exit(0)
    # The middle process is gone when nobody else has the pipe's other end.
    os.close(reader)
    os.close(writer)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    runtime = Runtime(path).open()
    runtime.alloc()
    runtime.free(runtime.alloc("L1"))
    stop("daemon", runtime)


def pool_task(path):
    runtime = Runtime(path).open()
    runtime.alloc()
    runtime.free(runtime.alloc("L1"))
    return os.getpid()


def pool(path, method):
    """A pool's processes allocate; so does its owner, before and after."""
    runtime, = begin(path)
    runtime.alloc()
    context = multiprocessing.get_context(method)
    with context.Pool(2, maxtasksperchild=2) as workers:
        pids = workers.map(pool_task, [path] * 6, chunksize=1)
        workers.close()
        workers.join()
    runtime.alloc("L1")
    say("tasks " + json.dumps(pids))
    stop("done", runtime)


SCENARIOS = {scenario.__name__: scenario for scenario in
             (mapped_again, two_versions, replaced, hold, exchange, exit_with_threads, fault, daemon, pool)}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in SCENARIOS:
        sys.exit(__doc__)
    SCENARIOS[sys.argv[1]](*sys.argv[2:])
