// Exchanges two names as fast as the kernel can, so that whoever looks at one of them twice sees
// two things.
#include "door.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// In bursts, so that whoever is raced gets somewhere and meets every state.
#define BURST 50
#define PAUSE_US 1000

int swap_names(const char *directory, long count) {
    if (chdir(directory) < 0) {
        printf("chdir: %s\n", strerror(errno));
        return 1;
    }
    for (long i = 0; i < count; i++) {
        if (renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE) < 0) {
            printf("exchange %ld: %s\n", i, strerror(errno));
            return 1;
        }
        if (i % BURST == 0) usleep(PAUSE_US);
    }
    printf("%ld exchanges\n", count);
    return 0;
}
