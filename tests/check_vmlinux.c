/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Compares the types of vmlinux/vmlinux.h, as they stand in the BTF of the built BPF object, with the
 * running kernel's: every struct that is relocated must exist, every member must be there, of the
 * same size. Usage: check_vmlinux OBJECT
 */
#include <bpf/btf.h>
#include <stdio.h>
#include <string.h>

static const char *const types[] = {"task_struct", "signal_struct", "sigpending"};

/* Follows typedefs and qualifiers; anonymous members of the kernel's struct are looked into. */
static const struct btf_member *find_member(const struct btf *btf, const struct btf_type *type, const char *name)
{
	const struct btf_member *member = btf_members(type), *found;

	for (int i = 0; i < btf_vlen(type); i++, member++) {
		const char *member_name = btf__name_by_offset(btf, member->name_off);
		const struct btf_type *inner = btf__type_by_id(btf, (unsigned int)btf__resolve_type(btf, member->type));

		if (!strcmp(member_name, name))
			return member;
		if (!*member_name && btf_is_composite(inner)) {
			found = find_member(btf, inner, name);
			if (found)
				return found;
		}
	}
	return NULL;
}

static int compare(const struct btf *ours, const struct btf *kernel, const char *name, int *members)
{
	const struct btf_type *mine, *theirs;
	const struct btf_member *member, *other;
	int id = btf__find_by_name_kind(ours, name, BTF_KIND_STRUCT), failed = 0;
	long long size, kernel_size;

	mine = id > 0 ? btf__type_by_id(ours, (unsigned int)id) : NULL;
	id = btf__find_by_name_kind(kernel, name, BTF_KIND_STRUCT);
	theirs = id > 0 ? btf__type_by_id(kernel, (unsigned int)id) : NULL;
	if (!mine || !theirs) {
		printf("struct %s: missing in %s\n", name, mine ? "the kernel" : "the object");
		return 1;
	}
	member = btf_members(mine);
	for (int i = 0; i < btf_vlen(mine); i++, member++) {
		const char *member_name = btf__name_by_offset(ours, member->name_off);

		other = find_member(kernel, theirs, member_name);
		size = btf__resolve_size(ours, member->type);
		kernel_size = other ? btf__resolve_size(kernel, other->type) : -1;
		(*members)++;
		if (size != kernel_size) {
			printf("struct %s: %s has %lld bytes here and %lld in the kernel\n", name, member_name, size,
			       kernel_size);
			failed = 1;
		}
	}
	return failed;
}

int main(int argc, char **argv)
{
	struct btf *ours, *kernel;
	int failed = 0, members = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: check_vmlinux OBJECT\n");
		return 2;
	}
	ours = btf__parse_elf(argv[1], NULL);
	kernel = btf__load_vmlinux_btf();
	if (!ours || !kernel) {
		printf("no BTF in %s\n", ours ? "the kernel" : argv[1]);
		return 1;
	}
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		failed |= compare(ours, kernel, types[i], &members);
	printf("%d members compared\n", members);
	btf__free(kernel);
	btf__free(ours);
	return failed || members < 9;
}
