/* The build id is a hash of all that was linked into the program (ELF, note NT_GNU_BUILD_ID); it
 * lies in the program's own memory and outlives `strip`. */
#include "daemon/program.h"

#include <elf.h>
#include <link.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static size_t padded(size_t n)
{
    return (n + 3) & ~(size_t)3;
}

/* Of one segment of notes. */
static bool find_id(const char *at, size_t left, char out[PROGRAM_ID_TEXT])
{
    ElfW(Nhdr) note;
    while (left >= sizeof note) {
        memcpy(&note, at, sizeof note);
        size_t name = sizeof note, id = name + padded(note.n_namesz),
               end = id + padded(note.n_descsz);
        if (end > left)
            return false;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof ELF_NOTE_GNU &&
            memcmp(at + name, ELF_NOTE_GNU, sizeof ELF_NOTE_GNU) == 0 && note.n_descsz > 0 &&
            2 * (size_t)note.n_descsz < PROGRAM_ID_TEXT) {
            for (size_t i = 0; i < note.n_descsz; i++)
                snprintf(out + 2 * i, 3, "%02x", (unsigned char)at[id + i]);
            return true;
        }
        at += end;
        left -= end;
    }
    return false;
}

/* The program itself comes first, before what it is linked with at run time. */
static int visit_program(struct dl_phdr_info *info, size_t size, void *out)
{
    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        // NOLINTNEXTLINE(performance-no-int-to-ptr)
        if (p->p_type == PT_NOTE &&
            find_id((const char *)(info->dlpi_addr + p->p_vaddr), p->p_memsz, out))
            return 2;
    }
    return 1;
}

bool program_id(char out[PROGRAM_ID_TEXT])
{
    return dl_iterate_phdr(visit_program, out) == 2;
}
