// What a session's first process does before it becomes init, as a list. The launcher writes the
// list; the child only follows it.
#include "launcher.h"
#include "measures.h"

#include <string.h>
#include <sys/resource.h>

#define COMMON (MS_NOSUID | MS_NODEV)

static void add(struct csandbox_plan *plan, struct csandbox_op op) {
    // Counted even when there is no room, so that csandbox_plan_build can refuse.
    if (plan->count < CSANDBOX_OPS_MAX) plan->ops[plan->count] = op;
    plan->count++;
}

static void add_mount(struct csandbox_plan *plan, const char *type, const char *target,
                      unsigned long flags, const char *data) {
    add(plan, (struct csandbox_op){.kind = CSANDBOX_OP_MOUNT,
                                   .stage = "mount",
                                   .fd = -1,
                                   .source = type,
                                   .target = target,
                                   .flags = flags,
                                   .data = data});
}

static void add_directory(struct csandbox_plan *plan, const char *target, mode_t mode,
                          uid_t owner) {
    add(plan, (struct csandbox_op){.kind = CSANDBOX_OP_DIRECTORY,
                                   .stage = "mount point",
                                   .fd = -1,
                                   .target = target,
                                   .mode = mode,
                                   .owner = owner});
}

static void add_attach(struct csandbox_plan *plan, const char *stage, int fd, const char *target) {
    add(plan, (struct csandbox_op){
                  .kind = CSANDBOX_OP_ATTACH, .stage = stage, .fd = fd, .target = target});
}

static void add_clone(struct csandbox_plan *plan, const char *source, const char *target,
                      bool optional) {
    add(plan, (struct csandbox_op){.kind = CSANDBOX_OP_CLONE,
                                   .stage = "root",
                                   .fd = -1,
                                   .source = source,
                                   .target = target,
                                   .optional = optional});
}

static void add_read_only(struct csandbox_plan *plan, const char *target) {
    add(plan, (struct csandbox_op){.kind = CSANDBOX_OP_READ_ONLY,
                                   .stage = "mask",
                                   .fd = -1,
                                   .target = target,
                                   .flags = COMMON | MS_NOEXEC,
                                   .optional = true});
}

// While /proc/sys can still be written, namespaces are used up for good: a second wall behind the
// seccomp program. It needs CAP_SYS_RESOURCE in the session's user namespace, and comes after every
// mount, because open_tree(2) makes a mount namespace too (sysctls in user_namespaces(7)).
static void plan_namespaces(struct csandbox_plan *plan) {
    static const char *const names[] = {
        "proc/sys/user/max_user_namespaces",   "proc/sys/user/max_pid_namespaces",
        "proc/sys/user/max_uts_namespaces",    "proc/sys/user/max_ipc_namespaces",
        "proc/sys/user/max_net_namespaces",    "proc/sys/user/max_mnt_namespaces",
        "proc/sys/user/max_cgroup_namespaces", "proc/sys/user/max_time_namespaces",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        add(plan, (struct csandbox_op){.kind = CSANDBOX_OP_WRITE,
                                       .stage = "namespace limits",
                                       .fd = -1,
                                       .target = names[i],
                                       .data = "0",
                                       .optional = true});
    add_read_only(plan, "proc/sys");
}

// System V objects outlive their processes and are no files: neither the limits of /dev/shm nor
// those of processes hold for them. Kernels before the one that gave these files to the namespace's
// owner refuse (sysvipc(7)).
static void plan_ipc(struct csandbox_plan *plan) {
    static const char *const limits[][2] = {
        {"proc/sys/kernel/shmmax", "268435456"},       // bytes of a segment
        {"proc/sys/kernel/shmall", "65536"},           // pages of all
        {"proc/sys/kernel/shmmni", "1024"},            // segments
        {"proc/sys/kernel/msgmax", "8192"},            // bytes of a message
        {"proc/sys/kernel/msgmnb", "16384"},           // bytes of a queue
        {"proc/sys/kernel/msgmni", "256"},             // queues
        {"proc/sys/kernel/sem", "250 32000 100 128"},  // in a set, in all, at once, sets
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        add(plan, (struct csandbox_op){
                      .kind = CSANDBOX_OP_WRITE,
                      .stage = "ipc limits",
                      .fd = -1,
                      .target = limits[i][0],
                      .data = limits[i][1],
                      .measures = csandbox_measure_bit(CSANDBOX_MEASURE_IPC_LIMITS)});
}

static void plan_proc(struct csandbox_plan *plan) {
    // Readable by everyone on some kernels, and about the whole host.
    static const char *const covered[] = {
        "proc/acpi",       "proc/asound",        "proc/diskstats",   "proc/interrupts",
        "proc/kallsyms",   "proc/kcore",         "proc/keys",        "proc/latency_stats",
        "proc/modules",    "proc/pressure",      "proc/sched_debug", "proc/schedstat",
        "proc/scsi",       "proc/softirqs",      "proc/timer_list",  "proc/timer_stats",
    };
    static const char *const read_only[] = {"proc/bus", "proc/fs", "proc/irq",
                                            "proc/sysrq-trigger"};
    // hidepid: an agent sees neither init nor a helper that works in its name.
    add_mount(plan, "proc", "proc", COMMON | MS_NOEXEC, "hidepid=invisible");
    for (size_t i = 0; i < sizeof covered / sizeof covered[0]; i++)
        add(plan, (struct csandbox_op){.kind = CSANDBOX_OP_COVER,
                                       .stage = "mask",
                                       .fd = -1,
                                       .target = covered[i],
                                       .optional = true});
    for (size_t i = 0; i < sizeof read_only / sizeof read_only[0]; i++)
        add_read_only(plan, read_only[i]);
}

// A root of the session's own: its top-level entries are those of the template or of the operator's
// tree, and there is room beside them for mount points that neither has.
static void plan_own_root(struct csandbox_plan *plan, const struct csandbox_trees *trees) {
    const bool tree = trees->root_fd >= 0;
    static const char *const directories[] = {"proc",      "dev",  "tmp",        "run",
                                              "workspace", "home", "home/agent", "agent"};
    static const char *const identity[] = {"/etc/passwd",      "/etc/group",
                                           "/etc/hosts",       "/etc/hostname",
                                           "/etc/resolv.conf", "/etc/nsswitch.conf"};
    // The template's own mount points serve as scaffolding; the pivot takes them away.
    if (tree) add_attach(plan, "root", trees->root_fd, "workspace");
    add(plan, (struct csandbox_op){
                  .kind = CSANDBOX_OP_NEW_ROOT, .stage = "root", .fd = -1, .target = "agent"});
    add(plan, (struct csandbox_op){.kind = CSANDBOX_OP_MIRROR,
                                   .stage = "root",
                                   .fd = -1,
                                   .source = tree ? "/workspace" : "/"});
    for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++)
        add_directory(plan, directories[i], 0755, 0);
    add_clone(plan, "/dev", "dev", false);
    if (!tree) return;
    for (size_t i = 0; i < sizeof identity / sizeof identity[0]; i++)
        add_clone(plan, identity[i], identity[i] + 1, true);
}

static void plan_limits(struct csandbox_plan *plan) {
    static const struct {
        int resource;
        uint64_t value;
    } limits[] = {
        // 1, not 0: a core_pattern that is a pipe ignores 0, and 1 byte is below the smallest core
        // file (core(5)).
        {RLIMIT_CORE, 1},           {RLIMIT_NOFILE, 65536},    {RLIMIT_NPROC, 4096},
        {RLIMIT_MEMLOCK, 8u << 20}, {RLIMIT_MSGQUEUE, 819200}, {RLIMIT_SIGPENDING, 16384},
        {RLIMIT_RTPRIO, 0},
        {RLIMIT_NICE, 0},
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        add(plan, (struct csandbox_op){.kind = CSANDBOX_OP_LIMIT,
                                       .stage = "limits",
                                       .fd = -1,
                                       .flags = (unsigned long)limits[i].resource,
                                       .value = limits[i].value});
}

int csandbox_plan_build(struct csandbox_plan *plan, const struct csandbox_trees *trees,
                        struct csandbox_failure *failure) {
    const bool own_root = trees->root_fd >= 0 || trees->extra_count > 0;
    plan->count = 0;
    if (own_root) plan_own_root(plan, trees);
    plan_proc(plan);
    add_mount(plan, "devpts", "dev/pts", MS_NOSUID | MS_NOEXEC,
              "newinstance,ptmxmode=0666,mode=0620");
    add_mount(plan, "tmpfs", "dev/shm", COMMON | MS_NOEXEC, "size=256m,nr_inodes=16384,mode=1777");
    add_mount(plan, "tmpfs", "tmp", COMMON, "size=512m,nr_inodes=131072,mode=1777");
    add_mount(plan, "tmpfs", "run", COMMON, "size=16m,nr_inodes=4096,mode=0755");
    add_directory(plan, "run/user", 0755, 0);
    add_directory(plan, "run/user/1000", 0700, CSANDBOX_AGENT_ID);
    // An operator's tree has a /var/tmp of its own, which would be read-only.
    if (trees->root_fd >= 0) add_clone(plan, "tmp", "var/tmp", true);
    add_attach(plan, "workspace", trees->workspace_fd, "workspace");
    add_attach(plan, "home", trees->home_fd, "home/agent");
    if (trees->source_fd >= 0) add_attach(plan, "agent directory", trees->source_fd, "agent");
    for (unsigned i = 0; i < trees->extra_count; i++) {
        const struct csandbox_extra_mount *extra = &trees->extra[i];
        add(plan, (struct csandbox_op){.kind = CSANDBOX_OP_MOUNT_POINT,
                                       .stage = "mount point",
                                       .fd = extra->tree_fd,
                                       .target = extra->target});
        add_attach(plan, "mount", extra->tree_fd, extra->target);
    }
    if (own_root)
        add(plan, (struct csandbox_op){.kind = CSANDBOX_OP_PIVOT, .stage = "root", .fd = -1});
    plan_ipc(plan);
    plan_namespaces(plan);
    add(plan,
        (struct csandbox_op){
            .kind = CSANDBOX_OP_HOST_NAME, .stage = "host name", .fd = -1, .data = "superserve"});
    add(plan, (struct csandbox_op){.kind = CSANDBOX_OP_LOOPBACK, .stage = "loopback", .fd = -1});
    plan_limits(plan);
    if (plan->count <= CSANDBOX_OPS_MAX) return 0;
    return csandbox_fail(failure, "plan", E2BIG, "%u operations", plan->count);
}
