// The mounts of a SPAWN request for launcher.c: the real code, which is private to its file.
#include "../../CSandbox/sources.c"

int csandbox_fuzz_extra(struct csandbox_view value, struct csandbox_failure *_Nonnull failure);
int csandbox_fuzz_extra(struct csandbox_view value, struct csandbox_failure *failure) {
    const struct csandbox_places places = {"/var/lib/superserve", "/run/superserve", -1};
    __attribute__((cleanup(csandbox_trees_close))) struct csandbox_trees trees = {
        .workspace_fd = -1, .home_fd = -1, .source_fd = -1, .root_fd = -1};
    const int result = open_extra(&trees, &places, value, failure);
    for (unsigned i = 0; result == 0 && i < trees.extra_count; i++) {
        const char *target = trees.extra[i].target;
        // Below the root, and nowhere that a session keeps for itself.
        if (target[0] == '/' || target[0] == '\0' || strstr(target, "..") == target ||
            strstr(target, "/../") != NULL || strncmp(target, "proc", 5) == 0)
            abort();
    }
    return result;
}
