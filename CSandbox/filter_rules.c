// Which system calls a session may make. Everything that is not listed fails: with EPERM when it is
// older than the newest number known here, with ENOSYS when it is newer, so that libraries fall
// back to what they did before.
#include "filter.h"

// Named as in the kernel's tables; a name that an architecture lacks is skipped.
const char *const csandbox_filter_allowed[] = {
    // files and directories
    "access", "chdir", "chmod", "chown", "close", "close_range", "copy_file_range", "creat", "dup",
    "dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod",
    "fchmodat", "fchown", "fchownat", "fcntl", "fdatasync", "fgetxattr", "flistxattr", "flock",
    "fremovexattr", "fsetxattr", "fstat", "fstatfs", "fsync", "ftruncate", "futimesat", "getcwd",
    "getdents", "getdents64", "getxattr", "inotify_add_watch", "inotify_init", "inotify_init1",
    "inotify_rm_watch", "lchown", "lgetxattr", "link", "linkat", "listxattr", "llistxattr",
    "lremovexattr", "lseek", "lsetxattr", "lstat", "mkdir", "mkdirat", "mknod", "mknodat",
    "newfstatat", "open", "openat", "openat2", "readahead", "readlink", "readlinkat", "removexattr",
    "rename", "renameat", "renameat2", "rmdir", "setxattr", "stat", "statfs", "statx", "symlink",
    "symlinkat", "sync", "sync_file_range", "syncfs", "truncate", "umask", "unlink", "unlinkat",
    "utime", "utimensat", "utimes",
    // reading and writing
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2",
    "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "io_cancel", "io_destroy",
    "io_getevents", "io_pgetevents", "io_setup", "io_submit", "pipe", "pipe2", "poll", "ppoll",
    "pread64", "preadv", "preadv2", "pselect6", "pwrite64", "pwritev", "pwritev2", "read", "readv",
    "select", "sendfile", "signalfd", "signalfd4", "splice", "tee", "timerfd_create",
    "timerfd_gettime", "timerfd_settime", "write", "writev",
    // memory
    "brk", "madvise", "membarrier", "memfd_create", "mincore", "mlock", "mlock2", "mlockall",
    "mmap", "mprotect", "mremap", "msync", "munlock", "munlockall", "munmap", "pkey_alloc",
    "pkey_free", "pkey_mprotect", "remap_file_pages",
    // processes and threads
    "alarm", "arch_prctl", "capget", "capset", "clone", "execve", "execveat", "exit", "exit_group",
    "fork", "futex", "futex_waitv", "get_robust_list", "get_thread_area", "getegid", "geteuid",
    "getgid", "getgroups", "getitimer", "getpgid", "getpgrp", "getpid", "getppid", "getpriority",
    "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "gettid", "getuid", "ioprio_get",
    "ioprio_set", "kill", "nanosleep", "pause", "personality", "pidfd_open", "pidfd_send_signal",
    "prctl", "prlimit64", "process_vm_readv", "process_vm_writev", "ptrace", "restart_syscall",
    "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn",
    "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
    "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_setattr",
    "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "set_robust_list",
    "set_thread_area", "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups",
    "setitimer", "setpgid", "setpriority", "setregid", "setresgid", "setresuid", "setreuid",
    "setrlimit", "setsid", "setuid", "sigaltstack", "tgkill", "time", "timer_create",
    "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime", "times", "tkill", "vfork",
    "wait4", "waitid",
    // an agent may sandbox its own children further
    "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self",
    // time and the system
    "clock_getres", "clock_gettime", "clock_nanosleep", "getcpu", "getrandom", "gettimeofday",
    "sysinfo", "uname",
    // sockets
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen",
    "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
    "socket", "socketpair",
    // communication between processes; the namespace is the session's own
    "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink",
    "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "shmat",
    "shmctl", "shmdt", "shmget",
    "ioctl", // three requests are refused, see filter.c
    NULL,
};

// Answered with ENOSYS although they are old: callers have a way round, and EPERM would stop them.
const char *const csandbox_filter_unknown[] = {
    "clone3", // its flags lie in memory, out of a filter's sight
    "fsconfig", "fsmount", "fsopen", "fspick", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "memfd_secret", "mount_setattr", "move_mount", "open_tree", "process_madvise",
    "userfaultfd", NULL,
};

// Newer than libseccomp 2.5.4 has names for; from 424 on the numbers are the same on every
// architecture.
const unsigned csandbox_filter_allowed_numbers[] = {
    451, // cachestat
    452, // fchmodat2
    453, // map_shadow_stack
    454, // futex_wake
    455, // futex_wait
    456, // futex_requeue
    462, // mseal
    0,
};

// prctl(2) operations that concern only the caller.
const unsigned csandbox_filter_prctl[] = {
    1,  2,          // parent-death signal
    3,  4,          // dumpable
    7,  8,          // keep capabilities
    15, 16,         // name
    21, 22,         // seccomp
    23,             // read the bounding set
    25, 26,         // time stamp counter
    27,             // read securebits
    29, 30,         // timer slack
    36, 37,         // child subreaper
    38, 39,         // no_new_privs
    40,             // thread id address
    41, 42,         // transparent huge pages
    47,             // ambient set
    50, 51,         // SVE vector length
    52, 53,         // speculation control
    54, 55, 56,     // pointer authentication, tagged addresses
    59,             // system call user dispatch
    63, 64,         // SME vector length
    65, 66,         // memory-deny-write-execute
    67, 68,         // memory merging
    0x41555856,     // auxiliary vector
    0x53564d41,     // names of mappings
    0,
};

// What init does besides, before it becomes an agent's process (capabilities(7), prctl(2)).
const unsigned csandbox_filter_prctl_init[] = {
    24, // drop from the bounding set
    28, // securebits
    0,
};
