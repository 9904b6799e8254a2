/* SPDX-License-Identifier: BSD-2-Clause */
/* Pieces of JSON that several outputs share, so that one thing has one form. */
#ifndef BUFSCOPE_VIEW_JSON_FIELDS_H
#define BUFSCOPE_VIEW_JSON_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "model/snapshot.h"

/*
 * Each sets @key of @object. A failure (memory) is remembered in *failed and never undone, so that
 * many fields need one check.
 */
void json_fields_u64(json_t *object, const char *key, uint64_t value, bool *failed);
void json_fields_u64_or_null(json_t *object, const char *key, bool known, uint64_t value, bool *failed);
void json_fields_i64(json_t *object, const char *key, int64_t value, bool *failed);
void json_fields_bool(json_t *object, const char *key, bool value, bool *failed);
void json_fields_null(json_t *object, const char *key, bool *failed);
/* Bytes that are not UTF-8 are replaced. @text NULL: null. */
void json_fields_string(json_t *object, const char *key, const char *text, bool *failed);
/* Takes over @value, which may be NULL after a failure. */
void json_fields_set(json_t *object, const char *key, json_t *value, bool *failed);

json_t *json_fields_text(const char *text, size_t len);          /* a string value, NULL: no memory */
json_t *json_fields_chips(const int32_t *chips, uint32_t count); /* an array, NULL: no memory */

/* "name" and "chip" of a device. */
void json_fields_chip(json_t *object, const struct chip_identity *chip, bool *failed);
/* The fields of a buffer, as in a summary's "buffers". */
void json_fields_buffer(json_t *object, const struct snapshot_buffer *buffer, bool *failed);
void json_fields_unmatched(json_t *object, const struct snapshot_unmatched *unmatched, bool *failed);
/* A failed allocation; without its time and thread. */
void json_fields_failure(json_t *object, const struct snapshot_failure *failure, bool *failed);
void json_fields_runtime(json_t *object, const struct snapshot_runtime *runtime, bool *failed);

void json_fields_census(json_t *object, const struct snapshot_census *census, bool *failed); /* without its time */

#endif
