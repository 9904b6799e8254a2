/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows on the screen of `bufscope top`: as many as there is room for, the cursor's among them. */
#ifndef BUFSCOPE_CMD_TOP_TABLE_H
#define BUFSCOPE_CMD_TOP_TABLE_H

#include "cmd/top_line.h"
#include "cmd/top_rows.h"

void top_table(struct top_lines *lines, const struct top_rows *rows, struct top_state *state,
	       const struct top_data *data);

#endif
