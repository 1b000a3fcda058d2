package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stepwatch/stepwatch/steps/stepstest"
)

// TestMain lets the scripts run this program, and a website for it to look at, without building either.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"stepwatch": main,
		"website":   website,
	})
}

// website serves the demo's site until it is interrupted, and writes the configuration that leads to it.
func website() {
	site, err := stepstest.NewWebsite(stepstest.WebsiteOptions{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer site.Close()
	var config strings.Builder
	config.WriteString("tls: {ca: [ca.pem]}\nconnect_to:\n")
	for from, to := range site.ConnectTo() {
		fmt.Fprintf(&config, "  %q: %q\n", from, to)
	}
	for name, content := range map[string]string{"ca.pem": string(site.CA.PEM()), "stepwatch.yml": config.String()} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	<-ctx.Done()
}

// TestScripts runs what a user types and compares what a user sees.
func TestScripts(t *testing.T) {
	paths := regexp.MustCompile(`evidence: /\S+/`)
	times := regexp.MustCompile(` *\d+\.\d+ (ms|s)\b|\d+\.\d+s\b`)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			root, err := filepath.Abs("../..")
			e.Setenv("ROOT", root)
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// timeless FILE takes the times, and the paths of evidence, out of what the last command wrote and puts it into FILE.
			"timeless": func(ts *testscript.TestScript, _ bool, args []string) {
				text := paths.ReplaceAllString(times.ReplaceAllString(ts.ReadFile("stdout"), " TIME"), "evidence: PATH/")
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
			},
			// await FILE waits until a program in the background has written it.
			"await": func(ts *testscript.TestScript, _ bool, args []string) {
				for range 500 {
					if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
				ts.Fatalf("%s was never written", args[0])
			},
		},
	})
}
