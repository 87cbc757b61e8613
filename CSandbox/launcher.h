// What keeper and launcher share among their files; the init side never includes this.
#pragma once

#include "internal.h"

#include <limits.h>
#include <sys/mount.h>

// --- limits, in one place ------------------------------------------------------------------------

#define CSANDBOX_BLOCK_SIZE 4u // host ids of one session: init, agent, nobody, helpers
#define CSANDBOX_SERVICE_ID                                                                        \
    1900000000u // root's default service id and, from the next on, its pool: outside
#define CSANDBOX_SUBORDINATE_COUNT                                                                 \
    65536u                      // every range that useradd (to 600100000) and systemd hand out
#define CSANDBOX_AGENT_ID 1000u // inside a session
#define CSANDBOX_NOBODY_ID 65534u
#define CSANDBOX_SESSION_LENGTH 32u
#define CSANDBOX_CONNECTIONS_MAX 16 // supervisors at once; more wait in the listen queue
#define CSANDBOX_SPAWNS_MAX 32      // sandboxes being set up at once
#define CSANDBOX_QUICK_JOBS_MAX 4   // PREPARE helpers at once
#define CSANDBOX_LONG_JOBS_MAX 4    // DESTROY and MEASURE helpers at once
#define CSANDBOX_QUEUE_MAX 4096     // requests that wait for a free slot
#define CSANDBOX_QUEUE_BYTES_MAX (16u << 20)
#define CSANDBOX_OUTPUT_MAX (4u << 20) // bytes of answers that a connection may leave unread
#define CSANDBOX_KILLS_MAX 64  // kills of inits that are not the launcher's children, at once
#define CSANDBOX_MOUNTS_MAX 32 // MOUNT fields of one SPAWN
#define CSANDBOX_SPAWN_SECONDS 10
#define CSANDBOX_END_SECONDS 3 // for a sandbox that failed to start, after SIGKILL
#define CSANDBOX_KILL_SECONDS 10
#define CSANDBOX_MAP_SECONDS 20 // newuidmap(1) and newgidmap(1), which may ask a directory service
#define CSANDBOX_SWEEP_MS 200 // between the end of an adopted init and the removal of its group
#define CSANDBOX_SWEEP_MS_MAX 6400 // while it is not empty: twice as long each time, up to this
#define CSANDBOX_LEAVE_MS 5000     // for the groups of all, once every process has been waited for

// --- identity.c: who the service is, and the ids that it may hand out ----------------------------

struct csandbox_id_range {
    uint32_t first;
    uint32_t count;
};

struct csandbox_identity {
    bool privileged; // started by root: maps are written directly and the service ids are taken
    uid_t uid;       // of the service, in the namespace of the keeper
    gid_t gid;
    struct csandbox_id_range sub_uid;
    struct csandbox_id_range sub_gid;
};

// Completes what the command line left open, from /etc/subuid and /etc/subgid for a plain user;
// refuses ranges that this process's own user namespace does not have.
int csandbox_identity_resolve(struct csandbox_identity *_Nonnull identity,
                              struct csandbox_failure *_Nonnull failure);
// "FIRST:COUNT"
int csandbox_identity_parse_range(const char *_Nonnull text,
                                  struct csandbox_id_range *_Nonnull range);
// What /etc/subuid gives `uid`.
int csandbox_identity_subordinate(uid_t uid, struct csandbox_id_range *_Nonnull range,
                                  struct csandbox_failure *_Nonnull failure);
// Maps `0 service 1` and `1 first count` into the user namespace of `pid`.
int csandbox_identity_map(const struct csandbox_identity *_Nonnull identity, pid_t pid,
                          struct csandbox_failure *_Nonnull failure);
// How many id blocks the user namespace of this (launcher) process has.
int csandbox_identity_blocks(uint64_t *_Nonnull blocks, struct csandbox_failure *_Nonnull failure);
// Outer id of `inside` (0, 1000, 65534) in a block.
static inline uint32_t csandbox_block_id(uint64_t block, unsigned slot) {
    return (uint32_t)(1 + block * CSANDBOX_BLOCK_SIZE + slot);
}
#define CSANDBOX_SLOT_INIT 0u
#define CSANDBOX_SLOT_AGENT 1u
#define CSANDBOX_SLOT_NOBODY 2u
#define CSANDBOX_SLOT_HELPER 3u // inside: 1
// Writes both maps of a session's user namespace.
int csandbox_identity_map_session(pid_t pid, uint64_t block,
                                  struct csandbox_failure *_Nonnull failure);

// --- enter.c: from the keeper's child to the launcher --------------------------------------------

// Descriptors of `superserve-launcher launcher STATE RUNTIME NOTE`; the paths are real ones, for
// comparisons only, the note says why limits cannot be enforced.
#define CSANDBOX_FD_LAUNCHER_LISTEN 3
#define CSANDBOX_FD_LAUNCHER_KEEPER 4  // channel to the keeper (struct csandbox_notice)
#define CSANDBOX_FD_LAUNCHER_STATE 5   // state directory, of the launcher's own mount namespace
#define CSANDBOX_FD_LAUNCHER_RUNTIME 6 // runtime directory
#define CSANDBOX_FD_LAUNCHER_PROGRAM 7 // the program itself
#define CSANDBOX_FD_LAUNCHER_CGROUP 8  // directory for the sessions' groups; may be absent
#define CSANDBOX_FD_LAUNCHER_END 9
#define CSANDBOX_GROUP_NOTE 256 // bytes of a text about control groups

struct csandbox_keeper {
    struct csandbox_identity identity;
    char state_path[PATH_MAX];
    char runtime_path[PATH_MAX];
    int ready_fd;
    int state_fd;
    int runtime_fd;
    int lock_fd;
    int listen_fd;
    int program_fd;
    int cgroup_fd;
    char cgroup_note[CSANDBOX_GROUP_NOTE]; // why sessions get no limits, or not all; may be empty
    int signal_fd;
    int channel_fd; // to the launcher of the moment, or -1
    pid_t launcher;
    bool moves_starter; // out of its control group, which must be empty for limits to be possible
    bool takes_slice;  // of the pool: root, and no range is configured
    int claim_fds[2];  // locks of its ranges, or -1
};

// Child of the keeper: enters the outer user namespace and becomes the launcher program. Returns
// only to fail.
int csandbox_enter_launcher(struct csandbox_keeper *_Nonnull keeper, int channel_fd,
                            struct csandbox_failure *_Nonnull failure);

// --- claim.c -------------------------------------------------------------------------------------

// Makes sure that no other keeper on this host has any of the ids; chooses them where that is left
// to it.
int csandbox_claim_ids(struct csandbox_keeper *_Nonnull keeper,
                       struct csandbox_failure *_Nonnull failure);
void csandbox_claim_release(const struct csandbox_keeper *_Nonnull keeper);

// --- keeper_setup.c ------------------------------------------------------------------------------

int csandbox_keeper_parse(struct csandbox_keeper *_Nonnull keeper, int argc,
                          char *_Nonnull const *_Nonnull argv,
                          struct csandbox_failure *_Nonnull failure);
int csandbox_keeper_setup(struct csandbox_keeper *_Nonnull keeper,
                          struct csandbox_failure *_Nonnull failure);
// Real and effective ids of the service while root does something in its name; the saved id stays
// root's.
int csandbox_keeper_become_service(const struct csandbox_keeper *_Nonnull keeper);
void csandbox_keeper_become_self(const struct csandbox_keeper *_Nonnull keeper);
// Leaves a word in the runtime directory that every sandbox which stands now is ended in order.
void csandbox_keeper_record_stop(const struct csandbox_keeper *_Nonnull keeper);

// Packets between keeper and launcher.
enum csandbox_notice_kind {
    CSANDBOX_NOTICE_READY = 1,       // launcher: serves requests
    CSANDBOX_NOTICE_FAILED = 2,      // launcher: cannot start; `report` says why
    CSANDBOX_NOTICE_KILL = 3,        // launcher: SIGKILL to `pid` if it started at `start_time`
    CSANDBOX_NOTICE_STOP = 4,        // launcher: stop everything
    CSANDBOX_NOTICE_REAPED = 5,      // keeper: an init of an earlier launcher ended
    CSANDBOX_NOTICE_KILL_FAILED = 6, // keeper: `pid` was not killed; `report` says why
};
struct csandbox_notice {
    uint32_t kind;
    int32_t pid;
    uint64_t start_time;
    struct csandbox_report report;
};
int csandbox_notice_send(int fd, const struct csandbox_notice *_Nonnull notice);
void csandbox_notice_fail(int fd, const struct csandbox_failure *_Nonnull failure);
void csandbox_failure_from_report(struct csandbox_failure *_Nonnull failure,
                                  char stage[_Nonnull 64],
                                  const struct csandbox_report *_Nonnull report);

// --- sockets.c: control sockets of sessions ------------------------------------------------------

// Binds `<session>.sock` in the directory; a stale one is replaced, -EBUSY when an init still
// listens.
int csandbox_socket_bind(int sockets_fd, const char *_Nonnull session,
                         struct csandbox_failure *_Nonnull failure);
// Whether some process listens on the session's socket.
bool csandbox_socket_alive(int sockets_fd, const char *_Nonnull session);
void csandbox_socket_remove(int sockets_fd, const char *_Nonnull session);
// Removes every socket on which nobody listens.
void csandbox_socket_sweep(int sockets_fd);

// --- cgroup.c: the keeper's part of cgroup v2 ----------------------------------------------------

// Makes `<own group>/superserve-sessions.<id>` with leaves for keeper and launcher, moves the keeper
// into its own, and passes the controllers for limits on, as far as they are there. Directory
// descriptor in keeper->cgroup_fd, or -1: no groups here; keeper->cgroup_note: what is missing.
void csandbox_cgroup_prepare(struct csandbox_keeper *_Nonnull keeper);
// Moves the caller into the launcher's leaf. 0 or -errno.
int csandbox_cgroup_enter_leaf(int cgroup_fd);
// Gives everything back that `prepare` took, as far as no session lives in it. `ends_all`: first
// ends those of a keeper that was killed, which are nobody's children.
void csandbox_cgroup_leave(struct csandbox_keeper *_Nonnull keeper, bool ends_all);
// `superserve-launcher release-groups`: takes the controllers back from every session's group, so
// that a service manager may put a new keeper where the last one was.
int csandbox_cgroup_release_main(void);

// --- group.c, limits.c: each session's group -----------------------------------------------------

// `<session>/{init,agent}`. Init may not be ended because its agents use too much, so what limits
// them is on `agent`, and each agent process enters it by itself, before anything else.
struct csandbox_group {
    int init_fd;       // directory, for clone3; -1: there is no group
    int init_procs_fd; // cgroup.procs
    int agent_procs_fd;
    uint64_t enforced; // bits of enum csandbox_limit
    char note[CSANDBOX_GROUP_NOTE]; // why not all that was asked for
};
// `limits` NULL: none. A failure when one that is required cannot be enforced.
int csandbox_group_make(int cgroup_fd, const char *_Nonnull session,
                        const struct csandbox_limits *_Nullable limits,
                        const char *_Nonnull host_note, struct csandbox_group *_Nonnull group,
                        struct csandbox_failure *_Nonnull failure);
void csandbox_group_close(struct csandbox_group *_Nonnull group);
// SIGKILL to every process in it, frozen ones too.
void csandbox_group_kill(int cgroup_fd, const char *_Nonnull session);
void csandbox_group_kill_all(int cgroup_fd);
// False while a process is in it. Since Linux 6.18, one that has been waited for counts until it is
// switched away for the last time: try again soon.
bool csandbox_group_remove(int cgroup_fd, const char *_Nonnull session);
// Removes every group without processes, but not those of sessions that `busy` names. False when
// one is left that has processes.
bool csandbox_group_sweep(int cgroup_fd, bool (*_Nullable busy)(const char *_Nonnull session));
// Writes the limits of every group again: the kernel forgets them when controllers are taken back.
void csandbox_group_restore(int cgroup_fd);
// Ends every session that has lost the group of its agents, while no launcher runs.
void csandbox_group_end_torn(int cgroup_fd);
void csandbox_group_usage(int cgroup_fd, const char *_Nonnull session,
                          struct csandbox_usage *_Nonnull usage);

// Small files of control groups, below a directory. 0 or -errno.
int csandbox_group_write(int dir_fd, const char *_Nonnull name, const char *_Nonnull text);
// The text without its last line feed; length or -errno.
ssize_t csandbox_group_read(int dir_fd, const char *_Nonnull name, char *_Nonnull text,
                            size_t capacity);
// Whether `word` is in a list of words with blanks between.
bool csandbox_group_has_word(const char *_Nonnull list, const char *_Nonnull word);
// Controllers that limits need, in the order of their bits; NULL at the end.
extern const char *const _Nullable csandbox_group_controllers[];
// Passes on to groups below `dir_fd` what it has of them; bits of those that are passed on.
unsigned csandbox_group_enable(int dir_fd, int *_Nonnull error);
void csandbox_group_disable(int dir_fd);

// LIMITS of a request. 1: there are some; 0: none; or a failure.
int csandbox_limits_read(struct csandbox_view payload, struct csandbox_limits *_Nonnull limits,
                         struct csandbox_failure *_Nonnull failure);
// Writes them into a session's group, whose agent's group is `agent_fd`; bits of those that hold.
uint64_t csandbox_limits_write(int session_fd, int agent_fd,
                               const struct csandbox_limits *_Nonnull limits,
                               char note[_Nonnull CSANDBOX_GROUP_NOTE]);
// Bits of the limits that a group with these controllers can have.
uint64_t csandbox_limits_possible(int cgroup_fd);
// Names of the limits in a set, with commas between.
void csandbox_limits_names(uint64_t set, char *_Nonnull text, size_t capacity);

// --- filter.c, filter_rules.c: seccomp programs --------------------------------------------------

#define CSANDBOX_FILTER_MAX 4096u
struct csandbox_filter {
    struct sock_filter code[CSANDBOX_FILTER_MAX];
    uint32_t count;
};
enum csandbox_filter_profile { CSANDBOX_FILTER_INIT, CSANDBOX_FILTER_AGENT };
int csandbox_filter_compile(enum csandbox_filter_profile profile,
                            struct csandbox_filter *_Nonnull filter,
                            struct csandbox_failure *_Nonnull failure);

// --- template.c, template_etc.c: the root that all sessions share --------------------------------

// Builds the template in a new mount namespace; *own_fd and *template_fd are the two namespaces,
// the caller is back in its own.
int csandbox_template_build(int *_Nonnull own_fd, int *_Nonnull template_fd,
                            struct csandbox_failure *_Nonnull failure);
// Fills <root_fd>/etc; `shell` is the agent's.
int csandbox_template_etc(int root_fd, const char *_Nonnull shell,
                          struct csandbox_failure *_Nonnull failure);
// Writes a small file below `dir_fd`.
int csandbox_write_file(int dir_fd, const char *_Nonnull name, const char *_Nonnull text,
                        mode_t mode);

// --- plan.c, mounts.c, root.c: what a session's child does before it becomes init ----------------

enum csandbox_op_kind {
    CSANDBOX_OP_MOUNT,       // a new file system `type` at `target` with `flags` and `data`
    CSANDBOX_OP_ATTACH,      // the detached tree `fd` at `target`
    CSANDBOX_OP_CLONE,       // the mounts at `source` (of the template) at `target`
    CSANDBOX_OP_COVER,       // /dev/null or an empty directory over `target`
    CSANDBOX_OP_READ_ONLY,   // `target` becomes a read-only mount of itself, with `flags`
    CSANDBOX_OP_DIRECTORY,   // mkdir `target` with `mode`, owned by `owner`
    CSANDBOX_OP_WRITE,       // `data` into the file `target`
    CSANDBOX_OP_MOUNT_POINT, // what `fd` (a tree) needs at `target`
    CSANDBOX_OP_NEW_ROOT,    // a tmpfs of the session's own becomes the working directory
    CSANDBOX_OP_MIRROR,      // binds or copies every top-level entry of `source` into the working
                             // directory
    CSANDBOX_OP_PIVOT,       // the working directory becomes the read-only root
    CSANDBOX_OP_HOST_NAME,   // `data`
    CSANDBOX_OP_LOOPBACK,    // brings lo up
    CSANDBOX_OP_LIMIT,       // resource `flags` to at most `value`
};

struct csandbox_op {
    enum csandbox_op_kind kind;
    bool optional; // fine when `target` does not exist
    int fd;
    const char *_Nonnull stage;
    const char *_Nullable source; // file-system type of MOUNT
    const char *_Nullable target; // relative to the working directory, which is the root being made
    const char *_Nullable data;
    unsigned long flags;
    uint64_t value;
    mode_t mode;
    uid_t owner;
    uint64_t measures; // bits of measures.h that are not in force where the kernel refuses this; 0:
                       // then there is no session
};

#define CSANDBOX_OPS_MAX 160
struct csandbox_plan {
    struct csandbox_op ops[CSANDBOX_OPS_MAX];
    unsigned count;
};

struct csandbox_extra_mount {
    int tree_fd;
    char target[PATH_MAX]; // relative
};

struct csandbox_trees {
    int workspace_fd;
    int home_fd;
    int source_fd; // or -1
    int root_fd;   // or -1: the template
    unsigned extra_count;
    struct csandbox_extra_mount *_Nullable extra;
};
void csandbox_trees_close(struct csandbox_trees *_Nonnull trees);

// `plan` refers to strings and descriptors of `trees`.
int csandbox_plan_build(struct csandbox_plan *_Nonnull plan,
                        const struct csandbox_trees *_Nonnull trees,
                        struct csandbox_failure *_Nonnull failure);
// Takes out of *measures what turned out not to be possible.
int csandbox_plan_execute(const struct csandbox_plan *_Nonnull plan, uint64_t *_Nonnull measures,
                          struct csandbox_failure *_Nonnull failure);
// Operations, each 0 or -errno with `failure` filled.
int csandbox_op_mirror(const struct csandbox_op *_Nonnull op,
                       struct csandbox_failure *_Nonnull failure);
int csandbox_op_new_root(const struct csandbox_op *_Nonnull op,
                         struct csandbox_failure *_Nonnull failure);
int csandbox_op_mount_point(const struct csandbox_op *_Nonnull op,
                            struct csandbox_failure *_Nonnull failure);
int csandbox_op_pivot(const struct csandbox_op *_Nonnull op,
                      struct csandbox_failure *_Nonnull failure);
int csandbox_op_loopback(const struct csandbox_op *_Nonnull op,
                         struct csandbox_failure *_Nonnull failure);
int csandbox_op_limit(const struct csandbox_op *_Nonnull op,
                      struct csandbox_failure *_Nonnull failure);

// --- sources.c: what a SPAWN request names on the host -------------------------------------------

struct csandbox_places { // paths and directories that are never mounted into a session
    const char *_Nonnull state_path;
    const char *_Nonnull runtime_path;
    int sessions_fd;
};
// Opens every tree of the request as a detached mount. Runs in the launcher's own mount namespace.
int csandbox_trees_open(struct csandbox_trees *_Nonnull trees,
                        const struct csandbox_places *_Nonnull places, const char *_Nonnull session,
                        uint64_t block, struct csandbox_view payload,
                        struct csandbox_failure *_Nonnull failure);
// openat2 without a symbolic or magic link anywhere, below `dir_fd` when that is not AT_FDCWD.
int csandbox_open_plain(int dir_fd, const char *_Nonnull path, uint64_t flags);

// --- spawn.c: the clone --------------------------------------------------------------------------

struct csandbox_spawn_inputs {
    const struct csandbox_plan *_Nonnull plan;
    int own_ns_fd;
    int template_ns_fd;
    const struct csandbox_group *_Nonnull group;
    int program_fd;
    int listen_fd;
    int boot_fd;
    uint64_t block;
};
struct csandbox_spawned {
    pid_t pid;
    int pidfd;
    int report_fd; // brings its report
};
// Clones the session's first process, maps its ids and lets it go.
int csandbox_spawn(const struct csandbox_spawn_inputs *_Nonnull inputs,
                   struct csandbox_spawned *_Nonnull spawned,
                   struct csandbox_failure *_Nonnull failure);
// The sealed memory file of CSANDBOX_FD_BOOT.
int csandbox_boot_file(const struct csandbox_boot *_Nonnull wanted,
                       const struct csandbox_filter *_Nonnull init,
                       const struct csandbox_filter *_Nonnull agent,
                       struct csandbox_failure *_Nonnull failure);

// --- tree.c, measure.c: work on session trees, in helpers ----------------------------------------

int csandbox_tree_prepare(int sessions_fd, const char *_Nonnull session, uint64_t block,
                          struct csandbox_failure *_Nonnull failure);
int csandbox_tree_destroy(int sessions_fd, const char *_Nonnull session,
                          struct csandbox_failure *_Nonnull failure);
int csandbox_tree_measure(int sessions_fd, const char *_Nonnull session, uint64_t *_Nonnull bytes,
                          uint64_t *_Nonnull files, struct csandbox_failure *_Nonnull failure);
bool csandbox_session_valid(const char *_Nonnull text, size_t length);

// `superserve-launcher launcher`
int csandbox_launcher_serve(int argc, char *_Nonnull const *_Nonnull argv);
