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

// TestMySQLAnswerWithoutEnd queries a server whose answer to SELECT VERSION() never ends. The step ends with its context.
func TestMySQLAnswerWithoutEnd(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	const (
		greeting = "\x4c\x00\x00\x00\x0a10.11.14\x00\x05\x00\x00\x00abcdefgh\x00\x0f\xa2\x2d\x02\x00\x08\x00\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00mysql_native_password\x00"
		ok       = "\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00"
		column   = "\x01\x00\x00\x01\x01\x17\x00\x00\x02\x03def\x00\x00\x00\x01v\x00\x0c\x2d\x00\x15\x00\x00\x00\xfd\x00\x00\x00\x00\x00\x05\x00\x00\x03\xfe\x00\x00\x02\x00"
		row      = "\x02\x00\x00\x04\x018"
	)
	unending := fixture.Connections(t, func(conn net.Conn) {
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		for _, say := range []string{greeting, ok, column + row} {
			if _, err := conn.Write([]byte(say)); err != nil {
				return
			}
			if _, err := conn.Read(make([]byte, 1<<10)); err != nil {
				return
			}
		}
		_, _ = conn.Read(make([]byte, 1)) // until the client leaves
	})
	target := new(steps.Target).Set(service.Databases{"unending": {Name: "unending", MySQL: true, Address: unending, Database: "x", User: "reader"}})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	outcome, err := stepstest.Scenario{Target: target}.Run(ctx, `When I query the database "unending" for "SELECT 1"`)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("the step took %s, although its context ended after 300ms", took)
	}
	if got, want := fixture.Verdict(outcome), `timeout target: query the database "unending": no answer before the deadline`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
