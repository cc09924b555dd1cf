/* The bodies for any machine. */
#include "internal.h"

#include "lanes_portable.h"

#define PML_TABLE pml_table_portable
#include "bodies.h"
