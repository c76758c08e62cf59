package obs

// Keys of log fields. One thing has one name in every package's lines, the
// same as in events and metrics where it occurs there too.
const (
	FieldAddress     = "address"
	FieldAgent       = "agent_id"
	FieldBundle      = "bundle_serial"
	FieldCgroup      = "cgroup"
	FieldClient      = "client"
	FieldCondition   = "condition"
	FieldContainerID = "container_id"
	FieldCount       = "count"
	FieldHook        = "hook"
	FieldImage       = "image"
	FieldKernel      = "kernel"
	FieldKind        = "kind"
	FieldNode        = "node"
	FieldNotAfter    = "not_after"
	FieldPath        = "path"
	FieldReason      = "reason"
	FieldRule        = "rule"
	FieldRules       = "rules"
	FieldRung        = "rung"
	FieldSerial      = "serial"
	FieldSignal      = "signal"
	FieldSocket      = "socket"
	FieldStage       = "stage"
	FieldToken       = "token_id"
	FieldVersion     = "version"
)
