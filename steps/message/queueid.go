package message

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
)

// queueDigits are the digits of Postfix's long queue ids: without vowels, so that no id spells a word.
const queueDigits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"

// queueIDTime returns the time when the server accepted the message, on that server's clock, from the queue id: six or
// more digits of seconds, four of microseconds, "z", and the file's number (Postfix with enable_long_queue_ids). It
// returns false for every other id. An id of another server can look like one, so the caller must compare the time with
// another.
func queueIDTime(id string) (time.Time, bool) {
	end := strings.LastIndexByte(id, 'z')
	if end < 10 || end > 12 || end == len(id)-1 {
		return time.Time{}, false
	}
	seconds, ok := base52(id[:end-4])
	micros, ok2 := base52(id[end-4 : end])
	if _, ok3 := base52(id[end+1:]); !ok || !ok2 || !ok3 || micros >= 1e6 {
		return time.Time{}, false
	}
	return time.Unix(seconds, micros*1000).UTC(), true
}

func base52(digits string) (n int64, ok bool) {
	if len(digits) > 10 { // more would not fit
		return 0, false
	}
	for _, c := range []byte(digits) {
		d := strings.IndexByte(queueDigits, c)
		if d < 0 {
			return 0, false
		}
		n = n*int64(len(queueDigits)) + int64(d)
	}
	return n, true
}

// sessionIDTime returns the time when an LMTP session began from Dovecot's id for it: 16 bytes in base64, of which the
// first eight are nanoseconds and seconds, least significant byte first. The caller must compare the time with another
// here too.
func sessionIDTime(id string) (time.Time, bool) {
	id, _, _ = strings.Cut(id, ":") // a second transaction of the session has a number after it
	raw, err := base64.RawStdEncoding.DecodeString(id)
	if err != nil || len(raw) != 16 {
		return time.Time{}, false
	}
	nanos, seconds := binary.LittleEndian.Uint32(raw), binary.LittleEndian.Uint32(raw[4:])
	if nanos >= 1e9 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), int64(nanos)).UTC(), true
}
