package imapclient

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// span is a part of a response.
type span struct{ from, to int }

// response is one response of the server: a line and, after each literal in it, the line that follows. The parts of the text
// that are literals are known before anything in it is parsed, so an oddity in one response never affects the next one.
type response struct {
	text     []byte // without the line's end; literals are part of it, with the line that announces them
	literals []span // of their contents in text
}

// reader reads responses within the limits.
type reader struct {
	in       *bufio.Reader
	response response
	size     int64 // bytes of the answer to the current command
	count    int64 // responses to it

	literals, answers limit.Limit
	memory            *limit.Memory
	held              int64 // bytes counted there for the answer
}

// begin starts the count for the answer to a command. The answer before it is no longer held.
func (r *reader) begin() {
	r.memory.Free(r.held)
	r.size, r.count, r.held = 0, 0, 0
}

// keep counts bytes that are held until the next command.
func (r *reader) keep(n int64) error {
	r.held += n
	return r.memory.Take(n)
}

// next reads a response, which is valid until the next call. Lines may end in LF alone.
func (r *reader) next() (*response, error) {
	if r.count++; r.count > ResponseLimit.Most {
		return nil, ResponseLimit.Exceeded()
	}
	if cap(r.response.text) > keptBuffer {
		r.response.text = nil
	}
	r.response.text, r.response.literals = r.response.text[:0], r.response.literals[:0]
	lines := int64(0) // bytes outside literals
	for {
		begin := len(r.response.text)
		if err := r.line(&lines); err != nil {
			return nil, err
		}
		size, announced := r.response.announced(begin)
		if !announced {
			return &r.response, nil
		}
		if int64(len(r.response.literals)) == ItemLimit.Most {
			return nil, ItemLimit.Exceeded()
		}
		if err := r.literals.Check(size); err != nil {
			return nil, err
		}
		if err := r.literal(int(size)); err != nil {
			return nil, err
		}
	}
}

// line appends a line without its end to the response.
func (r *reader) line(lines *int64) error {
	begin := len(r.response.text)
	for {
		part, err := r.in.ReadSlice('\n')
		if spend := r.spend(len(part)); spend != nil {
			return spend
		}
		if *lines += int64(len(part)); *lines > LineLimit.Most {
			return LineLimit.Exceeded()
		}
		r.response.text = append(r.response.text, part...)
		switch {
		case err == nil:
			line := bytes.TrimSuffix(r.response.text[begin:], []byte("\n")) // what precedes it may be a literal that ends like a line
			line = bytes.TrimSuffix(line, []byte("\r"))
			r.response.text = r.response.text[:begin+len(line)]
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(r.response.text) > 0:
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
}

func (r *reader) spend(n int) error {
	if r.size += int64(n); r.size > r.answers.Most {
		return r.answers.Exceeded()
	}
	return r.keep(int64(n))
}

// literal appends the contents of a literal. The buffer doubles with what comes, up to what is announced.
func (r *reader) literal(size int) error {
	if err := r.spend(size); err != nil {
		return err
	}
	begin := len(r.response.text)
	for left := size; left > 0; {
		at := len(r.response.text)
		part := min(left, max(32<<10, at))
		r.response.text = slices.Grow(r.response.text, part)[:at+part]
		if _, err := io.ReadFull(r.in, r.response.text[at:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		left -= part
	}
	r.response.literals = append(r.response.literals, span{begin, begin + size})
	return nil
}

// announced returns the size of the literal that the end of the last line announces: "{5}", "{5+}", "~{5}" (RFC 9051 section
// 4.3). A text for people may end like that, so status responses have none. Neither has a word that merely ends like that.
func (r *response) announced(begin int) (size int64, ok bool) {
	line := r.text[begin:]
	if len(line) == 0 || line[len(line)-1] != '}' {
		return 0, false
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return 0, false
	}
	before := bytes.TrimSuffix(line[:open], []byte("~"))
	if len(before) > 0 && !strings.ContainsRune(" ([", rune(before[len(before)-1])) || len(before) == 0 && begin == 0 {
		return 0, false
	}
	digits := bytes.TrimSuffix(line[open+1:len(line)-1], []byte("+"))
	digits = bytes.TrimSuffix(digits, []byte("-"))
	if len(digits) == 0 || len(bytes.Trim(digits, "0123456789")) > 0 {
		return 0, false
	}
	if begin == 0 && r.isText() {
		return 0, false
	}
	size, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil { // too many digits
		size = 1<<63 - 1
	}
	return size, true
}

// isText reports whether the response ends in a text for people: a status response or a continuation request.
func (r *response) isText() bool {
	first, rest := cutWord(r.text)
	return equal(first, "+") || isStatus(rest)
}

// line returns the response for messages and transcripts, without the contents of large literals.
func (r *response) line(contents int) string {
	if len(r.literals) == 0 {
		return string(r.text)
	}
	var b strings.Builder
	at := 0
	for _, literal := range r.literals {
		b.Write(r.text[at:literal.from])
		if literal.to-literal.from <= contents {
			b.WriteByte('\n')
			b.Write(r.text[literal.from:literal.to])
		}
		at = literal.to
	}
	b.Write(r.text[at:])
	return b.String()
}

// broken returns the error for a response that cannot be read.
func (r *response) broken(what, rule string) *ProtocolError {
	return &ProtocolError{What: what, Rule: rule, Line: wording.OneLine(r.line(0), quoteLimit)}
}
