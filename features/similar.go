package features

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Similar returns the candidates that somebody who wrote name may have meant, the most similar first, each once and at most n:
// those that differ in few letters, and those that contain name or are part of it, ignoring case.
func Similar(name string, candidates []string, n int) []string {
	type like struct {
		text  string
		slips int
	}
	var found []like
	lower := strings.ToLower(strings.TrimSpace(name))
	for _, c := range slices.Compact(slices.Sorted(slices.Values(candidates))) {
		slips, other := distance(lower, c), strings.ToLower(c)
		size := max(utf8.RuneCountInString(lower), utf8.RuneCountInString(c))
		within := lower != "" && other != "" && (strings.Contains(other, lower) || strings.Contains(lower, other))
		if within || slips <= size/3 {
			found = append(found, like{c, slips})
		}
	}
	slices.SortStableFunc(found, func(a, b like) int { return cmp.Compare(a.slips, b.slips) })
	var texts []string
	for _, f := range found[:min(n, len(found))] {
		texts = append(texts, f.text)
	}
	return texts
}
