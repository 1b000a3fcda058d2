package maillog

import "strings"

// opendkim reads what OpenDKIM logs about a message: "4jWm25qFkz1VF5h: DKIM-Signature field added (s=mail,
// d=example.org)".
func (e *Event) opendkim(message string) {
	id, text, ok := strings.Cut(message, ": ")
	if !ok || !isPostfixID(id) && !isEximID(id) {
		return
	}
	e.QueueID = id
	switch {
	case strings.HasPrefix(text, "DKIM-Signature field added"), strings.HasPrefix(text, "DKIM-Signature header added"):
		e.Kind = KindSigned
	case strings.HasPrefix(text, "DKIM verification successful"):
		e.Kind = KindVerified
	case strings.HasPrefix(text, "bad signature data"), strings.HasPrefix(text, "key retrieval failed"):
		e.Kind = KindBadSignature
	}
}
