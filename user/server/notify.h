/* SPDX-License-Identifier: BSD-2-Clause */
/* Tells the service manager how far we are: systemd's notify protocol, a datagram to NOTIFY_SOCKET. */
#ifndef BUFSCOPE_SERVER_NOTIFY_H
#define BUFSCOPE_SERVER_NOTIFY_H

/* @state: "READY=1", "STOPPING=1". Without a service manager nothing happens; a failure is logged. */
void notify_manager(const char *state);

#endif
