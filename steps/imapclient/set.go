package imapclient

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// UID is the unique number of a message in its folder (RFC 9051 section 2.3.1.1). It is never 0.
type UID uint32

// UIDSet is a set of messages in the form of a command: "1:5,7", "12:*".
type UIDSet string

// From returns the messages from a UID on. It always includes the last message of the folder, whatever its UID (RFC 9051
// section 9, seq-range).
func From(first UID) UIDSet { return UIDSet(strconv.FormatUint(uint64(first), 10) + ":*") }

// setAtOnce is the length up to which a set is put into one command: servers need not read lines above 8192 bytes (RFC 7162
// section 4).
const setAtOnce = 7 << 10

// Set returns the set of a few messages. For many there is SetsOf.
func Set(uids ...UID) UIDSet { return UIDSet(strings.Join(stringsOf(SetsOf(uids)), ",")) }

func stringsOf(sets []UIDSet) []string {
	texts := make([]string, len(sets))
	for i, set := range sets {
		texts[i] = string(set)
	}
	return texts
}

// SetsOf returns these messages in sets that are short enough for one command each.
func SetsOf(uids []UID) (sets []UIDSet) {
	sorted := slices.Compact(slices.Sorted(slices.Values(uids)))
	var b []byte
	for i := 0; i < len(sorted); {
		last := i
		for last+1 < len(sorted) && sorted[last+1] == sorted[last]+1 {
			last++
		}
		if len(b) > setAtOnce {
			sets, b = append(sets, UIDSet(b)), b[:0]
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(sorted[i]), 10)
		if last > i {
			b = strconv.AppendUint(append(b, ':'), uint64(sorted[last]), 10)
		}
		i = last + 1
	}
	if len(b) > 0 {
		sets = append(sets, UIDSet(b))
	}
	return sets
}

// parseSet appends the numbers of a set in an answer (RFC 9051 section 9, sequence-set) to uids. ok is false when it is not one.
func parseSet(uids []UID, text []byte) (_ []UID, ok bool, err error) {
	for part := range bytes.SplitSeq(text, []byte(",")) {
		low, high, ranged := bytes.Cut(part, []byte(":"))
		first, err := strconv.ParseUint(string(low), 10, 32)
		if err != nil || first == 0 {
			return uids, false, nil
		}
		last := first
		if ranged {
			if last, err = strconv.ParseUint(string(high), 10, 32); err != nil || last == 0 {
				return uids, false, nil
			}
		}
		first, last = min(first, last), max(first, last)
		if err := SetLimit.Check(int64(len(uids)) + int64(last-first+1)); err != nil { //nolint:gosec // both parsed as 32 bits
			return uids, true, err
		}
		for n := first; n <= last; n++ {
			uids = append(uids, UID(n)) //nolint:gosec // parsed as 32 bits
		}
	}
	return uids, true, nil
}
