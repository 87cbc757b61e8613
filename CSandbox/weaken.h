// For isolation tests only: leaves single protections out, by name, so that a test can show what
// each of them stops. Without CSANDBOX_WEAKEN, as in every build that is installed, nothing of this
// exists: the answers are constant and no name is in the program.
//
// The names stand in the file `weaken` of the runtime directory, one a line; they are read for each
// session that is started.
#pragma once

#include "internal.h"

#ifdef CSANDBOX_WEAKEN

// What all sessions inherit from the launcher cannot be left out for one of them: it is missing
// here, and each session's own is what the tests take away.
#define WEAKENED_BUILD true
// Whether `name` is in the list.
bool csandbox_weakened(const char *_Nonnull name);
#define WEAKENED(name) csandbox_weakened(name)
// The numbers N of the lines `kind N`, at most `max`; how many. A name is that of a system call.
unsigned csandbox_weakened_numbers(const char *_Nonnull kind, unsigned *_Nonnull numbers,
                                   unsigned max);
// Changes an operation of a plan; true: it is left out.
struct csandbox_op;
bool csandbox_weaken_op(struct csandbox_op *_Nonnull op);
// Of mount_setattr for the tree `name`.
uint64_t csandbox_weaken_attributes(const char *_Nonnull name, uint64_t attributes);
// Flags of clone3.
uint64_t csandbox_weaken_namespaces(uint64_t flags);
// What init gets as its environment, so that it knows the list too.
char *_Nullable *_Nonnull csandbox_weaken_environment(void);
void csandbox_weaken_inherit(void);
// Reads the list, and makes filters and template again when it has changed.
struct csandbox_server;
int csandbox_weaken_read(struct csandbox_server *_Nonnull server,
                         struct csandbox_failure *_Nonnull failure);

#else

#define WEAKENED_BUILD false
#define WEAKENED(name) false
#define csandbox_weaken_op(op) false
#define csandbox_weaken_attributes(name, attributes) (attributes)
#define csandbox_weaken_namespaces(flags) (flags)
#define csandbox_weaken_inherit() ((void)0)
#define csandbox_weaken_read(server, failure) 0

#endif
