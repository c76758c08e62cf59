package process

import "strconv"

// Character device majors of terminals, from the kernel's list of devices.
const (
	majorTTY      = 4
	majorTTYAux   = 5
	majorPTSFirst = 136
	majorPTSLast  = 143
	// serialFirst is the first minor of majorTTY that is a serial line.
	serialFirst = 64
	// ptsPerMajor is how many pseudo terminals each major counted before minors
	// had 20 bits; today's kernels put all on the first.
	ptsPerMajor = 256
)

// ttyName names a terminal by its device number, major << 20 | minor, as it is
// called below /dev; "" for 0.
func ttyName(device uint32) string {
	major, minor := device>>20, device&(1<<20-1)
	switch {
	case device == 0:
		return ""
	case major >= majorPTSFirst && major <= majorPTSLast:
		return "pts/" + number((major-majorPTSFirst)*ptsPerMajor+minor)
	case major == majorTTY && minor < serialFirst:
		return "tty" + number(minor)
	case major == majorTTY:
		return "ttyS" + number(minor-serialFirst)
	case major == majorTTYAux && minor == 0:
		return "tty"
	case major == majorTTYAux && minor == 1:
		return "console"
	}
	return number(major) + ":" + number(minor)
}

// kernelDevice turns the device number that procfs prints (the 32-bit user
// encoding) into major << 20 | minor.
func kernelDevice(user uint32) uint32 {
	major := user >> 8 & 0xfff
	minor := user&0xff | user>>12&0xfff00
	return major<<20 | minor
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
