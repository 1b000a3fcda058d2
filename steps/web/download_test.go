package web_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/browser"
	"github.com/stepwatch/stepwatch/steps/httpwire"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// fileSite serves files, complete and broken ones.
func fileSite(t *testing.T, file []byte) *site {
	t.Helper()
	s := newSite(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<title>Files</title><a href="/file">Price list</a> <a href="/named">Named</a> <a href="/plain" download="own.bin">Own name</a>
<a href="/short">Short</a> <a href="/broken">Broken</a> <a href="/missing">Missing</a> <a href="/login">Lost</a> <a href="/large">Large</a> <a href="/text">Text</a> <a href="/endless">Endless</a>
<a href="/named" target="_blank">Window</a> <a href="/missing" download>Gone</a> <a href="/short" download>Cut</a> <a href="mailto:a@b.test">Mail</a>
<form action="/export" method="post"><input name="year" value="2026"><button>Export</button></form><a href="/soon">Soon</a>
<button type="button" onclick="save()">Script</button><button type="button">Idle</button>
<script>function save() { let a = document.createElement("a"); a.href = URL.createObjectURL(new Blob(["a,b\n1,2\n"], {type: "text/csv"})); a.download = "table.csv"; a.click() }</script>`)
	})
	give := func(path, kind, disposition string, do func(http.ResponseWriter)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			if disposition != "" {
				w.Header().Set("Content-Disposition", disposition)
			}
			do(w)
		})
	}
	write := func(b []byte) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { _, _ = w.Write(b) }
	}
	give("/file", "application/octet-stream", "", write(file))
	give("/plain", "application/octet-stream", "", write(file))
	give("/text", "text/plain", "", write([]byte("just text")))
	give("/page.html", "text/html", "", write([]byte("<title>Page</title>")))
	give("/named", "application/pdf; x=y", `attachment; filename="list.pdf"; filename*=UTF-8''Preise%20%E2%82%AC.pdf`, write(file))
	give("/empty", "application/pdf", "attachment", write(nil))
	give("/login", "text/html; charset=utf-8", "", write([]byte("<!doctype html><title>Log in</title>")))
	give("/disguised.pdf", "application/pdf", "attachment", write([]byte("\n<!DOCTYPE html><html><title>Out of order</title>")))
	give("/soon", "text/html", "", write([]byte(`<title>Thanks</title><script>location = "/named"</script>`)))
	give("/short", "application/pdf", "attachment", func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(file[:9])
		_ = http.NewResponseController(w).Flush()
	})
	give("/broken", "application/pdf", "attachment", func(w http.ResponseWriter) {
		_, _ = w.Write(file[:9])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/pdf")
		w.Header().Set("Content-Disposition", "attachment")
		_, _ = w.Write(file)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	give("/large", "application/pdf", "attachment", func(w http.ResponseWriter) {
		for range 100 {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/export", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/csv")
		w.Header().Set("Content-Disposition", "attachment; filename=export.csv")
		_, _ = fmt.Fprintf(w, "%s %s", r.Method, r.FormValue("year"))
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) })
	mux.HandleFunc("/elsewhere", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://store.other.test/file", http.StatusFound)
	})
	mux.HandleFunc("/bake", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "id", Value: "4711", Path: "/"})
		w.Header().Set("Content-Type", "text/html")
	})
	mux.HandleFunc("/private", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("id"); err != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = w.Write(file)
	})
	mux.HandleFunc("/digest", func(w http.ResponseWriter, r *http.Request) { serveDigest(w, r) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for _, name := range []string{"files.example.test:80", "store.other.test:80"} {
		s.target.ConnectTo[name] = server.Listener.Addr().String()
	}
	setWeb(s.target, func(web *httpwire.Web) { web.DownloadLimit = 1 << 20 })
	return s
}

func TestDownload(t *testing.T) {
	file := bytes.Repeat([]byte("0123456789abcdef"), 20<<10/16)
	s := fileSite(t, file)
	s.patience = 400 * time.Millisecond // how long a download may take to begin
	const there = "I go to http://files.example.test/\n"
	get := func(path string) string { return "I download http://files.example.test" + path + "\n" }
	behind := func(name string) string { return there + "I download the file behind \"" + name + "\"\n" }
	sum := fmt.Sprintf("%x", sha256.Sum256(file))
	cases := []sentenceCase{
		{"path", there + "I download \"/file\"\nthe download should be named \"file\"\nI should see \"Price list\"", ""},
		{"cut short", get("/short"), "disconnected web: GET http://files.example.test/short: read the file (9 of 100000 bytes): the server closed the connection"},
		{"broken chunks", get("/broken"), "disconnected web: GET http://files.example.test/broken: read the file (9 bytes): the server closed the connection"},
		{"over the limit", get("/large"), "too_large web: GET http://files.example.test/large: the file has more than 1048576 bytes, the limit; web.download_limit in stepwatch.yml raises it"},
		{"empty", get("/empty"), "unexpected web: GET http://files.example.test/empty: the file is empty"},
		{"a page instead", get("/moved"), `unexpected web: GET http://files.example.test/login (after it was redirected from http://files.example.test/moved with 302 to http://files.example.test/login): got a page instead of the file: HTML, titled "Log in"`},
		{"a page that is called a file", get("/disguised.pdf"), `unexpected web: GET http://files.example.test/disguised.pdf: got a page instead of the file: HTML that is called application/pdf, titled "Out of order"`},
		{"a page that is wanted", get("/page.html"), ""},
		{"from another site", get("/elsewhere") + `the download should have the SHA-256 "` + sum + `"`, ""},
		{"without one", get("/private"), "http_status web: GET http://files.example.test/private: status 403 Forbidden, wanted 200 with a file"},
		{"with a login", "I am HTTP digest authenticated with the following credentials:\n| username | password |\n| alice | open sesame |\n" + get("/digest"), ""},
		{"behind a link that names it, cut short", behind("Cut"), "disconnected web: GET http://files.example.test/short: read the file (9 of 100000 bytes): the server closed the connection"},
		{"behind a mail address", behind("Mail"), `scenario scenario: download the file behind "Mail" on http://files.example.test/ (200 OK): the link is a mailto: address, which leads to no page`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, s.run(t, c.text), c.want) })
	}
	t.Run("too slow", func(t *testing.T) {
		err := s.run(t, get("/file")+"the download should take at most 0 s").Err()
		if err == nil || !regexp.MustCompile(`^expect the download of http://files\.example\.test/file to take at most 0 s, got `).MatchString(err.Error()) {
			t.Errorf("got %v", err)
		}
	})
	s.runBoth(t, []sentenceCase{
		{"download", get("/file") + `the download should have the SHA-256 "` + sum + `"`, ""},
		{"judge it", get("/named") + `the download should be between 20 KB and 20 KB
			the download should be at least 1 KB
			the download should be at most 1 MB
			the download should have the SHA-256 "` + sum + `"
			the download should be of type "application/PDF"
			the download should be named "Preise €.pdf"
			the download should take at most 5s`, ""},
		{"too small", get("/file") + "the download should be at least 21 KB", "unexpected web: expect the download of http://files.example.test/file to be at least 21 KB, got 20480 bytes"},
		{"too large", get("/file") + "the download should be at most 19 KB", "unexpected web: expect the download of http://files.example.test/file to be at most 19 KB, got 20480 bytes"},
		{"not between", get("/file") + "the download should be between 1 KB and 2 KB", "unexpected web: expect the download of http://files.example.test/file to be at least 1 KB and at most 2 KB, got 20480 bytes"},
		{"other sum", get("/file") + `the download should have the SHA-256 "` + fmt.Sprintf("%064x", 1) + `"`,
			"unexpected web: expect the download of http://files.example.test/file to have the SHA-256 " + fmt.Sprintf("%064x", 1) + ", got " + sum + " (20480 bytes)"},
		{"no sum", get("/file") + `the download should have the SHA-256 "abc"`, `scenario scenario: "abc" is not a SHA-256: write it as 64 hexadecimal digits, as printed by sha256sum`},
		{"other type", get("/named") + `the download should be of type "text/csv"`, `unexpected web: expect the download of http://files.example.test/named to be of type "text/csv", got application/pdf`},
		{"no type", get("/named") + `the download should be of type "pdf"`, `scenario scenario: "pdf" is not a media type: write it as "application/pdf"`},
		{"other name", get("/named") + `the download should be named "x.pdf"`, `unexpected web: expect the download of http://files.example.test/named to be named "x.pdf", got "Preise €.pdf"`},
		{"no name", get("/file") + `the download should be named "x.pdf"`, `unexpected web: expect the download of http://files.example.test/file to be named "x.pdf": no Content-Disposition names it, so it is saved as "file"`},
		{"too early", `the download should be at least 1 KB`, "scenario scenario: there is no download yet: write `I download \"https://www.example.org/file.pdf\"` before this step"},
		{"missing", get("/missing"), "http_status web: GET http://files.example.test/missing: status 404 Not Found, wanted 200 with a file"},
		{"with the visitor's cookie", "I go to http://files.example.test/bake\n" + get("/private"), ""},

		{"behind a link, named", behind("Named") + `the download should have the SHA-256 "` + sum + "\"\nthe download should be named \"Preise €.pdf\"\nthe download should be of type \"application/pdf\"\nI should be on http://files.example.test/\nI follow \"Lost\"\nI should be on /login", ""},
		{"behind a link that names it", behind("Own name") + "the download should be named \"own.bin\"\nthe download should be between 20 KB and 20 KB", ""},
		{"behind a link in a window", behind("Window") + "the download should be between 20 KB and 20 KB", ""},
		{"behind a link that a browser shows", behind("Text") + "the download should be of type \"text/plain\"\nthe download should be at most 9 B", ""},
		{"behind a form", behind("Export") + "the download should be named \"export.csv\"\nthe download should be between 9 B and 9 B", ""},
		{"behind a link, twice", behind("Named") + behind("Price list") + `the download should be named "file"`, ""},
		{"behind a link, cut short", behind("Short"), "disconnected web: GET http://files.example.test/short: read the file (9 of 100000 bytes): the server closed the connection"},
		{"behind a link, broken chunks", behind("Broken"), "disconnected web: GET http://files.example.test/broken: read the file (9 bytes): the server closed the connection"},
		{"behind a link, missing", behind("Missing"), "http_status web: GET http://files.example.test/missing: status 404 Not Found, wanted 200 with a file"},
		{"behind a link that names it, missing", behind("Gone"), "http_status web: GET http://files.example.test/missing: status 404 Not Found, wanted 200 with a file"},
		{"behind a link, a page", behind("Lost"), `unexpected web: GET http://files.example.test/login: got a page instead of the file: HTML, titled "Log in"`},
		{"behind a link, over the limit", behind("Large"), "too_large web: GET http://files.example.test/large: the file has more than 1048576 bytes, the limit; web.download_limit in stepwatch.yml raises it"},
		{"behind a page in between", behind("Soon"), `unexpected web: GET http://files.example.test/soon: got a page instead of the file: HTML, titled "Thanks"`},
		{"behind a script", behind("Script") + "the download should be named \"table.csv\"\nthe download should be between 8 B and 8 B", `scenario scenario: download the file behind "Script" on http://files.example.test/ (200 OK): a button of type=button does not submit a form; that needs a browser: tag the scenario @browser`},
		{"behind nothing", behind("Idle"), `scenario scenario: download the file behind "Idle" on http://files.example.test/ (200 OK): a button of type=button does not submit a form; that needs a browser: tag the scenario @browser`},
		{"behind no link", behind("Other"), `not_found web: download the file behind "Other" on http://files.example.test/ (200 OK): there is no such link or button; the page has "Price list", "Named", "Own name", "Short", "Broken", "Missing", "Lost", "Large", "Text", "Endless", 8 more`},
	}, map[string]string{
		"behind a page in between": "",
		"behind a script":          "",
		"behind nothing":           `timeout web: download the file behind "Idle" on http://files.example.test/ (200 OK): no download began within 400ms`,
	})
}

// TestDownloadLate waits for a file that does not end.
func TestDownloadLate(t *testing.T) {
	s := fileSite(t, []byte("0123456789"))
	cases := []sentenceCase{
		{"behind a link", "I go to http://files.example.test/\nI download the file behind \"Endless\"", "timeout web: GET http://files.example.test/endless: the file was not complete before the deadline, got 10 bytes"},
		{"at an address", "I download http://files.example.test/endless", "timeout web: GET http://files.example.test/endless: the file was not complete before the deadline, got 10 bytes"},
	}
	s.limit = 300 * time.Millisecond
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { fixture.Expect(t, s.run(t, c.text), c.want) })
	}
	s.limit = 3 * time.Second // includes the start of the browser
	s.runInBrowser(t, cases, nil, browser.Options{})
}

// TestDownloadKeepsNothing checks that a large file does not fill the memory.
func TestDownloadKeepsNothing(t *testing.T) {
	const size = 64 << 20
	chunk := make([]byte, 1<<20)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		for range size / len(chunk) {
			_, _ = w.Write(chunk)
		}
	}))
	t.Cleanup(server.Close)
	s := &site{target: &steps.Target{}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	o := s.run(t, "I download "+server.URL+"/disk.img\nthe download should be between 64 MB and 64 MB")
	runtime.ReadMemStats(&after)
	fixture.Expect(t, o, "")
	if took := after.TotalAlloc - before.TotalAlloc; took > size/8 {
		t.Errorf("%d bytes were allocated for a file of %d", took, size)
	}
}
