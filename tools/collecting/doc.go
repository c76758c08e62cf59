// Package collecting tests the collector as it is shipped: the binary, with an agent that
// enrols and reports and a SIEM that reads, over loopback. Neither half may import the
// other, so the test of both lives here.
package collecting
