package cmd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stepwatch/stepwatch/steps"
)

// TestAdding holds that what docs/architecture.md says of adding something is all that it takes: of each thing in its table
// there is a toy in one file of this package, and no other file knows of it.
func TestAdding(t *testing.T) {
	page, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| to add | touch |")
	table, _, _ = strings.Cut(table, "\n\n")
	toys := map[string]func(*testing.T){
		"a sentence":            addedSentence,
		"a subject":             addedSubject,
		"a kind of parameter":   addedKind,
		"an exporter":           addedExporter,
		"an alert rule":         addedRule,
		"a verb":                addedVerb,
		"a sentence without Go": nil, // TestExampleOfOwnSentences
		"a team's own step":     nil, // examples/gosteps
	}
	for _, row := range regexp.MustCompile(`(?m)^\| \*\*(.+?)\*\*`).FindAllStringSubmatch(table, -1) {
		toy, known := toys[row[1]]
		if delete(toys, row[1]); !known {
			t.Errorf("docs/architecture.md says how to add %s, and no toy shows it", row[1])
		} else if toy != nil {
			t.Run(row[1], toy)
		}
	}
	for left := range toys {
		t.Errorf("docs/architecture.md does not say how to add %s", left)
	}
}

// harbourSettings is a stepwatch.yml with a lamp at an address.
func harbourSettings(address string) string {
	host, port, _ := net.SplitHostPort(address)
	return fmt.Sprintf("lamps: {signal: what}\nhosts:\n  pier:\n    address: %s\n    lamp:\n      port: %s\n      key: {env: LAMP_KEY}\n", host, port)
}

const harbourFeature = "@every:1s\nFeature: Harbour\n  Scenario: Light\n    Then the lamp of \"pier\" shows red\n"

// startLamp serves lamps that show red to who knows the signal and the key.
func startLamp(t *testing.T) string {
	t.Helper()
	t.Setenv("LAMP_KEY", "open sesame")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			answer := "white"
			if line, _ := bufio.NewReader(conn).ReadString('\n'); line == "what open sesame\n" {
				answer = "red"
			}
			fmt.Fprintln(conn, answer)
			conn.Close()
		}
	}()
	return listener.Addr().String()
}

// called runs a verb on a configuration and a feature, whose paths follow the arguments.
func called(t *testing.T, settings, feature string, args ...string) (output string, code int) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{"stepwatch.yml": settings, "harbour.feature": feature} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	code = dispatch(t.Context(), &terminal{out: &out, err: &out}, args)
	return out.String(), code
}

// wantCall holds what a verb says and its exit code.
func wantCall(t *testing.T, settings, feature string, wantCode int, want string, args ...string) {
	t.Helper()
	if out, code := called(t, settings, feature, args...); code != wantCode || !strings.Contains(out, want) {
		t.Errorf("%s: exit code %d, %s\nwant %d, %s", strings.Join(args, " "), code, out, wantCode, want)
	}
}

func addedSentence(t *testing.T) {
	wantCall(t, "", "", exitPassed, "  the lamp of {host} shows {colour}\n      Fails unless the lamp of a host shows this colour.\n", "steps", "lamp")
	wantCall(t, "", "", exitPassed, `"parameters": [
      "host",
      "colour"
    ]`, "steps", "--format", "json", "lamp")
	wantCall(t, harbourSettings("127.0.0.1:1"), strings.Replace(harbourFeature, "shows", "show", 1), exitFailed,
		`harbour.feature:4:5: error: no sentence matches "the lamp of \"pier\" show red": did you mean "the lamp of {host} shows {colour}"?`, "lint", "harbour.feature")
}

func addedSubject(t *testing.T) {
	settings := harbourSettings(startLamp(t))
	wantCall(t, settings, harbourFeature, exitPassed, "1 scenario: 1 passed", "run", "--evidence=", "harbour.feature")
	wantCall(t, settings, harbourFeature, exitPassed, "0 mistakes", "lint", "harbour.feature")
	wantCall(t, settings, strings.Replace(harbourFeature, "red", "green", 1), exitFailed, `the lamp of "pier" shows red, wanted green`, "run", "--evidence=", "harbour.feature")
	wantCall(t, strings.Replace(settings, "signal: what", "", 1), harbourFeature, exitFailed, `the lamp of "pier" shows white, wanted red`, "run", "--evidence=", "harbour.feature")
	wantCall(t, "hosts: {pier: }", harbourFeature, exitNotRun, `host "pier" has no lamp: set hosts.pier.lamp in stepwatch.yml`, "run", "--evidence=", "harbour.feature")
	wantCall(t, "hosts: {quay: }", harbourFeature, exitFailed, `harbour.feature:4:5: error: no host "pier" in stepwatch.yml (it has quay): add it under hosts`, "lint", "harbour.feature")
	for mistake, want := range map[string]string{
		"lamps:\n  signl: what":                                    "stepwatch.yml:2:3: unknown field \"signl\"",
		"lamps:\n  signal: two words":                              "stepwatch.yml:2: lamps.signal: \"two words\" is not one word",
		"hosts:\n  pier:\n    lamp:\n      prt: 1":                 "stepwatch.yml:4:7: unknown field \"prt\"",
		"hosts:\n  pier:\n    lamp:\n      port: many":             "stepwatch.yml:4:13: hosts.pier.lamp.port is a text, want a whole number",
		"hosts:\n  pier:\n    lamp:\n      port: 70000":            "stepwatch.yml:4: hosts.pier.lamp.port: 70000 is not a port",
		"hosts:\n  pier:\n    lamp:\n      key: {fil: x}":          "stepwatch.yml:4:13: unknown field \"fil\"",
		"hosts:\n  pier:\n    lamp:\n      key: {file: x, env: y}": "stepwatch.yml:4: hosts.pier.lamp.key: sets 2 sources for the secret: set one of file, env, credential and command",
	} {
		wantCall(t, mistake, harbourFeature, exitNotRun, "stepwatch: "+want+"\n", "lint", "harbour.feature")
	}
	documented := make(map[string]bool)
	for _, s := range steps.Settings() {
		documented[s.Path] = s.Doc != ""
	}
	for _, path := range []string{"lamps.signal", "hosts.NAME.lamp.port", "hosts.NAME.lamp.key"} {
		if !documented[path] {
			t.Errorf("the setting %s is not listed with what it means", path)
		}
	}
}

func addedKind(t *testing.T) {
	wantCall(t, harbourSettings("127.0.0.1:1"), strings.Replace(harbourFeature, "red", "blue", 1), exitFailed,
		"harbour.feature:4:5: error: no light is blue: write green, red, white", "lint", "harbour.feature")
	own := harbourFeature + "\n  @step\n  Scenario: it shows <light:colour>\n    Then the lamp of \"pier\" shows <light>\n\n  Scenario: Own\n    Then it shows blue\n"
	wantCall(t, harbourSettings("127.0.0.1:1"), own, exitFailed, "harbour.feature:11:5: error: no light is blue: write green, red, white", "lint", "harbour.feature")
	for _, k := range steps.Kinds() {
		if k.Name == "colour" && k.Means != "" {
			return
		}
	}
	t.Error("the kind is not listed with what it means")
}

func addedExporter(t *testing.T) {
	log, stop := startHarbour(t, "exporters: {tally: {page: /count}}")
	address := regexp.MustCompile(`http://\S+/`)
	until(t, "the address", func() bool { return address.MatchString(log.String()) })
	at := strings.TrimSuffix(address.FindString(log.String()), "metrics") + "count"
	until(t, "a result on the page", func() bool { return regexp.MustCompile(`^[1-9]\d* results\n$`).MatchString(get(t, at)) })
	stop()
	settings := harbourSettings("127.0.0.1:1")
	wantCall(t, settings+"exporters:\n  tally:\n    pge: /count", harbourFeature, exitNotRun, "stepwatch.yml:10:5: unknown field \"pge\"", "agent", "--listen", "127.0.0.1:0", "harbour.feature")
	wantCall(t, settings+"exporters: {tally: {page: \"\"}}", harbourFeature, exitNotRun, `settings of exporter "tally": page is empty`, "agent", "--listen", "127.0.0.1:0", "harbour.feature")
}

func addedRule(t *testing.T) {
	log, stop := startHarbour(t, "")
	until(t, "an alert of the rule", func() bool { return strings.Contains(log.String(), `msg="alert hard" rule=harbour scenario=`) })
	stop()
}

// startHarbour starts an agent with more settings. stop ends it.
func startHarbour(t *testing.T, more string) (log *syncBuffer, stop func()) {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	dir := t.TempDir()
	for name, content := range map[string]string{"stepwatch.yml": harbourSettings(startLamp(t)) + more + "\n", "harbour.feature": harbourFeature} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	log = new(syncBuffer)
	code := make(chan int, 1)
	go func() {
		code <- dispatch(ctx, &terminal{out: io.Discard, err: log}, []string{"agent", "--listen", "127.0.0.1:0", "--config", filepath.Join(dir, "stepwatch.yml"), filepath.Join(dir, "harbour.feature")})
	}()
	return log, func() {
		cancel(steps.ErrStopped)
		if got := <-code; got != exitPassed {
			t.Errorf("agent: exit code %d, %s", got, log)
		}
	}
}

func addedVerb(t *testing.T) {
	wantCall(t, "", "", exitPassed, "  stepwatch version               print the version\n  stepwatch greet [NAME]          say hello\n", "help")
	wantCall(t, "", "", exitPassed, "hello harbour\n", "greet", "harbour")
	wantCall(t, "", "", exitNotRun, "unknown flag: --loud", "greet", "--loud")
	for _, taken := range []verb{{name: "greet", place: 1001}, {name: "wave", place: 1000}, {place: 1002}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v is registered", taken)
				}
			}()
			registerVerb(taken)
		}()
	}
}
