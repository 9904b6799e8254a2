// SPDX-License-Identifier: BSD-2-Clause
/* Chips by the device nodes that a process has mapped; see chips.h. */
#include "source/chips.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elf/elf_file.h"
#include "runtime/runtime.h"
#include "source/procfs.h"

#define MAX_REMEMBERED 256
/* What no output needs to escape, in whatever locale. */
#define WORD_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+"

struct remembered {
	ino_t generation; /* of the node's folder in sysfs: another device of that number has another */
	struct chip_identity chip;
};

struct chips {
	char *root;
	struct remembered remembered[MAX_REMEMBERED];
	size_t count;
};

struct chips *chips_new(const char *root)
{
	struct chips *chips = calloc(1, sizeof(*chips));

	if (!chips)
		return NULL;
	chips->root = strdup(root);
	if (!chips->root) {
		free(chips);
		return NULL;
	}
	return chips;
}

void chips_free(struct chips *chips)
{
	if (!chips)
		return;
	free(chips->root);
	free(chips);
}

/* ---- sysfs ---- */

/* The last part of where a link leads; false if there is none or it is too long. */
static bool link_name(int folder, const char *name, char *out, size_t size)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(folder, name, target, sizeof(target) - 1);
	const char *last;

	if (len <= 0)
		return false;
	target[len] = '\0';
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	return (size_t)snprintf(out, size, "%s", last) < size;
}

/* One word of a file; "" if it is not there, not to be had now, or no word. */
static void read_word(int folder, const char *name, char *out, size_t size)
{
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, out, size - 1);

	if (fd >= 0)
		close(fd);
	out[len > 0 ? len : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	if (out[strspn(out, WORD_CHARACTERS)])
		*out = '\0';
}

static uint64_t read_unique_id(int folder, const char *name)
{
	char word[32];
	uint64_t id;

	read_word(folder, name, word, sizeof(word));
	if (strlen(word) != 16 || strspn(word, "0123456789ABCDEFabcdef") != 16)
		return 0;
	id = strtoull(word, NULL, 16);
	/* A chip that does not answer any more reads as all ones. */
	return id == UINT64_MAX ? 0 : id;
}

/* "0000:01:00.0"; the domain can have more digits. */
static bool is_pci_address(const char *text)
{
	const char *tail = strchr(text, ':');
	size_t digits = tail ? (size_t)(tail - text) : 0;

	if (digits < 4 || digits > 8 || strlen(tail) != strlen(":01:00.0"))
		return false;
	if (tail[3] != ':' || tail[6] != '.' || tail[7] < '0' || tail[7] > '7')
		return false;
	return strspn(text, "0123456789abcdef") == digits && strspn(tail + 1, "0123456789abcdef") == 2 &&
	       strspn(tail + 4, "0123456789abcdef") == 2;
}

static const struct remembered *remember(struct chips *chips, const struct remembered *fresh)
{
	struct remembered *at = NULL;

	for (size_t i = 0; !at && i < chips->count; i++) {
		if (chips->remembered[i].chip.major == fresh->chip.major &&
		    chips->remembered[i].chip.minor == fresh->chip.minor)
			at = &chips->remembered[i];
	}
	if (!at && chips->count < MAX_REMEMBERED)
		at = &chips->remembered[chips->count++];
	if (!at)
		at = &chips->remembered[0];
	*at = *fresh;
	return at;
}

static const struct chip_identity *recall(const struct chips *chips, const struct remembered *fresh)
{
	for (size_t i = 0; i < chips->count; i++) {
		const struct remembered *old = &chips->remembered[i];

		/* What it did not tell it may tell now. */
		if (old->chip.major == fresh->chip.major && old->chip.minor == fresh->chip.minor &&
		    old->generation == fresh->generation && old->chip.unique_id)
			return &old->chip;
	}
	return NULL;
}

/* What the driver says of the node of that number. NULL: it is none of the driver's. */
static const struct chip_identity *chip_of_node(struct chips *chips, const struct runtime_chips *names, uint32_t major,
						uint32_t minor)
{
	struct remembered fresh = {.chip = {.known = true, .major = major, .minor = minor}};
	const struct chip_identity *chip = NULL;
	char path[PATH_MAX], class[64];
	struct stat st;
	int folder;

	snprintf(path, sizeof(path), "%s/sys/dev/char/%u:%u", chips->root, major, minor);
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return NULL;
	if (fstat(folder, &st) || !link_name(folder, "subsystem", class, sizeof(class)) ||
	    strcmp(class, names->node_class) || !link_name(folder, "device", fresh.chip.pci, sizeof(fresh.chip.pci)) ||
	    !is_pci_address(fresh.chip.pci))
		goto out;
	fresh.generation = st.st_ino;
	chip = recall(chips, &fresh);
	if (chip)
		goto out;
	fresh.chip.unique_id = read_unique_id(folder, names->unique_id_file);
	read_word(folder, names->board_file, fresh.chip.board, sizeof(fresh.chip.board));
	chip = &remember(chips, &fresh)->chip;
out:
	close(folder);
	return chip;
}

/* ---- the process ---- */

struct mapped_file {
	uint32_t major, minor; /* of its file system */
	uint64_t inode;
	uint64_t start, end;
};

struct look {
	const struct runtime_chips *names;
	struct mapped_file nodes[EVENT_MAX_CHIPS]; /* by their names, which a process chooses */
	size_t node_count;
	bool too_many;
	struct mapped_file library; /* that numbers the chips; inode 0: not seen */
	bool several_libraries;
};

static bool same_file(const struct mapped_file *a, const struct mapped_file *b)
{
	return a->inode == b->inode && a->major == b->major && a->minor == b->minor;
}

/* Is @path something like "/dev/NAME/0", in whatever folder a container has it? */
static bool is_node_path(const char *path, const char *node_folder)
{
	size_t len = strlen(node_folder), digits = 0, end = strlen(path);

	while (digits < end && isdigit((unsigned char)path[end - digits - 1]))
		digits++;
	return digits && end - digits >= len && !strncmp(path + end - digits - len, node_folder, len);
}

static void note_node(struct look *look, const struct mapped_file *file)
{
	for (size_t i = 0; i < look->node_count; i++) {
		if (same_file(&look->nodes[i], file))
			return;
	}
	if (look->node_count == EVENT_MAX_CHIPS)
		look->too_many = true;
	else
		look->nodes[look->node_count++] = *file;
}

static int visit_line(void *context, char *line)
{
	struct look *look = context;
	struct mapped_file file;
	const char *path, *name;
	int at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %" SCNx32 ":%" SCNx32 " %" SCNu64 " %n", &file.start,
		   &file.end, &file.major, &file.minor, &file.inode, &at) != 5 ||
	    at <= 0 || !file.inode)
		return 0;
	path = line + at;
	name = strrchr(path, '/');
	if (is_node_path(path, look->names->node_folder)) {
		note_node(look, &file);
	} else if (name && !strncmp(name + 1, look->names->numbering_library, strlen(look->names->numbering_library))) {
		look->several_libraries |= look->library.inode && !same_file(&look->library, &file);
		look->library = file;
	}
	return 0;
}

static void mapping_path(const struct chips *chips, pid_t pid, const struct mapped_file *file, char *path, size_t size)
{
	snprintf(path, size, "%s/proc/%d/map_files/%" PRIx64 "-%" PRIx64, chips->root, pid, file->start, file->end);
}

/* Adds the chip behind a mapping, if it is a node of the driver. */
static void add_chip(struct chips *chips, pid_t pid, const struct look *look, const struct mapped_file *file,
		     struct chips_found *out)
{
	const struct chip_identity *chip;
	char path[PATH_MAX];
	struct statx st;

	mapping_path(chips, pid, file, path, sizeof(path));
	/* The file may be anybody's: its file system is not asked, as that may never answer. */
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE, &st) || !S_ISCHR(st.stx_mode))
		return;
	chip = chip_of_node(chips, look->names, st.stx_rdev_major, st.stx_rdev_minor);
	if (!chip)
		return;
	for (size_t i = 0; i < out->count; i++) {
		if (out->chips[i].major == chip->major && out->chips[i].minor == chip->minor)
			return;
	}
	out->chips[out->count++] = *chip;
}

/* Do its runtime's numbers follow the order of PCI addresses? */
static bool numbers_by_address(const struct chips *chips, pid_t pid, const struct look *look)
{
	struct elf_symbol symbol;
	struct elf_file *file;
	char path[PATH_MAX];
	bool found = false;
	int fd;

	if (!look->library.inode || look->several_libraries)
		return false;
	mapping_path(chips, pid, &look->library, path, sizeof(path));
	fd = procfs_open_regular(path);
	if (fd < 0)
		return false;
	if (!elf_file_open(fd, "the library that numbers the chips", &file)) {
		found = !elf_file_symbol(file, look->names->numbering_symbol, true, &symbol) && symbol.function;
		elf_file_close(file);
	}
	close(fd);
	return found;
}

static int by_address(const void *a, const void *b)
{
	return strcmp(((const struct chip_identity *)a)->pci, ((const struct chip_identity *)b)->pci);
}

int chips_of_process(struct chips *chips, pid_t pid, const struct runtime_chips *names, struct chips_found *out)
{
	struct look look = {.names = names};
	char path[PATH_MAX];
	int err;

	memset(out, 0, sizeof(*out));
	snprintf(path, sizeof(path), "%s/proc/%d/maps", chips->root, pid);
	err = procfs_lines(path, visit_line, &look);
	if (err)
		return err;
	for (size_t i = 0; i < look.node_count; i++)
		add_chip(chips, pid, &look, &look.nodes[i], out);
	qsort(out->chips, out->count, sizeof(*out->chips), by_address);
	if (look.too_many)
		out->unnumbered = "it maps too many files that look like device nodes";
	/* One chip alone is number 0 under every rule there was. */
	else if (out->count > 1 && !numbers_by_address(chips, pid, &look))
		out->unnumbered = "it uses several chips, and how its runtime numbers them is not known";
	return 0;
}
