package imapclient

import (
	"fmt"
	"time"
)

// Limits of what a server may send. An exceeded limit ends the command with a LimitError.
const (
	LineLimit      = 1 << 20 // bytes of a line without its literals; SEARCH lists one number per message in one line
	LiteralLimit   = 8 << 20 // bytes of a literal, such as a message
	AnswerLimit    = 8 << 20 // bytes of the answer to one command
	ResponseLimit  = 200_000 // responses to one command
	DepthLimit     = 64      // nesting of lists in a response
	ItemLimit      = 50_000  // items of one list: capabilities, flags of a message
	SetLimit       = 1 << 20 // numbers that a set of numbers stands for
	ChallengeLimit = 10      // challenges of one login
	StrayLimit     = 100     // lines that are not responses, in the answer to one command
)

// commandTime limits a command whose context has no deadline.
const commandTime = time.Minute

// keptBuffer is the size up to which the buffer of a response is kept for the next one.
const keptBuffer = 64 << 10

// LimitError is the error of an answer that exceeds a limit.
type LimitError struct {
	What  string // "a line of the answer"
	Unit  string // "bytes"
	Limit int64
	Value int64 // the announced size, or 0 if the answer was not read to its end
}

// Error returns what is too large, its size if that is known, and the limit.
func (e *LimitError) Error() string {
	if e.Value > 0 {
		return fmt.Sprintf("%s has %d %s, the limit is %d", e.What, e.Value, e.Unit, e.Limit)
	}
	return fmt.Sprintf("%s has more than %d %s, the limit", e.What, e.Limit, e.Unit)
}
