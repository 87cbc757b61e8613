// quota.c: what the file system lets a session's agent own.
#pragma once

#include "launcher.h"

struct csandbox_quota { // hard limits; 0: none
    uint64_t bytes;
    uint64_t files;
};
// Looks, for good under the agent's id, at its limits on the file system of its workspace. All zero
// where the file system enforces none.
void csandbox_quota_own(int sessions_fd, const char *_Nonnull session, uint64_t block,
                        struct csandbox_quota *_Nonnull quota);
// `superserve-launcher set-quotas`: root sets them for all ids of the sessions.
int csandbox_quota_main(int argc, char *_Nonnull const *_Nonnull argv);
