//go:build linux

package service_test

import (
	"context"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/service"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/fixture"
)

// TestDatabaseServersThatMisbehave queries servers that hang, close the connection or are not databases. Tests with
// real servers are in stepstest/stack.
func TestDatabaseServersThatMisbehave(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	hanging := fixture.Connections(t, func(conn net.Conn) {
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		for b := make([]byte, 512); ; {
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
	})
	closing := fixture.Connections(t, func(net.Conn) {})
	smtp := fixture.Connections(t, func(conn net.Conn) {
		_, _ = conn.Write([]byte("220 mail.example.test ESMTP\r\n"))
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = conn.Read(make([]byte, 512))
	})
	for _, my := range []bool{false, true} {
		known := service.Databases{}
		target := new(steps.Target).Set(known)
		for name, address := range map[string]string{"hanging": hanging, "closing": closing, "smtp": smtp} {
			known[name] = &service.Database{Name: name, MySQL: my, Address: address, Database: "x", User: "reader"}
		}
		for name, want := range map[string]string{
			"hanging": `timeout target: query the database "hanging": no answer before the deadline`,
			"closing": `disconnected target: query the database "closing": the server closed the connection`,
			"smtp":    "",
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			outcome, err := stepstest.Scenario{Target: target}.Run(ctx, `When I query the database "`+name+`" for "SELECT 1"`)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			if got := fixture.Verdict(outcome); got != want && want != "" || outcome.Err() == nil {
				t.Errorf("MySQL %t, %s: got  %s\nwant %s", my, name, got, want)
			} else if want == "" {
				t.Log(got)
			}
		}
	}
	fixture.JudgedAs(t, &steps.Target{}, map[string]string{
		`When I query the database "records" for "SELECT 1"`: `config scenario: no database "records" in stepwatch.yml \(it has none\): add it under databases`,
	})
}
