// Package config is what the agent is told at its start: a YAML file, flags
// that override it, and defaults for the rest.
//
// [Parse] is the only door: main hands it the arguments and gets a [Config] in
// which every field holds a checked value, and the [Command] to run. A Config
// is plain data, never changes after Parse, and may be read by any goroutine.
// Sizes are in bytes where the name says so and counts otherwise.
package config
