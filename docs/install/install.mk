# SPDX-License-Identifier: BSD-2-Clause
# Installing; included by the Makefile. DESTDIR, PREFIX and the directories below may be set.

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/bufscope
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSCONFDIR ?= /etc
# For programs that ask the service: docs/pytest.md.
CLIENTDIR ?= $(PREFIX)/share/bufscope/python

DOCS := README.md LICENSE $(wildcard docs/*.md docs/*.json)
MONITORING := $(wildcard docs/monitoring/*)

install: all
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(MANDIR)/man1' '$(DESTDIR)$(DOCDIR)' \
		'$(DESTDIR)$(COMPLETIONDIR)' '$(DESTDIR)$(UNITDIR)' '$(DESTDIR)$(SYSCONFDIR)/default'
	install -m 755 $(BUILD)/bufscope '$(DESTDIR)$(BINDIR)/bufscope'
	sed 's/@VERSION@/$(VERSION)/' docs/man/bufscope.1 > '$(DESTDIR)$(MANDIR)/man1/bufscope.1'
	chmod 644 '$(DESTDIR)$(MANDIR)/man1/bufscope.1'
	install -m 644 docs/install/bufscope.bash '$(DESTDIR)$(COMPLETIONDIR)/bufscope'
	install -m 644 $(DOCS) '$(DESTDIR)$(DOCDIR)'
	install -D -m 644 -t '$(DESTDIR)$(CLIENTDIR)' docs/python/bufscope_client.py
	$(if $(MONITORING),install -D -m 644 -t '$(DESTDIR)$(DOCDIR)/monitoring' $(MONITORING))
	sed 's|/usr/bin/|$(BINDIR)/|; s|/etc/|$(SYSCONFDIR)/|' docs/install/bufscope.service > '$(DESTDIR)$(UNITDIR)/bufscope.service'
	chmod 644 '$(DESTDIR)$(UNITDIR)/bufscope.service'
	[ -e '$(DESTDIR)$(SYSCONFDIR)/default/bufscope' ] || \
		install -m 644 docs/install/default '$(DESTDIR)$(SYSCONFDIR)/default/bufscope'

# The options in /etc/default/bufscope stay: they are the administrator's.
uninstall:
	rm -f '$(DESTDIR)$(BINDIR)/bufscope' '$(DESTDIR)$(MANDIR)/man1/bufscope.1' \
		'$(DESTDIR)$(COMPLETIONDIR)/bufscope' '$(DESTDIR)$(UNITDIR)/bufscope.service'
	rm -rf '$(DESTDIR)$(DOCDIR)' '$(DESTDIR)$(CLIENTDIR)'

# A package for the Debian or Ubuntu release it is built on: build/bufscope_VERSION_ARCH.deb
deb: all
	docs/install/deb.sh '$(VERSION)' '$(BUILD)'

.PHONY: install uninstall deb
