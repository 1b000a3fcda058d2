package message

// StatusHint returns the meaning of a common enhanced status code (RFC 3463, RFC 7372), or an empty string.
func StatusHint(status string) string {
	meaning := map[string]string{
		"5.1.1":  "it has no such mailbox",
		"5.1.8":  "it does not accept the sender's domain",
		"5.2.1":  "the mailbox is disabled",
		"5.2.2":  "the mailbox is full",
		"5.3.4":  "the message is larger than it allows",
		"5.7.0":  "its policy forbids it, or requires AUTH first",
		"5.7.1":  "its policy forbids it: relaying, the sender, or a content filter",
		"5.7.26": "the sender's domain does not pass SPF, DKIM or DMARC there",
	}[status]
	if meaning == "" {
		return ""
	}
	return " (" + meaning + ")"
}
