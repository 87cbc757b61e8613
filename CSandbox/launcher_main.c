// One static program, three modes: the keeper is started by the supervisor, the launcher by the
// keeper, and init by the launcher in every session. A fourth lists the measures by name,
// a fifth lets a service manager start a new keeper where the last one was killed, and with a sixth
// root limits what sessions may store.
#include "launcher.h"
#include "measures.h"
#include "quota.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

int csandbox_launcher_main(int argc, char *const *argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "keeper") == 0) {
        (void)prctl(PR_SET_NAME, "superserve-keeper", 0, 0, 0);
        return csandbox_keeper_main(argc - 1, argv + 1);
    }
    if (strcmp(mode, "launcher") == 0) return csandbox_launcher_serve(argc, argv);
    if (strcmp(mode, "init") == 0) {
        // Executed through a descriptor, it would otherwise be called by that number.
        (void)prctl(PR_SET_NAME, "superserve-init", 0, 0, 0);
        return csandbox_init_main(argc > 2 ? argv[2] : "");
    }
    if (strcmp(mode, "measures") == 0) return csandbox_measures_main();
    if (strcmp(mode, "release-groups") == 0) return csandbox_cgroup_release_main();
    if (strcmp(mode, "set-quotas") == 0) return csandbox_quota_main(argc - 1, argv + 1);
    fprintf(
        stderr,
        "superserve-launcher is started by superserved:\n"
        "  superserve-launcher keeper --state-dir DIR --runtime-dir DIR --ready-fd N\n"
        "      [--service-uid U --service-gid G --sub-uid FIRST:COUNT --sub-gid FIRST:COUNT]\n"
        "      [--move-starter]\n"
        "  superserve-launcher release-groups\n"
        "  superserve-launcher set-quotas --state-dir DIR --bytes SIZE [--files N]\n"
        "      [--sub-uid FIRST:COUNT]\n");
    return 2;
}
