package imapclient

import (
	"time"

	"github.com/stepwatch/stepwatch/steps/limit"
)

// Limits of what a server may send. An exceeded one ends the command with a limit.Error.
var (
	LineLimit      = limit.Define(limit.Limit{Subject: "IMAP", What: "a line of the answer", Unit: "bytes", Most: 1 << 20}) // SEARCH lists one number per message in one line
	LiteralLimit   = limit.Define(limit.Limit{Subject: "IMAP", What: "a literal of the answer", Unit: "bytes", Most: 8 << 20, Setting: "limits.message"})
	AnswerLimit    = limit.Define(limit.Limit{Subject: "IMAP", What: "the answer to one command", Unit: "bytes", Most: 9 << 20, Setting: "limits.message"})
	ResponseLimit  = limit.Define(limit.Limit{Subject: "IMAP", What: "the answer to one command", Unit: "responses", Most: 200_000})
	ItemLimit      = limit.Define(limit.Limit{Subject: "IMAP", What: "a response", Unit: "literals", Most: 50_000})
	FolderLimit    = limit.Define(limit.Limit{Subject: "IMAP", What: "the list of folders", Unit: "folders", Most: 50_000})
	SetLimit       = limit.Define(limit.Limit{Subject: "IMAP", What: "a set of messages in the answer", Unit: "numbers", Most: 1 << 20})
	SearchLimit    = limit.Define(limit.Limit{Subject: "IMAP", What: "the result of a search", Unit: "numbers", Most: 1 << 20})
	ChallengeLimit = limit.Define(limit.Limit{Subject: "IMAP", What: "the login", Unit: "challenges", Most: 10})
)

// Limits of what is read no further, without an error of its own.
const (
	DepthLimit = 64     // nesting of lists in a response
	StrayLimit = 100    // lines that are not responses, in the answer to one command
	listLimit  = 50_000 // items of one list that are kept: capabilities, flags of a message
)

// commandTime limits a command whose context has no deadline.
const commandTime = time.Minute

// keptBuffer is the size up to which the buffer of a response is kept for the next one.
const keptBuffer = 64 << 10

// SetMessageLimit sets the largest message that is read, in bytes. Zero means LiteralLimit.
func (c *Client) SetMessageLimit(most int64) {
	c.reader.literals = LiteralLimit.With(most)
	c.reader.answers = AnswerLimit.With(max(AnswerLimit.Most, c.reader.literals.Most+LineLimit.Most))
}

// SetMemory sets the account in which the client counts what it holds: the answer to the last command, until the next one
// begins or the client ends. Nil counts nothing.
func (c *Client) SetMemory(m *limit.Memory) { c.reader.memory = m }

// Sizes of what is made of an answer, in bytes, besides the texts in it: measured on 64 bits, with the garbage of growing.
const (
	messageSize = 300 // a Message with its entries in the maps of Fetch
	stringSize  = 32  // a short string in a list
	folderSize  = 150
	numberSize  = 8 // a UID in a list that grows
)

// Close ends the account of the client. The connection is the caller's.
func (c *Client) Close() { c.reader.begin() }
