/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The place of an entry probe: see place.h.
 *
 * The kernel emulates a push of a register, the one-byte nop and direct jumps; everything else is
 * stepped from a copy, which costs 13 to 18 times as much. So a push or a nop that stands a little
 * behind the symbol is preferred, if going there changes nothing that a probe sees.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "elf/elf_file.h"
#include "elf/insn.h"
#include "elf/place.h"

#define MAX_PROLOGUE 5     /* instructions looked at */
#define MAX_BODY     65536 /* bytes searched for a jump back into the prologue */
#define HEAD_BYTES   80

struct prologue {
	struct insn_decoder *decoder;
	uint8_t code[HEAD_BYTES];
	size_t len;
	size_t count;
	struct insn_info insn[MAX_PROLOGUE];
};

static int read_head(struct elf_file *file, uint64_t vaddr, uint64_t size, struct prologue *p)
{
	size_t want = size > 0 && size < HEAD_BYTES ? (size_t)size : HEAD_BYTES;
	uint64_t offset, executable;
	int err = -ERANGE;

	if (elf_file_offset(file, vaddr, &offset) || elf_file_vaddr(file, offset, &executable) || executable != vaddr)
		return -ERANGE;
	/* near the end of a segment there may be less than we would like */
	for (; want > 0; want--) {
		err = elf_file_read(file, vaddr, p->code, want);
		if (err != -ERANGE)
			break;
	}
	p->len = want;
	return err;
}

/* Decodes up to the first instruction that must not be passed, that one included. */
static int decode_head(struct prologue *p, uint64_t vaddr)
{
	size_t at = 0;

	while (p->count < MAX_PROLOGUE && at < p->len) {
		struct insn_info *insn = &p->insn[p->count];
		int err = insn_decode(p->decoder, p->code + at, p->len - at, vaddr + at, insn);

		if (err)
			return p->count == 0 ? err : 0; /* what stands before is good */
		p->count++;
		at += insn->length;
		if (!insn->harmless)
			break;
	}
	return 0;
}

static bool is_short_nop(const struct insn_info *insn)
{
	return insn->class == INSN_CLASS_NOP && insn->length == 1;
}

static bool is_emulated(const struct insn_info *insn, bool jumps_too)
{
	return insn->class == INSN_CLASS_PUSH || is_short_nop(insn) ||
	       (jumps_too && insn->class == INSN_CLASS_JUMP_DIRECT);
}

static bool can_be_stepped(const struct insn_info *insn)
{
	switch (insn->class) {
	case INSN_CLASS_OTHER:
	case INSN_CLASS_ENDBR:
	case INSN_CLASS_LEAVES:
	case INSN_CLASS_PUSH:
	case INSN_CLASS_JUMP_DIRECT:
		return true;
	case INSN_CLASS_NOP: /* long ones may be replaced or carry a prefix that the kernel refuses */
		return insn->length <= 4;
	default:
		return false;
	}
}

/* Is there a jump inside the function to behind its symbol, up to @until? Then a probe there could be hit twice. */
static bool is_jumped_into(struct elf_file *file, struct prologue *p, uint64_t vaddr, uint64_t size, uint64_t until)
{
	uint8_t *code;
	bool found = true;
	size_t at = 0;

	if (size == 0 || size > MAX_BODY)
		return true; /* cannot be told */
	code = malloc((size_t)size);
	if (!code)
		return true;
	if (elf_file_read(file, vaddr, code, (size_t)size))
		goto out;
	found = false;
	while (at < size && !found) {
		struct insn_info insn;

		if (insn_decode(p->decoder, code + at, (size_t)size - at, vaddr + at, &insn)) {
			found = true; /* data in between: cannot be told */
			break;
		}
		found = insn.target > vaddr && insn.target <= until;
		at += insn.length;
	}
out:
	free(code);
	return found;
}

/* Are all instructions before number @index ones that the compiler only put there as marks? */
static bool only_marks_before(const struct prologue *p, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (p->insn[i].class != INSN_CLASS_ENDBR && p->insn[i].class != INSN_CLASS_NOP)
			return false;
	return true;
}

static const struct insn_info *choose(struct elf_file *file, struct prologue *p, uint64_t vaddr, uint64_t size)
{
	for (size_t i = 0; i < p->count; i++) {
		const struct insn_info *insn = &p->insn[i];

		if (!is_emulated(insn, only_marks_before(p, i)))
			continue;
		if (only_marks_before(p, i) || !is_jumped_into(file, p, vaddr, size, insn->vaddr))
			return insn;
		break;
	}
	for (size_t i = 0; i < p->count && only_marks_before(p, i); i++)
		if (can_be_stepped(&p->insn[i]))
			return &p->insn[i];
	return NULL;
}

static int fill_place(struct elf_file *file, const struct insn_info *insn, struct place *out)
{
	out->vaddr = insn->vaddr;
	out->cost = is_emulated(insn, true) ? PLACE_EMULATED : PLACE_SINGLE_STEP;
	memcpy(out->instruction, insn->text, sizeof(out->instruction));
	out->instruction[sizeof(out->instruction) - 1] = 0;
	return elf_file_offset(file, insn->vaddr, &out->file_offset);
}

int place_at(struct elf_file *file, uint64_t vaddr, struct place *out)
{
	struct prologue p = {0};
	struct insn_info insn;
	int err;

	memset(out, 0, sizeof(*out));
	err = read_head(file, vaddr, 0, &p);
	if (err)
		return err;
	p.decoder = insn_decoder_new();
	if (!p.decoder)
		return -ENOMEM;
	err = insn_decode(p.decoder, p.code, p.len, vaddr, &insn);
	if (!err)
		err = can_be_stepped(&insn) ? fill_place(file, &insn, out) : -ENOTSUP;
	insn_decoder_free(p.decoder);
	return err;
}

int place_entry(struct elf_file *file, uint64_t vaddr, uint64_t size, struct place *out)
{
	struct prologue p = {0};
	const struct insn_info *insn;
	int err;

	memset(out, 0, sizeof(*out));
	err = read_head(file, vaddr, size, &p);
	if (err)
		return err;
	p.decoder = insn_decoder_new();
	if (!p.decoder)
		return -ENOMEM;
	err = decode_head(&p, vaddr);
	if (err)
		goto out;
	insn = choose(file, &p, vaddr, size);
	if (!insn) {
		err = -ENOTSUP;
		goto out;
	}
	out->skipped_bytes = (uint32_t)(insn->vaddr - vaddr);
	err = fill_place(file, insn, out);
out:
	insn_decoder_free(p.decoder);
	return err;
}
