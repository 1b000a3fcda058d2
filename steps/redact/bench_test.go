package redact

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// twenty are secrets as they are in use.
func twenty() []string {
	var secrets []string
	for i := range 20 {
		secrets = append(secrets, []string{"hunter2!%02d", "Corr3ct-horse_%02d", "x9$Kd&2+vQ%02dLm", "eyJhbGciOiJIUzI1NiJ9.%02d.c2lnbmF0dXJl", "pässwört%02d"}[i%5])
		secrets[i] = fmt.Sprintf(secrets[i], i)
	}
	return secrets
}

// pages of ten million bytes.
func pages() map[string][]byte {
	fill := func(text string) []byte { return []byte(strings.Repeat(text, 10_000_000/len(text)+1)[:10_000_000]) }
	article := `<li class="item odd"><a href="/news/2024/03/an-article?id=17&amp;ref=home#top" title="Read more">Some text with a &quot;quote&quot; &amp; caf&eacute;</a> by
		<span data-x='{"id": 17, "name": "x\u0041"}'>Étienne</span> <img src="/img/a1b2c3d4e5f6.png" alt=""><!-- end --> and more ordinary words, 50% off.</li>` + "\n"
	return map[string][]byte{
		"page":    fill(article),
		"text":    fill("The quick brown fox jumps over the lazy dog, and the dog does not mind it at all. "),
		"script":  fill(`function a(b,c){return b.d(c)?{e:c.f+1,"g\n":'\x41',h:!0}:void 0}var i="https://example.org/a/b?c=d&e=f";`),
		"base64":  fill("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"),
		"percent": fill("%D0%BF%D1%80%D0%B8%D0%B2%D0%B5%D1%82+"),
		"refs":    fill("&amp;&#1087;&lt;&eacute;"),
		"tags":    fill("h<b>u</b>n<i>"),
		"slashes": fill(`\`),
	}
}

func BenchmarkTenMegabytes(b *testing.B) {
	r := New(twenty())
	for name, page := range pages() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(page)))
			before := processorTime(b)
			for b.Loop() {
				r.Bytes(page)
			}
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// processorTime returns the CPU time of the process, which other processes do not change.
func processorTime(b testing.TB) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func BenchmarkLine(b *testing.B) {
	r := New(twenty())
	before := processorTime(b)
	defer func() {
		b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	}()
	for b.Loop() {
		r.String("250 2.0.0 Ok: queued as 4Xp1Zk0Q2Rz9vBn (waited 12 ms)")
	}
}

func BenchmarkBuild(b *testing.B) {
	secrets := twenty()
	for b.Loop() {
		build(secrets)
	}
}

// BenchmarkRun is the redaction of a run: it reads a secret that earlier runs have read too, and reports a few lines.
func BenchmarkRun(b *testing.B) {
	secrets := twenty()[:2]
	before := processorTime(b)
	defer func() {
		b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	}()
	for b.Loop() {
		r := New(secrets)
		for _, line := range []string{"", "", "", "200 OK", "alice@example.org is the 3rd of 7 in the INBOX", "250 2.0.0 Ok: queued as 4Xp1Zk0Q2Rz9vBn"} {
			r.String(line)
		}
	}
}
