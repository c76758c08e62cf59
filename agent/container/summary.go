package container

import "fmt"

// Summary is a hierarchy in short, for people and scripts.
type Summary struct {
	Version    int    `json:"version"`
	Mount      string `json:"mount"`
	Controller string `json:"controller,omitempty"`
	Partial    bool   `json:"partial,omitempty"`
}

// Summary returns which hierarchy was chosen.
func (h *Hierarchy) Summary() *Summary {
	return &Summary{Version: h.Version, Mount: h.Mount, Controller: h.Controller, Partial: h.Partial}
}

func (s *Summary) String() string {
	text := fmt.Sprintf("v%d at %s", s.Version, s.Mount)
	if s.Controller != "" {
		text += " (controller " + s.Controller + ")"
	}
	if s.Partial {
		text += ", only a part of the tree is visible"
	}
	return text
}
