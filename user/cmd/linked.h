/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which libraries a program is linked with, so that they can be attached to before it starts: a
 * program that maps the runtime while it is being loaded may allocate before any reaction to the
 * mapping could be in time. The program's own dynamic loader is asked (ld.so --list), as the user the
 * command will run as; nothing of the program itself is executed. Scripts, static programs and what is
 * loaded later by dlopen are not covered: those are noticed when they are mapped.
 */
#ifndef BUFSCOPE_CMD_LINKED_H
#define BUFSCOPE_CMD_LINKED_H

typedef void (*linked_visitor)(void *context, const char *path);

/* Calls @visit for the program and each of its libraries. Best effort: what cannot be found out is left out. */
void linked_visit(const char *command, const char *run_as, linked_visitor visit, void *context);

#endif
