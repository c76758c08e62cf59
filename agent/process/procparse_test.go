package process

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/event"
)

func TestParseStat(t *testing.T) {
	long := "7 (a) R (b) S 3 7 7 34816 7 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1 1 1 1 1 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 1 2 3 1000 1500 0 0 0\n"
	for name, tt := range map[string]struct {
		text string
		want stat
		bad  bool
	}{
		"brackets in the name": {text: long, want: stat{comm: "a) R (b", parent: 3, session: 7, tty: 34816, ticks: 4242, args: 500}},
		"short":                {text: statText(1, 0, "init", 9), want: stat{comm: "init", parent: 0, session: 1, tty: 34816, ticks: 9}},
		"zombie":               {text: "1 (x) Z 0 1 -1 -5 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1", want: stat{comm: "x", ended: true, tty: 1<<32 - 5, ticks: 1}},
		"empty":                {bad: true},
		"no end of the name":   {text: "1 (x", bad: true},
		"cut off":              {text: "1 (x) S 1 1 1", bad: true},
		"start is no number":   {text: "1 (x) S 0 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 y", bad: true},
		"start overflows":      {text: "1 (x) S 0 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 18446744073709551615", bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(tt.text))
			if (err != nil) != tt.bad {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(stat{})); !tt.bad && diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestExeFile(t *testing.T) {
	for link, want := range map[string]event.File{
		"/usr/bin/cat":          {Path: "/usr/bin/cat"},
		"/tmp/x (deleted)":      {Path: "/tmp/x", Deleted: true},
		"/memfd:pay (deleted)":  {Path: "/memfd:pay", Deleted: true, Memfd: true},
		"/memfd:not-really/exe": {Path: "/memfd:not-really/exe"},
	} {
		if diff := cmp.Diff(want, exeFile(link)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", link, diff)
		}
	}
}

func TestArgumentsBeyondTheBound(t *testing.T) {
	text := make([]byte, argsBytes+1)
	for i := range text {
		text[i] = 'x'
	}
	var p event.Process
	newArguments(text).set(&p, stat{args: 1 << 20})
	if !p.ArgsCut || p.ArgsBytes != 1<<20 || len(p.Args) != 1 || len(p.Args[0]) != argsBytes {
		t.Errorf("cut %v, %d bytes, %d words", p.ArgsCut, p.ArgsBytes, len(p.Args))
	}
}

func FuzzProcStat(f *testing.F) {
	if own, err := os.ReadFile("/proc/self/stat"); err == nil {
		f.Add(own)
	}
	f.Add([]byte(statText(1, 0, "a b) (c", 77)))
	f.Add([]byte("1 () Z"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseStat(text)
		if err != nil {
			return
		}
		if s.start()/tick != event.Boot(s.ticks) {
			t.Errorf("start of %d ticks overflows", s.ticks)
		}
		if len(s.comm) > len(text) || ttyName(kernelDevice(s.tty)) == "" && kernelDevice(s.tty) != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func FuzzProcStatus(f *testing.F) {
	if own, err := os.ReadFile("/proc/self/status"); err == nil {
		f.Add(own)
	}
	f.Add([]byte("Uid:\t1\t2\t3\t4\nNStgid:\t9\t1\nCapEff:\tffffffffffffffff\n"))
	f.Fuzz(func(_ *testing.T, text []byte) { parseStatus(text) })
}

func FuzzProcLink(f *testing.F) {
	f.Add("mnt:[4026531841]", "mnt")
	f.Add("socket:[", "socket")
	f.Fuzz(func(t *testing.T, link, kind string) {
		inode, ok := parseInode(link, kind)
		if !ok && inode != 0 && inode != 1<<64-1 {
			t.Errorf("%q: refused but %d", link, inode)
		}
		parseStdio(link)
		if file := exeFile(link); file.Memfd && !file.Deleted {
			t.Errorf("%q: %+v", link, file)
		}
	})
}
