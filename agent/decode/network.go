package decode

import (
	"net/netip"

	"github.com/seawall-security/seawall/internal/event"
)

func (d *Decoder) decodeFlow(record []byte) (event.Payload, *Error) {
	w := &d.wire.flow
	t, err := fixedPart(w, record, d.event.Kind)
	if err != nil {
		return nil, err
	}
	d.result(w.Result)
	d.flow = event.Flow{
		Local:    address(&w.Local),
		Remote:   address(&w.Remote),
		Type:     w.Type,
		Protocol: w.Protocol,
		Path:     t.text("path", w.Path),
	}
	return &d.flow, t.err
}

func address(w *wireAddress) event.Address {
	a := event.Address{Family: event.Family(w.Family), Port: w.Port, NetNamespace: w.NetNS}
	switch a.Family {
	case event.FamilyIPv4:
		a.IP = netip.AddrFrom4([4]byte(w.Address[:4]))
	case event.FamilyIPv6:
		a.IP = netip.AddrFrom16(w.Address)
	case event.FamilyNone:
		return event.Address{}
	}
	return a
}
