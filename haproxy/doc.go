// Package haproxy knows one HAProxy in master-worker mode from the outside: its master, its workers and their
// generations, which of them are proven to be stopping, and what can be done to a stopping worker: empty its TLS
// session cache in place, shut its sessions down, end it.
//
// Nothing here decides whether to act. Every function that changes something takes the identity of one worker and
// checks it again by itself; see docs/safety.md for the argument.
package haproxy
