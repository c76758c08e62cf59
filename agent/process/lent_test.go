package process

import "unsafe"

// lentString views bytes as the decoder does: the text changes with them.
func lentString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
