// What the probe is made of: doors, each a way out of a sandbox that is tried for real, and what
// came of it.
//
// A door answers OPEN when the attack did what it set out to do, SHUT when it was refused, and
// BROKEN when it could not be tried; that is a failure of the test, never a pass. Doors change
// nothing that outlives the probe, also where they stand open: what a bare host would suffer from
// is opened, not written.
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

enum verdict { SHUT, OPEN, BROKEN };

struct answer {
    enum verdict verdict;
    char detail[240];
};

struct door {
    const char *name;
    const char *group;
    const char *cves; // what this door led to elsewhere; may be empty
    bool bare;        // one call that is refused, and nothing more
    void (*try)(struct answer *);
};

extern const struct door namespace_doors[], mount_doors[], proc_doors[], device_doors[], id_doors[],
    network_doors[], kernel_doors[], memory_doors[], init_doors[], file_doors[];

void shut(struct answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void opened(struct answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void broken(struct answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));

// SHUT with errno when `result` is negative, else OPEN.
void judge(struct answer *answer, long result, const char *what);
// As judge; `reached` is an errno that shows that the kernel went past its check of rights.
void judge_reached(struct answer *answer, long result, int reached, const char *what);

// A parameter NAME=VALUE of the command line. Without it the door is broken and NULL comes back.
const char *parameter(struct answer *answer, const char *name);
// The same, but absent is allowed.
const char *optional_parameter(const char *name);

// Descriptors above 2 that were open when the probe started; -1 from the end on.
extern int inherited[64];

// Opens `path` with open(2)'s flags and closes it again: 0, or -1 with errno.
int can_open(const char *path, int flags);
// The first bytes of a file as text; -1 with errno.
long read_file(const char *path, char *text, size_t capacity);

// calls.c: what becomes of every system call by number, one a line.
int print_calls(void);
// use.c: takes up to `most` of the thing `name` and keeps it for some seconds.
int use_thing(const char *name, long most, unsigned seconds);
// swap.c: exchanges DIRECTORY/a and DIRECTORY/b `count` times; 0, or 1 with a message.
int swap_names(const char *directory, long count);
