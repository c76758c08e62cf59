package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// ItemError says what is wrong with one event of several.
type ItemError struct {
	// Index counts from 0.
	Index int
	// AuditID, where it could be read.
	AuditID string
	Err     error
}

func (e *ItemError) Error() string {
	if e.AuditID == "" {
		return fmt.Sprintf("event %d: %v", e.Index, e.Err)
	}
	return fmt.Sprintf("event %d (%s): %v", e.Index, e.AuditID, e.Err)
}

func (e *ItemError) Unwrap() error { return e.Err }

// DecodeList reads a webhook's body, an EventList. Events come in their order; bad says
// which could not be read and are not among them. err says that the body as a whole is
// none: nothing of it was taken.
func DecodeList(data []byte) (events []*auditv1.Event, bad []*ItemError, err error) {
	list, err := readList(data)
	if err != nil {
		return nil, nil, fmt.Errorf("decode EventList: %w", err)
	}
	if list.Kind != "EventList" || list.APIVersion != apiVersion {
		return nil, nil, fmt.Errorf("decode EventList: it is %.64q of %.64q, want EventList of %s", list.Kind, list.APIVersion, apiVersion)
	}
	events = make([]*auditv1.Event, 0, len(list.Items))
	for i, item := range list.Items {
		e, err := Decode(item)
		if err != nil {
			bad = append(bad, &ItemError{Index: i, AuditID: auditID(item), Err: err})
			continue
		}
		events = append(events, e)
	}
	return events, bad, nil
}

// eventList is a list whose items are not looked into.
type eventList struct {
	Kind       string            `json:"kind"`
	APIVersion string            `json:"apiVersion"`
	Items      []json.RawMessage `json:"items"`
}

func readList(data []byte) (list eventList, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&list); err == nil {
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return list, errors.New("more than one JSON value")
		}
		return list, nil
	} else if split := splitList(data, &list); split != nil {
		return list, describe(err)
	}
	return list, nil
}

// splitList finds the items of a list one of which cannot be read.
func splitList(data []byte, list *eventList) error {
	*list = eventList{}
	return eachMember(data, func(name string, value []byte) error {
		switch name {
		case "kind":
			return json.Unmarshal(value, &list.Kind)
		case "apiVersion":
			return json.Unmarshal(value, &list.APIVersion)
		case "items":
			list.Items = nil
			return eachItem(value, func(item []byte) error {
				list.Items = append(list.Items, item)
				return nil
			})
		}
		return nil
	})
}

// auditID looks for the name of an event that is wrong elsewhere.
func auditID(item []byte) string {
	var named struct {
		AuditID string `json:"auditID"`
	}
	// An error leaves what was read before it, which is all that is asked for.
	_ = json.Unmarshal(item, &named)
	return shortID(named.AuditID)
}
