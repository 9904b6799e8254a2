#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What is tried on the clean machine, one step after the other; see trial.py.

Everything that is done and answered goes to stdout. The verdict goes to the serial line that is named:
"TEST passed|failed STEP" lines and, last, "RESULT passed N failed N".
"""
import collections
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
SOCKET_FOLDER = "/run/bufscope"
SCRAPED_SECONDS = SERVES_SECONDS = 120  # only what hangs takes that long


def shell(command, user=None, status=0):
    """Runs it as one would type it, shows that and the answer, and returns the answer."""
    print(f"\n{user or 'root'}$ {command}", flush=True)
    arguments = ["/bin/sh", "-c", command]
    if user:
        arguments = ["runuser", "-u", user, "--", *arguments]
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, end="", flush=True)
    assert done.returncode == status, f"status {done.returncode} of: {command}"
    return done.stdout


def service():
    """The unit's properties."""
    done = subprocess.run(["systemctl", "show", "bufscope"], capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


class Program:
    """The real runtime with some tensors, by a user."""

    def __init__(self, user, how, tensors):
        self.user = user
        command = [how["python"], os.path.join(HERE, "workload.py"), "hold", str(tensors)]
        home = os.path.expanduser("~" + user)
        print(f"\n{user}$ {' '.join(command)} &     # ttnn {how['release']}", flush=True)
        self.process = subprocess.Popen(["runuser", "-u", user, "--", *command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=home,
                                        env=dict(os.environ, HOME=home, **how["environment"]))
        self.chatter = []

    def stop(self, name):
        """Waits for it there; what the runtime's books say."""
        for line in self.process.stdout:
            if line.startswith("@@books "):
                self.books = json.loads(line[len("@@books "):])
            elif line.strip() == "@@ready " + name:
                return
            else:
                self.chatter.append(line)
        raise AssertionError(f"the program of {self.user} ended:\n{''.join(self.chatter)}")

    def go_on(self, name):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.stop(name)

    @property
    def pid(self):
        return self.books["pid"]

    def blocks(self):
        """{(type, address): bytes on the chip} of the runtime's books."""
        return {(kind, address): size * memory["banks"] for mesh in self.books["meshes"]
                for kind, memory in mesh["types"].items() for address, size in memory["blocks"]}


def dump(user=None):
    """{pid: process}, as a user sees it; shown as text."""
    shell("bufscope dump", user)
    command = ["bufscope", "dump", "--format", "json"]
    text = subprocess.run(["runuser", "-u", user, "--", *command] if user else command, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    return {process["pid"]: process for process in json.loads(text)["processes"]}


def expect(seen, *programs):
    """These programs and no other, and of each what its runtime's own books say."""
    assert set(seen) == {program.pid for program in programs}, f"{set(seen)} instead of {[p.pid for p in programs]}"
    for program in programs:
        process = seen[program.pid]
        theirs = program.blocks()
        ours = {(buffer["type"], buffer["address"]): buffer["footprint_bytes"] for buffer in process["buffers"]}
        # What a buffer takes is known once bufscope has read the books, too.
        if not process["before_attach"]:
            ours = {place: theirs.get(place) if taken is None else taken for place, taken in ours.items()}
        assert ours == theirs, f"bufscope {ours}, the runtime {theirs}"
        assert process["exact"], process["inexact_reasons"]


def sees(text, *programs):
    """Those whose process it names."""
    return {program for program in programs if re.search(rf"\b{program.pid}\b", text)}


def query(expression):
    url = "http://127.0.0.1:9090/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(url, timeout=SCRAPED_SECONDS) as answer:
        return json.load(answer)["data"]["result"]


def prometheus(what, pid):
    """{type: bytes} as Prometheus has it, from a scrape that is younger than the question."""
    asked = time.time()
    while not query(f"bufscope_snapshot_timestamp_seconds > {asked}"):
        assert time.time() < asked + SCRAPED_SECONDS, "Prometheus scrapes nothing new"
        time.sleep(0.5)
    expression = f'sum by (type) (bufscope_process_{what}_bytes{{pid="{pid}"}}) > 0'
    rows = {row["metric"]["type"]: int(row["value"][1]) for row in query(expression)}
    print(f"\nPrometheus: {expression}\n  {rows}", flush=True)
    return rows


def changed_code(pid):
    """How many bytes of the runtime library's code are not as in its file: breakpoints."""
    changed = 0
    with open(f"/proc/{pid}/maps") as maps:
        regions = [line.split(maxsplit=5) for line in maps]
    for region in regions:
        if len(region) < 6 or "x" not in region[1] or "tt_metal" not in region[5] and "_ttnncpp" not in region[5]:
            continue
        start, end = (int(part, 16) for part in region[0].split("-"))
        with open(f"/proc/{pid}/mem", "rb") as memory, open(region[5].strip(), "rb") as file:
            memory.seek(start)
            file.seek(int(region[2], 16))
            now, was = memory.read(end - start), file.read(end - start)
        if now[:len(was)] != was:
            changed += sum(a != b for a, b in zip(now, was))
    return changed


class Trial:
    def __init__(self):
        with open(os.path.join(HERE, "programs.json")) as file:
            self.releases = json.load(file)

    def install(self):
        """The package is installed: the service runs"""
        shell("DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq -o Dpkg::Use-Pty=0 /root/bufscope.deb")
        shell("systemctl start bufscope")
        assert shell("systemctl is-active bufscope").strip() == "active"
        assert shell("systemctl is-enabled bufscope").strip() == "enabled"
        shell("systemctl status --no-pager --full bufscope")
        shell("adduser --quiet carol bufscope")

    def nobody_yet(self):
        """Nothing uses a device, and everyone is told so"""
        for user in (None, "alice", "carol"):
            expect(dump(user))

    def two_users(self):
        """Two programs of two users: each sees their own, root and the group both, as the runtime's books have it"""
        self.alice, self.bob = Program("alice", self.releases[0], 6), Program("bob", self.releases[1], 9)
        self.alice.stop("holding")
        self.bob.stop("holding")
        expect(dump(), self.alice, self.bob)
        expect(dump("carol"), self.alice, self.bob)
        expect(dump("alice"), self.alice)
        expect(dump("bob"), self.bob)
        expect(dump("dave"))

    def restart(self):
        """The service is restarted, with another option: what lives is known again, and what happens then"""
        shell("""echo 'BUFSCOPE_OPTIONS="--metrics 9754"' >/etc/default/bufscope""")
        shell("systemctl restart bufscope")
        seen = dump()
        expect(seen, self.alice, self.bob)
        assert all(process["before_attach"] == len(process["buffers"]) for process in seen.values())

    def questions(self):
        """What changes is told as the books have it; ps, watch and top show everyone what is theirs"""
        before = set(self.alice.blocks())
        for user in (None, "alice", "bob"):
            shell("bufscope mark before", user)
        self.alice.go_on("half")
        expect(dump(), self.alice, self.bob)
        for user, programs in ((None, {self.alice, self.bob}), ("alice", {self.alice}), ("bob", {self.bob})):
            assert sees(shell("bufscope ps", user), self.alice, self.bob) == programs
            assert sees(shell("bufscope top --once", user), self.alice, self.bob) == programs
            assert "2 moments" in shell("bufscope watch --marks", user)
        shell("bufscope diff before", "alice")
        told = json.loads(shell("bufscope diff before --format json", "alice"))
        freed = {(buffer["type"], buffer["address"]) for process in told["processes"] for buffer in process["freed"]}
        assert freed == before - set(self.alice.blocks()) and freed, (freed, before)
        assert not json.loads(shell("bufscope diff before --format json", "bob"))["freed_buffers"]

    def as_oneself(self):
        """A plain user's run asks the service (there is no sudo here), and passes on how the command ended"""
        text = shell("bufscope run -v -- sh -c 'exit 5'", "alice", status=5)
        assert "through the service" in text

    def metrics(self):
        """Prometheus says the same bytes as dump and as the runtime's books"""
        seen = dump()
        for program in (self.alice, self.bob):
            dumped, booked = collections.Counter(), collections.Counter()
            for buffer in seen[program.pid]["buffers"]:
                dumped[buffer["type"]] += buffer["size_bytes"]
            for (kind, _), taken in program.blocks().items():
                booked[kind] += taken
            assert prometheus("live", program.pid) == dumped
            assert prometheus("footprint", program.pid) == booked

    def kill(self):
        """One program is killed: it holds nothing, the other what it held"""
        os.kill(self.alice.pid, signal.SIGKILL)
        print(f"\nroot$ kill -9 {self.alice.pid}", flush=True)
        self.alice.process.wait()
        expect(dump(), self.bob)
        expect(dump("alice"))

    def upgrade(self):
        """The package is installed again, as by an upgrade: the service is another, and knows what lives"""
        before = shell("systemctl show --property MainPID bufscope")
        shell("DEBIAN_FRONTEND=noninteractive dpkg --install /root/bufscope.deb")
        assert shell("systemctl show --property MainPID bufscope") != before
        expect(dump(), self.bob)

    def stop(self):
        """The service is stopped: no probe, no socket, and the program goes on"""
        assert changed_code(self.bob.pid), "there was no probe to be taken away"
        shell("systemctl stop bufscope")
        assert not os.path.exists(SOCKET_FOLDER), os.listdir(SOCKET_FOLDER)
        assert not changed_code(self.bob.pid), "probes are left"
        assert not os.listdir("/sys/fs/bpf"), os.listdir("/sys/fs/bpf")
        shell("bufscope dump", "bob", status=1)
        self.bob.go_on("half")

    def journal(self):
        """The service's log has nothing of error or warning"""
        log = shell("journalctl --no-pager --unit bufscope")
        assert "serving at" in log and "rror" not in log and "arning" not in log and "ailed" not in log

    def too_much_memory(self):
        """The service takes more memory than it may: another one begins, and knows what lives"""
        shell("systemctl start bufscope")
        before = service()
        assert before["MemoryMax"] == str(2 << 30), before
        shell("systemctl set-property --runtime bufscope MemoryMax=1M")
        shell("systemctl set-property --runtime bufscope MemoryMax=2G")
        deadline, now = time.monotonic() + SERVES_SECONDS, before
        while now["MainPID"] == before["MainPID"] or now["ActiveState"] != "active":
            assert time.monotonic() < deadline, now
            now = service()
        expect(dump(), self.bob)
        shell("systemctl stop bufscope")

    def remove(self):
        """The package is removed and purged: nothing of it is left but the group"""
        shell("DEBIAN_FRONTEND=noninteractive apt-get purge --yes -qq -o Dpkg::Use-Pty=0 bufscope")
        left = shell("find / -xdev -name '*bufscope*' ! -path '/root/*' ! -path '/var/cache/apt/*' ! -path '/proc/*' "
                     "! -path '/sys/*'")
        assert not left, left
        assert shell("systemctl is-failed bufscope", status=1).strip() == "inactive"
        shell("getent group bufscope")
        self.bob.go_on("none")
        self.bob.process.communicate("\n")
        assert self.bob.process.returncode == 0, self.bob.process.returncode

    STEPS = (install, nobody_yet, two_users, restart, questions, as_oneself, metrics, kill, upgrade, stop, journal,
             too_much_memory, remove)


def attempt(step, trial):
    print(f"\n==== {step.__doc__} ({time.monotonic():.0f} s after the start of the machine)", flush=True)
    try:
        step(trial)
        return True
    except Exception:
        print(traceback.format_exc(), flush=True)
        subprocess.run(["journalctl", "--no-pager", "--unit", "bufscope"], stdin=subprocess.DEVNULL)
        return False


def main(serial):
    trial, counts = Trial(), {True: 0, False: 0}
    with open(serial, "w") as results:
        for step in Trial.STEPS:
            # Each begins where the one before ended.
            passed = not counts[False] and attempt(step, trial)
            counts[passed] += 1
            print(f"TEST {'passed' if passed else 'failed'} {step.__doc__}", file=results, flush=True)
        print(f"RESULT passed {counts[True]} failed {counts[False]}", file=results)


if __name__ == "__main__":
    main(sys.argv[1])
