#include "csandbox.h"
int csandbox_dummy; 
