// Package settings is how both binaries are told what to do: a YAML file, flags that
// override it, and checks that say all that is wrong at once, with file and line or
// the flag. Each binary has its own config package with its types and defaults; what
// is here knows none of them.
package settings
