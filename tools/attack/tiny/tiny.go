// Package tiny makes the smallest program there is, for actors that run many.
package tiny

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
)

// Program is an ELF header, one segment, and the code that calls exit(0). It starts in a
// fraction of the time that a program of Go takes, and opens nothing.
func Program() ([]byte, error) {
	const base, headers = 0x400000, 64 + 56
	var machine uint16
	var code []byte
	switch runtime.GOARCH {
	case "amd64":
		machine = 62
		code = []byte{
			0x31, 0xff, // xor edi, edi
			0xb8, 0x3c, 0, 0, 0, // mov eax, 60
			0x0f, 0x05, // syscall
		}
	case "arm64":
		machine = 183
		code = []byte{
			0x00, 0x00, 0x80, 0xd2, // mov x0, #0
			0xa8, 0x0b, 0x80, 0xd2, // mov x8, #93
			0x01, 0x00, 0x00, 0xd4, // svc #0
		}
	default:
		return nil, fmt.Errorf("no tiny program for %s", runtime.GOARCH)
	}
	size := uint64(headers + len(code))
	var out bytes.Buffer
	out.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, field := range []any{
		// executable, machine, version, entry, program headers, no sections, flags
		uint16(2), machine, uint32(1), uint64(base + headers), uint64(64), uint64(0), uint32(0),
		// sizes: of this header, of a program header, how many; no sections
		uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0),
		// one segment: load, read and execute, the whole file
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000),
	} {
		if err := binary.Write(&out, binary.LittleEndian, field); err != nil {
			return nil, err
		}
	}
	out.Write(code)
	return out.Bytes(), nil
}
