package rule

import (
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seawall-security/seawall/internal/event"
)

func fileFields() map[protoreflect.Name]field {
	return map[protoreflect.Name]field{
		"path":       textOf(func(_ *frame, f *event.File) string { return f.Path }),
		"name":       textOf(func(_ *frame, f *event.File) string { return f.Name() }),
		"inode":      uintOf(func(f *event.File) uint64 { return f.Inode }),
		"device":     uintOf(func(f *event.File) uint32 { return f.Device }),
		"filesystem": textOf(func(frame *frame, f *event.File) string { return frame.names.filesystem(f.Magic) }),
		"mode":       uintOf(func(f *event.File) uint32 { return f.Mode }),
		"uid":        uintOf(func(f *event.File) uint32 { return f.UID }),
		"size_bytes": uintOf(func(f *event.File) uint64 { return f.Size }),
		"change_time": timeOf(func(f *event.File) time.Time {
			if f.ChangeTime == 0 {
				return time.Time{}
			}
			return time.Unix(0, f.ChangeTime)
		}),
		"overlay_upper": boolOf(func(f *event.File) bool { return f.OverlayUpper }),
		"memfd":         boolOf(func(f *event.File) bool { return f.Memfd }),
		"deleted":       boolOf(func(f *event.File) bool { return f.Deleted }),
		"overlay":       boolOf(func(f *event.File) bool { return f.Overlay }),
		"shipped":       boolOf(func(f *event.File) bool { return f.Shipped() }),
		"origin":        messageOf(func(f *event.File) *event.Origin { return f.Origin }),
	}
}

func originFields() map[protoreflect.Name]field {
	writer := func(get func(p *event.Process) string) field {
		return textOf(func(_ *frame, o *event.Origin) string {
			if o.Process == nil {
				return ""
			}
			return get(o.Process)
		})
	}
	return map[protoreflect.Name]field{
		"process_id":      writer(func(p *event.Process) string { return p.ID }),
		"process_name":    writer(func(p *event.Process) string { return p.Name }),
		"process_path":    writer(func(p *event.Process) string { return p.Exe.Path }),
		"process_program": writer((*event.Process).Program),
		"process_shipped": boolOf(func(o *event.Origin) bool { return o.Process != nil && o.Process.Exe.Shipped() }),
		"time":            timeOf(func(o *event.Origin) time.Time { return o.Wall }),
		"age":             {lower: lowerAge},
	}
}

// lowerAge counts from the file's origin to the event; the two may be of
// different processors, so it is never negative.
func lowerAge(base messageCode) any {
	return durationCode(func(f *frame) time.Duration {
		o := as[event.Origin](f, base)
		if o == nil || f.event.Time == 0 || o.Time > f.event.Time {
			return 0
		}
		return time.Duration(min(uint64(f.event.Time-o.Time), 1<<63-1))
	})
}
