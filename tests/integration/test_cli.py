# SPDX-License-Identifier: BSD-2-Clause
"""Bad input: one clear line on stderr, the right exit status, the command untouched."""
import os
import pty
import shutil
import subprocess
import tempfile

import pytest

import harness


def bufscope(*arguments, **kwargs):
    return subprocess.run([harness.BUFSCOPE, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=harness.HANG_SECONDS, **kwargs)


def one_line(result, *words):
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr
    assert not result.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["attach", "--help"], ["check", "--help"]])
def test_help(arguments):
    result = bufscope(*arguments)
    assert result.returncode == 0
    assert "bufscope" in result.stdout and not result.stderr


@pytest.mark.parametrize("arguments", [["run", "--help"], ["attach", "--help"]])
def test_help_says_what_a_megabyte_is(arguments):
    assert "2^20" in bufscope(*arguments).stdout


@pytest.mark.parametrize("arguments", [["--version"], ["run", "--version"], ["attach", "--version"],
                                       ["check", "--version"]])
def test_version(arguments):
    result = bufscope(*arguments)
    assert result.returncode == 0
    assert result.stdout.startswith("bufscope ")


@pytest.mark.parametrize("arguments, status", [
    ([], 2),
    (["nonsense"], 2),
    (["attach"], 2),
    (["attach", "-p", "x"], 2),
    (["attach", "-p", "0"], 2),
    (["attach", "-p", "-1"], 2),
    (["attach", "--format", "yaml", "-p", "1"], 2),
    (["attach", "--no-such-option"], 2),
    (["run"], 125),
    (["run", "--"], 125),
    (["run", "--no-such-option", "--", "true"], 125),
    (["run", "--format", "yaml", "--", "true"], 125),
    (["run", "--format", "json", "--", "true"], 125),
    (["run", "--interval", "-3", "--", "true"], 125),
    (["run", "--buffers", "some", "--", "true"], 125),
])
def test_usage_errors(arguments, status):
    result = bufscope(*arguments)
    assert result.returncode == status
    if arguments:
        one_line(result)
    assert result.stderr and not result.stdout


@pytest.mark.parametrize("where", ["/no/such/folder/report.json", "/proc/report.json", "/"])
def test_output_cannot_be_written(where, tmp_path):
    """Found out before the command starts, so it is not started."""
    made = tmp_path / "made"
    result = bufscope("run", "--format", "json", "-o", where, "--", "touch", made)
    assert result.returncode == 125
    assert where in result.stderr
    assert not made.exists()


def test_command_not_found(tmp_path):
    result = bufscope("run", "--", "no-such-command-anywhere")
    assert result.returncode == 127
    assert "no-such-command-anywhere" in result.stderr


def test_command_not_executable(tmp_path):
    file = tmp_path / "data"
    file.write_text("no program\n")
    result = bufscope("run", "--", file)
    assert result.returncode == 126
    assert str(file) in result.stderr


def test_command_without_the_runtime(tmp_path):
    report = tmp_path / "report.json"
    result = bufscope("run", "--format", "json", "-o", report, "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert result.returncode == 3
    assert result.stdout == "out\n" and "err\n" in result.stderr
    for process in harness.load_report(report)["processes"]:
        harness.counts(process, allocated=0, live=0)


def test_environment_and_arguments_reach_the_command(tmp_path):
    result = bufscope("run", "-q", "--", "sh", "-c", 'printf "%s|" "$0" "$@" "$SOMETHING"', "a b", "", "--help",
                      env=dict(os.environ, SOMETHING="x y"))
    assert result.stdout == "a b||--help|x y|"


def test_closed_and_ignored_things_reach_the_command(tmp_path):
    """The command starts with the signals, the limits and the descriptors it would have had."""
    probe = ("import os, signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN, "
             "signal.pthread_sigmask(signal.SIG_BLOCK, []), sorted(os.listdir('/proc/self/fd')))")
    ignore = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    command = ["/usr/bin/python3", "-c", probe]
    plain = subprocess.run(["/usr/bin/python3", "-c", ignore, *command], stdin=subprocess.DEVNULL, capture_output=True,
                           text=True)
    traced = subprocess.run(["/usr/bin/python3", "-c", ignore, harness.BUFSCOPE, "run", "-q", "--", *command],
                            stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert traced.stdout == plain.stdout


@pytest.mark.parametrize("leaves, interrupts", [(False, 1), (True, 0)])
def test_interrupt_on_a_terminal(leaves, interrupts):
    """
    Ctrl-C on a real terminal: the kernel signals the command, and bufscope does not do so again. Two
    signals that come together count as one, so also: a command that left the group gets none.
    """
    command = ("import os; os.setpgid(0, 0)" if leaves else "") + """
import signal, time
count = 0
def on_interrupt(*_):
    global count
    count += 1
signal.signal(signal.SIGINT, on_interrupt)
print("counting", flush=True)
end = time.monotonic() + 1
while time.monotonic() < end:
    time.sleep(0.01)
print(f"interrupts: {count}", flush=True)
"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(harness.BUFSCOPE, [harness.BUFSCOPE, "run", "--", "/usr/bin/python3", "-c", command])
    output = b""
    try:
        while b"counting" not in output:
            output += os.read(terminal, 4096)
        os.write(terminal, b"\x03")
        while True:
            output += os.read(terminal, 4096)
    except OSError:
        pass                                            # the last one has closed it
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert f"interrupts: {interrupts}".encode() in output
    assert b"No device runtime was seen" in output


def test_file_that_is_none(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, "/dev/zero"):
        result = bufscope("check", path)
        assert result.returncode == 1
        one_line(result, str(path), "regular file")


def test_check_of_a_kernel_thread():
    result = bufscope("check", "-p", 2)
    assert result.returncode == 1
    one_line(result, "kernel thread")


def test_without_privileges():
    """It says which capability is missing, and the command is not started."""
    with tempfile.TemporaryDirectory() as folder:       # pytest's own is closed to others
        os.chmod(folder, 0o755)
        copy = shutil.copy(harness.BUFSCOPE, folder)
        result = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all",
                                 copy, "attach", "-p", str(os.getpid())], stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=harness.HANG_SECONDS)
    assert result.returncode == 1, result.stderr
    assert "CAP_" in result.stderr or "root" in result.stderr


def test_check_machine():
    result = bufscope("check")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout


def test_check_library(layout):
    """What it learnt is shown: the offsets of the layout."""
    result = bufscope("check", harness.library(layout))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "track_allocate" in result.stdout


def damaged(folder, layout, change):
    path = folder / "damaged.so"
    with open(harness.library(layout), "rb") as file:
        data = bytearray(file.read())
    change(data)
    path.write_bytes(data)
    return path


def test_check_refuses_a_renamed_symbol(tmp_path, layout):
    def rename(data):
        name = b"_ZN2tt8tt_metal12GraphTracker16track_deallocateEPNS0_6BufferE"
        assert name in data
        data[:] = data.replace(name, name.replace(b"track_deallocate", b"trick_deallocate"))
    result = bufscope("check", damaged(tmp_path, layout, rename))
    assert result.returncode == 1
    assert "track_deallocate" in result.stdout + result.stderr


def test_check_refuses_an_overwritten_accessor(tmp_path, layout):
    def overwrite(data):
        out = subprocess.run(["nm", "-D", harness.library(layout)], capture_output=True, text=True).stdout
        at = {line.split()[2]: int(line.split()[0], 16) for line in out.splitlines() if len(line.split()) == 3}
        headers = subprocess.run(["readelf", "-lW", harness.library(layout)], capture_output=True, text=True).stdout
        address = at["_ZNK2tt8tt_metal6Buffer9page_sizeEv"]
        for line in headers.splitlines():
            words = line.split()
            if words[:1] == ["LOAD"]:
                offset, start, size = (int(words[i], 16) for i in (1, 2, 4))
                if start <= address < start + size:
                    place = address - start + offset
                    data[place:place + 5] = b"\x31\xc0\xc3\x90\x90"        # xor eax,eax; ret
    result = bufscope("check", damaged(tmp_path, layout, overwrite))
    assert result.returncode == 1
    assert "page_size" in result.stdout + result.stderr


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"text", b"\x7fELF\x02\x01\x01" + bytes(57)])
def test_check_of_a_file_that_is_no_library(tmp_path, content):
    file = tmp_path / "file"
    file.write_bytes(content)
    result = bufscope("check", file)
    assert result.returncode == 1
    assert str(file) in result.stdout + result.stderr


def test_check_of_a_truncated_library(tmp_path, layout):
    with open(harness.library(layout), "rb") as file:
        data = file.read()
    file = tmp_path / "cut.so"
    for part in (100, len(data) // 4, len(data) // 2):
        file.write_bytes(data[:part])
        assert bufscope("check", file).returncode == 1
    # Without the section headers alone it can still be loaded, and watched.
    file.write_bytes(data[:-100])
    assert bufscope("check", file).returncode in (0, 1)


def test_check_of_a_missing_file():
    result = bufscope("check", "/no/such/file.so")
    assert result.returncode == 1
    assert "/no/such/file.so" in result.stderr
