// Package collecting tests the collector as it is shipped: the binary, with an agent that
// enrols and reports, a SIEM that reads and seawallctl for people, over loopback. Neither half may import the
// other, so the test of both lives here.
package collecting
