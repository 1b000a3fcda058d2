package verdict

import "strings"

// tagsOf parses "tag=value" pairs separated by semicolons, as in DKIM, ARC and DMARC (RFC 6376 section 3.2). White
// space around a value is not part of it. If a tag occurs twice, the first one is kept.
func tagsOf(list string) map[string]string {
	tags := map[string]string{}
	for pair := range strings.SplitSeq(list, ";") {
		tag, value, found := strings.Cut(pair, "=")
		tag = strings.TrimSpace(tag)
		if _, twice := tags[tag]; found && !twice {
			tags[tag] = strings.TrimSpace(value)
		}
	}
	return tags
}
