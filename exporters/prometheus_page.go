package exporters

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
)

// compressed lets a page be compressed. promhttp can do that too, but only at the level that takes two fifths of a
// scrape's time; this one takes a fifth, for a thirtieth of the bytes instead of a fortieth.
func compressed(page http.Handler) http.Handler {
	writers := sync.Pool{New: func() any {
		w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		if err != nil {
			panic(err) // the level is a constant
		}
		return w
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept-Encoding")
		if !acceptsGzip(r.Header.Values("Accept-Encoding")) {
			page.ServeHTTP(w, r)
			return
		}
		z := writers.Get().(*gzip.Writer)
		defer writers.Put(z)
		z.Reset(w)
		w.Header().Set("Content-Encoding", "gzip")
		body := gzipWriter{w, z}
		page.ServeHTTP(body, r)
		if body.compressing() {
			_ = z.Close() // a scraper that has gone away is nobody to tell
		}
	})
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3) for gzip by its name.
func acceptsGzip(headers []string) bool {
	for _, coding := range strings.Split(strings.Join(headers, ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q, found := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
		return !found || strings.Trim(q, "0.") != ""
	}
	return false
}

// gzipWriter sends the body through the compressor, unless it is an error: http.Error takes the encoding back.
type gzipWriter struct {
	http.ResponseWriter
	body io.Writer
}

func (w gzipWriter) compressing() bool { return w.Header().Get("Content-Encoding") == "gzip" }

// Write takes a part of the body.
func (w gzipWriter) Write(b []byte) (int, error) {
	if !w.compressing() {
		return w.ResponseWriter.Write(b)
	}
	return w.body.Write(b)
}

// errorLog lets promhttp report through slog.
type errorLog struct{ log *slog.Logger }

// Println is promhttp's interface for a logger.
func (l errorLog) Println(v ...any) {
	err := fmt.Sprintln(v...)
	l.log.Error("serve metrics", "err", errors.New(strings.TrimSpace(err)))
}
