/* SPDX-License-Identifier: BSD-2-Clause */
/* Tells the service manager how far we are: systemd's notify protocol, a datagram to NOTIFY_SOCKET. */
#ifndef BUFSCOPE_SERVER_NOTIFY_H
#define BUFSCOPE_SERVER_NOTIFY_H

#include <stdint.h>

/* Before system calls are given up. A descriptor, or -1 without a service manager. A failure is logged. */
int notify_open(void);
/* @state: "READY=1", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=...", "STOPPING=1"; see sd_notify(3). */
void notify_manager(int fd, const char *state);

/* How often the manager wants to hear from us, at most: half of its patience. 0: it does not. */
uint64_t notify_watchdog_ns(void);

#endif
