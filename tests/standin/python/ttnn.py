# SPDX-License-Identifier: BSD-2-Clause
"""What docs/pytest.md uses of ttnn, on the stand-in runtime that STANDIN_LIBRARY names; and its books."""
import os

import programs

bfloat16, TILE_LAYOUT = 2, "tile"
DRAM_MEMORY_CONFIG, L1_MEMORY_CONFIG = "DRAM", "L1"
runtime = programs.Runtime(os.environ["STANDIN_LIBRARY"])


class Tensor:
    def __init__(self, handle):
        self.handle = handle

    def __del__(self):
        runtime.buffers.remove(self.handle)
        runtime.lib.standin_drop(programs.ctypes.c_void_p(self.handle))


def open_device(device_id):
    assert device_id == 0
    return runtime.open(chips=2)


def empty(shape, dtype, layout, device, memory_config):
    size = dtype
    for length in shape:
        size *= length
    return Tensor(device.alloc(memory_config, size))


def close_device(device):
    device.lib.standin_close(device.mesh, 0)


def books():
    return {"pid": os.getpid(), "buffers": list(runtime.facts())}
