// Fuzzes FILES_PUT as a whole: an archive of any bytes is unpacked into a directory of its own, and
// nothing beside that directory may change.
//
// The first byte chooses the target: the directory, a new name, or a link in the directory.
#include "../../CSandbox/files_put.c"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static char top[] = "/tmp/superserve-fuzz-XXXXXX";

static void require(bool condition) {
    if (!condition) abort();
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)kind;
    if (place->level == 0) return 0;
    if (S_ISDIR(status->st_mode)) return rmdir(path);
    return unlink(path);
}

static int open_one(const char *path, const struct stat *status, int kind, struct FTW *place) {
    (void)kind, (void)place;
    return S_ISDIR(status->st_mode) ? chmod(path, 0700) : 0;
}

static void clear(void) {
    // Modes of the archive may keep us out; each pass opens one level more.
    for (int i = 0; i < 20 && nftw("in", open_one, 16, FTW_PHYS) != 0; i++) continue;
    (void)nftw("in", open_one, 16, FTW_PHYS);
    (void)nftw("in", remove_one, 16, FTW_PHYS | FTW_DEPTH);
}

static void clean_up(void) {
    clear();
    (void)unlink("canary/file");
    (void)rmdir("canary");
    (void)rmdir("in");
    (void)chdir("/");
    (void)rmdir(top);
}

static void begin(void) {
    static bool begun;
    if (begun) return;
    begun = true;
    require(mkdtemp(top) != NULL && chdir(top) == 0 && mkdir("in", 0700) == 0);
    require(mkdir("canary", 0700) == 0);
    const int fd = open("canary/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    require(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
    require(atexit(clean_up) == 0);
}

// Three names, and the file is what it was.
static void check(void) {
    struct stat status;
    DIR *entries = opendir(".");
    int count = 0;
    require(entries != NULL);
    while (readdir(entries) != NULL) count++;
    closedir(entries);
    require(count == 4); // with "." and ".."
    require(stat("canary/file", &status) == 0 && status.st_size == 1 && status.st_nlink == 1);
    require((status.st_mode & 07777) == 0600);
    require((entries = opendir("canary")) != NULL);
    for (count = 0; readdir(entries) != NULL;) count++;
    closedir(entries);
    require(count == 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const targets[] = {"in", "in/new", "in/"};
    struct csandbox_failure failure;
    if (size < 1) return 0;
    begin();
    require(symlink("../canary", "in/away") == 0);
    const int fd = memfd_create("tar", MFD_CLOEXEC);
    require(fd >= 0 && pwrite(fd, data + 1, size - 1, 0) == (ssize_t)(size - 1));
    const int result = csandbox_files_put(targets[data[0] % 3], fd, &failure);
    require(result == 0 || failure.error > 0);
    close(fd);
    check();
    clear();
    memset(&unpack, 0, sizeof unpack); // a helper process does this once
    return 0;
}
