package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cucumber/godog"

	"example.com/gosteps/shop"
)

// TestMain lets a test run this program as its user does.
func TestMain(m *testing.M) {
	if os.Getenv("GOSTEPS_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

// api is a shop that sells tea at the price, and counts its orders.
func api(t *testing.T, price float64) (url string, orders *atomic.Int64) {
	orders = new(atomic.Int64)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		var pieces map[string]string
		if err := json.NewDecoder(r.Body).Decode(&pieces); err != nil || pieces["tea"] != "2" {
			http.Error(w, "no such article", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `{"id": %d, "total": %g}`, orders.Add(1), 2*price)
	})
	mux.HandleFunc("GET /orders/open", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, orders.Load()) })
	mux.HandleFunc("DELETE /orders/{id}", func(http.ResponseWriter, *http.Request) { orders.Add(-1) })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<title>Shop</title><p>%d order</p>", orders.Load())
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL, orders
}

// stepwatch runs this program in a directory that has the feature, led to the shop.
func stepwatch(t *testing.T, url string, args ...string) (output string, code int) {
	t.Helper()
	feature, err := os.ReadFile("features/order.feature")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := strings.ReplaceAll(string(feature), "http://shop.test/", url+"/")
	if err := os.WriteFile(filepath.Join(dir, "order.feature"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	program := exec.Command(os.Args[0], args...)
	program.Dir, program.Env = dir, append(os.Environ(), "GOSTEPS_MAIN=1", "XDG_STATE_HOME="+dir)
	out, _ := program.Output() // the code says it
	return string(out), program.ProcessState.ExitCode()
}

func TestVerbs(t *testing.T) {
	url, orders := api(t, 3.20)
	for _, test := range []struct {
		args string
		code int
		want []string
	}{
		{"run -v order.feature", 0, []string{"1 scenario: 1 passed. 6 steps: 6 passed.", "shop_orders_open 1"}},
		{"check order.feature", 0, []string{"STEPWATCH OK - 6 steps passed", "'The shop/An order/at most 5 orders are open'="}},
		{"lint order.feature", 0, []string{"1 scenario, 0 mistakes, 0 warnings"}},
		{"steps --format json orders", 0, []string{`"area": "own steps"`, `"sentence": "at most {int} orders are open"`, "\"parameters\": [\n      \"int\"\n    ]", "Runs the Go function shop.(*shop).open."}},
		{"version", 0, []string{"stepwatch (devel) with own steps of example.com/gosteps"}},
	} {
		out, code := stepwatch(t, url, strings.Fields(test.args)...)
		for _, want := range test.want {
			if !strings.Contains(out, want) || code != test.code {
				t.Errorf("%s: exit code %d, want %d; no %q in:\n%s", test.args, code, test.code, want, out)
			}
		}
	}
	if left := orders.Load(); left != 0 {
		t.Errorf("%d orders are left", left)
	}
}

func TestFailureNamesTheReason(t *testing.T) {
	url, orders := api(t, 3.25)
	out, code := stepwatch(t, url, "check", "order.feature")
	const want = "STEPWATCH CRITICAL - Then the order comes to 6.40: order 1 comes to 6.50, want 6.40 (unexpected, blame target)"
	if !strings.HasPrefix(out, want) || code != 2 {
		t.Errorf("exit code %d, output:\n%s", code, out)
	}
	if left := orders.Load(); left != 0 {
		t.Errorf("%d orders are left", left)
	}
}

// TestWithGodogAlone runs the team's own sentences in an ordinary suite, without stepwatch.
func TestWithGodogAlone(t *testing.T) {
	url, _ := api(t, 3.20)
	suite := godog.TestSuite{ScenarioInitializer: shop.Steps, Options: &godog.Options{Format: "progress", TestingT: t, Strict: true,
		FeatureContents: []godog.Feature{{Name: "own.feature", Contents: []byte(`Feature: Own
  Scenario: An order
    Given the shop at "` + url + `"
    When I order:
      | article | pieces |
      | tea     | 2      |
    Then the order comes to 6.40
    And at most 1 orders are open
`)}}}}
	if suite.Run() != 0 {
		t.Error("the suite failed")
	}
}
