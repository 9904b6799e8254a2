// SPDX-License-Identifier: BSD-2-Clause
/* Buffers and processes as CSV; see csv_view.h. */
#include "view/csv_view.h"

#include <errno.h>
#include <string.h>

#include "base/escape.h"
#include "base/strbuf.h"
#include "model/snapshot.h"
#include "view/phrase.h"

#define CSV_LLU(value) ((unsigned long long)(value))

static void csv_quoted(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

/* The columns that lines of one process share. 0 or -ENOMEM. */
static int csv_process(struct strbuf *command, struct strbuf *cgroup, const struct snapshot_process *process)
{
	strbuf_reset(command);
	strbuf_reset(cgroup);
	phrase_command(command, process->command, process->command_len);
	escape_terminal(cgroup, process->cgroup, strlen(process->cgroup));
	return strbuf_error(command) ? strbuf_error(command) : strbuf_error(cgroup);
}

static void csv_chips(FILE *out, const struct snapshot_buffer *buffer)
{
	fputc('"', out);
	for (uint32_t i = 0; i < buffer->chip_count; i++)
		fprintf(out, "%s%d", i ? "," : "", buffer->chips[i]);
	fputc('"', out);
}

/* What is not known is an empty field. */
static void csv_known(FILE *out, uint64_t value)
{
	if (value)
		fprintf(out, ",%llu", CSV_LLU(value));
	else
		fputc(',', out);
}

static void csv_buffer(FILE *out, const struct snapshot *snapshot, const struct snapshot_process *process,
		       const struct snapshot_buffer *buffer)
{
	fprintf(out, "%s,%u,%u,%llu,%s,", process->id, process->pid, process->user, CSV_LLU(buffer->serial),
		memory_type_name(buffer->type));
	csv_chips(out, buffer);
	fprintf(out, ",%llu,%llu,%llu", CSV_LLU(buffer->address), CSV_LLU(buffer->size_bytes),
		CSV_LLU(buffer->page_size_bytes));
	csv_known(out, buffer->footprint_bytes);
	fprintf(out, ",%s", phrase_state_word(buffer->state));
	csv_known(out, buffer->allocated_ns);
	csv_known(out, buffer->allocated_ns && snapshot->now_ns > buffer->allocated_ns
			       ? snapshot->now_ns - buffer->allocated_ns
			       : 0);
	csv_known(out, buffer->thread);
	fputc(',', out);
}

int csv_view_buffers(FILE *out, const struct snapshot *snapshot)
{
	struct strbuf command = STRBUF_INIT, cgroup = STRBUF_INIT;
	int err = 0;

	fputs("process,pid,user,serial,type,devices,address,size_bytes,page_size_bytes,footprint_bytes,state,"
	      "allocated_ns,age_ns,thread,command\r\n",
	      out);
	for (size_t i = 0; !err && i < snapshot->process_count; i++) {
		const struct snapshot_process *process = &snapshot->processes[i];

		err = csv_process(&command, &cgroup, process);
		for (size_t b = 0; !err && b < process->buffer_count; b++) {
			csv_buffer(out, snapshot, process, &process->buffers[b]);
			csv_quoted(out, strbuf_str(&command));
			fputs("\r\n", out);
		}
	}
	strbuf_fini(&command);
	strbuf_fini(&cgroup);
	return !err && (fflush(out) || ferror(out)) ? -EIO : err;
}

static void csv_figures(FILE *out, const struct snapshot_process *process, int32_t device,
			const struct snapshot_type *figures)
{
	fprintf(out, "%s,%u,%u,%s,", process->id, process->pid, process->user,
		process->parent_id ? process->parent_id : "");
	if (device >= 0)
		fprintf(out, "%d", device);
	fprintf(out, ",%s,%llu,%llu,%llu,%llu,%llu,%llu,%s,", memory_type_name(figures->type),
		CSV_LLU(figures->live_buffers), CSV_LLU(figures->live_bytes), CSV_LLU(figures->held_buffers),
		CSV_LLU(figures->held_bytes), CSV_LLU(figures->peak_buffers), CSV_LLU(figures->peak_bytes),
		process->exact ? "true" : "false");
}

int csv_view_processes(FILE *out, const struct snapshot *snapshot)
{
	struct strbuf command = STRBUF_INIT, cgroup = STRBUF_INIT;
	int err = 0;

	fputs("process,pid,user,parent,device,type,live_buffers,live_bytes,held_buffers,held_bytes,peak_buffers,"
	      "peak_bytes,exact,cgroup,command\r\n",
	      out);
	for (size_t i = 0; !err && i < snapshot->process_count; i++) {
		const struct snapshot_process *process = &snapshot->processes[i];

		err = csv_process(&command, &cgroup, process);
		for (size_t d = 0; !err && d < process->device_count; d++) {
			for (uint32_t t = 0; t < process->devices[d].type_count; t++) {
				csv_figures(out, process, process->devices[d].device, &process->devices[d].types[t]);
				csv_quoted(out, strbuf_str(&cgroup));
				fputc(',', out);
				csv_quoted(out, strbuf_str(&command));
				fputs("\r\n", out);
			}
		}
	}
	strbuf_fini(&command);
	strbuf_fini(&cgroup);
	return !err && (fflush(out) || ferror(out)) ? -EIO : err;
}
