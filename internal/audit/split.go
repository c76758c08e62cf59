package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// encoding/json gives up on what is nested more than 10,000 deep. A client can have a patch
// of that depth recorded, and would take the event with it, or the whole list. What is here
// finds the parts of an object or list without looking into them.

var errCut = errors.New("unexpected end of JSON")

// eachMember calls visit for the members of an object, with their values as they stand.
func eachMember(data []byte, visit func(name string, value []byte) error) error {
	return eachPart(data, '{', '}', func(part []byte) error {
		end, err := skip(part)
		if err != nil {
			return err
		}
		var name string
		if err := json.Unmarshal(part[:end], &name); err != nil {
			return err
		}
		value := bytes.TrimLeft(part[end:], blanks)
		if len(value) == 0 || value[0] != ':' {
			return fmt.Errorf("no value behind %.64q", name)
		}
		return visit(name, bytes.TrimSpace(value[1:]))
	})
}

// eachItem calls visit for the items of a list.
func eachItem(data []byte, visit func(item []byte) error) error {
	return eachPart(data, '[', ']', visit)
}

const blanks = " \t\r\n"

// eachPart calls visit for what stands between the commas of an object or list.
func eachPart(data []byte, begin, end byte, visit func(part []byte) error) error {
	data = bytes.TrimSpace(data)
	if len(data) < 2 || data[0] != begin || data[len(data)-1] != end {
		return fmt.Errorf("it does not begin with %c and end with %c", begin, end)
	}
	data = bytes.TrimSpace(data[1 : len(data)-1])
	for from, at := 0, 0; at < len(data); {
		n, err := skip(data[at:])
		if err != nil {
			return err
		}
		at += n
		if at < len(data) && data[at] != ',' {
			continue
		}
		if err := visit(bytes.TrimSpace(data[from:at])); err != nil {
			return err
		}
		at++
		from = at
	}
	return nil
}

// skip is where a value ends that begins here; of other text, where the next value or comma
// is.
func skip(data []byte) (end int, err error) {
	depth := 0
	for end < len(data) {
		switch data[end] {
		case '"':
			n, err := skipString(data[end:])
			if err != nil {
				return 0, err
			}
			end += n
		case '{', '[':
			depth++
			end++
		case '}', ']':
			if depth--; depth < 0 {
				return 0, errors.New("more is closed than was opened")
			}
			end++
		case ',':
			if depth == 0 {
				return end, nil
			}
			end++
			continue
		default:
			end++
			continue
		}
		if depth == 0 {
			return end, nil
		}
	}
	if depth > 0 {
		return 0, errCut
	}
	return end, nil
}

func skipString(data []byte) (end int, err error) {
	for end = 1; end < len(data); end++ {
		switch data[end] {
		case '\\':
			end++
		case '"':
			return end + 1, nil
		}
	}
	return 0, errCut
}

// withoutBodies is an event less the parts that a client wrote, and how large they were.
func withoutBodies(data []byte) (rest []byte, request, response int, err error) {
	rest = append(rest, '{')
	err = eachMember(data, func(name string, value []byte) error {
		switch name {
		case "requestObject":
			request = len(value)
		case "responseObject":
			response = len(value)
		default:
			label, err := json.Marshal(name)
			if err != nil {
				return err
			}
			if len(rest) > 1 {
				rest = append(rest, ',')
			}
			rest = append(append(append(rest, label...), ':'), value...)
		}
		return nil
	})
	return append(rest, '}'), request, response, err
}
