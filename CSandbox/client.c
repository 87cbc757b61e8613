// Replaced when the full CSandbox is merged.
#include "csandbox.h"
