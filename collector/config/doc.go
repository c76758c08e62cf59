// Package config is the settings of seawall-collector: a YAML file, flags that override
// it, and checks that say all that is wrong at once, with file and line or the flag.
//
// [Parse] also reads which command is meant: the collector itself, or one of those that
// work on its data folder beside it.
package config
