package cmd

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestJobsReport runs an agent, reports to it, and has it and the verb run judge the report.
func TestJobsReport(t *testing.T) {
	defer goleak.VerifyNone(t)
	dir := t.TempDir()
	const secret = "0123456789abcdef"
	config, feature := filepath.Join(dir, "stepwatch.yml"), filepath.Join(dir, "jobs.feature")
	for path, text := range map[string]string{
		config:                       "state: state\njobs:\n  backup:\n    secret: {file: secret}\n",
		filepath.Join(dir, "secret"): secret + "\n",
		feature:                      "@every:1s\nFeature: Jobs\n  Scenario: Backup\n    Then the job \"backup\" reported success in the last 26 hours\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	judge := func() string {
		var out, errs syncBuffer
		dispatch(t.Context(), &terminal{out: &out, err: &errs}, []string{"run", "--config", config, feature})
		return out.String() + errs.String()
	}
	if got := judge(); !strings.Contains(got, "no agent waits for reports of the job \"backup\"") {
		t.Errorf("without an agent:\n%s", got)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	var errs syncBuffer
	code := make(chan int, 1)
	go func() {
		code <- dispatch(ctx, &terminal{out: io.Discard, err: &errs}, []string{"agent", "--config", config, "--listen", "127.0.0.1:0", feature})
	}()
	address := regexp.MustCompile(`http://\S+/metrics`)
	until(t, "the address", func() bool { return address.MatchString(errs.String()) })
	if got := judge(); !strings.Contains(got, "the job \"backup\" has not reported yet: stepwatch has waited since") {
		t.Errorf("before the report:\n%s", got)
	}
	until(t, "an alert", func() bool { return strings.Contains(errs.String(), "alert hard") })
	report := strings.TrimSuffix(address.FindString(errs.String()), "/metrics") + "/ping/backup/" + secret
	answer, err := http.Post(report, "text/plain", strings.NewReader("done")) //nolint:gosec // the address of the agent
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close() // the status says enough
	if answer.StatusCode != http.StatusOK {
		t.Errorf("status %s", answer.Status)
	}
	if got := judge(); !strings.Contains(got, "1 scenario: 1 passed") {
		t.Errorf("after the report:\n%s", got)
	}
	until(t, "the end of the alert", func() bool { return strings.Contains(errs.String(), "alert resolved") })
	stop(errors.New("told to stop"))
	if got := <-code; got != exitPassed {
		t.Errorf("exit code %d:\n%s", got, errs.String())
	}
	http.DefaultClient.CloseIdleConnections()
	if got := judge(); !strings.Contains(got, "1 scenario: 1 passed") {
		t.Errorf("after the agent has ended:\n%s", got)
	}
	if strings.Contains(errs.String(), secret) {
		t.Error("the log has the secret")
	}
}
