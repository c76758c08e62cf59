// Package audit takes Kubernetes audit events in, by two doors: the API server's webhook
// ([Webhook]) and its log files ([Tail]). Both read with internal/audit and hand what they
// read to an [Intake], which takes the secrets out and puts it into the event log. Only then
// is a webhook answered and a file's position kept: a collector that is killed is brought
// again what it had not on disk.
//
// The doors may bring the same events, in any order and more than once; audit id and
// stage tell them, with the request's times, for a client chooses the id himself. The intake
// knows the last [Remembered] of them again, also after a restart ([Intake.Resume]), which
// spares the log most doubles; who reads the log must bear the others.
//
// [Health] knows how the sources are by what they bring, and what is missing, and tells both
// to the event log.
package audit
