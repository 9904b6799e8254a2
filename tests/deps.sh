#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs what is missing, with apt: Debian 12 and later, Ubuntu 22.04 and later.
#
#   tests/deps.sh build            what "make" needs
#   tests/deps.sh test             that and what "make check" needs
#   tests/deps.sh --if-root test   the same; without root it only says what is missing
#
# Says what it does, and does nothing when everything is there.
set -eu

if_root=
[ "${1-}" != --if-root ] || { if_root=yes; shift; }

# g++ for its library: clang++ builds the stand-in runtime with it.
build="gcc g++ make pkg-config clang llvm libc6-dev libbpf-dev libelf-dev zlib1g-dev libcapstone-dev libjansson-dev libzstd-dev libcap-ng-dev libseccomp-dev libmicrohttpd-dev libncurses-dev"
test="adduser binutils bpftrace cpio dpkg-dev libclang-rt-dev lld libcmocka-dev clang-format mandoc mmdebstrap python3 python3-pytest python3-jsonschema python3-pip python3-venv prometheus qemu-system-x86 systemd tmux util-linux zstd"
case "${1-}" in
build) wanted=$build ;;
test) wanted="$build $test" ;;
*)
	sed -n '4,10s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	echo "deps: this is no Debian or Ubuntu system. Needed, by their Debian names: $wanted bpftool" >&2
	[ -n "$if_root" ] && exit 0
	exit 1
fi

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | sort -u | head -n 1)" = installed ]
}

missing=
for package in $wanted; do
	installed "$package" || missing="$missing $package"
done

# Debian has a package bpftool; on Ubuntu it is in the kernel's tools (22.04, 24.04) or, later, in a package too.
if ! command -v bpftool >/dev/null && ! [ -x /usr/sbin/bpftool ]; then
	missing="$missing bpftool"
fi

if [ -z "$missing" ]; then
	echo "deps: everything is installed"
	exit 0
fi
if [ "$(id -u)" != 0 ]; then
	echo "deps: missing:$missing" >&2
	echo "deps: installing them needs root: sudo make deps" >&2
	[ -n "$if_root" ] && exit 0
	exit 1
fi

export DEBIAN_FRONTEND=noninteractive
echo "deps: apt-get update"
apt-get update -qq
case " $missing " in
*" bpftool "*)
	if ! apt-cache policy bpftool | grep -q 'Candidate: [0-9]'; then
		missing=$(echo "$missing" | sed "s/ bpftool/ linux-tools-common linux-tools-generic/")
	fi
	;;
esac
# Where there is no such package (Ubuntu 22.04) clang brings what libFuzzer needs.
case " $missing " in
*" libclang-rt-dev "*)
	if ! apt-cache policy libclang-rt-dev | grep -q 'Candidate: [0-9]'; then
		missing=$(echo "$missing" | sed "s/ libclang-rt-dev//")
	fi
	;;
esac
# prometheus comes with a service that nobody asked for: tests start it themselves, on a port of its own.
policy=/usr/sbin/policy-rc.d
if ! [ -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
echo "deps: apt-get install$missing"
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing
case " $missing " in
*" prometheus "*)
	if command -v systemctl >/dev/null; then systemctl --quiet disable prometheus; fi
	;;
esac
