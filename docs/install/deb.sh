#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Builds a Debian package from what "make install" installs: deb.sh VERSION BUILD. Needs dpkg-dev.
set -eu
cd "$(dirname "$0")/../.."
version=$1 build=$2
command -v dpkg-shlibdeps >/dev/null || { echo "deb: dpkg-shlibdeps is missing: apt-get install dpkg-dev" >&2; exit 1; }
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
root=$stage/root
make --no-print-directory -s install BUILD="$build" DESTDIR="$root" PREFIX=/usr
strip --strip-unneeded "$root/usr/bin/bufscope"
gzip -9n "$root/usr/share/man/man1/bufscope.1"
mv "$root/usr/share/doc/bufscope/LICENSE" "$root/usr/share/doc/bufscope/copyright"

# dpkg-shlibdeps wants a source package around it; the libraries of the program are all it looks at.
mkdir "$stage/debian"
printf 'Source: bufscope\n\nPackage: bufscope\nArchitecture: any\n' >"$stage/debian/control"
depends=$(cd "$stage" && dpkg-shlibdeps -O root/usr/bin/bufscope 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || { echo "deb: the libraries' packages were not found" >&2; exit 1; }

mkdir "$root/DEBIAN"
arch=$(dpkg --print-architecture)
echo /etc/default/bufscope >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
	install -m 755 "docs/install/$script" "$root/DEBIAN/$script"
done
cat >"$root/DEBIAN/control" <<END
Package: bufscope
Version: $version
Architecture: $arch
Maintainer: bufscope maintainers <bufscope@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: $depends, adduser
Recommends: sudo
Section: devel
Priority: optional
Description: shows the buffers that programs hold on accelerator devices
 Watches the allocator of the device runtime from outside, with uprobes: no
 rebuild, no environment variable, running programs included. Tells who holds
 device memory, and what was still there when a process ended. A service
 watches the whole machine; anyone may ask it about their own processes, root
 and the group bufscope about all.
END
dpkg-deb --root-owner-group --build "$root" "$build/bufscope_${version}_$arch.deb" >/dev/null
echo "$build/bufscope_${version}_$arch.deb"
