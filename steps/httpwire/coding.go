package httpwire

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// readable are the content codings (RFC 9110 section 8.4.1) that are decompressed. Only gzip is requested.
var readable = []string{"gzip", "x-gzip", "deflate"}

// unreadable are codings that browsers decompress and that were not requested.
var unreadable = []string{"br", "zstd", "dcb", "dcz"}

// codingsOf returns the content codings of a response in the order in which they were applied. As browsers read the
// field, one value that is not a coding, such as UTF-8 or none, means that the body is not compressed at all; odd
// reports that.
func codingsOf(header http.Header) (codings []string, odd bool) {
	plain := false
	field := strings.ToLower(strings.Trim(strings.Join(header.Values("Content-Encoding"), ","), " \t"))
	for value := range strings.SplitSeq(field, ",") {
		value = strings.Trim(value, " \t")
		switch {
		case field == "":
		case slices.Contains(readable, value), slices.Contains(unreadable, value):
			codings = append(codings, value)
		default:
			plain, odd = true, odd || value != "identity"
		}
	}
	if plain {
		return nil, odd || len(codings) > 0
	}
	return codings, false
}

// Compressed reports whether a response with this header has a compressed body.
func Compressed(header http.Header) bool {
	codings, _ := codingsOf(header)
	return len(codings) > 0
}

// OddCoding returns a remark about a Content-Encoding that browsers ignore, or "".
func OddCoding(header http.Header) string {
	if _, odd := codingsOf(header); !odd {
		return ""
	}
	return fmt.Sprintf("the Content-Encoding %.80q is not a list of known codings (RFC 9110 section 8.4), so the body was read as it is, as browsers do",
		strings.Join(header.Values("Content-Encoding"), ", "))
}

// codings returns the codings to undo, the last one first applied. It notes a field that does not name one.
func (r *Reply) codings() ([]string, error) {
	field := strings.Join(r.Header.Values("Content-Encoding"), ", ")
	codings, _ := codingsOf(r.Header)
	switch {
	case strings.ContainsAny(field, `"=;*`):
		return nil, fmt.Errorf("%w: its Content-Encoding %.80q is not a list of codings (RFC 9110 section 8.4)", ErrEncoding, field)
	case len(codings) > mostCodings:
		return nil, fmt.Errorf("%w: it is compressed more than %d times (Content-Encoding %.80q)", ErrEncoding, mostCodings, field)
	}
	if odd := OddCoding(r.Header); odd != "" {
		r.Odd = append(r.Odd, odd)
	}
	for _, coding := range codings {
		if slices.Contains(unreadable, coding) {
			return nil, fmt.Errorf("%w: its Content-Encoding is %q, but gzip was requested", ErrEncoding, coding)
		}
	}
	return codings, nil
}

// mostCodings is how often a body may be compressed.
const mostCodings = 4

// unpack returns a reader of the body without a coding.
func unpack(coding string, packed *bufio.Reader) (io.Reader, error) {
	if coding != "deflate" {
		unzip, err := gzip.NewReader(packed)
		if err != nil {
			return nil, err
		}
		unzip.Multistream(false) // browsers read one member only
		return unzip, nil
	}
	// deflate is the zlib format (RFC 9110 section 8.4.1.2); browsers accept it without that frame too.
	if begin, _ := packed.Peek(2); len(begin) == 2 && begin[0]&0x0f == 8 && (int(begin[0])<<8|int(begin[1]))%31 == 0 {
		return zlib.NewReader(packed)
	}
	return flate.NewReader(packed), nil
}

// trailing reads what follows the end of the compressed data, which browsers ignore.
func (r *Reply) trailing(frame *bufio.Reader, wire *countingReader) {
	if frame == nil || r.Broken != nil {
		return
	}
	const most = 1 << 20
	n, err := io.Copy(io.Discard, io.LimitReader(frame, most))
	r.OnWire = wire.n
	switch {
	case err != nil || n == most:
		r.Broken = fmt.Errorf("%w: more data follows the end of the compressed data", ErrEncoding)
	case n > 0:
		r.Odd = append(r.Odd, fmt.Sprintf("%d bytes follow the end of the compressed data, which browsers ignore", n))
	}
}

// encodingError distinguishes invalid compressed data, which the application sent, from an error of the network.
func (r *Reply) encodingError(err error, wire *countingReader) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && wire.done && (r.ContentLength > 0 || len(r.TransferEncoding) > 0):
		return fmt.Errorf("%w: the compressed data ends too early, though all %d bytes of the body came", ErrEncoding, wire.n)
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, zlib.ErrHeader):
		return fmt.Errorf("%w: its Content-Encoding is not how the data is compressed, so browsers show nothing", ErrEncoding)
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, zlib.ErrChecksum):
		return fmt.Errorf("%w: the compressed data is damaged: its checksum is another (RFC 1952 section 2.3.1)", ErrEncoding)
	case errors.As(err, &corrupt):
		return fmt.Errorf("%w: the compressed data is damaged at byte %d (RFC 1951)", ErrEncoding, int64(corrupt))
	}
	return err
}
