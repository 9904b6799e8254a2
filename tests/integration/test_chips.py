# SPDX-License-Identifier: BSD-2-Clause
"""
Which chip a number is. There is no driver here, so a mount namespace gets what it would show: /dev/zero's device
number under a node's name, and sysfs with a folder for that number. Everything else is as on any machine.
"""
import os
import re

import harness
from harness import Program, process_of, run_standin, standin
from service import Server

ID, PCI, BOARD = "0100015441F0D4B3", "0000:c1:00.0", "n300"
NAMED = {"unique_id": ID, "board": BOARD, "pci": PCI, "known_by": "driver"}
NUMBER = {"unique_id": None, "board": None, "pci": None, "known_by": "number"}
# $1: where the node goes, $2: its number there. The class and the parent of a node are links.
DRIVER = f"""
    set -e
    mount -t tmpfs none "$1"
    mkdir "$1/tenstorrent"
    mknod "$1/tenstorrent/$2" c 1 5
    mount -t tmpfs none /sys/dev/char
    mkdir /sys/dev/char/1:5
    ln -s ../../../../class/tenstorrent /sys/dev/char/1:5/subsystem
    ln -s ../../../{PCI} /sys/dev/char/1:5/device
    echo {ID} >/sys/dev/char/1:5/tt_asic_id
    echo {BOARD} >/sys/dev/char/1:5/tt_card_type
    shift 2
    exec "$@"
"""


def with_driver(folder, number=3):
    """(prefix of a command line, path of the node)"""
    place = os.path.join(str(folder), f"dev{number}")
    os.mkdir(place)
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", DRIVER, "sh", place, str(number)]
    return prefix, f"{place}/tenstorrent/{number}"


def run_with_driver(script, folder):
    """@script can map $NODE."""
    prefix, node = with_driver(folder)
    return run_standin(script.replace("$NODE", node), folder, program=[*prefix, harness.BUFSCOPE])


def chips(process):
    return {device["device"]: (device["name"], device["chip"]) for device in process["devices"]}


def test_the_driver_tells(tmp_path):
    """A chip behind a cable has no node: of it there is the number only."""
    bufscope = run_with_driver("""
        map $NODE
        mesh m 2
        alloc a m DRAM 2048 2048
        books x
        wait x
        """, tmp_path)
    pid = bufscope.ready("x")["pid"]
    expected = {0: (f"{BOARD} {PCI}", NAMED), 1: (None, NUMBER)}
    assert chips(process_of(bufscope.snapshot(), pid)) == expected
    bufscope.go()
    assert chips(process_of(bufscope.finish(), pid)) == expected


def test_a_child_is_asked_for_itself(tmp_path):
    bufscope = run_with_driver("""
        map $NODE
        fork
        chip c 0
        alloc a c DRAM 2048 2048
        books child
        wait child
        endfork
        wait-child
        """, tmp_path)
    child = bufscope.ready("child")["pid"]
    assert chips(process_of(bufscope.snapshot(), child)) == {0: (f"{BOARD} {PCI}", NAMED)}
    bufscope.go()
    bufscope.finish()


def test_without_a_node_there_is_the_number(tmp_path):
    """As with the mock device."""
    bufscope = run_with_driver("""
        chip c 5
        alloc a c DRAM 2048 2048
        books x
        wait x
        """, tmp_path)
    pid = bufscope.ready("x")["pid"]
    assert chips(process_of(bufscope.snapshot(), pid)) == {5: (None, NUMBER)}
    bufscope.go()
    bufscope.finish()


def test_processes_on_one_chip(tmp_path):
    """Two of them, each in its own place with a node of its own name; of a third there is only the same number."""
    server = Server(tmp_path, prefix=with_driver(tmp_path)[0])
    pids = []
    for number in range(3):
        prefix, node = with_driver(tmp_path, number)
        mapping = f"map {node}" if number < 2 else ""
        script = f"{mapping}\nchip c 0\nalloc a c DRAM {2048 << number} 2048\nbooks x\nwait x"
        program = Program([*prefix, *standin(script)], tmp_path, f"program{number}")
        pids.append(server.loaded(program))
        program.ready("x")
    text = server.ask("ps", *(f"-p{pid}" for pid in pids))
    assert re.search(rf"^ +{BOARD} {PCI} +{ID} +DRAM +2 +6\.0 KB +2$", text, re.MULTILINE), text
    assert text.count(PCI) == 1 and "under a number alone" in text
    server.stop()
