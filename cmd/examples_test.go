package cmd

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExampleOfOwnSentences runs docs/examples/own-sentences against pages as those projects have them, sound and broken.
func TestExampleOfOwnSentences(t *testing.T) {
	pages := map[string]string{
		"/":       `<nav class="site-navigation"><a href="/status">Status</a></nav><p>Welcome</p>`,
		"/status": `<h1>Systems</h1><section aria-label="Status"><p>OK</p></section><section aria-label="Archive"><p>DOWN</p></section>`,
		"/dfshealth.jsp": `<h1>NameNode</h1><a href="/browse.jsp">Browse the filesystem</a><h3>NameNode Storage:</h3>
			<table><tr><th>Storage Directory</th><th>Type</th><th>State</th></tr><tr><td>/data/1</td><td>IMAGE</td><td> Active </td></tr><tr><td>/data/2</td><td>EDITS</td><td>Active</td></tr></table>`,
		"/browse.jsp": `<form action="/list.jsp">Goto : <input name="dir" value="/"> <input type="submit" value="go"></form>`,
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.URL.Path == "/list.jsp" {
			_, _ = fmt.Fprintf(w, "<h1>Contents of %s</h1><p>_SUCCESS", r.FormValue("dir"))
			return
		}
		_, _ = io.WriteString(w, pages[r.URL.Path])
	}))
	defer site.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "stepwatch.yml")
	address := site.Listener.Addr().String()
	client := func(perRound int) {
		t.Helper()
		script := fmt.Sprintf("#!/bin/sh\nn=$(cat %[1]s/count 2>/dev/null || echo 1)\necho $((n + %[2]d)) >%[1]s/count\nprintf 'Slow_queries\\t%%s\\n' \"$n\"\n", dir, perRound)
		if err := os.WriteFile(filepath.Join(dir, "mariadb"), []byte(script), 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(config, fmt.Appendf(nil, "connect_to:\n  %q: %q\n  %q: %q\n", "namenode.example.org:50070", address, "intranet.example.org:80", address), 0o600); err != nil {
		t.Fatal(err)
	}
	client(2)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	const example = "../docs/examples/own-sentences/features"
	call := func(args ...string) (string, int) {
		var out bytes.Buffer
		code := dispatch(t.Context(), &terminal{out: &out, err: &out}, args)
		return out.String(), code
	}
	if out, code := call("lint", "--config", config, example); code != exitPassed {
		t.Errorf("lint: %s", out)
	}
	if out, code := call("run", "--config", config, "--evidence=", example); code != exitPassed || !strings.Contains(out, "5 scenarios: 5 passed. 9 steps: 9 passed.") {
		t.Errorf("run: exit code %d\n%s", code, out)
	}

	pages["/"] = strings.Replace(pages["/"], "site-navigation", "other", 1)
	pages["/status"] = strings.Replace(pages["/status"], "OK", "DOWN", 1)
	pages["/dfshealth.jsp"] = strings.Replace(pages["/dfshealth.jsp"], " Active ", "Failed", 1)
	client(15)
	out, code := call("run", "--config", config, "--evidence=", example)
	if code != exitFailed {
		t.Errorf("broken: exit code %d", code)
	}
	for _, want := range []string{
		`expect at least 1 elements "nav.site-navigation a" on http://intranet.example.org/ (200 OK): got 0`,
		`see "OK" within "Status" on http://intranet.example.org/status (200 OK): the region does not show it`,
		`expect 0 elements "//table[.//th='Storage Directory']//td[3][normalize-space() != 'Active']" on http://namenode.example.org:50070/dfshealth.jsp (200 OK): got 1`,
		`check_slow_queries says CRITICAL: CRITICAL: 15.00 slow queries per second`,
		"5 scenarios: 1 passed, 4 failed.",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("broken: no %q in\n%s", want, out)
		}
	}
}
