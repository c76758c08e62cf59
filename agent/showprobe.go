package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"

	"github.com/seawall-security/seawall/agent/config"
	"github.com/seawall-security/seawall/agent/container"
	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/internal/obs"
)

// report is what `seawall-agent probe -o json` prints.
type report struct {
	Host    *probe.Host        `json:"host"`
	Cgroups *container.Summary `json:"cgroups,omitempty"`
	Hooks   []probe.HookStatus `json:"hooks"`
}

// showProbe attaches every hook as the agent would, proves it, and shows how it went.
func showProbe(ctx context.Context, c config.Config, out io.Writer) (err error) {
	log, err := obs.NewLogger(os.Stderr, c.Log.Level)
	if err != nil {
		return err
	}
	rules, err := loadRules(c)
	if err != nil {
		return err
	}
	_, hierarchy, err := newContainers(c, log)
	if err != nil {
		return err
	}
	sensor, err := probe.Open(sensorOptions(c, log, hierarchy, rules))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sensor.Close()) }()

	group, ctx := errgroup.WithContext(ctx)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	group.Go(func() error { return sensor.Read(reading, func(probe.Ring, []byte) {}, func() {}) })
	group.Go(func() error {
		defer stop()
		return sensor.Confirm(ctx)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	r := report{Host: sensor.Host(), Hooks: sensor.Hooks()}
	if hierarchy != nil {
		r.Cgroups = hierarchy.Summary()
	}
	if c.Output == config.JSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	return r.table(out)
}

func (r report) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "kernel\t%s %s\n", r.Host.Kernel, r.Host.Arch)
	fmt.Fprintf(w, "type information (BTF)\t%s\n", yes(r.Host.BTF))
	fmt.Fprintf(w, "security modules\t%s\n", orUnknown(strings.Join(r.Host.LSMs, " ")))
	fmt.Fprintf(w, "lockdown\t%s\n", orUnknown(r.Host.Lockdown))
	fmt.Fprintf(w, "atomic fetch\t%s\n", yes(r.Host.AtomicFetch))
	fmt.Fprintf(w, "task iterator\t%s\n", yes(r.Host.TaskIterator))
	if r.Cgroups != nil {
		fmt.Fprintf(w, "cgroups\t%s\n", r.Cgroups)
	} else {
		fmt.Fprintf(w, "cgroups\tno hierarchy is mounted\n")
	}
	fmt.Fprintf(w, "\nHOOK\tRUNG\tCONFIRMED\tWHY NOT HIGHER\n")
	for _, h := range r.Hooks {
		var why []string
		for _, refusal := range h.Refused {
			why = append(why, fmt.Sprintf("%s: %s", refusal.Rung, refusal.Reason))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", h.Hook, h.Rung, yes(h.Confirmed), strings.Join(why, "; "))
	}
	return w.Flush()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func orUnknown(s string) string {
	if s == "" {
		return "not told (securityfs is not mounted)"
	}
	return s
}
