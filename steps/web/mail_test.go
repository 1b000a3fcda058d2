package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// TestMessageOnAPage makes an application show the text of each new message, from its second page on, or never.
func TestMessageOnAPage(t *testing.T) {
	bed := fixture.NewMailbed(t, stepstest.MailOptions{})
	var visits, status atomic.Int32
	var reads atomic.Bool
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if code := status.Load(); code != 0 {
			w.WriteHeader(int(code))
			return
		}
		fmt.Fprint(w, "<h1>Requests</h1>")
		if visits.Add(1) == 1 || !reads.Load() {
			return
		}
		for _, d := range bed.Deliveries() {
			fmt.Fprintf(w, "<pre>%s</pre>", regexp.MustCompile(`Its number is \S+`).Find(d.Message))
		}
	}))
	t.Cleanup(app.Close)
	bed.Target.ConnectTo["www.demo.test:80"] = app.Listener.Addr().String()
	const (
		send  = `When I send a message from "alice" to "bob" via 587` + "\n"
		shown = `Then the message appears on "http://www.demo.test/requests" within `
	)
	reads.Store(true)
	o := bed.Run(t, 10*time.Second, send+shown+"8s")
	fixture.Passed(t, o)
	took := -1.0
	for _, m := range o.Steps[1].Report.Measurements {
		if m.Name == "mail_to_web_seconds" {
			took = m.Value
		}
	}
	if took < 0.5 || took > 8 {
		t.Errorf("mail_to_web_seconds is %v, want a second or so", took)
	}
	reads.Store(false)
	for _, c := range []struct {
		text, want string
		status     int32
	}{
		{send + shown + "100ms", `^not_received web: see the message to bob@demo\.test on http://www\.demo\.test/requests within 100ms: the page does not show its number \S+\.1, 0s after its acceptance$`, 0},
		{send + shown + "100ms", `^http_status web: GET http://www\.demo\.test/requests: status 502 Bad Gateway, wanted 2xx or 3xx`, 502},
		{shown + "1s", `^scenario scenario: no message was sent before this step`, 0},
		{send + "\"\"\"\nHello\n\"\"\"\n" + shown + "1s", `^scenario scenario: the message has its own text, so it looks like that of an earlier run: remove its doc string$`, 0},
	} {
		status.Store(c.status)
		if got := fixture.Verdict(bed.Run(t, 10*time.Second, c.text)); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("got %s\nwant %s", got, c.want)
		}
	}
}
