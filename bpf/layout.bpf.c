//go:build ignore
/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Carries the types of event.h, config.h and maps.h in BTF, so that their Go twins are
 * generated once. It is never loaded. */
#include "seawall.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct process_exec layout_process_exec;
struct process_fork layout_process_fork;
struct process_exit layout_process_exit;
struct process_namespace layout_process_namespace;
struct file_open layout_file_open;
struct file_rename layout_file_rename;
struct file_unlink layout_file_unlink;
struct file_chmod layout_file_chmod;
struct network_flow layout_network_flow;
struct memory_change layout_memory_change;
struct cgroup_change layout_cgroup_change;
struct load_config layout_load_config;
struct run_control layout_run_control;
struct ledger_row layout_ledger_row;
struct tree_entry layout_tree_entry;
struct prefix_key layout_prefix_key;
