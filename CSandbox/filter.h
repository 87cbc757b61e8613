// The tables of filter_rules.c.
#pragma once

#include "launcher.h"

extern const char *_Nullable const csandbox_filter_allowed[];
extern const char *_Nullable const csandbox_filter_unknown[];
extern const unsigned csandbox_filter_allowed_numbers[];
extern const unsigned csandbox_filter_prctl[];
extern const unsigned csandbox_filter_prctl_init[];

// The newest system call that these tables have judged; later ones do not exist for a session.
#define CSANDBOX_FILTER_NEWEST 462u
