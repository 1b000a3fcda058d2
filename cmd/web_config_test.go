package cmd

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// TestWebConfig starts an agent with a login, reads and changes something over the API, and lints and starts with wrong files.
func TestWebConfig(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("STATE_DIRECTORY", t.TempDir())
	at := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	good := "basic_auth_users:\n  anna: " + string(hash) + "\n"
	at("web.yml", good)
	config := at("stepwatch.yml", "features: [a.feature]\nweb_config: web.yml\n")
	at("a.feature", "@every:1h\nFeature: Files\n  Scenario: it is there\n    Then the file \"a.feature\" exists\n")

	lint := func() (int, string) {
		var out syncBuffer
		code := dispatch(t.Context(), &terminal{out: &out, err: &out}, []string{"lint", "--config", config, dir})
		return code, out.String()
	}
	if code, out := lint(); !strings.Contains(out, "web.yml: warning: it has basic_auth_users and no tls_server_config: passwords are sent as plain text") {
		t.Errorf("lint: %d %s", code, out)
	}
	at("web.yml", "basic_auth_users:\n  anna: secret\n")
	if code, out := lint(); code != exitNotRun || !strings.Contains(out, "web.yml: basic_auth_users: the value for \"anna\" is not a bcrypt hash") || strings.Contains(out, "secret") {
		t.Errorf("lint with a password in plain text: %d %s", code, out)
	}
	var errs syncBuffer
	if code := dispatch(t.Context(), &terminal{out: io.Discard, err: &errs}, []string{"agent", "--config", config, "--listen", "127.0.0.1:0"}); code != exitNotRun || !strings.Contains(errs.String(), "is not a bcrypt hash") {
		t.Errorf("agent with a password in plain text: %d %s", code, errs.String())
	}

	at("web.yml", good)
	ctx, stop := context.WithCancel(t.Context())
	code := make(chan int, 1)
	var said syncBuffer
	go func() {
		code <- dispatch(ctx, &terminal{out: io.Discard, err: &said}, []string{"agent", "--config", config, "--listen", "127.0.0.1:0"})
	}()
	address := regexp.MustCompile(`(http://\S+)/metrics`)
	until(t, "the address", func() bool { return address.MatchString(said.String()) })
	agent := address.FindStringSubmatch(said.String())[1]
	ask := func(method, path, password, body string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), method, agent+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		if password != "" {
			request.SetBasicAuth("anna", password)
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(text)
	}
	for _, c := range []struct {
		method, path, password string
		status                 int
		says                   string
	}{
		{"GET", "/metrics", "", 401, "a login is needed here"},
		{"GET", "/metrics", "secret", 200, "stepwatch_"},
		{"GET", "/api/scenarios", "wrong", 401, `"detail":"the name or the password is wrong"`},
		{"GET", "/api/scenarios", "secret", 200, `"scenario":"it is there"`},
		{"GET", "/api/agent", "secret", 200, `"troubles":[]`},
		{"GET", "/debug/pprof/", "secret", 404, ""},
		{"POST", "/api/alerts/x/acknowledgement", "secret", 400, `"field":"comment"`}, // the author is the login
	} {
		if status, body := ask(c.method, c.path, c.password, map[string]string{"POST": "{}"}[c.method]); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s %s with %q: %d %s", c.method, c.path, c.password, status, body)
		}
	}
	at("web.yml", "") // as while it is being written
	until(t, "the trouble", func() bool {
		_, body := ask("GET", "/api/agent", "secret", "")
		return strings.Contains(body, "it has no basic_auth_users any more")
	})
	if status, _ := ask("GET", "/metrics", "", ""); status != 401 {
		t.Errorf("with an empty file and without a login: %d", status)
	}
	stop()
	if got := <-code; got != exitPassed {
		t.Errorf("the agent ended with %d: %s", got, said.String())
	}
	if strings.Contains(said.String(), "secret") {
		t.Errorf("the log has the password: %s", said.String())
	}
}
