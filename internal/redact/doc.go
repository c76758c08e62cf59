// Package redact masks credentials in what the sensor tells: in argv, paths,
// labels, summaries and evidence, before a record is spooled, logged, stored or
// sent.
//
// A secret becomes "[redacted:" + 16 hex digits + "]". The digits are the first 64
// bits of HMAC-SHA-256 of the secret under the redactor's key: with one key, the same
// secret has the same mask in every event of every node, so that joins still work, and
// who lacks the key cannot test a guess. The width only decides how often two different
// secrets look like one. Short-lived tokens make some 10 million secrets a year in a
// large fleet: of these, 32 bits would confuse ten thousand pairs, 48 bits one pair in
// one year of six, 64 bits one in some hundred thousand years. Width does not help
// against guessing: who holds the key confirms a guess with any of the three.
//
// What counts as a secret is written in rules.go. Two passes look for it. One reads
// text from left to right, whatever it is: named values (name=value, "name": "value",
// headers, query parameters), user information of URIs, and tokens known by their shape.
// The other reads words as a program's arguments, of argv or of shell text inside an
// argument, for it takes the program to know that -p is a password. A record's secrets
// are then masked wherever its summary and evidence repeat them.
//
// Not recognised: a password that no name, program or shape gives away (what expect
// sends, a line of .pgpass), one that is encoded with what is around it (base64 of a
// script), or one that is put together at run time. Look-alikes stay readable, for lost
// evidence is a harm too.
//
// Masks are never masked again: redacting twice is redacting once. Text that was valid
// UTF-8 stays so, and the escapes of an escaped event stay whole. The cost is linear in
// the text; text without a secret costs no allocation.
//
// A [Redactor] never changes and may be used by any goroutine. Who calls it must own
// the message: it is changed in place.
package redact
