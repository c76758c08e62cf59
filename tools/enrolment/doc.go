// Package enrolment tests that agents and collectors enrol with each other. Neither
// half may import the other, so the test of both lives here: over loopback, with real
// TLS and a clock that the test sets.
package enrolment
