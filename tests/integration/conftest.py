# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures, the rule for skips, and the check that nothing is left behind."""
import glob
import json
import os
import re
import shutil
import subprocess
import time

import pytest

import harness

STRICT = os.environ.get("BUFSCOPE_SKIP_IS_FAILURE") == "1"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Where nothing may be left out, a skip is a failure with the skip's reason."""
    outcome = yield
    report = outcome.get_result()
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be left out: {report.longrepr}"


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs root: uprobes are attached for real"))


@pytest.fixture(params=harness.LAYOUTS)
def layout(request):
    return request.param


def bpf_objects(kind):
    """id -> object, of programs or links."""
    tool = shutil.which("bpftool") or "/usr/sbin/bpftool"
    out = subprocess.run([tool, "-j", kind, "list"], capture_output=True, text=True)
    return {entry["id"]: entry for entry in json.loads(out.stdout or "[]")} if out.returncode == 0 else {}


def held_by_others():
    """(kind, id) of the programs and links that processes of other sessions hold: they are not this test's."""
    held, ours = set(), os.getsid(0)
    for path in glob.glob("/proc/[0-9]*/fdinfo/*"):
        try:
            if os.getsid(int(path.split("/")[2])) == ours:
                continue
            with open(path) as file:
                text = file.read()
        except (OSError, ValueError):
            continue            # it has just ended
        held.update((kind, int(ident)) for kind, ident in re.findall(r"^(prog|link)_id:\s*(\d+)$", text, re.MULTILINE))
    return held


def pinned():
    return set(glob.glob("/sys/fs/bpf/**", recursive=True))


def uprobe_events():
    for path in ("/sys/kernel/tracing/uprobe_events", "/sys/kernel/debug/tracing/uprobe_events"):
        try:
            with open(path) as file:
                return set(file)
        except OSError:
            continue
    return set()


def orphans(before):
    """BPF programs and links that are new, but for what others on this machine hold."""
    new = {(kind, ident): str(entry.get("name") or entry.get("type"))
           for kind in ("prog", "link") for ident, entry in bpf_objects(kind).items() if ident not in before[kind]}
    others = held_by_others() if new else set()
    return {(*key, name) for key, name in new.items() if key not in others}


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Ends what the test has started, and nothing else; then no probe may be there any more."""
    before = {kind: bpf_objects(kind) for kind in ("prog", "link")}
    pins, probes = pinned(), uprobe_events()
    harness.Program.started = []
    yield
    for program in harness.Program.started:
        program.kill()
    # The kernel frees programs and perf links a little after the last descriptor is closed; that
    # it does is what is tested, so look until it has. What appears later is not ours.
    deadline = time.monotonic() + 30
    left = orphans(before)
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left &= orphans(before)
    assert not left
    assert pinned() <= pins
    assert uprobe_events() <= probes


@pytest.fixture(scope="session", autouse=True)
def no_shared_memory_left():
    """The real runtime leaves files in /dev/shm when it is killed; take away those of this session."""
    before = set(os.listdir("/dev/shm"))
    yield
    for name in set(os.listdir("/dev/shm")) - before:
        assert not name.startswith("bufscope"), name
        if name.startswith(("tt_device_", "sm_segment")):
            os.unlink(os.path.join("/dev/shm", name))


@pytest.fixture
def books_test(tmp_path):
    """
    Runs a stand-in script under bufscope. At every "books NAME; wait NAME" the snapshot must equal
    the program's books. Returns the final report's process.
    """
    def go(script, layout="pimpl", status=0, stops=None, **kwargs):
        names = stops or [line.split()[1] for line in script.split("\n") if line.strip().startswith("wait ")]
        bufscope = harness.run_standin(script, tmp_path, layout, **kwargs)
        for name in names:
            books = bufscope.ready(name)
            process = harness.process_of(bufscope.snapshot(), books["pid"])
            harness.assert_equals_books(process, books)
            assert process["exact"], process["inexact_reasons"]
            bufscope.go()
        return harness.only_process(bufscope.finish(status))
    return go
