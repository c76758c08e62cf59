/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Everything an object needs, in the order it builds on itself. */
#ifndef SEAWALL_H
#define SEAWALL_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>
#include "compat.h"
#include "event.h"
#include "config.h"
#include "maps.h"
#include "task.h"
#include "emit.h"
#include "path.h"
#include "filter.h"
#include "socket.h"

#endif
