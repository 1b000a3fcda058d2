package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent"
	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/builtin"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/timeserver"
	"github.com/stepwatch/stepwatch/steps/totp"
)

// TestCodeIsRefused logs in to a site that computes two-factor codes by its own clock. The code is refused if that clock is
// 20 minutes off, and as well if that of this machine is.
func TestCodeIsRefused(t *testing.T) {
	const secret = "JBSWY3DPEHPK3PXP"
	key, err := totp.Parse(secret)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		name        string
		site, truth time.Duration // by which the clock of the site, and the time of the time server, are ahead of ours
		want        string
	}{
		{"all clocks agree", 0, 0, `OK .*`},
		{"the site's clock is behind", -20 * time.Minute, 0, `CRITICAL unexpected web: .*; the clock of 127.0.0.1:\d+ is 20m [01]s behind, by the Date of its answer; that of this machine is right, according to ntp\d.test`},
		{"our clock is behind", 20 * time.Minute, 20 * time.Minute, `UNKNOWN lack monitor: .*: the clock of this machine is 20m 0s behind, according to ntp\d.test: check the synchronisation .*`},
		{"our clock is ahead", -20 * time.Minute, -20 * time.Minute, `UNKNOWN lack monitor: .*: the clock of this machine is 20m 0s ahead, according to ntp\d.test: check the synchronisation .*`},
	} {
		t.Run(c.name, func(t *testing.T) {
			site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				now := time.Now().Add(c.site)
				w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				if code, _ := key.Code(now); r.FormValue("code") == code {
					fmt.Fprint(w, "<!doctype html><title>Site</title><p>Welcome")
					return
				}
				fmt.Fprint(w, `<!doctype html><title>Site</title><form method="post"><label>Code <input name="code"></label><button>Log in</button></form>`)
			}))
			defer site.Close()
			server, err := stepstest.NewTimeServer(func(_ int, r *stepstest.TimeReply) bool { r.Shift(c.truth); return true })
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			name := fmt.Sprintf("ntp%d.test", i) // answers are kept for a minute
			target := (&steps.Target{ConnectTo: map[string]string{name + ":123": server.Address()}}).Set(timeserver.Reference(name))
			path := filepath.Join(t.TempDir(), "site.feature")
			text := "Feature: Site\n  Scenario: Members\n    When I go to \"" + site.URL + "/\"\n    And I fill in \"Code\" with the code of the secret \"totp\"\n    And I press \"Log in\"\n    Then I should see \"Welcome\"\n"
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			set, err := features.Load([]string{path}, features.Options{})
			if err != nil {
				t.Fatal(err)
			}
			runner := &agent.Runner{Target: target, Secrets: stepstest.Secrets{"totp": secret}, Name: "test"}
			r := runner.Run(context.Background(), agent.NewPlan(set.Scenarios()[0], builtin.Library(), agent.Defaults{Timeout: 10 * time.Second}), agent.Occasion{})
			got := fmt.Sprintf("%s %s %s: %s", r.State(), r.Reason, r.Blame, r.Error)
			if !regexp.MustCompile(`^` + c.want + `$`).MatchString(got) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if asked := server.Asked.Load() > 0; asked != (c.want[0] != 'O') {
				t.Errorf("the time server was asked: %t", asked)
			}
		})
	}
}
