package httpwire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
)

// chunks reads a body in chunks (RFC 9112 section 7.1) as browsers do: a line may end in a line feed alone, which
// net/http refuses. Extensions and trailers are ignored.
type chunks struct {
	r    *bufio.Reader
	left int64 // bytes of the chunk that were not read yet
	err  error
	ends bool // the end of a chunk's data comes next
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.err == nil && c.left == 0 {
		c.err = c.begin()
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	if c.left -= int64(n); c.left == 0 {
		c.ends = true
	}
	if err != nil {
		c.err = unexpected(err)
	}
	return n, c.err
}

// Close does nothing: the connection is closed or used again by its owner.
func (c *chunks) Close() error { return nil }

// begin reads up to the data of the next chunk, or up to the end of the body.
func (c *chunks) begin() error {
	if c.ends {
		line, err := c.line()
		switch {
		case err != nil:
			return err
		case len(line) > 0:
			return malformed("a chunk is longer than its size says (RFC 9112 section 7.1): %.40q", line)
		}
		c.ends = false
	}
	line, err := c.line()
	if err != nil {
		return err
	}
	size, _, _ := bytes.Cut(line, []byte(";"))
	if size = bytes.Trim(size, " \t"); len(size) == 0 || size[0] == '+' || size[0] == '-' {
		return malformed("the size of a chunk is %.40q (RFC 9112 section 7.1)", line)
	}
	if c.left, err = strconv.ParseInt(string(size), 16, 64); err != nil {
		return malformed("the size of a chunk is %.40q (RFC 9112 section 7.1)", line)
	}
	if c.left > 0 {
		return nil
	}
	for range trailerLimit.Most {
		if line, err = c.line(); err != nil {
			return err
		}
		if len(line) == 0 {
			return io.EOF
		}
	}
	return trailerLimit.Exceeded()
}

// line reads a line without its end.
func (c *chunks) line() ([]byte, error) {
	var line []byte
	for {
		part, err := c.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case int64(len(line)) > chunkLimit.Most:
			return nil, chunkLimit.Exceeded()
		case err == nil:
			return bytes.TrimRight(line, "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, unexpected(err)
		}
	}
}

// unexpected returns the error for a body that ends too early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
