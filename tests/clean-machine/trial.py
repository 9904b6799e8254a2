#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""bufscope on a clean machine, as a new user would try it: make check-clean-machine, as root.

Makes a Debian 12 with its own kernel and systemd and little else (mmdebstrap), adds the package, what it
depends on (as files: the guest has no network) and the real runtime, and boots it under QEMU without KVM.
guest.py is what is done there. What the guest printed is in build/clean-machine/log; its verdict comes from
a second serial line. The Debian is kept in the cache folder outside the source tree (tests/ttnn/setup.py);
remove clean-machine there to have a new one.
"""
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
ROOT = os.path.dirname(TESTS)
sys.path[:0] = [os.path.join(TESTS, "kernels"), os.path.join(TESTS, "ttnn")]
import boot  # noqa: E402
import setup  # noqa: E402

BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
OUTPUT = os.path.join(BUILD, "clean-machine")
# A machine that boots, what Python and the runtime link to, what the stand-in for its device compiler calls, Prometheus.
PACKAGES = ("systemd-sysv,dbus,linux-image-cloud-amd64,libatomic1,libstdc++6,zlib1g,libbz2-1.0,libffi8,liblzma5,"
            "libsqlite3-0,libssl3,clang,lld,prometheus")
RELEASES = ("0.81.1", "0.66.0")         # one of each object layout
PRIVATE = "/home/bob/ttnn"              # where the second one is: a home that nobody else may enter
GUEST_SECONDS = 1200                    # only a hang gets there


def run(command, **kwargs):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **kwargs)


def debian(folder):
    """The clean machine's root as a tar file."""
    kept = os.path.join(setup.cache_folder(), "clean-machine")
    target = os.path.join(kept, f"bookworm-{zlib.crc32(PACKAGES.encode()):08x}.tar")
    if not os.path.exists(target):
        os.makedirs(kept, exist_ok=True)
        made = os.path.join(folder, "bookworm.tar")
        run(["mmdebstrap", "--quiet", "--variant=apt", "--include=" + PACKAGES, "bookworm", made])
        os.rename(made, target)
    return target


def link_or_copy(source, target):
    try:
        os.link(source, target)
    except OSError:                     # another file system
        shutil.copy2(source, target)


def link(source, target):
    """The tree as hard links (the image is made from them, nothing is written to them), in folders open to all."""
    shutil.copytree(source, target, symlinks=True, copy_function=link_or_copy, dirs_exist_ok=True)
    for path, _, _ in os.walk(target):
        os.chmod(path, 0o755)


def install_for_all(path, root):
    """The same path there, below folders that everyone may pass."""
    link(path, root + path)
    while path != "/":
        path = os.path.dirname(path)
        os.chmod(root + path, 0o755)


def add_users(root):
    for user in ("alice", "bob", "carol", "dave"):
        run(["chroot", root, "useradd", "--create-home", "--key", "HOME_MODE=0700", user])


def add_runtime(root):
    """The releases, Python and what they import. The guest is told how to start each."""
    programs = []
    for release in RELEASES:
        python, variables = setup.environment(release, "n150")
        place = os.path.dirname(variables["TT_METAL_HOME"])
        if release == RELEASES[0]:
            install_for_all(place, root)
        else:
            link(place, root + PRIVATE)
        environment = {name: value if release == RELEASES[0] else value.replace(place, PRIVATE)
                       for name, value in variables.items() if name.startswith(("TT_METAL", "PYTHON"))}
        programs.append({"release": release, "python": python, "environment": environment})
    prefix = subprocess.run([python, "-c", "import sys; print(sys.base_prefix)"], stdout=subprocess.PIPE, text=True,
                            check=True).stdout.strip()
    if prefix == "/usr":
        raise setup.Unavailable("Python 3.10 or 3.12 of this system's own packages cannot be moved to a Debian 12")
    cache = setup.cache_folder()
    for tree in (prefix, os.path.dirname(os.path.dirname(python)), os.path.join(cache, "mock")):
        install_for_all(tree, root)
    link_or_copy(os.path.join(cache, "n150.yaml"), os.path.join(root + cache, "n150.yaml"))
    os.symlink(python, root + "/trial/python")
    with open(root + "/trial/programs.json", "w") as file:
        json.dump(programs, file)


def add_package(root):
    """And its dependencies as files, by the guest's own apt."""
    deb = subprocess.run(["make", "-C", ROOT, "-s", "--no-print-directory", "deb"], check=True, stdout=subprocess.PIPE,
                         text=True).stdout.split()[-1]
    shutil.copy(os.path.join(ROOT, deb), root + "/root/bufscope.deb")
    shutil.copy("/etc/resolv.conf", root + "/etc/resolv.conf")
    for arguments in (["update"], ["install", "--download-only", "--yes", "/root/bufscope.deb"]):
        run(["chroot", root, "apt-get", "-qq", *arguments])


def build_root(root, tar):
    run(["tar", "-C", root, "-xf", tar])
    os.mkdir(root + "/trial")
    shutil.copy(os.path.join(HERE, "prometheus.yml"), root + "/etc/prometheus")
    for file in (os.path.join(HERE, "guest.py"), os.path.join(TESTS, "ttnn", "workload.py")):
        shutil.copy(file, root + "/trial")
    shutil.copy(os.path.join(HERE, "trial.service"), root + "/etc/systemd/system")
    add_users(root)
    add_runtime(root)
    add_package(root)


def image(folder):
    """(kernel, initrd, disk)"""
    root = os.path.join(folder, "root")
    os.mkdir(root)
    os.chmod(root, 0o755)
    build_root(root, debian(folder))
    disk = os.path.join(folder, "disk")
    run(["mke2fs", "-q", "-t", "ext4", "-d", root, disk, "4G"])
    return [glob.glob(f"{root}/boot/{name}-*")[0] for name in ("vmlinuz", "initrd.img")] + [disk]


def boot_guest(kernel, initrd, disk, log, result):
    with open(log, "wb") as output:
        try:
            subprocess.run([boot.QEMU, "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "4096", "-smp", "2", "-display",
                            "none", "-nodefaults", "-no-reboot", "-serial", "stdio", "-serial", "file:" + result,
                            "-drive", f"file={disk},format=raw,if=virtio,cache=unsafe", "-kernel", kernel, "-initrd", initrd,
                            "-append", "root=/dev/vda rw console=ttyS0 quiet panic=-1 systemd.wants=trial.service "
                                       "systemd.show_status=no systemd.mask=serial-getty@ttyS0.service"],
                           stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=GUEST_SECONDS)
        except subprocess.TimeoutExpired:
            return False
    return True


def main():
    boot.check_tools()
    for tool in ("mmdebstrap", "mke2fs"):
        if not shutil.which(tool):
            raise boot.Unavailable(f"{tool} is not installed (make deps-test)")
    if os.geteuid():
        raise boot.Unavailable("only root can make the machine's root")
    os.makedirs(OUTPUT, exist_ok=True)
    log, result = os.path.join(OUTPUT, "log"), os.path.join(OUTPUT, "result")
    if os.path.exists(result):
        os.unlink(result)
    # Beside what it links to.
    with tempfile.TemporaryDirectory(prefix="clean-machine-", dir=setup.cache_folder()) as folder:
        ended = boot_guest(*image(folder), log, result)
    text = ""
    if os.path.exists(result):
        with open(result, errors="replace") as file:
            text = file.read()
    verdict = boot.read_verdict(text, ended, log)
    with open(log, errors="replace") as file:
        print(file.read())
    return 0 if boot.show("clean machine", verdict) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (boot.Unavailable, setup.Unavailable) as reason:
        sys.exit(f"clean machine: {reason}")
