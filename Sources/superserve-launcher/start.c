// What runs before the program is relocated.
//
// The package manager gives every program a search path for libraries. In a static program it means
// nothing, but glibc refuses to start one at a random address that has it; no option takes it off
// again. So it is taken off here: the linker puts this in the place of glibc's first step
// (--wrap in Package.swift). There is no memory of the thread yet, hence no stack canary.
#include <elf.h>
#include <link.h>

extern ElfW(Dyn) program_tags[] __asm__("_DYNAMIC") __attribute__((visibility("hidden")));

void csandbox_relocate(void) __asm__("__real__dl_relocate_static_pie");
void csandbox_start(void) __asm__("__wrap__dl_relocate_static_pie");

__attribute__((no_stack_protector)) void csandbox_start(void) {
    ElfW(Dyn) *kept = program_tags;
    for (const ElfW(Dyn) *tag = program_tags; tag->d_tag != DT_NULL; tag++)
        if (tag->d_tag != DT_RUNPATH && tag->d_tag != DT_RPATH) *kept++ = *tag;
    kept->d_tag = DT_NULL;
    csandbox_relocate();
}
