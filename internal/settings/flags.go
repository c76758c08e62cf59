package settings

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"strings"
)

// Flags are the flags of one program, some of which are settings of its file.
type Flags struct {
	*flag.FlagSet
	usage  string
	fields map[string]string // flag -> setting, for flags that are settings
}

// NewFlags returns no flags yet; usage stands above their list in the help.
func NewFlags(program, usage string) *Flags {
	f := &Flags{FlagSet: flag.NewFlagSet(program, flag.ContinueOnError), usage: usage, fields: map[string]string{}}
	f.SetOutput(io.Discard) // errors are returned, not printed twice
	return f
}

// Bool, Text and List make a flag of a setting. Its default is the value's present one.

func (f *Flags) Bool(value *bool, name, field, help string) {
	f.BoolVar(value, name, *value, help)
	f.fields[name] = field
}

func (f *Flags) Text(value *string, name, field, help string) {
	f.StringVar(value, name, *value, help)
	f.fields[name] = field
}

func (f *Flags) List(values *[]string, name, field, help string) {
	f.Var(&list{values: values}, name, help)
	f.fields[name] = field
}

// Read parses the arguments. Asked for help it writes that to out and returns
// [flag.ErrHelp].
func (f *Flags) Read(args []string, out io.Writer) error {
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		f.SetOutput(out)
		_, err := io.WriteString(out, f.usage)
		f.PrintDefaults()
		return errors.Join(flag.ErrHelp, err)
	}
	if err != nil {
		return fmt.Errorf("%w; try %s --help", err, f.Name())
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; try %s --help", f.Arg(0), f.Name())
	}
	return nil
}

// Settings lists the flags that are settings, with the setting's name.
func (f *Flags) Settings() map[string]string { return maps.Clone(f.fields) }

// Given lists the settings made by flags, with the flag's name.
func (f *Flags) Given() map[string]string {
	given := map[string]string{}
	f.Visit(func(one *flag.Flag) {
		if field, ok := f.fields[one.Name]; ok {
			given[field] = one.Name
		}
	})
	return given
}

// list is a flag that may be repeated. What it is given replaces what was there
// before the command line.
type list struct {
	values *[]string
	fresh  bool
}

func (l *list) String() string {
	if l.values == nil {
		return ""
	}
	return strings.Join(*l.values, ",")
}

func (l *list) Set(value string) error {
	if !l.fresh {
		*l.values, l.fresh = nil, true
	}
	*l.values = append(*l.values, value)
	return nil
}
