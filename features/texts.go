package features

import "strings"

// texts has each text of the loaded files once: a thousand scenarios that end with the same step hold its text once.
type texts map[string]string

// share returns a text that is equal to the given one, and to which all equal ones refer. It is no part of a longer one: the
// parser's texts are parts of their lines, which would stay in memory with them.
func (t texts) share(text string) string {
	if shared, found := t[text]; found || text == "" {
		return shared
	}
	shared := strings.Clone(text)
	t[shared] = shared
	return shared
}
