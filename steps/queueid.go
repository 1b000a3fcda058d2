package steps

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
)

// queueDigits are the digits of Postfix' long queue ids: no vowels, so that no id spells a word.
const queueDigits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"

// queueIDTime reads the moment at which the message was taken out of the server's name for it, on that server's clock:
// six or more digits of seconds, four of microseconds, "z", and the file's number (Postfix with enable_long_queue_ids).
// It is false for every other name. A foreign name can look like one, so whoever uses the time compares it with another.
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
	if len(digits) > 10 { // would not fit
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

// sessionIDTime reads the moment at which an LMTP session began out of Dovecot's name for it: 16 bytes in base64, of
// which the first eight are nanoseconds and seconds, least significant byte first. The same caution holds.
func sessionIDTime(id string) (time.Time, bool) {
	id, _, _ = strings.Cut(id, ":") // a second transaction of the session has a number behind it
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
