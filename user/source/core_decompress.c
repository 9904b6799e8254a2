/* SPDX-License-Identifier: BSD-2-Clause */
/* A compressed core file, decompressed into a file without a name; the disk is its limit, and a bound here. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
#include <zstd.h>

#include "source/core_file.h"

#define MAX_PLAIN_BYTES (256ULL << 30)
#define HOLE_BYTES      4096

static int open_nameless(void)
{
	const char *folders[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};
	int err = ENOENT;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		int fd = folders[i] && folders[i][0] == '/' ? open(folders[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)
							    : -1;

		if (fd >= 0)
			return fd;
		err = errno;
	}
	return -err;
}

static bool is_zero(const uint8_t *data, size_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/* Pages of zeros stay holes: a core is mostly that. */
static int write_out(int fd, const uint8_t *data, size_t len, uint64_t *at)
{
	while (len) {
		size_t part = HOLE_BYTES - *at % HOLE_BYTES;
		ssize_t n;

		if (part > len)
			part = len;
		if (!is_zero(data, part)) {
			n = pwrite(fd, data, part, (off_t)*at);
			if (n <= 0)
				return n < 0 ? -errno : -EIO;
			part = (size_t)n;
		}
		*at += part;
		data += part;
		len -= part;
	}
	return 0;
}

static int stream(int from, int to, uint64_t *at)
{
	size_t in_size = ZSTD_DStreamInSize(), out_size = ZSTD_DStreamOutSize(), result = 0;
	ZSTD_DCtx *context = ZSTD_createDCtx();
	uint8_t *in = malloc(in_size), *out = malloc(out_size);
	int err = context && in && out ? 0 : -ENOMEM;
	ssize_t n = 0;

	if (!err)
		ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 27);
	if (lseek(from, 0, SEEK_SET) < 0)
		err = -errno;
	while (!err && (n = read(from, in, in_size)) > 0) {
		ZSTD_inBuffer input = {in, (size_t)n, 0};

		while (!err && input.pos < input.size) {
			ZSTD_outBuffer output = {out, out_size, 0};

			result = ZSTD_decompressStream(context, &output, &input);
			err = write_out(to, out, output.pos, at);
			if (!err && *at > MAX_PLAIN_BYTES)
				err = -EFBIG;
			if (ZSTD_isError(result)) {
				/* broken from here on: what came before is as good as a cut file */
				free(in);
				free(out);
				ZSTD_freeDCtx(context);
				return *at ? err : -EINVAL;
			}
		}
	}
	if (!err && n < 0)
		err = -errno;
	free(in);
	free(out);
	ZSTD_freeDCtx(context);
	return err;
}

int core_file_decompress(int fd)
{
	int out = open_nameless(), err;
	uint64_t at = 0;

	if (out < 0)
		return out;
	err = stream(fd, out, &at);
	if (!err && ftruncate(out, (off_t)at))
		err = -errno;
	if (err) {
		close(out);
		return err;
	}
	return out;
}
