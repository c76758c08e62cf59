package obs

import "runtime/debug"

// version is set by the linker (see Makefile); empty in a plain go build.
var version string

// Version says which source the binary was built from: what git describe said
// to make build, else what Go recorded, else "unknown".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
