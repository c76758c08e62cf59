package rule

import (
	"go.yaml.in/yaml/v3"
)

// keys says what to do with the value of each key that a mapping may have.
type keys map[string]func(*yaml.Node)

// mapping reads a mapping that has no other keys than the given ones.
func (p *reader) mapping(n *yaml.Node, what string, known keys) {
	p.pairs(n, what, func(key, value *yaml.Node) {
		read, ok := known[key.Value]
		if !ok {
			p.report(key, "%s has no key %q", what, key.Value)
			return
		}
		read(value)
	})
}

// pairs reads a mapping with free keys. Anchors and merges are no part of the
// language: what a file says should stand where it is read.
func (p *reader) pairs(n *yaml.Node, what string, read func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		p.report(n, "%s is not a mapping", what)
		return
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			p.report(key, "%s has a key that is not text", what)
		case value.Kind == yaml.AliasNode:
			p.report(value, "aliases are not supported")
		case seen[key.Value]:
			p.report(key, "key %q is given twice", key.Value)
		default:
			seen[key.Value] = true
			read(key, value)
		}
	}
}

func (p *reader) sequence(n *yaml.Node, what string, read func(int, *yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		p.report(n, "%s is not a list", what)
		return
	}
	for i, item := range n.Content {
		read(i, item)
	}
}

func (p *reader) scalar(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		p.report(n, "%s is not text", what)
		return ""
	}
	return n.Value
}

func (p *reader) boolean(n *yaml.Node, what string) bool {
	var value bool
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Decode(&value) != nil {
		p.report(n, "%s is neither true nor false", what)
	}
	return value
}

func (p *reader) words(n *yaml.Node, what string) []string {
	var words []string
	p.sequence(n, what, func(_ int, n *yaml.Node) { words = append(words, p.scalar(n, "word of "+what)) })
	return words
}

func (p *reader) text(n *yaml.Node, what string) text {
	return text{value: p.scalar(n, what), node: n, lines: p.file.lines}
}

// lookup finds the value of a key; nil: n is no mapping or has no such key.
func lookup(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
