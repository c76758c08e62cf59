// Package obs is how a Seawall binary shows itself to its operators: the log,
// the metrics registry, and the admin HTTP server with /metrics, /healthz and
// /readyz.
//
// Everything is built once by main and handed down; the package keeps no
// state of its own. Loggers, registries and [Ready] are safe for use by any
// goroutine.
package obs
