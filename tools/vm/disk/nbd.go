package disk

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// The protocol's numbers (NBD, fixed newstyle): only what a guest's disk needs. Without
// flags for FUA, discard and zeroes QEMU makes writes and flushes of them.
const (
	magicServer  = 0x4e42444d41474943 // NBDMAGIC
	magicOption  = 0x49484156454f5054 // IHAVEOPT
	magicAnswer  = 0x3e889045565a9
	magicRequest = 0x25609513
	magicReply   = 0x67446698

	handshakeFlags = 1 | 2 // fixed newstyle, no zeroes behind the export
	exportFlags    = 1 | 4 // has flags, takes flushes

	optionAbort = 2
	optionGo    = 7

	answerAck         = 1
	answerInfo        = 3
	answerUnsupported = 1<<31 | 1

	infoExport    = 0
	infoBlockSize = 3

	commandRead  = 0
	commandWrite = 1
	commandEnd   = 2
	commandFlush = 3

	errorIO      = 5
	errorInvalid = 22
)

// Bounds of what a client may make us hold.
const (
	maxOptionBytes  = 64 << 10
	maxRequestBytes = 32 << 20
	preferredBytes  = 4096
)

// Serve answers clients until the listener is closed and they have gone. While the power
// is off they get no answer.
func (d *Disk) Serve(l net.Listener) error {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve disk: %w", err)
		}
		sessions.Go(func() {
			defer conn.Close()
			if errors.Is(d.session(conn), errOff) {
				_, _ = io.Copy(io.Discard, conn) // a client that hears nothing, until it goes
			}
		})
	}
}

// session speaks with one client to its end, which a cut is, too.
func (d *Disk) session(conn io.ReadWriter) error {
	power := d.Off()
	in := bufio.NewReaderSize(conn, 64<<10)
	begun, err := d.negotiate(in, conn)
	if err != nil || !begun {
		return err
	}
	for {
		if more, err := d.answer(power, in, conn); err != nil || !more {
			return err
		}
	}
}

var big = binary.BigEndian

// negotiate is the handshake; false: the client has thought better of it.
func (d *Disk) negotiate(in io.Reader, out io.Writer) (bool, error) {
	greeting := big.AppendUint64(nil, magicServer)
	greeting = big.AppendUint64(greeting, magicOption)
	greeting = big.AppendUint16(greeting, handshakeFlags)
	if _, err := out.Write(greeting); err != nil {
		return false, err
	}
	var flags [4]byte
	if _, err := io.ReadFull(in, flags[:]); err != nil {
		return false, fmt.Errorf("read client's flags: %w", err)
	}
	for {
		var head [16]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return false, fmt.Errorf("read option: %w", err)
		}
		option, length := big.Uint32(head[8:]), big.Uint32(head[12:])
		if big.Uint64(head[:]) != magicOption || length > maxOptionBytes {
			return false, fmt.Errorf("read option: %d of %d bytes is none", option, length)
		}
		if _, err := io.CopyN(io.Discard, in, int64(length)); err != nil {
			return false, fmt.Errorf("read option %d: %w", option, err)
		}
		var answer []byte
		switch option {
		case optionGo:
			export := big.AppendUint64(big.AppendUint16(nil, infoExport), uint64(d.size))
			export = big.AppendUint16(export, exportFlags)
			blocks := big.AppendUint32(big.AppendUint16(nil, infoBlockSize), SectorBytes)
			blocks = big.AppendUint32(big.AppendUint32(blocks, preferredBytes), maxRequestBytes)
			answer = appendAnswer(answer, option, answerInfo, export)
			answer = appendAnswer(answer, option, answerInfo, blocks)
			answer = appendAnswer(answer, option, answerAck, nil)
		case optionAbort:
			answer = appendAnswer(answer, option, answerAck, nil)
		default:
			answer = appendAnswer(answer, option, answerUnsupported, nil)
		}
		if _, err := out.Write(answer); err != nil || option == optionAbort {
			return false, err
		}
		if option == optionGo {
			return true, nil
		}
	}
}

func appendAnswer(b []byte, option, kind uint32, body []byte) []byte {
	b = big.AppendUint64(b, magicAnswer)
	b = big.AppendUint32(big.AppendUint32(b, option), kind)
	return append(big.AppendUint32(b, uint32(len(body))), body...)
}

// answer takes one request; false: it was the last.
func (d *Disk) answer(power <-chan struct{}, in io.Reader, out io.Writer) (bool, error) {
	var head [28]byte
	if _, err := io.ReadFull(in, head[:]); errors.Is(err, io.EOF) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("read request: %w", err)
	}
	command, length := big.Uint16(head[6:]), big.Uint32(head[24:])
	offset := int64(big.Uint64(head[16:]))
	if big.Uint32(head[:]) != magicRequest || length > maxRequestBytes {
		return false, fmt.Errorf("read request: %d of %d bytes is none", command, length)
	}
	var data []byte
	if command == commandRead || command == commandWrite {
		data = make([]byte, length)
	}
	if command == commandWrite {
		if _, err := io.ReadFull(in, data); err != nil {
			return false, fmt.Errorf("read data of request: %w", err)
		}
	}
	fits := length%SectorBytes == 0 && offset%SectorBytes == 0 && offset >= 0 && offset <= d.size-int64(length)
	refusal, err := uint32(0), error(nil)
	switch {
	case command == commandEnd:
		return false, nil
	case command == commandFlush:
		err = d.flush(power)
	case command == commandRead && fits:
		err = d.read(power, data, offset)
	case command == commandWrite && fits:
		err = d.write(power, data, offset)
	default:
		refusal = errorInvalid
	}
	if errors.Is(err, errOff) {
		return false, err
	}
	if err != nil {
		refusal = errorIO
	}
	reply := big.AppendUint32(big.AppendUint32(nil, magicReply), refusal)
	reply = append(reply, head[8:16]...) // the client's name for the request
	if command == commandRead && refusal == 0 {
		reply = append(reply, data...)
	}
	_, err = out.Write(reply)
	return err == nil, err
}
