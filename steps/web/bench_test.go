package web_test

import (
	"bytes"
	"context"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
)

// benchPage is a page of 2 KB with clean HTML, like most pages. The text to find is near its end.
var benchPage = []byte(`<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Bench</title><link rel="stylesheet" href="/style.css"></head>
<body><header><nav><ul>` + strings.Repeat(`<li><a href="/products">Products</a></li>`, 8) + `</ul></nav></header><main><h1>A page</h1>
` + strings.Repeat(`<p>Some words of a <em>paragraph</em> that says little, with <a href="/more" title="more">a link</a> in it.</p>
`, 11) + `<p>Contact us</p></main><footer>End</footer></body></html>
`)

// serveBenchPage responds with the page to every request. It is minimal, since its cost is included in both benchmarks.
func serveBenchPage(b *testing.B) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	answer := append([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: "+strconv.Itoa(len(benchPage))+"\r\n\r\n"), benchPage...)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var buffer [2048]byte
				n := 0
				for {
					k, err := conn.Read(buffer[n:])
					if err != nil {
						return
					}
					if n += k; bytes.HasSuffix(buffer[:n], []byte("\r\n\r\n")) {
						n = 0
						if _, err := conn.Write(answer); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String() + "/"
}

// BenchmarkBareGET is the lower bound for a run: a GET over a new connection, with a search in its body.
func BenchmarkBareGET(b *testing.B) {
	address := serveBenchPage(b)
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		transport := &http.Transport{}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			b.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			b.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || !bytes.Contains(body, []byte("Contact us")) {
			b.Fatal("the text is missing", err)
		}
		_ = response.Body.Close()
		transport.CloseIdleConnections()
		cancel()
	}
}

// BenchmarkWebRun runs two steps, without the cost of the runner.
func BenchmarkWebRun(b *testing.B) {
	library := builtin.Library()
	bound := make([]*steps.Bound, 2)
	for i, text := range []string{`I go to "` + serveBenchPage(b) + `"`, `I should see "Contact us"`} {
		var err error
		if bound[i], err = library.Bind(features.Step{Text: text}); err != nil {
			b.Fatal(err)
		}
	}
	target := &steps.Target{}
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		w := steps.NewWorld(target, nil, "run", "origin")
		for _, step := range bound {
			if err := step.Definition.Func(ctx, w, step.Args); err != nil {
				b.Fatal(err)
			}
			w.TakeReport()
		}
		if err := w.Close(ctx); err != nil {
			b.Fatal(err)
		}
		cancel()
	}
}

// reportCPU also reports the CPU time of the process, including the server and the garbage collector: wall time
// includes goroutines waiting for each other.
func reportCPU(b *testing.B) func() {
	var start, end syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &start); err != nil {
		b.Fatal(err)
	}
	return func() {
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &end); err != nil {
			b.Fatal(err)
		}
		used := end.Utime.Nano() + end.Stime.Nano() - start.Utime.Nano() - start.Stime.Nano()
		b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
	}
}
