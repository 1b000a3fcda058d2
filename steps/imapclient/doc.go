// Package imapclient is a client for a mailbox (IMAP4rev2, RFC 9051; IMAP4rev1, RFC 3501), as small as the use that stepwatch makes
// of IMAP: log in, find out which folders there are and what is new in one, search, read header fields and messages, set flags,
// remove messages.
//
// It is our own client because a monitor needs what libraries lack:
//
//   - Harmless oddities do not end a mailbox. A response is first read as a whole, by lines and literals, and only then parsed.
//     Whatever the client does not need is skipped: unknown responses, unknown items of FETCH, flags in any form. What it needs
//     and cannot read is a ProtocolError that quotes the line and names the rule.
//   - Everything from a server is bounded before it is read, see the limits. An exceeded limit is a limit.Error.
//   - Every call ends with its context.
//   - The server's own words are kept: response codes, and the texts of BYE and of alerts.
//
// A Client belongs to one goroutine. It has no goroutine of its own and reads only while a command is in progress, so it learns
// of new messages by Noop. After an error other than a Refusal the connection is unusable: see Usable.
//
// It does not know IDLE, CONDSTORE, THREAD, BODYSTRUCTURE or APPEND.
package imapclient
