package settings

import (
	"fmt"
	"slices"
	"time"
)

// FieldError is a setting that cannot be used.
type FieldError struct {
	Field   string // as in the file: kernel.bulk_ring_bytes
	Problem string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// Problems collects what is wrong with a configuration: *FieldError values, to be
// joined.
type Problems []error

// Require adds a problem of a field unless ok.
func (p *Problems) Require(ok bool, field, format string, args ...any) {
	if !ok {
		*p = append(*p, &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
}

// OneOf requires one of the known words.
func OneOf[T ~string](p *Problems, field string, value T, known ...T) {
	p.Require(slices.Contains(known, value), field, "%q is none of %v", value, known)
}

// Within requires low <= value <= high.
func Within[T int | int64 | time.Duration](p *Problems, field string, value, low, high T) {
	p.Require(value >= low && value <= high, field, "%v is not from %v to %v", value, low, high)
}
