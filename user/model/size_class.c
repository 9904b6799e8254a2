// SPDX-License-Identifier: BSD-2-Clause
/* Buffers by class of size; see size_class.h. */
#include "model/size_class.h"

#include <string.h>

#include "model/snapshot.h"

static unsigned int size_class_of(uint64_t bytes)
{
	return bytes > 1 ? 64 - (unsigned int)__builtin_clzll(bytes - 1) : 0;
}

void size_classes_count(const struct snapshot *snapshot, struct size_classes *out)
{
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < snapshot->process_count; i++) {
		const struct snapshot_process *process = &snapshot->processes[i];

		for (size_t b = 0; b < process->buffer_count; b++) {
			const struct snapshot_buffer *buffer = &process->buffers[b];
			unsigned int which = size_class_of(buffer->size_bytes);
			struct size_class *size_class;

			if (buffer->state != BUFFER_LIVE || buffer->type >= MEMORY_TYPE_COUNT || !buffer->size_bytes ||
			    which >= SIZE_CLASS_COUNT)
				continue;
			size_class = &out->of[buffer->type][which];
			size_class->buffers++;
			size_class->bytes += snapshot_buffer_bytes(buffer);
		}
	}
}
