package cmd

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/features"
)

// TestPagesAreRead holds that the pages which only tell something refuse methods that would change it.
func TestPagesAreRead(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	feature := filepath.Join(t.TempDir(), "site.feature")
	if err := os.WriteFile(feature, []byte("Feature: Site\n  @every:1h\n  Scenario: Home\n    When I go to \"http://127.0.0.1:1/\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := startAgent(t, feature)
	until(t, "the agent", func() bool { return get(t, url+"/-/healthy") == "ok\n" })
	for _, path := range []string{"/metrics", "/-/healthy", "/-/ready", "/health", "/"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "TRACE"} {
			r, err := http.NewRequestWithContext(t.Context(), method, url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %s, Allow %q", method, path, response.Status, response.Header.Get("Allow"))
			}
		}
	}
}

// TestScheduled holds that the agent does not claim to watch what runs only when somebody names it.
func TestScheduled(t *testing.T) {
	plans := []*agent.Plan{{Scenario: &features.Scenario{}}, {Scenario: &features.Scenario{Policy: features.Policy{Manual: true}}}}
	if got, want := scheduled(plans), "1 scenario (1 more tagged @manual)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := scheduled(plans[:1]), "1 scenario"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
