package state

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/agent/alert"
	"github.com/stepwatch/stepwatch/agent/result"
)

// world is a machine with a clock, for scripts.
type world struct {
	t     *testing.T
	m     *machine
	now   time.Time
	quiet map[string]string // why the alerts of a scenario are not told; "" is every scenario
	decl  []Declaration
	hosts map[string]string
	log   []string
}

func (w *world) Quiet(id result.Identity, _ []string, _ time.Time) (string, time.Time, bool) {
	for _, name := range []string{"", id.Scenario} {
		if why, is := w.quiet[name]; is {
			return why, time.Time{}, true
		}
	}
	return "", time.Time{}, false
}

func identity(name string) result.Identity { return result.Identity{Feature: "F", Scenario: name} }

// newWorld declares scenarios: "a retries=2 needs=b,c alert=3of5 flapping=off".
func newWorld(t *testing.T, declared ...string) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), quiet: make(map[string]string), hosts: make(map[string]string)}
	w.m = newMachine(w, DefaultThresholds())
	for _, text := range declared {
		fields := strings.Fields(text)
		d := Declaration{Identity: identity(fields[0]), Interval: time.Minute, Timeout: 20 * time.Second}
		for _, f := range fields[1:] {
			name, value, _ := strings.Cut(f, "=")
			switch name {
			case "retries":
				_, _ = fmt.Sscan(value, &d.Retries)
			case "alert":
				_, _ = fmt.Sscanf(value, "%dof%d", &d.Some, &d.Of)
			case "flapping":
				d.Steady = value == "off"
			case "needs":
				for _, n := range strings.Split(value, ",") {
					d.Needs = append(d.Needs, identity(n).ID())
				}
			case "host":
				w.hosts[fields[0]] = value
			}
		}
		w.decl = append(w.decl, d)
	}
	w.m.declare(w.decl, true, w.now)
	return w
}

// restart keeps what is written, and only that.
func (w *world) restart() {
	var k kept
	k.number = w.m.number
	for id, rec := range w.m.byID {
		text, err := json.Marshal(rec)
		if err != nil {
			w.t.Fatal(err)
		}
		again := new(record)
		if err := json.Unmarshal(text, again); err != nil {
			w.t.Fatal(err)
		}
		if again.ID != id {
			w.t.Fatalf("got the id %q, want %q", again.ID, id)
		}
		k.records = append(k.records, again)
	}
	w.m = newMachine(w, DefaultThresholds())
	w.m.restore(k, w.now)
	w.m.declare(w.decl, true, w.now)
	w.collect()
}

// of returns a result: O, W, C and U are the states, T a timeout, A one after a connection was accepted, R a refusal, L a lack, S a stale one. ago is how long before now it began.
func (w *world) of(name string, letter byte, ago time.Duration) *result.Result {
	rec := w.m.record(identity(name))
	r := &result.Result{Identity: identity(name), Run: "run", Attempt: rec.NextAttempt, Retries: rec.Retries, Started: w.now.Add(-ago), Interval: time.Minute,
		Status: result.Failed, Reason: result.ReasonUnexpected, Blame: result.BlameWeb,
		Steps: []result.StepResult{{Keyword: "Then", Text: "it works", Status: result.Failed, Ran: true, Error: string(letter)}}}
	if host := w.hosts[name]; host != "" {
		r.Targets = []string{host + ":443"}
	}
	switch letter {
	case 'O':
		r.Status, r.Reason, r.Blame, r.Steps[0].Status, r.Steps[0].Error = result.Passed, "", "", result.Passed, ""
	case 'W':
		r.Reason = result.ReasonWarning
	case 'U':
		r.Blame = result.BlameScenario
	case 'T':
		r.Reason = result.ReasonTimeout
	case 'R':
		r.Reason, r.Answered, r.Refused = result.ReasonConnect, w.now, true
	case 'A':
		r.Reason, r.Answered = result.ReasonTimeout, r.Started
	case 'L':
		r.Blame, r.Reason, r.Lack = result.BlameMonitor, result.ReasonLack, &result.Lack{Kind: "ports", Said: "no ports"}
	case 'S':
		r.Stale, r.Reason, r.Blame, r.Status = true, result.ReasonNotRun, result.BlameMonitor, result.Skipped
	}
	return r
}

// collect moves the output into the log.
func (w *world) collect() {
	o := &w.m.output
	for _, a := range o.told {
		who := a.Identity.Scenario
		if a.Lack != nil {
			who = a.Lack.Kind
		}
		text := fmt.Sprintf("%s %s %s %s", who, a.Rule, a.State, a.Severity)
		if a.Acknowledged != nil {
			text += " by " + a.Acknowledged.Author
		}
		w.log = append(w.log, text)
		if a.Number != w.m.number-uint64(len(o.told)-1-slices.IndexFunc(o.told, func(b alert.Alert) bool { return a.Number == b.Number })) {
			w.t.Errorf("the number of %s is %d of %d", text, a.Number, w.m.number)
		}
	}
	for _, id := range o.asked {
		w.log = append(w.log, "run "+w.m.byID[id].Identity.Scenario)
	}
	o.told, o.asked, o.held, o.silent = nil, nil, nil, nil
}

// do runs a script of commands: "a C" is a result, "a COC" several of them a minute apart, "a C/30s" one that began 30 s ago.
// "+30s" moves the clock and ticks. "quiet a why" and "loud a" begin and end a silence. "| text" notes a text in the log.
func (w *world) do(script string) {
	w.t.Helper()
	for _, line := range strings.Split(script, ";") {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "|":
			w.log = append(w.log, strings.Join(f, " "))
		case f[0][0] == '+':
			d, err := time.ParseDuration(f[0][1:])
			if err != nil {
				w.t.Fatal(err)
			}
			w.now = w.now.Add(d)
			w.m.tick(w.now)
		case f[0] == "quiet":
			w.quiet[f[1]] = f[2]
			w.m.tick(w.now)
		case f[0] == "loud":
			delete(w.quiet, f[1])
			w.m.tick(w.now)
		case f[0] == "back":
			d, err := time.ParseDuration(f[1])
			if err != nil {
				w.t.Fatal(err)
			}
			w.now = w.now.Add(-d)
		case f[0] == "hide":
			w.m.declare(nil, false, w.now)
		case f[0] == "show":
			w.m.declare(w.decl, true, w.now)
		case f[0] == "restart":
			w.restart()
		case f[0] == "ack":
			if !w.m.acknowledge(w.m.record(identity(f[1])).Alert, &alert.Acknowledgement{Author: "anna", At: w.now}, w.now) {
				w.t.Errorf("%s: no such alert", line)
			}
		case f[0] == "remove":
			w.decl = slices.DeleteFunc(w.decl, func(d Declaration) bool { return d.Identity.Scenario == f[1] })
			w.m.declare(w.decl, true, w.now)
		default:
			letters, ago, _ := strings.Cut(f[1], "/")
			before, _ := time.ParseDuration(ago)
			for i := range letters {
				if i > 0 {
					w.now = w.now.Add(time.Minute)
				}
				r := w.of(f[0], letters[i], before)
				if own, _ := w.m.suspect(r, w.now); own != nil {
					r.Lack, r.Reason, r.Blame = own, result.ReasonLack, result.BlameMonitor
					w.log = append(w.log, f[0]+" lacks "+own.Kind)
				}
				w.m.observe(r, w.now)
				w.collect()
			}
		}
		w.collect()
	}
}

func TestMachine(t *testing.T) {
	for _, test := range []struct{ name, declared, script, want string }{
		{"a failure is hard at once without retries", "a", "a OCCO", "a failures hard CRITICAL; a failures resolved OK"},
		{"soft until the retries are used up", "a retries=2", "a OCC; | soft; a C; | hard; a C; a O", "a failures soft CRITICAL; | soft; a failures hard CRITICAL; | hard; a failures resolved OK"},
		{"a soft failure that ends", "a retries=2", "a OCO", "a failures soft CRITICAL; a failures resolved OK"},
		{"a hard failure that gets worse and better", "a", "a WCWUO", "a failures hard WARNING; a failures hard CRITICAL; a failures hard WARNING; a failures hard UNKNOWN; a failures resolved OK"},
		{"a lack changes nothing", "a retries=1", "a OCL; | lack; a C; a LL; a O", "a failures soft CRITICAL; | lack; a failures hard CRITICAL; a failures resolved OK"},
		{"stale is UNKNOWN", "a retries=1", "a OSSO", "a failures soft UNKNOWN; a failures hard UNKNOWN; a failures resolved OK"},

		{"3 of 5", "a alert=3of5 flapping=off", "a OCOC; | two; a C; | three; a O; | still three; a O; | two", "a failures soft CRITICAL; a failures resolved OK; a failures soft CRITICAL; | two; a failures hard CRITICAL; | three; | still three; a failures resolved OK; | two"},
		{"3 of 5 is not resolved by a failure", "a alert=3of5 flapping=off", "a CCC; | hard; a OOO; | resolved", "a failures soft CRITICAL; a failures hard CRITICAL; | hard; a failures resolved OK; | resolved"},
		{"3 of 5 does not count lacks", "a alert=3of5 flapping=off", "a CLCLC", "a failures soft CRITICAL; a failures hard CRITICAL"},

		{"a silence withholds, and its end tells what is true", "a", "quiet a s; a C; | quiet; +1h; loud a; | loud; a O", "| quiet; a failures hard CRITICAL; | loud; a failures resolved OK"},
		{"what resolved during a silence is not told", "a", "quiet a s; a CO; loud a; +1h", ""},
		{"the recovery of what was told before is told after the silence", "a", "a C; quiet a s; a O; | quiet; loud a", "a failures hard CRITICAL; | quiet; a failures resolved OK"},
		{"two outages over the end of a silence", "a", "a C; quiet a s; a OC; | quiet; loud a; a O", "a failures hard CRITICAL; | quiet; a failures resolved OK; a failures hard CRITICAL; a failures resolved OK"},
		{"a silence and a restart", "a", "a C; quiet a s; a OC; restart; loud a; a O", "a failures hard CRITICAL; a failures resolved OK; a failures hard CRITICAL; a failures resolved OK"},
		{"other scenarios are loud", "a; b", "quiet a s; a C; b C", "b failures hard CRITICAL"},

		{"a restart tells nothing again", "a", "a C; restart; +1h; a C; restart; a O; restart; a O", "a failures hard CRITICAL; a failures resolved OK"},
		{"a restart keeps the attempt", "a retries=2", "a CC; restart; a C", "a failures soft CRITICAL; a failures hard CRITICAL"},
		{"a restart keeps the runs of 3 of 5", "a alert=3of5 flapping=off", "a CCO; restart; a C", "a failures soft CRITICAL; a failures resolved OK; a failures hard CRITICAL"},
		{"a restart keeps the runs that were OK", "a alert=3of5 flapping=off", "a CCOOO; restart; a C", "a failures soft CRITICAL; a failures resolved OK; a failures soft CRITICAL"},

		{"an acknowledgement is told and kept", "a", "a C; ack a; restart; a C; a O; a C", "a failures hard CRITICAL; a failures hard CRITICAL by anna; a failures resolved OK by anna; a failures hard CRITICAL"},
		{"an acknowledgement ends when it gets worse", "a", "a W; ack a; a WC", "a failures hard WARNING; a failures hard WARNING by anna; a failures hard CRITICAL"},
		{"an acknowledgement stays when it gets better", "a", "a C; ack a; a W", "a failures hard CRITICAL; a failures hard CRITICAL by anna; a failures hard WARNING by anna"},

		{"a restart knows that the needed scenario has run", "a needs=b; b", "b O; +1m; quiet a s; a C; +1s; b O; restart; loud a", "run b; a failures hard CRITICAL"},
		{"a restart knows that the needed scenario has recovered", "a needs=b; b", "b C; a C; +1m; b O; restart; +1m; | waits; a O", "b failures hard CRITICAL; b failures resolved OK; run a; run a; run a; | waits"},
		{"a clock that is set back", "a needs=b; b", "b C; +1m; b O; back 2h; restart; +1m; a C; +1s; b O", "b failures hard CRITICAL; b failures resolved OK; run b; a failures hard CRITICAL"},
		{"a restart knows the hosts", "a host=a; b host=b; c host=c", "a O; b O; c O; restart; +1m; a T; | waits; +1s; b O", "run b; run c; | waits; a failures hard CRITICAL"},
		{"a restart while the uplink is down", "a host=a; b host=b; c host=c", "a O; b O; c O; +1m; a T; +1s; b T; +1s; c T; restart; +20s; | waits; a O; b O",
			"run b; run c; c lacks uplink; run a; run b; run a; run b; | waits"},
		{"failures of the uplink do not count", "a host=a alert=2of5; b host=b; c host=c", "a O; b O; c O; +1m; a T; +1s; a T; +1s; b T; c T; restart; | waits; b O; +1s; a O; | is OK; +1m; a C", "run b; run c; c lacks uplink; run a; run b; | waits; | is OK; a failures soft CRITICAL"},
		{"a restart in a silence keeps the failures of 3 of 5", "a host=a alert=3of5; b host=b; c host=c", "a O; b O; c O; quiet a s; +1h; a T; b O; +1h; a T; b O; +1h; a T; b O; restart; +1s; a T; b O; +1h; | quiet; loud a; | loud",
			"run b; run c; run b; run c; run b; run c; run a; run b; run c; | quiet; a failures hard CRITICAL; | loud"},
		{"a restart during a suspicion", "a host=a; b host=b; c host=c", "a O; b O; c O; +1m; a T; restart; +20s; | waits; b O; a T; +1s; b O; a O", "run b; run c; run a; run a; | waits; run b; run c; a failures hard CRITICAL; a failures resolved OK"},
		{"a start without the file of both", "a needs=b; b", "b C; a C; hide; +1h; | hidden; show; +1m; | shown", "b failures hard CRITICAL; | hidden; | shown"},

		{"a removed scenario", "a; b", "a C; quiet a s; remove a; +1h; a O", "a failures hard CRITICAL; a failures resolved OK"},
		{"a removed scenario of which nothing was told", "a; b", "quiet a s; a C; remove a; loud a", ""},

		{"the failure of a needed scenario explains ours", "a needs=b; b", "b C; a C; | explained; b C; a C; b C", "b failures hard CRITICAL; | explained"},
		{"a needed scenario that is OK is asked", "a needs=b; b", "b O; +1m; a C; | waits; +1s; b O", "run b; | waits; a failures hard CRITICAL"},
		{"a needed scenario that fails when it is asked", "a needs=b; b", "b O; +1m; a C; +1s; b C; | explained; +1m; b O; | ends; +1s; a O", "run b; b failures hard CRITICAL; | explained; b failures resolved OK; run a; | ends"},
		{"ours fails on after the needed one recovered", "a needs=b; b", "b O; +1m; a C; +1s; b C; +1m; b O; +1s; a C; | asks again; +1s; b O", "run b; b failures hard CRITICAL; b failures resolved OK; run a; run b; | asks again; a failures hard CRITICAL"},
		{"a needed scenario that does not answer is not waited for long", "a needs=b; b", "b O; +1m; a C; | waits; +29s; | waits; +1s", "run b; | waits; run b; | waits; a failures hard CRITICAL"},
		{"WARNING does not explain CRITICAL", "a needs=b; b", "b W; +1s; a C; b W", "b failures hard WARNING; run b; a failures hard CRITICAL"},
		{"UNKNOWN explains nothing", "a needs=b; b", "b U; +1s; a C; +1s; b U", "b failures hard UNKNOWN; run b; a failures hard CRITICAL"},
		{"a chain", "a needs=b; b needs=c; c", "c C; b C; a C", "c failures hard CRITICAL"},
		{"explained over a restart", "a needs=b; b", "b C; a C; restart; b C; a C; +1m; b O; +1s; a C; +1s; b O", "b failures hard CRITICAL; b failures resolved OK; run a; run b; a failures hard CRITICAL"},
		{"the recovery of ours is told although the needed one fails", "a needs=b; b", "a C; +1s; b O; +1s; b C; a O", "run b; a failures hard CRITICAL; b failures hard CRITICAL; a failures resolved OK"},

		{"one host that fails is not the uplink", "a host=a; b host=b; c host=c", "a O; b O; c O; +1m; a T; | waits; +15s; | told; a T; b O; a O", "run b; run c; | waits; a failures hard CRITICAL; | told; a failures resolved OK"},
		{"another host that answers ends the suspicion", "a host=a; b host=b; c host=c", "a O; b O; c O; +1m; a T; +1s; b O; | told", "run b; run c; a failures hard CRITICAL; | told"},
		{"an answer that began before proves nothing", "a host=a; b host=b; c host=c", "a O; b O; c O; +1m; a T; b O/1s; | waits; +1s; b O; | told", "run b; run c; | waits; a failures hard CRITICAL; | told"},
		{"a host that answered since the failure began", "a host=a; b host=b; c host=c", "a O; b O; c O; +1m; b O; a T/30s; | told", "a failures hard CRITICAL; | told"},
		{"three hosts are the uplink", "a host=a; b host=b; c host=c; d host=d", "a O; b O; c O; d O; +1m; a T; +1s; b T; +1s; c T; d T; +1h; a T; | ends; d O; +1s; a T; b O; c O; +1s; a O",
			"run b; run c; run d; d lacks uplink; a lacks uplink; | ends; run c; run a; run b; run d; a failures hard CRITICAL; a failures resolved OK"},
		{"an answer that is no good is an answer, too", "a host=a; b host=b; c host=c", "a O; b O; c O; +1m; a T; +1s; b C; | told", "run b; run c; b failures hard CRITICAL; a failures hard CRITICAL; | told"},
		{"a refused connection is an answer", "a host=a; b host=b; c host=c", "a O; b O; c O; +1m; a R; b R; c R; | told; +1m; a T; | waits; +1s; b R; | refuted",
			"a failures hard CRITICAL; b failures hard CRITICAL; c failures hard CRITICAL; | told; | waits; | refuted"},
		{"a refusal ends a suspicion", "a host=a; b host=b; c host=c", "a O; b O; c O; +1m; a T; | waits; +1s; b R; | told", "run b; run c; | waits; b failures hard CRITICAL; a failures hard CRITICAL; | told"},
		{"hosts that accept connections and are slow are no outage of the uplink", "a host=a; b host=b; c host=c", "a O; b O; c O; +1m; a A/9s; | waits; +1s; b A/9s; | told; +1s; c A/9s; +1s; a A/3s; | refuted",
			"run b; run c; | waits; b failures hard CRITICAL; a failures hard CRITICAL; | told; c failures hard CRITICAL; | refuted"},
		{"an accepted connection proves nothing of the time after it", "a host=a; b host=b; c host=c", "a O; b O; c O; +1m; c A/9s; a A/9s; b A/9s; | down", "run a; run b; b lacks uplink; | down"},
		{"hosts of this machine say nothing", "a host=127.0.0.1; b host=localhost; c host=[::1]", "a O; b O; c O; +1m; a T; b T; c T", "a failures hard CRITICAL; b failures hard CRITICAL; c failures hard CRITICAL"},
		{"two hosts are too few", "a host=a; b host=b", "a O; b O; +1m; a T; b T", "a failures hard CRITICAL; b failures hard CRITICAL"},

		{"flapping is one alert, and its end tells the state", "a", "a OCOCOCOCOCOCO; | flaps; a OCOCOC; | quiet; a CCCCCCCCCCCCCCCCC; | ends",
			"a failures hard CRITICAL; a failures resolved OK; a failures hard CRITICAL; a failures resolved OK; a failures hard CRITICAL; " +
				"a flapping hard CRITICAL; | flaps; | quiet; a failures resolved OK; a flapping resolved OK; a failures hard CRITICAL; | ends"},
		{"no flapping", "a flapping=off", "a OCOCOCOCOCOC", "a failures hard CRITICAL; a failures resolved OK; a failures hard CRITICAL; a failures resolved OK; a failures hard CRITICAL; a failures resolved OK; a failures hard CRITICAL; a failures resolved OK; a failures hard CRITICAL; a failures resolved OK; a failures hard CRITICAL"},
		{"flapping over a restart", "a", "quiet a s; a OCOCOCOCOCOC; restart; loud a; restart; a C", "a flapping hard CRITICAL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, strings.Split(test.declared, ";")...)
			w.do(test.script)
			if got := strings.Join(w.log, "; "); got != test.want {
				t.Errorf("%s\ngot  %s\nwant %s", test.script, got, test.want)
			}
		})
	}
}

// TestFlappingAsNagios holds how much a state changes and whether that is flapping, after each of these sequences of results, as
// Nagios Core 4.4.6 says of a service with low_flap_threshold 20, high_flap_threshold 30 and max_check_attempts one more than
// the retries. It does not count soft failures.
func TestFlappingAsNagios(t *testing.T) {
	for _, test := range []struct {
		results  string
		retries  int
		change   float64
		flapping bool
	}{
		{"OOOOOOOCOOOOCOOOOOOOOOOOCCCOOOCCCCOCCCOOOO", 0, 29.87, true},
		{"OOOOOOOOUUUUUUUUUUUUUUUUUUUUUCCCCCCCCCCCC", 1, 4.80, false},
		{"WWWWWWWWOOOOOOOOOOOOOOO", 2, 4.41, false},
		{"OOOOOOCOOOOOCOOOCOCCCCCCOCCOOCOO", 0, 49.47, true},
		{"OUCOOUOCCCWOOCWWCOOWCUOOCO", 1, 55.20, true},
		{"OOOOOOOUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUUU", 0, 0.00, false},
		{"CCCUCUUUOUUUCCCCUUWCWOOOCCCCCOCUUOWWWWOCWCOO", 1, 55.86, true},
		{"WWWWWWCCCCWWWWWWWWWCCCCCOUUUWWWWOOOOCOOOCC", 2, 23.88, false},
		{"OOOOOOOOOOOOOOOOOOOOCCCCCCCCCCCCC", 0, 4.67, false},
		{"OOOCCCCCCCCWWWWWWWCCOOOCCCCCCCCCCCCCCUUUUUCCCCCUOOOOOOO", 1, 19.47, false},
		{"WWWWWWCCCCCOCCCCUUUUUUUUOUUUCOOOOUUCCCCCCCWWOOOOOOUUUUUOOOO", 2, 20.39, true},
		{"OOOOCOCCCCCCCCCOOOOOOCCC", 0, 22.83, false},
		{"OOOOOOOOOOOOOOOOC", 1, 0.00, false},
		{"OOOCOCCCCCCCCCCCCCCCOOOUOOOOOOOOOOWWWWWWWUUUUUUUUUUU", 2, 9.21, false},
		{"OOOOOOOOOOCCCOOOOOCCCCCOOOOCCCCCOOOOOOOOOCCCCCCCOCOOOOO", 0, 21.32, false},
		{"OOOOOUUUUUUUUUUUUUUUUUUUUUUUU", 0, 0.00, false},
		{"CCCCCCCCCCCCCCCCCCCCCCCCCCOOWWWWWCOOOCCOOCCCCCCOOOOOOWWWWWWWWOOCCCCO", 2, 27.04, false},
		{"OOOOOOOOWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWUOOOOOOOOOOOO", 0, 9.47, false},
		{"OOOOOOOOOWWWWWWWWWW", 1, 5.20, false},
		{"OCWWWWWWWWWCCCCUUUUUUUC", 2, 20.13, false},
	} {
		w := newWorld(t, fmt.Sprintf("a retries=%d", test.retries))
		w.do("a " + test.results)
		rec := w.m.record(identity("a"))
		if got := rec.Certain.change(); got < test.change-0.006 || got > test.change+0.006 || rec.Flapping != test.flapping {
			t.Errorf("%s, retries %d: %.2f %%, flapping %t, want %.2f %%, flapping %t", test.results, test.retries, got, rec.Flapping, test.change, test.flapping)
		}
	}
}

// TestStale holds that a state without any result for three intervals and a deadline is UNKNOWN, also after a restart.
func TestStale(t *testing.T) {
	w := newWorld(t, "a")
	if s := w.m.record(identity("a")).at(w.now); s.Stale || s.State != result.Unknown || s.Ran() {
		t.Errorf("before the first run: %+v", s)
	}
	w.do("a O")
	for range 2 {
		for after, want := range map[time.Duration]result.State{0: result.OK, 3 * time.Minute: result.OK, 200 * time.Second: result.OK, 201 * time.Second: result.Unknown, time.Hour: result.Unknown} {
			if s := w.m.record(identity("a")).at(w.now.Add(after)); s.State != want || s.Stale != (want == result.Unknown) || s.LastState != result.OK {
				t.Errorf("after %s: %s, stale %t, last %s; want %s", after, s.State, s.Stale, s.LastState, want)
			}
		}
		w.restart()
	}
}

// TestFailureBesideASuspicion observes a failure that was judged before the failures of others confirmed that the uplink is down:
// it may be the uplink's, too.
func TestFailureBesideASuspicion(t *testing.T) {
	w := newWorld(t, "a host=a", "b host=b", "c host=c", "d host=d", "e")
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		w.m.observe(w.of(name, 'O', 0), w.now)
	}
	w.now = w.now.Add(time.Minute)
	a := w.of("a", 'T', 0)
	if own, doubtful := w.m.suspect(a, w.now); own != nil || !doubtful {
		t.Fatalf("one failure is %v", own)
	}
	var own *result.Lack
	for _, name := range []string{"b", "c", "d"} {
		r := w.of(name, 'T', 0)
		own, _ = w.m.suspect(r, w.now)
		r.Lack = own
		w.m.observe(r, w.now)
	}
	if own == nil {
		t.Fatal("the uplink is not suspected")
	}
	w.m.observe(a, w.now)
	w.m.observe(w.of("e", 'T', 0), w.now) // it uses no other machine
	w.collect()
	if got, want := strings.Join(w.log, "; "), "e failures hard CRITICAL"; !strings.Contains(got, want) || strings.Contains(got, "a failures hard") {
		t.Errorf("got %q, want only %q", got, want)
	}
}
