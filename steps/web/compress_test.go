package web_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
)

// gzipped, zlibbed and deflated return a text in the encodings gzip and deflate of RFC 9110 section 8.4.1, the last one
// without the frame of zlib that the RFC requires.
func gzipped(text string) string {
	return written(text, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
}

func zlibbed(text string) string {
	return written(text, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })
}

func deflated(text string) string {
	return written(text, func(w io.Writer) io.WriteCloser {
		z, _ := flate.NewWriter(w, flate.BestCompression) // an error for an unknown level only
		return z
	})
}

func written(text string, through func(io.Writer) io.WriteCloser) string {
	var b bytes.Buffer
	w := through(&b)
	_, _ = io.WriteString(w, text) // a Buffer never fails
	_ = w.Close()
	return b.String()
}
