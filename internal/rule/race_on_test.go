//go:build race

package rule

// raceEnabled says that sync.Pool drops what it is given now and then, so that
// regular expressions allocate.
const raceEnabled = true
