// Package enrol keeps the agent's certificate: it gets the first one from the
// collector's Enrolment service, renews it at two thirds of its life and
// remembers it over restarts.
//
// [Agent] owns two files in the state folder, both for root's eyes only:
// identity.pem, with key, certificates, roots and the key of redaction, replaced
// as a whole; and enrol.key, which is there while the first answer is awaited:
// an answer that got lost is asked for again with the same key, and the
// collector knows by it that this is the same enrolment.
//
// With a join token the collector must show the CA whose key the token names;
// with a Kubernetes service account token, one of the CAs in a file. Either is
// sent only after that held. A certificate that ran out while the agent was
// off is shown once more: for some days the collector renews it. Once it does not, the
// agent enrols anew, under another id; without a token it cannot, and Run says so.
//
// Run does all that waits or talks; the other methods are safe for use by any
// goroutine at any time.
package enrol
