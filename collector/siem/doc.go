// Package siem serves AlertStream: what a SIEM reads of the store.
//
// The store is the only queue. A subscription reads it by position, a page at a time
// ([MaxPageBytes], [pageRevisions]), so a reader costs no more than that however far
// behind it is; one that does not take a message in time is ended with ABORTED and
// goes on where it was by asking again.
//
// A named subscription has a durable cursor, which belongs to the client and moves
// with Acknowledge alone: what was sent and not acknowledged is sent again. Whoever
// subscribes under a name takes it over from the one who did before.
//
// The package asks who calls ([Options].Client) and what is stored ([Store]) and
// knows neither certificates nor tables. A Service may be used by several goroutines.
package siem
